//! Many changes, while announces flow.

use std::io::{BufWriter, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{changeable, control, writer};
use crate::clients::udp::Client;
use crate::flavour::{has, info_hash};
use crate::harness::{note, tests};
use crate::process::memory::resident;
use crate::tracker::Tracker;
use crate::wait::wait_until;

tests![many_lines_take_effect_while_announces_flow, many_commands_take_effect_while_announces_flow];

/// How many torrents are added. A debug build takes some seconds for a million.
const MANY: usize = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };

fn digits(n: usize) -> String {
    // In no order, as hashes are.
    format!("{:016x}{n:024x}", (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Announces a torrent that is served all the time while `change` runs. All are answered.
fn while_announces_flow(tracker: &Tracker, change: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    let torrent = if has("accesslist-white") { 1 } else { 2 };
    thread::scope(|scope| {
        let announcers: Vec<_> = tracker
            .udps()
            .iter()
            .map(|udp| {
                let (client, is_over) = (Client::new(*udp), &is_over);
                scope.spawn(move || {
                    let mut answered = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        assert!(super::is_served(&client, info_hash(torrent)));
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        change();
        is_over.store(true, Ordering::Relaxed);
        let answered: u32 = announcers.into_iter().map(|announcer| announcer.join().unwrap()).sum();
        note(&format!("{answered} announces answered, {} kilobytes resident", resident(tracker) / 1024));
        assert!(answered > 0);
    });
}

#[track_caller]
fn wait_for_count(tracker: &Tracker, expected: usize) {
    let mut control = control(tracker);
    let counted = wait_until(|| (control.say("count") == format!("ok {expected}")).then_some(()));
    assert!(counted.is_some(), "{}", control.say("stats"));
}

fn many_lines_take_effect_while_announces_flow() {
    let tracker = changeable().run();
    while_announces_flow(&tracker, || {
        let mut lines = BufWriter::new(writer(&tracker, "add"));
        (0..MANY).for_each(|n| writeln!(lines, "{}", digits(n)).unwrap());
        lines.flush().unwrap();
        wait_for_count(&tracker, MANY + 1);
        let mut lines = BufWriter::new(writer(&tracker, "delete"));
        (0..MANY).step_by(2).for_each(|n| writeln!(lines, "{}", digits(n)).unwrap());
        lines.flush().unwrap();
        wait_for_count(&tracker, MANY - MANY.div_ceil(2) + 1);
    });
    let mut control = control(&tracker);
    for n in [0, 1, MANY / 2, MANY - 2, MANY - 1] {
        let expected = if n % 2 == 0 { "ok no" } else { "ok yes" };
        assert_eq!(control.say(&format!("has {}", digits(n))), expected, "{n}");
    }
    assert_eq!(control.say("reload"), "ok 1");
    tracker.stop();
}

fn many_commands_take_effect_while_announces_flow() {
    let tracker = changeable().run();
    while_announces_flow(&tracker, || {
        let mut control = control(&tracker);
        for chunk in (0..MANY).collect::<Vec<_>>().chunks(1500) {
            let words: Vec<_> = chunk.iter().map(|n| digits(*n)).collect();
            assert_eq!(control.say(&format!("add {}", words.join(" "))), format!("ok {}", chunk.len()));
        }
        assert_eq!(control.say("count"), format!("ok {}", MANY + 1));
    });
    tracker.stop();
}
