//! What fuzzers run: functions that take any bytes, and panic where what comes of them is wrong. They are compiled for
//! tests and for fuzzers alone; no program has them.
//!
//! Each stands in the room that it feeds, as a child `fuzz`; [`targets`] lists them. `ci/fuzz/run` runs them with new
//! bytes, and the test below with those that are kept in `ci/fuzz/corpus`: a directory for each, and in it what has
//! found something, and what leads to each part of the code.

use crate::{config, swarms, switches, udp};

/// A name, and what takes any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Returns the targets that this build has.
pub fn targets() -> impl Iterator<Item = Target> {
    let always: [Target; 4] = [
        ("udp", udp::fuzz::any_datagram),
        ("udp_model", udp::fuzz::conversation),
        ("swarms", swarms::fuzz::any_stream),
        ("config", config::fuzz::any_file),
    ];
    always.into_iter().chain(switches::FUZZ_TARGETS.iter().copied())
}

/// Runs the target of this name.
///
/// # Panics
///
/// There is none, or something is wrong with what came of the bytes.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = targets().find(|(target, _)| *target == name).expect("a target of this name");
    target(bytes);
}

/// Bytes that are taken from the front, for choices. When they have run out, zeros follow.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    /// Returns whether there are any more bytes.
    pub(crate) fn are_left(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes a byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Takes a number of two bytes.
    pub(crate) fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Bytes that are kept for a target, each with its file's name.
    fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/fuzz/corpus").join(target);
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                (path.display().to_string(), fs::read(&path).unwrap())
            })
            .collect()
    }

    #[test]
    fn whatever_fuzzers_have_found_is_answered_rightly() {
        for (name, target) in targets() {
            let kept = kept(name);
            assert!(kept.len() >= 5, "{name}: {} files", kept.len());
            for (file, bytes) in kept {
                // Whose turn it was is known when it fails.
                println!("{file}");
                target(&bytes);
            }
            target(&[]);
        }
    }

    #[test]
    fn each_target_has_a_program_that_fuzzes_it() {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/fuzz/fuzz_targets");
        let programs: BTreeSet<_> =
            fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        for (name, _) in targets() {
            assert!(programs.contains(&format!("{name}.rs")), "{name} is not in ci/fuzz/fuzz_targets");
        }
    }

    #[test]
    fn choices_come_from_the_front_and_end_in_zeros() {
        let mut choices = Choices(&[1, 2, 3, 4]);
        assert_eq!((choices.byte(), choices.number(), choices.are_left()), (1, 0x203, true));
        assert_eq!((choices.number(), choices.are_left(), choices.byte()), (0x400, false, 0));
    }
}
