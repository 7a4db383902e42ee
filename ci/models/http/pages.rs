//! The handing of one page to many: whoever is given a page is given one whose walk began after he had asked, one walk
//! goes on at a time, and who gives up leaves the others what they wait for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::flavour::HttpFlavour;
use super::page_cache::PageCache;
use super::walk;
use super::worker::Worker;
use crate::in_many_orders;
use crate::stats::pages::Walk;
use crate::tracker::{Clock, Second};

struct Any;

impl HttpFlavour for Any {}

#[derive(Clone, Copy)]
struct Still;

impl Clock for Still {
    fn second(self) -> Second {
        Second(60)
    }
}

/// Asks for a page. Returns whether it came.
async fn ask(worker: &Worker<Any, Still>, mode: &'static str) -> bool {
    let (asked, mut output) = (Instant::now(), b"left over".to_vec());
    walk::make(Walk::new(mode), IpAddr::V4(Ipv4Addr::LOCALHOST), worker, &mut output).await;
    let reply = String::from_utf8(output).unwrap();
    let Some((of, began)) = reply.split_once(' ') else {
        assert_eq!(reply, "busy");
        return false;
    };
    assert_eq!(of, mode);
    assert!(began.parse::<u64>().unwrap() > asked.0, "an old page");
    true
}

pub fn whoever_asks_is_given_a_page_of_one_walk_that_began_later() {
    in_many_orders(1000, || {
        let pages = Arc::<Mutex<PageCache>>::default();
        let asking = [["top10", "everything"], ["top10", "top10"], ["everything", "top10"], ["top10", "busy"]];
        let threads = asking.map(|modes| {
            let worker = Worker::new(Arc::clone(&pages));
            thread::spawn(move || {
                shuttle::future::block_on(async {
                    for mode in modes {
                        ask(&worker, mode).await;
                    }
                });
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // Nobody holds the lock any more, and who asks now does not wait.
        let worker = Worker::new(pages);
        assert!(shuttle::future::block_on(ask(&worker, "top10")));
    });
}
