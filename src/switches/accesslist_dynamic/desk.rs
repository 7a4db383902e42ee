//! What is done about what is said, in one thread.

use std::cell::Cell;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::log::Complaints;
use crate::tracker::InfoHash;
use crate::tracker::flavour::ListStatus;

use super::super::access_list::AccessList;
use super::changed::{Change, Changed, Counts, Outcome, Said};
use super::lines::Piece;

/// How long what was said may wait to be folded, whether or not more is said.
const FOLD_TIME: Duration = Duration::from_secs(1);

/// How long a reading may take that somebody waits for.
const READING_TIME: Duration = Duration::from_secs(60);

/// Where it is decided what is done.
#[derive(Debug)]
pub(super) struct Desk {
    list: AccessList<Changed>,
    /// Lines in the FIFOs that made no sense.
    bad_lines: Cell<u64>,
    complaints: Complaints,
    has_changed: Notify,
}

impl Desk {
    pub(super) fn new(list: AccessList<Changed>) -> Self {
        Self { list, bad_lines: Cell::new(0), complaints: Complaints::default(), has_changed: Notify::new() }
    }

    /// Makes some changes.
    pub(super) fn change(&self, changes: impl Iterator<Item = Change>) -> Outcome {
        let outcome = self.list.replace(|now, said| now.change(said, changes));
        if outcome.changed > 0 {
            self.has_changed.notify_one();
        }
        if outcome.is_first_refusal {
            let max = self.max();
            warn!(
                "access.dynamic_max: the list differs from its file in {max} torrents, and what changes more of them is \
                 not taken until the file is read again"
            );
        }
        outcome
    }

    /// Counts lines that made no sense, and complains of them now and then.
    pub(super) fn complain_of_lines(&self, key: &str, piece: &Piece) {
        let Some(line) = &piece.first_bad else { return };
        self.bad_lines.set(self.bad_lines.get() + piece.bad);
        let all = self.bad_lines.get();
        self.complain(|| warn!("{key}: {line}: skipped; {all} such lines so far"));
    }

    /// Complains of something, unless there was a complaint within the last minute.
    pub(super) fn complain(&self, complain: impl FnOnce()) {
        self.complaints.say(complain);
    }

    pub(super) fn has(&self, info_hash: &InfoHash) -> bool {
        self.list.contains(info_hash)
    }

    /// Returns how many torrents are on the list.
    pub(super) fn count(&self) -> usize {
        self.list.status().torrents
    }

    /// Returns in how many torrents the list may differ from its file.
    pub(super) fn max(&self) -> usize {
        self.list.with_said(|said| said.max())
    }

    /// Returns what is known of the list and of what was said, as names and numbers on one line.
    pub(super) fn stats(&self) -> String {
        let ListStatus { torrents, since, failures } = self.list.status();
        let (difference, max, Counts { added, deleted, refused }) =
            self.list.with_said(|said| (said.difference(), said.max(), said.counts()));
        let since = since.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut line = String::new();
        for (name, number) in [
            ("torrents", torrents as u64),
            ("difference", difference as u64),
            ("max", max as u64),
            ("added", added),
            ("deleted", deleted),
            ("refused", refused),
            ("bad_lines", self.bad_lines.get()),
            ("last_reload", since),
            ("failed_reloads", failures),
        ] {
            let _ = write!(line, "{}{name}={number}", if line.is_empty() { "" } else { " " });
        }
        line
    }

    /// Reads the file, from a moment on that is still to come. Returns how many torrents are in it.
    ///
    /// # Errors
    ///
    /// Why the list in force stays, or that it takes too long.
    pub(super) async fn reload(&self) -> Result<usize, String> {
        let mut readings = self.list.with_said(|said: &mut Said| said.readings());
        let next = readings.borrow().begun + 1;
        self.begin_reading()?;
        let ended = timeout(READING_TIME, readings.wait_for(|readings| readings.ended >= next)).await;
        // Copied, as who reads a list says so with the lock on what was said: nobody may hold what stands in the way of
        // that while waiting for this lock.
        let outcome = ended.map(|ended| ended.map(|readings| readings.outcome.clone()));
        // It ends before its list is in force, though with that lock.
        self.list.with_said(|_| ());
        match outcome {
            Ok(Ok(outcome)) => outcome.unwrap_or(Ok(0)),
            Ok(Err(_)) | Err(_) => Err(format!("the list is still being read after {} s", READING_TIME.as_secs())),
        }
    }

    /// Merges, for ever, what has changed into a new list a while after the first change.
    pub(super) async fn fold(&self) {
        loop {
            self.has_changed.notified().await;
            sleep(FOLD_TIME).await;
            self.list.replace(|now, said| (now.fold(said), ()));
        }
    }

    /// Has what a reading leaves merged too, for ever: when it ends, the list differs from its file in what was said
    /// meanwhile.
    pub(super) async fn hear_of_readings(&self) {
        let mut readings = self.list.with_said(|said| said.readings());
        while readings.changed().await.is_ok() {
            self.has_changed.notify_one();
        }
    }

    /// Has the file read, in a thread of its own.
    ///
    /// # Errors
    ///
    /// There is no such thread.
    pub(super) fn begin_reading(&self) -> Result<(), String> {
        // It need not be waited for when the tracker ends.
        let spawn = |read: Box<dyn FnOnce() + Send>| thread::Builder::new().name("list".into()).spawn(read).map(drop);
        self.list.read_again_by(spawn).map_err(|error| format!("cannot start a thread: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use std::fs;
    use std::rc::Rc;
    use tokio::runtime::Builder;
    use tokio::task::{LocalSet, spawn_local};

    #[test]
    fn what_a_reading_leaves_is_folded_though_nothing_more_is_said() {
        let path = std::env::temp_dir().join(format!("opentracker-desk-{}", std::process::id()));
        fs::write(&path, format!("{:040}\n", 1)).unwrap();
        let desk =
            Rc::new(Desk::new(AccessList::open("access.whitelist", path.clone(), &Settings::default()).unwrap()));
        let is_folded = || desk.list.replace(|now, said| (None, now.fold(said).is_none()));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (folds, hears) = (Rc::clone(&desk), Rc::clone(&desk));
            spawn_local(async move { folds.fold().await });
            spawn_local(async move { hears.hear_of_readings().await });
            let mut reading = None;
            let later = |read| {
                reading = Some(read);
                Ok::<_, String>(())
            };
            desk.list.read_again_by(later).unwrap();
            desk.change([(InfoHash([7; 20]), true)].into_iter());
            sleep(2 * FOLD_TIME).await;
            assert!(is_folded(), "what was said");
            reading.unwrap()();
            assert!(!is_folded(), "the file does not have it");
            sleep(2 * FOLD_TIME).await;
            assert!(is_folded() && desk.has(&InfoHash([7; 20])));
        });
        fs::remove_file(path).unwrap();
    }
}
