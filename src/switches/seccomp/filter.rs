//! The filter: a program that the kernel asks about each system call.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, Error, SeccompAction, SeccompFilter, SeccompRule, apply_filter};

use crate::server::Needs;

use super::allowed::{self, Allowed};

/// What is refused gets this error.
const REFUSAL: u32 = libc::ENOSYS as u32;

/// Applies the filter to this thread and those that it starts from now on. What is not allowed is refused, or only
/// logged by the kernel. Returns how many system calls are allowed.
///
/// # Errors
///
/// The system's reason.
pub(super) fn apply(needs: &Needs, refuses: bool) -> Result<usize, Error> {
    let rules = rules(needs)?;
    let calls = rules.len();
    apply_filter(&program(rules, if refuses { SeccompAction::Errno(REFUSAL) } else { SeccompAction::Log })?)?;
    Ok(calls)
}

/// Returns what is allowed, for each system call the arguments; none if it is allowed with any.
fn rules(needs: &Needs) -> Result<BTreeMap<c_long, Vec<SeccompRule>>, Error> {
    let mut rules = BTreeMap::<c_long, Vec<SeccompRule>>::new();
    let lists = [
        (true, allowed::ALWAYS),
        (needs.opens_files(), allowed::TO_READ_FILES),
        (needs.writes_files(), allowed::TO_WRITE_FILES),
        (needs.connects(), allowed::TO_CONNECT),
        (needs.makes_memory(), allowed::TO_MAKE_MEMORY),
    ];
    let further = needs.further_system_calls().iter().map(|call| Allowed::any(*call));
    let lists = lists.iter().filter(|(is_needed, _)| *is_needed).flat_map(|(_, list)| list.iter().copied());
    for Allowed { call, conditions } in lists.chain(further) {
        let conditions: Vec<_> = conditions.iter().map(|one| one.compile()).collect::<Result<_, _>>()?;
        match rules.get_mut(&call) {
            // Whatever else is said of it, it is allowed as it comes.
            _ if conditions.is_empty() => _ = rules.insert(call, Vec::new()),
            Some(already) if already.is_empty() => {}
            Some(already) => already.push(SeccompRule::new(conditions)?),
            None => _ = rules.insert(call, vec![SeccompRule::new(conditions)?]),
        }
    }
    Ok(rules)
}

/// Compiles a filter that does this with all other system calls.
fn program(rules: BTreeMap<c_long, Vec<SeccompRule>>, otherwise: SeccompAction) -> Result<BpfProgram, Error> {
    let default = u32::from(otherwise.clone());
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, ARCH.try_into()?)?;
    let mut program = BpfProgram::try_from(filter)?;
    // The crate ends a process that calls the kernel in another way than the processor's own, such as that of 32 bits.
    for instruction in &mut program {
        if u32::from(instruction.code) == RETURN && instruction.k == libc::SECCOMP_RET_KILL_PROCESS {
            instruction.k = default;
        }
    }
    Ok(program)
}

/// The instruction that ends the program with a constant.
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

#[cfg(test)]
mod tests;
