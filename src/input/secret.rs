//! Reads files that hold a secret: keys, passwords, tokens.

use std::fs::FileType;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{InputError, open};

/// What somebody may do with a file who is neither its owner nor of its group.
const OTHERS: u32 = 0o007;

/// Reads a whole regular file, which holds a secret: its owner and its group may use it, and nobody else.
///
/// # Errors
///
/// As [`super::open_regular`]; a file whose mode permits others to read, write or execute it, which is refused before
/// anything is read; and one that has more than `max` bytes.
pub fn read_secret(path: &Path, max: usize) -> Result<Vec<u8>, InputError> {
    let (file, _) = open(path, FileType::is_file)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(InputError::Exposed(mode));
    }
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max { Err(InputError::TooLarge(max)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::super::tests::Directory;
    use super::*;

    /// Makes a file with this content and mode, and reads it as a secret of at most ten bytes.
    fn read(content: &str, mode: u32) -> Result<Vec<u8>, String> {
        let directory = Directory::new();
        let path = directory.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        read_secret(&path, 10).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_of_its_owner_and_group_is_read() {
        for mode in [0o400, 0o600, 0o440, 0o640, 0o660, 0o770] {
            assert_eq!(read("0123456789", mode).unwrap(), b"0123456789", "{mode:o}");
        }
        assert_eq!(read("", 0o600).unwrap(), b"");
    }

    #[test]
    fn a_secret_that_others_can_use_in_any_way_is_refused_with_what_to_do() {
        for mode in (0o600..=0o677).filter(|mode| mode & 7 != 0) {
            let expected = format!("every user of this machine can use it (mode 0{mode:o}): chmod o= takes that away");
            assert_eq!(read("0123456789", mode).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_secret_of_too_many_bytes_is_refused() {
        assert_eq!(read("0123456789a", 0o600).unwrap_err(), "it has more than 10 bytes");
        assert_eq!(read(&"0".repeat(100_000), 0o600).unwrap_err(), "it has more than 10 bytes");
    }

    #[test]
    fn what_is_no_regular_file_is_no_secret() {
        let directory = Directory::new();
        let error = |path: &Path| read_secret(path, 10).unwrap_err().to_string();
        assert_eq!(error(directory.path()), "it is a directory, not a regular file");
        assert_eq!(error(&directory.pipe()), "it is a pipe, not a regular file");
        assert_eq!(error(Path::new("/dev/null")), "it is a character device, not a regular file");
        assert!(error(&directory.path().join("nothing")).starts_with("No such file"));
    }
}
