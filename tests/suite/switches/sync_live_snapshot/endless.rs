//! Snapshots over TCP that say the same again and again, come to no end, or stop without one.

use std::io::Write as _;

use super::{Donor, asks, seeders, snapshot};
use crate::clients::udp::Client;
use crate::flavour::{info_hash, only_with};
use crate::harness::tests;
use crate::process::memory::resident;

tests![
    what_a_snapshot_tells_several_times_counts_once,
    a_snapshot_without_an_end_is_given_up_at_its_maximum_and_takes_no_memory,
    a_donor_that_stops_midway_and_does_not_close_is_followed_by_the_next,
];

/// Bytes of the header of a snapshot, and of its end mark.
const HEADER: usize = 23;
const END_MARK: usize = 33;

fn what_a_snapshot_tells_several_times_counts_once() {
    only_with("sync-live");
    let whole = snapshot(4);
    let (tracker, _) = asks("");
    let [liar, honest] = [1, 3].map(|number| Donor::new(&tracker, number));
    liar.offers(2000);
    honest.offers(1000);
    liar.gives(&[&whole[..HEADER], &whole[HEADER..whole.len() - END_MARK].repeat(50)].concat());
    honest.gives(&whole);
    let tracker = tracker.ready();
    assert_eq!(Client::new(tracker.udp()).counts(info_hash(1)), (4, 0, 0));
    let log = tracker.stop();
    assert!(log.contains("is given up: it stopped in the middle; kept of it: "), "{log}");
    assert!(log.contains("taken a snapshot from 127.0.0.3:"), "{log}");
}

fn a_snapshot_without_an_end_is_given_up_at_its_maximum_and_takes_no_memory() {
    only_with("sync-live");
    /// Bytes that a tracker takes, and how much more memory it may have by then.
    const MAX: usize = 8 << 20;
    let whole = snapshot(4);
    let (tracker, _) = asks(&format!("sync.snapshot_max {MAX}\n"));
    let donor = Donor::new(&tracker, 1);
    donor.offers(1000);
    let mut stream = donor.accept();
    stream.write_all(&[&[1], &whole[..HEADER]].concat()).unwrap();
    let before = resident(&tracker);
    let piece = whole[HEADER..whole.len() - END_MARK].repeat(1000);
    // Until it closes the connection.
    let sent = (0..4 * MAX / piece.len()).take_while(|_| stream.write_all(&piece).is_ok()).count();
    let after = resident(&tracker);
    assert!(sent * piece.len() < 3 * MAX, "it takes {sent} pieces:\n{}", tracker.log());
    assert!(after < before + MAX as u64 / 2, "{after} bytes of memory, {before} before");
    let tracker = tracker.ready();
    assert_eq!(seeders(&tracker), 4);
    let log = tracker.stop();
    assert!(log.contains(&format!("it has more than {MAX} bytes (sync.snapshot_max); kept of it: ")), "{log}");
}

fn a_donor_that_stops_midway_and_does_not_close_is_followed_by_the_next() {
    only_with("sync-live");
    let whole = snapshot(4);
    let (tracker, _) = asks("sync.snapshot_wait 60\n");
    let [silent, honest] = [1, 3].map(|number| Donor::new(&tracker, number));
    silent.offers(2000);
    honest.offers(1000);
    let mut stream = silent.accept();
    stream.write_all(&[&[1], &whole[..whole.len() - END_MARK]].concat()).unwrap();
    honest.gives(&whole);
    let tracker = tracker.ready();
    assert_eq!(seeders(&tracker), 4);
    drop(stream);
    let log = tracker.stop();
    assert!(
        log.contains("a snapshot from 127.0.0.1:") && log.contains("is given up: nothing has come or gone"),
        "{log}"
    );
}
