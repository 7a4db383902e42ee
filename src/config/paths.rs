//! The paths among the settings, by the rows of their keys.

use std::path::PathBuf;

use super::keys::{self, SeenFrom, ValueType};
use super::settings::Settings;

impl Settings {
    /// Calls `visit` with every path that is opened inside the root directory, and its key. That of the root directory
    /// itself is none of them: it is entered from outside.
    pub fn visit_paths_inside_root(&mut self, mut visit: impl FnMut(&'static str, &mut PathBuf)) {
        for key in keys::all() {
            if let ValueType::Path { seen: SeenFrom::InsideRoot, field, .. } = key.takes {
                field(self).iter_mut().for_each(|path| visit(key.name, path));
            }
        }
    }
}
