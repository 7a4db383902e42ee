//! Threads of the tracker in many orders: its own files, compiled against a `std` whose locks, atomics and threads are
//! shuttle's. That runs one thread at a time and chooses at each of them who goes on, so that a run of a second holds
//! more orders than a year of luck; it says when nobody can go on. What only a weaker order of memory than SeqCst
//! allows it does not see.
//!
//! `ci/models/run` runs all; a failure ends the program, and prints what `shuttle::replay` needs to see it again.
#![allow(dead_code, unused_imports, missing_docs, reason = "only some of each file is looked at")]

extern crate shuttle_std as std;

#[path = "../../src/atomic.rs"]
mod atomic;
#[path = "../../src/config/client_id.rs"]
mod client_id;
#[path = "../../src/config/settings.rs"]
mod config;
mod input;
#[path = "../../src/config/nats_server.rs"]
mod nats_server;
#[path = "../../src/tracker/mod.rs"]
mod tracker;

/// What an access list needs of the server: its threads, which tests of this crate start.
mod server {
    use std::io;
    use std::path::PathBuf;

    #[derive(Debug)]
    pub enum StartError {
        File { key: &'static str, path: PathBuf, error: io::Error },
    }

    #[derive(Default)]
    pub struct Threads(pub Vec<std::thread::JoinHandle<()>>);

    impl Threads {
        pub fn spawn(&mut self, _: &str, run: impl FnOnce(()) + Send + 'static) -> Result<(), String> {
            self.0.push(std::thread::spawn(move || run(())));
            Ok(())
        }
    }
}

mod stats {
    pub enum Counter {
        Http503,
    }

    /// A page that takes a walk of three steps, and says when that began.
    pub mod pages {
        use std::sync::Arc;
        use std::time::Duration;

        use shuttle::sync::atomic::{AtomicBool, Ordering};
        use tokio::time::Instant;

        use crate::tracker::Minute;

        shuttle::lazy_static! {
            static ref UNDER_WAY: AtomicBool = AtomicBool::new(false);
        }

        pub struct Report<'a> {
            pub tracker: &'a Arc<()>,
            pub counters: &'a Arc<()>,
            pub now: Minute,
            pub uptime: Duration,
        }

        pub struct Walk {
            mode: &'static str,
            began: Option<Instant>,
            steps: usize,
        }

        impl Walk {
            pub fn new(mode: &'static str) -> Self {
                Self { mode, began: None, steps: 0 }
            }

            pub fn mode(&self) -> &'static str {
                self.mode
            }

            pub fn step(&mut self, _: &Report<'_>) -> Option<String> {
                let began = *self.began.get_or_insert_with(|| {
                    assert!(!UNDER_WAY.swap(true, Ordering::SeqCst), "two walk at a time");
                    Instant::now()
                });
                self.steps += 1;
                if self.steps < 3 {
                    return None;
                }
                UNDER_WAY.store(false, Ordering::SeqCst);
                Some(format!("{} {}", self.mode, began.0))
            }
        }
    }
}

/// The files of the access list, and one that it uses, stand here by links, so that each finds the others; what is
/// private to switches is seen here.
mod switches {
    pub mod access_list;
    pub mod lists;
    mod refusals;
}

mod groups;
mod http;
mod waking;

const MODELS: [(&str, fn()); 9] = [
    ("groups_that_meet_in_opposite_orders_end", groups::groups_that_meet_in_opposite_orders_end),
    ("groups_in_a_circle_end", groups::groups_in_a_circle_end),
    ("a_group_that_names_a_torrent_twice_ends", groups::a_group_that_names_a_torrent_twice_ends),
    (
        "a_sweep_and_a_census_go_between_the_announces_of_a_group",
        groups::a_sweep_and_a_census_go_between_the_announces_of_a_group,
    ),
    (
        "an_announce_never_gives_the_memory_of_a_list_back",
        switches::lists::an_announce_never_gives_the_memory_of_a_list_back,
    ),
    (
        "what_a_file_holds_when_it_is_asked_for_last_is_in_force_in_the_end",
        switches::lists::what_a_file_holds_when_it_is_asked_for_last_is_in_force_in_the_end,
    ),
    (
        "whoever_asks_is_given_a_page_of_one_walk_that_began_later",
        http::pages::whoever_asks_is_given_a_page_of_one_walk_that_began_later,
    ),
    ("whoever_runs_short_of_room_is_heard", waking::whoever_runs_short_of_room_is_heard),
    ("a_stop_wakes_whoever_waits_to_make_room", waking::a_stop_wakes_whoever_waits_to_make_room),
];

fn main() {
    for (name, model) in MODELS {
        println!("model {name} ...");
        model();
    }
    println!("{} passed, 0 failed", MODELS.len());
}

/// Runs `test` in so many orders: in half of them whose turn it is is drawn at each step, and in the others a few
/// threads are held up for long, which finds what takes a rare order of few steps (PCT, "A randomized scheduler with
/// probabilistic guarantees of finding bugs").
fn in_many_orders(orders: usize, test: impl Fn() + Send + Sync + 'static) {
    let test = std::sync::Arc::new(test);
    let again = std::sync::Arc::clone(&test);
    shuttle::check_random(move || test(), orders / 2);
    shuttle::check_pct(move || again(), orders / 2, 3);
}
