//! `seccomp`: the kernel refuses the system calls that the tracker does not make.
//!
//! - [`allowed`]: those that it makes.
//!
//! What is refused gets the error ENOSYS, as from a kernel without that call: C libraries know what to do instead. The
//! filter is compiled for the processors that the crate knows; on others a line of the log says that there is none.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod allowed;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod filter;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod filter {
    use crate::server::Needs;

    /// Does nothing but say why.
    pub(super) fn apply(_: &Needs, _: bool) -> Result<usize, &'static str> {
        Err("there is no filter for this processor")
    }
}

use tracing::{info, warn};

use crate::config::SystemCallRule;
use crate::server::{Needs, SystemCallFilter};

/// A filter of system calls.
#[derive(Debug)]
pub struct Seccomp;

impl SystemCallFilter for Seccomp {
    fn enforce(rule: SystemCallRule, needs: &Needs) {
        let refuses = match rule {
            SystemCallRule::Allow => return,
            SystemCallRule::Refuse => true,
            SystemCallRule::Log => false,
        };
        match filter::apply(needs, refuses) {
            Ok(calls) if refuses => info!("confined by seccomp to {calls} system calls"),
            Ok(calls) => info!("the kernel logs what seccomp would refuse: all but {calls} system calls"),
            Err(error) => warn!("not confined by seccomp: {error}"),
        }
    }
}
