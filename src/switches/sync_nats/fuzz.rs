//! Any message of a cluster over NATS: a batch, an ask, an echo.

use std::time::{Duration, Instant};

use super::ask::Ask;
use super::batch::{self, Batch, NAME};
use super::machine::{Machine, Now, Topic};
use super::member::{Member, Shared};
use crate::cluster::record::RecordKind;
use crate::stats::Counters;
use crate::tracker::testing::{NotThatOne, Recorder, TestFlavour, TestTracker};
use crate::tracker::{Capacity, Flavour as _, Ipv4Only, Minute};

const NOW: Minute = Minute(29_000_000);
const CLUSTER: &str = "fuzz";
const OWN: u64 = 9;

/// Hears the bytes as a message of each topic, as they are and behind a good header.
pub(in crate::switches) fn any_message(bytes: &[u8]) {
    for topic in [Topic::Changes, Topic::Ask, Topic::Echo] {
        hear(topic, bytes);
    }
    let mut headed = Vec::new();
    batch::write_prefix(&mut headed, batch::MAGIC, CLUSTER);
    hear(Topic::Changes, &[&headed, bytes].concat());
    headed[2] = b'A';
    hear(Topic::Ask, &[&headed, bytes].concat());

    // Whole records, whatever they hold.
    let (how, records) = bytes.split_first().unwrap_or((&0, &[]));
    let kind = if how & 1 == 0 { RecordKind::Ipv4 } else { RecordKind::Ipv6 };
    let records = &records[..records.len() / kind.record_len() * kind.record_len()];
    let (sequence, waited) = (u64::from(how >> 4) + 1, how & 14);
    let whole = Batch { sender: 1, sequence, made_up: 0..0, member: [0; 4], waited, kind, records };
    hear(Topic::Changes, &whole.write(CLUSTER));
}

fn hear(topic: Topic, payload: &[u8]) {
    let cluster = Recorder::named(NAME);
    let tracker = TestTracker::<Ipv4Only, _, _>::with_plugs(Capacity::NONE, NOW, NotThatOne, cluster);
    let start = Instant::now();
    let (shared, stats) = (Shared::new(CLUSTER.into(), OWN, start), Counters::default());
    let member = Member { shared: &shared, tracker: &tracker, worker_counters: &stats.for_worker(), inherits: false };
    let mut machine = Machine::<TestFlavour<Ipv4Only, NotThatOne, Recorder>>::new(member);
    let now = |second: u64| Now { instant: start + Duration::from_secs(second), minute: NOW, fresh: NOW };
    let mut out = Vec::new();
    machine.turn(Some(1), now(0), &mut out);

    machine.hear(topic, payload, now(20));
    let counts = shared.counters.counts();
    let batch = Batch::parse(payload, CLUSTER);
    let is_good = match topic {
        Topic::Changes => batch.is_ok(),
        Topic::Ask => Ask::parse(payload, CLUSTER).is_ok(),
        Topic::Echo => true,
    };
    assert_eq!(counts.packets_refused, u64::from(!is_good));
    let taken = batch.ok().filter(|batch| topic == Topic::Changes && batch.sender != OWN && !batch.records.is_empty());
    let records = taken.as_ref().map_or(0, Batch::count) as u64;
    assert_eq!(counts.records_received + counts.records_refused, records);
    assert!(tracker.store().census().peers.peers() as u64 <= counts.records_received);
    if let Some(batch) = &taken {
        assert_eq!(batch.write(CLUSTER), payload, "what was read is written as it came");
    }
    assert!(tracker.flavour().cluster().take().is_empty(), "it is not told on by the way that it came");

    // It is taken once, and whatever it asks for or shows to be missing makes a few messages.
    machine.hear(topic, payload, now(21));
    assert_eq!(shared.counters.counts().records_received, counts.records_received);
    for second in 21..40 {
        out.clear();
        machine.turn(Some(1), now(second), &mut out);
        assert!(out.len() <= 4, "{out:?}");
    }
}
