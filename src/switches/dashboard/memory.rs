//! How much memory the process has. The file that says so is opened before the process is confined, and read again and
//! again: neither a jail nor Landlock lets it be opened afterwards.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Reads how many bytes of memory the process has. The default one knows of none.
#[derive(Debug, Default)]
pub struct ResidentMemory(Option<File>);

/// More than the kernel writes, but for a process in thousands of groups.
const MAX_STATUS: usize = 8 << 10;

impl ResidentMemory {
    /// Opens the file; where there is none, nothing is known.
    pub(super) fn open() -> Self {
        Self(File::open("/proc/self/status").ok())
    }

    /// Returns how many bytes there are now; `None` if the system does not say.
    pub(super) fn bytes(&self) -> Option<u64> {
        let mut buffer = [0; MAX_STATUS];
        let len = self.0.as_ref()?.read_at(&mut buffer, 0).ok()?;
        parse(buffer.get(..len)?)
    }
}

/// Finds the line with the resident set (proc_pid_status(5)): `VmRSS:     1234 kB`.
fn parse(status: &[u8]) -> Option<u64> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"VmRSS:"))?;
    let kilobytes: u64 = std::str::from_utf8(line).ok()?.trim().strip_suffix(" kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_at_least_the_memory_that_it_has_just_filled() {
        let memory = ResidentMemory::open();
        assert!(memory.bytes().unwrap() > 100_000);
        let filled = vec![1_u8; 64 << 20];
        let bytes = memory.bytes().unwrap();
        assert!(bytes > 64 << 20, "{bytes}, {}", filled.iter().filter(|byte| **byte == 1).count());
        assert_eq!(ResidentMemory(None).bytes(), None);
    }

    #[test]
    fn a_file_that_says_nothing_of_it_is_nothing() {
        assert_eq!(parse(b"Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234 * 1024));
        for status in ["", "VmRSS:", "VmRSS:\t12", "VmRSS:\tx kB\n", "XVmRSS:\t1 kB", "VmRSS:\t18446744073709551615 kB"]
        {
            assert_eq!(parse(status.as_bytes()), None, "{status}");
        }
    }
}
