//! The system calls that a tracker makes once it is confined, as the C library and the standard library make them:
//! those that `ci/syscalls` sees with glibc, and what musl and older kernels have in their place.
//!
//! None of them starts a program, makes memory executable, opens a file to write it, makes a socket or gains a right.

use nix::libc::{self, c_int, c_long};
use seccompiler::{SeccompCmpArgLen as Size, SeccompCmpOp as Is, SeccompCondition};

/// A system call that is allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) call: c_long,
    /// What holds for its arguments: all of these.
    pub(super) conditions: &'static [Condition],
}

/// What holds for one argument, counted from 0. Those that are numbers have 32 bits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Condition {
    /// It is this number.
    Equal(u8, c_int),
    /// These of its bits are set.
    Set(u8, c_int),
    /// None of these bits is set.
    Unset(u8, c_int),
    /// It is no pointer.
    Null(u8),
}

impl Allowed {
    /// With any arguments.
    pub(super) const fn any(call: c_long) -> Self {
        Self { call, conditions: &[] }
    }

    const fn only(call: c_long, conditions: &'static [Condition]) -> Self {
        Self { call, conditions }
    }
}

impl Condition {
    pub(super) fn compile(self) -> Result<SeccompCondition, seccompiler::Error> {
        // The kernel looks at these arguments as at numbers without a sign.
        let bits = |number: c_int| u64::from(u32::from_ne_bytes(number.to_ne_bytes()));
        let condition = match self {
            Self::Equal(argument, number) => SeccompCondition::new(argument, Size::Dword, Is::Eq, bits(number)),
            Self::Set(argument, mask) => {
                SeccompCondition::new(argument, Size::Dword, Is::MaskedEq(bits(mask)), bits(mask))
            }
            Self::Unset(argument, mask) => SeccompCondition::new(argument, Size::Dword, Is::MaskedEq(bits(mask)), 0),
            Self::Null(argument) => SeccompCondition::new(argument, Size::Qword, Is::Eq, 0),
        };
        condition.map_err(Into::into)
    }
}

use Condition::{Equal, Null, Set, Unset};

/// Whatever makes an opened file more than one to be read.
const TO_WRITE: c_int = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

/// `PR_SET_VMA`, by which allocators name their memory.
const PR_SET_VMA: c_int = 0x5356_4d41;

/// What every tracker calls.
pub(super) const ALWAYS: &[Allowed] = &[
    // Memory. That of programs is not made.
    Allowed::any(libc::SYS_brk),
    Allowed::only(libc::SYS_mmap, &[Unset(2, libc::PROT_EXEC)]),
    Allowed::only(libc::SYS_mprotect, &[Unset(2, libc::PROT_EXEC)]),
    Allowed::any(libc::SYS_munmap),
    Allowed::any(libc::SYS_mremap),
    Allowed::any(libc::SYS_madvise),
    // Threads. glibc tries clone3 first, whose arguments cannot be looked at, and takes clone if there is none.
    Allowed::only(libc::SYS_clone, &[Set(0, libc::CLONE_THREAD)]),
    Allowed::any(libc::SYS_set_robust_list),
    Allowed::any(libc::SYS_rseq),
    Allowed::any(libc::SYS_set_tid_address),
    Allowed::any(libc::SYS_gettid),
    Allowed::any(libc::SYS_getpid),
    Allowed::any(libc::SYS_futex),
    Allowed::any(libc::SYS_sched_yield),
    Allowed::any(libc::SYS_sched_getaffinity),
    Allowed::any(libc::SYS_getcpu),
    // By musl, with the first thread.
    Allowed::any(libc::SYS_membarrier),
    Allowed::only(libc::SYS_prctl, &[Equal(0, libc::PR_SET_NAME)]),
    Allowed::only(libc::SYS_prctl, &[Equal(0, PR_SET_VMA)]),
    // The memory of the process is hidden when it is confined already; it cannot be shown again.
    Allowed::only(libc::SYS_prctl, &[Equal(0, libc::PR_SET_DUMPABLE), Equal(1, 0)]),
    Allowed::only(libc::SYS_prlimit64, &[Null(2)]),
    // Ends, and the signal of a process that ends itself for good reason.
    Allowed::any(libc::SYS_exit),
    Allowed::any(libc::SYS_exit_group),
    Allowed::only(libc::SYS_tgkill, &[Equal(2, libc::SIGABRT)]),
    Allowed::only(libc::SYS_tkill, &[Equal(1, libc::SIGABRT)]),
    // What interrupts a thread that is to stop: the first by glibc, the second by musl.
    Allowed::only(libc::SYS_tgkill, &[Equal(2, libc::SIGURG)]),
    Allowed::only(libc::SYS_tkill, &[Equal(1, libc::SIGURG)]),
    // Signals.
    Allowed::any(libc::SYS_rt_sigaction),
    Allowed::any(libc::SYS_rt_sigprocmask),
    Allowed::any(libc::SYS_rt_sigreturn),
    Allowed::any(libc::SYS_sigaltstack),
    Allowed::any(libc::SYS_restart_syscall),
    // Time, where the kernel does not tell it without a call.
    Allowed::any(libc::SYS_clock_gettime),
    Allowed::any(libc::SYS_clock_getres),
    Allowed::any(libc::SYS_clock_nanosleep),
    Allowed::any(libc::SYS_nanosleep),
    Allowed::any(libc::SYS_gettimeofday),
    // Random numbers.
    Allowed::any(libc::SYS_getrandom),
    // What is open: sockets, the log, the service manager, event loops.
    Allowed::any(libc::SYS_read),
    Allowed::any(libc::SYS_readv),
    Allowed::any(libc::SYS_write),
    Allowed::any(libc::SYS_writev),
    Allowed::any(libc::SYS_close),
    Allowed::any(libc::SYS_fstat),
    Allowed::any(libc::SYS_lseek),
    Allowed::only(libc::SYS_fcntl, &[Equal(1, libc::F_GETFD)]),
    Allowed::only(libc::SYS_fcntl, &[Equal(1, libc::F_SETFD)]),
    Allowed::only(libc::SYS_fcntl, &[Equal(1, libc::F_GETFL)]),
    Allowed::only(libc::SYS_fcntl, &[Equal(1, libc::F_SETFL)]),
    Allowed::only(libc::SYS_fcntl, &[Equal(1, libc::F_DUPFD_CLOEXEC)]),
    Allowed::only(libc::SYS_ioctl, &[Equal(1, FIONBIO)]),
    Allowed::only(libc::SYS_ioctl, &[Equal(1, FIOCLEX)]),
    Allowed::only(libc::SYS_ioctl, &[Equal(1, FIONREAD)]),
    Allowed::any(libc::SYS_ppoll),
    Allowed::any(libc::SYS_epoll_create1),
    Allowed::any(libc::SYS_epoll_ctl),
    Allowed::any(libc::SYS_epoll_pwait),
    Allowed::any(libc::SYS_eventfd2),
    // An event loop hears of signals by a pair of sockets.
    Allowed::only(libc::SYS_socketpair, &[Equal(0, libc::AF_UNIX)]),
    Allowed::any(libc::SYS_accept4),
    Allowed::any(libc::SYS_recvfrom),
    Allowed::any(libc::SYS_recvmsg),
    Allowed::any(libc::SYS_recvmmsg),
    Allowed::any(libc::SYS_sendto),
    Allowed::any(libc::SYS_sendmsg),
    Allowed::any(libc::SYS_sendmmsg),
    Allowed::any(libc::SYS_shutdown),
    Allowed::any(libc::SYS_getsockname),
    Allowed::any(libc::SYS_getpeername),
    Allowed::any(libc::SYS_getsockopt),
    Allowed::any(libc::SYS_setsockopt),
    // Whose rights files are read with.
    Allowed::any(libc::SYS_getuid),
    Allowed::any(libc::SYS_geteuid),
    Allowed::any(libc::SYS_getgid),
    Allowed::any(libc::SYS_getegid),
    // Older calls that C libraries have for the same, where there are any.
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_poll),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_epoll_wait),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_time),
];

const FIONBIO: c_int = 0x5421;
const FIOCLEX: c_int = 0x5451;
const FIONREAD: c_int = 0x541b;

/// What reads a file.
pub(super) const TO_READ_FILES: &[Allowed] = &[
    Allowed::only(libc::SYS_openat, &[Unset(2, TO_WRITE)]),
    Allowed::any(libc::SYS_statx),
    Allowed::any(libc::SYS_newfstatat),
    Allowed::any(libc::SYS_readlinkat),
    Allowed::any(libc::SYS_fadvise64),
    Allowed::any(libc::SYS_pread64),
    #[cfg(target_arch = "x86_64")]
    Allowed::only(libc::SYS_open, &[Unset(1, TO_WRITE)]),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_stat),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_lstat),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_readlink),
];

/// What writes a file, and puts it in the place of another, beside what reads one.
pub(super) const TO_WRITE_FILES: &[Allowed] = &[
    Allowed::any(libc::SYS_openat),
    Allowed::any(libc::SYS_pwrite64),
    Allowed::any(libc::SYS_ftruncate),
    Allowed::any(libc::SYS_fallocate),
    Allowed::any(libc::SYS_fsync),
    Allowed::any(libc::SYS_fdatasync),
    Allowed::any(libc::SYS_fchmod),
    Allowed::any(libc::SYS_flock),
    Allowed::any(libc::SYS_renameat2),
    Allowed::any(libc::SYS_unlinkat),
    // renameat, which libc knows with musl only.
    #[cfg(target_arch = "aarch64")]
    Allowed::any(38),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_open),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_rename),
    #[cfg(target_arch = "x86_64")]
    Allowed::any(libc::SYS_unlink),
];

/// What makes a socket and connects it.
pub(super) const TO_CONNECT: &[Allowed] = &[
    Allowed::only(libc::SYS_socket, &[Equal(0, libc::AF_INET)]),
    Allowed::only(libc::SYS_socket, &[Equal(0, libc::AF_INET6)]),
    Allowed::any(libc::SYS_bind),
    Allowed::any(libc::SYS_connect),
];

/// What makes memory that another process gets, and seals it. It is no program.
pub(super) const TO_MAKE_MEMORY: &[Allowed] = &[
    Allowed::only(libc::SYS_memfd_create, &[Equal(1, SEALABLE)]),
    Allowed::only(libc::SYS_memfd_create, &[Equal(1, SEALABLE | libc::MFD_NOEXEC_SEAL as c_int)]),
    Allowed::only(libc::SYS_fcntl, &[Equal(1, libc::F_ADD_SEALS)]),
];

const SEALABLE: c_int = (libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) as c_int;
