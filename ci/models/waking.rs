//! The waking of the thread that makes room: no call is missed, whether it comes before the thread looks, between the
//! look and the wait, or while room is being made. Nobody wakes it later: its waits here know no time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::in_many_orders;

#[path = "../../src/tracker/shortage.rs"]
mod shortage;
#[path = "../../src/stop.rs"]
mod stop;

use shortage::Shortage;
use stop::StopToken;

/// What those who call and the thread that makes room have in common.
#[derive(Default)]
struct Shared {
    shortage: Shortage,
    /// How many have run short and have no room yet.
    short: AtomicU32,
    stop: StopToken,
}

impl Shared {
    /// Runs short, as whoever takes a block of room does.
    fn run_short(&self) {
        self.short.fetch_add(1, Ordering::SeqCst);
        self.shortage.call();
    }

    /// Makes room until it is told to stop or so many have been given some, as `server::sweeping` and
    /// `Tracker::make_room` do.
    fn make_room(&self, until: u32) {
        self.shortage.wake(thread::current());
        let this = thread::current();
        self.stop.wake_with(move || this.unpark());

        let mut given = 0;
        while given < until && !self.stop.is_stopped() {
            if self.shortage.is_called() {
                self.shortage.hear();
                given += self.short.swap(0, Ordering::SeqCst);
            } else {
                thread::park();
            }
        }
    }
}

pub fn whoever_runs_short_of_room_is_heard() {
    in_many_orders(4000, || {
        let shared = Arc::<Shared>::default();
        let making = Arc::clone(&shared);
        let making = thread::spawn(move || making.make_room(4));
        let calling = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || (0..2).for_each(|_| shared.run_short()))
        });
        calling.into_iter().chain([making]).for_each(|thread| thread.join().unwrap());
        assert_eq!(shared.short.load(Ordering::SeqCst), 0);
    });
}

pub fn a_stop_wakes_whoever_waits_to_make_room() {
    in_many_orders(4000, || {
        let shared = Arc::<Shared>::default();
        let making = Arc::clone(&shared);
        let making = thread::spawn(move || making.make_room(u32::MAX));
        let calling = Arc::clone(&shared);
        let calling = thread::spawn(move || calling.run_short());
        shared.stop.stop();
        [making, calling].into_iter().for_each(|thread| thread.join().unwrap());
    });
}
