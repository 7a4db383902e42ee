//! When a phase ends: whoever started the loader says so.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// What the standard input has said so far.
#[derive(Default)]
pub(crate) struct Phases {
    past: AtomicUsize,
    is_last: AtomicBool,
}

impl Phases {
    /// Listens in a thread of its own, which ends with the standard input.
    pub(crate) fn listen() -> Arc<Self> {
        let phases = Arc::<Self>::default();
        let told = Arc::clone(&phases);
        thread::spawn(move || told.hear(std::io::stdin().lock()));
        phases
    }

    fn hear(&self, input: impl BufRead) {
        for _ in input.lines().map_while(Result::ok) {
            self.past.fetch_add(1, Ordering::Relaxed);
        }
        self.is_last.store(true, Ordering::Release);
    }

    /// How many phases are over, and whether the one that follows is over too.
    pub(crate) fn past(&self) -> (usize, bool) {
        let is_last = self.is_last.load(Ordering::Acquire);
        (self.past.load(Ordering::Relaxed), is_last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_ends_a_phase_and_the_end_ends_the_last() {
        let phases = Phases::default();
        assert_eq!(phases.past(), (0, false));
        phases.hear(&b"one\ntwo\n"[..]);
        assert_eq!(phases.past(), (2, true));
    }
}
