//! The file with the key of the connection ids, which several trackers share.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::config::ListenSettings;
use crate::input;
use crate::udp::SharedSecret;
use crate::udp::connection_id::shared::MIN_KEY;

use super::error::StartError;

const KEY: &str = "listen.udp_connection_id_key_file";

/// Most bytes of a file.
const MAX_KEY: usize = 4096;

/// Who may do what with a new file.
const MODE: u32 = 0o600;

/// Reads the file, if one is configured: as the process sees files that was started, and with its rights.
///
/// # Errors
///
/// A file that cannot be read or that everybody can use, and one of too few or too many bytes.
pub(super) fn read(settings: &ListenSettings) -> Result<Option<SharedSecret>, StartError> {
    let Some(path) = &settings.udp_connection_id_key_file else { return Ok(None) };
    let unusable = |reason: String| StartError::Unusable { key: KEY, path: path.clone(), reason };
    let key = input::read_secret(path, MAX_KEY).map_err(|error| unusable(error.to_string()))?;
    let secret = SharedSecret::from_key(&key).ok_or_else(|| {
        let len = key.len();
        unusable(format!("it has {len} bytes, and a key has {MIN_KEY} at least: opentracker --new-key makes one"))
    })?;
    Ok(Some(secret))
}

/// Makes such a file with a new key, which its owner alone can read.
///
/// # Errors
///
/// There is something already, which is left as it is; the system does not make the file, or has no random numbers.
/// Nothing is left of a file that could not be written.
pub fn make(path: &Path) -> io::Result<()> {
    let mut key = [0; MIN_KEY];
    getrandom::fill(&mut key)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    // Whatever the process keeps from files that it makes: the owner is to read this one.
    let made = file.set_permissions(Permissions::from_mode(MODE)).and_then(|()| file.write_all(&key));
    made.and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn settings(path: Option<PathBuf>) -> ListenSettings {
        ListenSettings { udp_connection_id_key_file: path, ..ListenSettings::default() }
    }

    /// Reads a file of so many bytes.
    fn read_of(len: usize) -> Result<Option<SharedSecret>, String> {
        let path = std::env::temp_dir().join(format!("opentracker-key-file-{}-{len}", std::process::id()));
        fs::write(&path, vec![7; len]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let read = read(&settings(Some(path.clone()))).map_err(|error| error.to_string());
        fs::remove_file(&path).unwrap();
        read.map_err(|error| error.replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn a_key_has_32_to_4096_bytes() {
        let error = |len| read_of(len).err().unwrap();
        for len in [32, 33, 4096] {
            assert!(read_of(len).unwrap() == SharedSecret::from_key(&vec![7; len]));
        }
        for len in [0, 31] {
            let expected = format!("it has {len} bytes, and a key has 32 at least: opentracker --new-key makes one");
            assert_eq!(error(len), format!("listen.udp_connection_id_key_file: cannot use FILE: {expected}"));
        }
        let expected = "listen.udp_connection_id_key_file: cannot use FILE: it has more than 4096 bytes";
        assert_eq!(error(4097), expected);
    }

    #[test]
    fn without_a_file_there_is_no_shared_secret() {
        assert!(read(&settings(None)).unwrap().is_none());
        let error = read(&settings(Some("/nowhere/key".into()))).err().unwrap().to_string();
        assert!(
            error.starts_with("listen.udp_connection_id_key_file: cannot use /nowhere/key: No such file"),
            "{error}"
        );
    }

    #[test]
    fn each_new_key_is_another_and_none_takes_the_place_of_a_file() {
        let directory = std::env::temp_dir().join(format!("opentracker-new-key-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let [one, other, link] = ["one", "other", "link"].map(|name| directory.join(name));
        make(&one).unwrap();
        make(&other).unwrap();
        let key = fs::read(&one).unwrap();
        assert!(key.len() == 32 && key != fs::read(&other).unwrap());
        assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(read(&settings(Some(one.clone()))).unwrap() == SharedSecret::from_key(&key));
        std::os::unix::fs::symlink("nothing", &link).unwrap();
        for taken in [&one, &link, &directory] {
            assert_eq!(make(taken).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&one).unwrap(), key);
        assert!(!directory.join("nothing").exists(), "a link is not followed");
        assert_eq!(make(&directory.join("none/key")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&directory).unwrap();
    }
}
