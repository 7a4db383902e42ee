//! Threads of the tracker in many orders: its own files, compiled against a `std` whose locks, atomics and threads are
//! shuttle's. That runs one thread at a time and chooses at each of them who goes on, so that a run of a second holds
//! more orders than a year of luck; it says when nobody can go on.
//!
//! `ci/models/run` runs all; a failure ends the program, and prints what `shuttle::replay` needs to see it again.
#![allow(dead_code, unused_imports, missing_docs, reason = "only some of each file is looked at")]

extern crate shuttle_std as std;

#[path = "../../src/input.rs"]
mod input;
#[path = "../../src/tracker/mod.rs"]
mod tracker;
#[path = "../../src/config/settings.rs"]
mod config;

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

/// The files of the access list stand here by links, so that each finds the others; what is private to switches is seen here.
mod switches {
    pub mod access_list;
    pub mod lists;
}

mod groups;

const MODELS: [(&str, fn()); 6] = [
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
