//! Whether a file can be reached when a directory is the root.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path};

/// The links on the way to one file that are followed at most; the system follows as many.
const MAX_LINKS: usize = 40;

/// Returns whether `path` leads to the same file once `root`, an absolute path without links, is the root directory and
/// the working directory. The file need not be there.
///
/// A link with an absolute target leads elsewhere then, wherever it leads now.
pub(super) fn is_inside(root: &Path, path: &Path) -> bool {
    let relative = if path.is_relative() { Some(path) } else { path.strip_prefix(root).ok() };
    let Some(mut left) = relative.and_then(steps) else { return false };
    let mut at = root.to_path_buf();
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        match step {
            Step::Up if at == root => return false,
            Step::Up => _ = at.pop(),
            Step::Down(name) => match fs::read_link(at.join(&name)) {
                Ok(target) => {
                    links += 1;
                    let Some(target) = steps(&target).filter(|_| links <= MAX_LINKS) else { return false };
                    left = target.into_iter().chain(left).collect();
                }
                Err(_) => at.push(name),
            },
        }
    }
    true
}

enum Step {
    Down(OsString),
    Up,
}

/// Returns the steps of a path; `None` if it does not begin where one stands.
fn steps(path: &Path) -> Option<VecDeque<Step>> {
    let step = |component| match component {
        Component::Normal(name) => Some(Some(Step::Down(name.to_owned()))),
        Component::ParentDir => Some(Some(Step::Up)),
        Component::CurDir => Some(None),
        Component::RootDir | Component::Prefix(_) => None,
    };
    let steps: Option<Vec<_>> = path.components().map(step).collect();
    Some(steps?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_inside_if_its_path_and_all_links_on_it_stay_there() {
        let root =
            std::env::temp_dir().canonicalize().unwrap().join(format!("opentracker-inside-{}", std::process::id()));
        let inner = root.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("list"), "").unwrap();
        let link = |target: &str, name: &str| symlink(target, root.join(name)).unwrap();
        link("a/b/list", "relative");
        link("../b/list", "a/b/around");
        link("a", "directory");
        link("../../x", "a/out");
        link("round", "round");
        link(inner.join("list").to_str().unwrap(), "absolute");
        for (path, expected) in [
            ("list", true),
            ("./a//b/list", true),
            ("a/b/list", true),
            ("a/../a/b/list", true),
            ("not/there/yet", true),
            ("", true),
            ("relative", true),
            ("a/b/around", true),
            ("directory/b/around", true),
            ("directory/../relative", true),
            ("..", false),
            ("../list", false),
            ("a/../../list", false),
            ("a/out", false),
            ("directory/out", false),
            ("round", false),
            ("absolute", false),
            ("/etc/passwd", false),
            ("/", false),
        ] {
            assert_eq!(is_inside(&root, Path::new(path)), expected, "{path}");
            if let Some(name) = Some(path).filter(|path| !path.starts_with('/')) {
                assert_eq!(is_inside(&root, &root.join(name)), expected, "{path}, written as an absolute path");
            }
        }
        let beside = format!("{}-beside/list", root.display());
        assert!(!is_inside(&root, Path::new(&beside)));
        fs::remove_dir_all(root).unwrap();
    }
}
