//! What the process sees of the file system, to explain why a file is not found.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::error::StartError;

/// What the process sees of the file system, and with whose rights.
#[derive(Debug)]
pub(super) struct Sight {
    /// Who reads files, in the words of errors.
    pub(super) reader: String,
    /// The directory that has become its root.
    pub(super) root: Option<PathBuf>,
    /// Without such a root, of a process that was root: the directory in which relative paths begin.
    pub(super) start: Option<PathBuf>,
}

impl Sight {
    /// Returns the error, and where it is about a file, also where that was looked for or who may not read it.
    pub(super) fn explain(&self, error: StartError) -> StartError {
        let StartError::File { key, path, error } = error else { return error };
        let kind = innermost_kind(&error);
        let why = match (kind, &self.root, &self.start) {
            (ErrorKind::PermissionDenied, ..) => format!("it is read with the rights of {}", self.reader),
            (ErrorKind::NotFound, Some(root), _) => format!("it is looked for inside {}", root.display()),
            (ErrorKind::NotFound, None, Some(start)) if path.is_relative() => {
                format!("relative paths begin in {}", start.display())
            }
            _ => return StartError::File { key, path, error },
        };
        StartError::File { key, path, error: io::Error::new(kind, format!("{error} ({why})")) }
    }
}

/// Returns the kind of the system's error that is behind this one.
fn innermost_kind(error: &io::Error) -> ErrorKind {
    let mut kind = error.kind();
    let mut inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(error) = inner {
        kind = error.downcast_ref().map_or(kind, io::Error::kind);
        inner = error.source();
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(sight: &Sight, path: &str, error: io::Error) -> String {
        sight.explain(StartError::File { key: "access.whitelist", path: path.into(), error }).to_string()
    }

    #[test]
    fn an_error_about_a_file_says_where_it_was_looked_for_and_who_may_not_read_it() {
        let reader = || "user nobody".to_owned();
        let jailed = Sight { reader: reader(), root: Some("/srv/tracker".into()), start: None };
        let free = Sight { reader: reader(), root: None, start: Some("/tmp".into()) };
        let never_root = Sight { reader: reader(), root: None, start: None };
        let says = |sight, path, kind: ErrorKind, expected: &str| {
            let text = explained(sight, path, kind.into());
            assert_eq!(text, format!("access.whitelist: cannot read {path}: {}{expected}", io::Error::from(kind)));
        };
        says(&jailed, "list", ErrorKind::NotFound, " (it is looked for inside /srv/tracker)");
        says(&jailed, "/list", ErrorKind::NotFound, " (it is looked for inside /srv/tracker)");
        says(&free, "list", ErrorKind::NotFound, " (relative paths begin in /tmp)");
        says(&free, "/list", ErrorKind::NotFound, "");
        says(&never_root, "list", ErrorKind::NotFound, "");
        for sight in [&jailed, &free, &never_root] {
            says(sight, "list", ErrorKind::PermissionDenied, " (it is read with the rights of user nobody)");
            says(sight, "list", ErrorKind::IsADirectory, "");
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("inner: {0}")]
    struct Wrapped(#[from] io::Error);

    #[test]
    fn the_systems_reason_is_found_behind_the_error_of_a_switch() {
        let sight = Sight { reader: "user a".into(), root: None, start: None };
        let error = io::Error::other(Wrapped(ErrorKind::PermissionDenied.into()));
        let text = explained(&sight, "list", error);
        assert!(text.ends_with("inner: permission denied (it is read with the rights of user a)"), "{text}");
        let other = StartError::UserIsRoot("root".into());
        assert_eq!(sight.explain(other).to_string(), StartError::UserIsRoot("root".into()).to_string());
    }
}
