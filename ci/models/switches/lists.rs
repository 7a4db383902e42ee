//! The swap of access lists: whoever answers announces never gives the memory of a list back, and no reading that was
//! asked for is left out.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use super::access_list::AccessList;
use crate::config::Settings;
use crate::in_many_orders;
use crate::server::Threads;
use crate::tracker::InfoHash;

/// A file with a list of one torrent.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        let file = Self(::std::env::temp_dir().join(format!("opentracker-models-{name}-{}", ::std::process::id())));
        file.write(0);
        file
    }

    fn write(&self, torrent: u8) {
        fs::write(&self.0, format!("{}\n", format!("{torrent:02x}").repeat(20))).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn has(list: &AccessList, torrent: u8) -> bool {
    list.contains(&InfoHash([torrent; 20]))
}

pub fn an_announce_never_gives_the_memory_of_a_list_back() {
    let file = File::new("memory");
    in_many_orders(400, move || {
        file.write(0);
        let open = AccessList::open("access.whitelist", file.0.clone(), &Settings::default());
        let list = Arc::new(open.unwrap_or_else(|error| panic!("{error:?}")));
        let announcing: Vec<_> = (0..2)
            .map(|_| {
                let list = Arc::clone(&list);
                // One of both is in force at any time.
                thread::spawn(move || (0..2).for_each(|_| assert!(has(&list, 0) || has(&list, 1))))
            })
            .collect();
        let mut threads = Threads::default();
        file.write(1);
        list.reload(&mut threads);
        announcing.into_iter().chain(threads.0).for_each(|thread| thread.join().unwrap());
        assert!(has(&list, 1) && !has(&list, 0));
    });
}

pub fn what_a_file_holds_when_it_is_asked_for_last_is_in_force_in_the_end() {
    let file = File::new("last");
    in_many_orders(400, move || {
        file.write(0);
        let list = AccessList::open("access.whitelist", file.0.clone(), &Settings::default());
        let list = list.unwrap_or_else(|error| panic!("{error:?}"));
        let mut threads = Threads::default();
        for torrent in 1..=3 {
            file.write(torrent);
            list.reload(&mut threads);
            thread::yield_now();
        }
        threads.0.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(has(&list, 3), "the last reading is left out");
        assert_eq!(list.status().failures, 0);
    });
}
