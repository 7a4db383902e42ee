//! Snapshots that no tracker writes, and donors that lie.

use super::donor::id;
use super::{Donor, asks, seeders, snapshot};
use crate::clients::cluster::{Member, OFFER};
use crate::flavour::only_with;
use crate::harness::tests;

tests![
    what_is_no_whole_snapshot_is_kept_as_far_as_it_is_good_and_the_next_donor_asked,
    after_five_donors_no_other_is_asked,
    offers_that_make_no_sense_are_passed_over,
];

fn what_is_no_whole_snapshot_is_kept_as_far_as_it_is_good_and_the_next_donor_asked() {
    only_with("sync-live");
    let whole = snapshot(4);
    let changed = |at: usize, bit: u8| {
        let mut bytes = whole.clone();
        bytes[at] ^= bit;
        bytes
    };
    for (bytes, said, kept) in [
        (b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(), "these are not the swarms of a tracker", 0),
        (changed(9, 0x40), "the swarms are written in version 65", 0),
        // The number of torrents in the end mark.
        (changed(whole.len() - 25, 0x80), "are announced at the end", 4),
        (changed(whole.len() - 1, 1), "the checksum is wrong", 4),
        ([&whole[..], &whole].concat(), "something follows the end", 4),
        (whole[..whole.len() - 33].to_vec(), "it stopped in the middle", 4),
        (whole[..30].to_vec(), "it stopped in the middle", 0),
        (vec![], "it stopped in the middle", 0),
    ] {
        let (mut tracker, _) = asks("");
        let [liar, honest] = [1, 3].map(|number| Donor::new(&tracker, number));
        liar.offers(2000);
        honest.offers(1000);
        liar.gives(&bytes);
        let stream = honest.accept();
        tracker.wait_for_log(said);
        assert!(
            tracker.log().contains(&format!("; kept of it: {} torrents, {kept} peers", kept.min(1))),
            "{}",
            tracker.log()
        );
        drop(stream);
    }
}

fn after_five_donors_no_other_is_asked() {
    only_with("sync-live");
    let (tracker, _) = asks("");
    let donors = [1, 3, 4, 5, 6, 7].map(|number| Donor::new(&tracker, number));
    donors.iter().for_each(|donor| donor.offers(9000 - 100 * u32::from(donor.id[0])));
    for donor in &donors[..5] {
        donor.gives(b"otswarms and nothing of the kind");
    }
    let tracker = tracker.ready();
    assert_eq!(seeders(&tracker), 0);
    assert!(donors[5].try_accept().is_none());
    let log = tracker.stop();
    assert!(log.contains("no snapshot has been taken"), "{log}");
}

fn offers_that_make_no_sense_are_passed_over() {
    only_with("sync-live");
    let (tracker, _) = asks("");
    let donor = Donor::new(&tracker, 1);
    let member = Member::of(&tracker);
    // Cut, of another version, of this tracker itself, and of one that is no older than it.
    let offer = |id: [u8; 4], body: &[u8]| member.send(&[&id[..], &OFFER.to_be_bytes(), body].concat());
    for len in 0..24 {
        offer(*b"cuts", &[&[0, 1][..], &[0xff; 30]].concat()[..len]);
    }
    offer(*b"next", &[&[0, 2][..], &[0xff; 30]].concat());
    let own = id(&tracker);
    offer(own, &[&[0, 1][..], &member.port().to_be_bytes(), &[0xff; 20]].concat());
    donor.offers(0);
    let log = tracker.ready().stop();
    assert!(!log.contains("taking a snapshot") && donor.try_accept().is_none(), "{log}");
    // Where nobody listens.
    let (mut tracker, _) = asks("");
    let member = Member::of(&tracker);
    member.send(&[&b"none"[..], &OFFER.to_be_bytes(), &[0, 1, 0, 1, 0, 1, 0, 0], &[0; 16]].concat());
    tracker.wait_for_log("a snapshot from 127.0.0.1:1 is given up");
    drop(tracker.ready());
}
