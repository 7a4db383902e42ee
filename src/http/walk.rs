//! Makes the pages of the statistics that take a walk over all torrents: one at a time, whoever asks.
//!
//! A walk over millions of torrents takes a second or so, and holds some memory: strangers are not to have as many at a
//! time as they like. So that they cannot keep others waiting for long either, all who asked for a page before its walk
//! began are given what comes of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::stats::Counter;
use crate::stats::pages::{Report, Walk};
use crate::tracker::Clock;

use super::flavour::HttpFlavour;
use super::page_cache::CachedPage;
use super::reply::{self, Refusal};
use super::request::RequestTime;
use super::worker::{Worker, give_way};

/// How long a request waits until it may walk, or has the page of another walk, before it is answered with 503.
pub(super) const WAIT_TIME: Duration = Duration::from_secs(30);

/// What a client is told who has waited in vain.
const NOT_YET: Refusal = Refusal {
    status: "503 Service Unavailable",
    reason: "others wait for such a page, please try again later",
    retry_after: Some(30),
    counter: Some(Counter::Http503),
};

/// Makes a page, or waits until somebody else has, and replaces what is in `output` by the whole reply to `from`. The
/// worker's other connections have their turns between two steps.
pub(super) async fn make<F: HttpFlavour, C: Clock>(
    walk: Walk,
    from: IpAddr,
    worker: &Worker<F, C>,
    output: &mut Vec<u8>,
) {
    let (asked, mode) = (Instant::now(), walk.mode());
    output.clear();
    let Ok(mut cache) = timeout(WAIT_TIME, worker.lock_page_cache()).await else {
        return worker.service.borrow().refuse(NOT_YET.into(), from, output);
    };
    if let Some(CachedPage { page, .. }) = cache.since(asked, mode) {
        return reply::write(reply::OK, reply::TEXT, false, page.as_bytes(), output);
    }
    let walk_start = Instant::now();
    let page = finish(walk, worker).await;
    reply::write(reply::OK, reply::TEXT, false, page.as_bytes(), output);
    cache.put(CachedPage { mode, walk_start, page });
}

/// Takes every step of a walk, and returns the page.
async fn finish<F: HttpFlavour, C: Clock>(mut walk: Walk, worker: &Worker<F, C>) -> String {
    let shared = Arc::clone(worker.service.borrow().shared());
    loop {
        let RequestTime { minute, uptime } = worker.now();
        let report = Report { tracker: &shared.tracker, counters: &shared.counters, now: minute, uptime };
        if let Some(page) = walk.step(&report) {
            return page;
        }
        give_way().await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::Ipv4Addr;
    use std::rc::Rc;

    use tokio::task::{spawn_local, yield_now};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::http::connection_limit::ConnectionLimit;
    use crate::http::page_cache::PageCache;
    use crate::http::testing::{NOW, Plain, Still, add_peer, plain, run, worker};
    use crate::stats::pages::Page;
    use crate::tracker::InfoHash;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn walk(worker: &Worker<Plain, Still>, mode: &str) -> Walk {
        let shared = Arc::clone(worker.service.borrow().shared());
        let report = Report { tracker: &shared.tracker, counters: &shared.counters, now: NOW, uptime: Duration::ZERO };
        match report.page(mode) {
            Ok(Page::Walk(walk)) => walk,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_is_sent_whole_and_gives_way_to_others_while_it_is_made() {
        run(true, async {
            let worker = worker(plain(), &ConnectionLimit::new(9, usize::MAX));
            for n in 0..5000_u32 {
                let mut info_hash = InfoHash::default();
                info_hash.0[..4].copy_from_slice(&n.to_be_bytes());
                add_peer(&worker.service.borrow(), info_hash, "10.0.0.1:1", true);
            }
            let turns = Rc::new(Cell::new(0));
            let other = Rc::clone(&turns);
            spawn_local(async move {
                loop {
                    other.set(other.get() + 1);
                    yield_now().await;
                }
            });
            for (mode, part) in [
                ("everything", "<count_iterator>5000<".to_owned()),
                ("top10", format!("\t1\t{:08X}{}\nTop 10 torrents by leechers:\n", 9, "0".repeat(32))),
                ("top100", format!("\t1\t{:08X}{}\nTop 100 torrents by leechers:\n", 99, "0".repeat(32))),
                ("s24s", "Networks, limit /24:\n00005000: 10.0.0.0\n".to_owned()),
            ] {
                turns.set(0);
                let mut output = b"left over".to_vec();
                make(walk(&worker, mode), CLIENT, &worker, &mut output).await;
                assert!(turns.get() >= 5, "{mode}: {} turns", turns.get());
                let reply = String::from_utf8(output).unwrap();
                let (head, page) = reply.split_once("\r\n\r\n").unwrap();
                let len = page.len();
                let expected = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\nConnection: close"
                );
                assert_eq!(head, expected, "{mode}");
                assert!(page.contains(&part), "{mode}: {page}");
            }
        });
    }

    #[test]
    fn all_who_wait_are_given_what_comes_of_one_walk() {
        run(true, async {
            let worker = worker(plain(), &ConnectionLimit::new(9, usize::MAX));
            let started = Instant::now();
            let walk_start = |cache: &PageCache| cache.since(started, "everything").unwrap().walk_start;
            let lock = worker.lock_page_cache().await;
            let ask = || {
                let worker = Rc::clone(&worker);
                spawn_local(async move {
                    let mut output = Vec::new();
                    make(walk(&worker, "everything"), CLIENT, &worker, &mut output).await;
                    String::from_utf8(output).unwrap()
                })
            };
            let waiting = [ask(), ask(), ask()];
            sleep(Duration::from_secs(1)).await;
            drop(lock);
            let [first, second, third] = waiting;
            let first = first.await.unwrap();
            let first_walk = walk_start(&*worker.lock_page_cache().await);
            assert_eq!((second.await.unwrap(), third.await.unwrap()), (first.clone(), first.clone()));
            let cache = worker.lock_page_cache().await;
            assert_eq!(walk_start(&cache), first_walk, "they did not walk");
            assert!(first.ends_with(&cache.since(started, "everything").unwrap().page));
            drop(cache);
            // Whoever asks later is given no old page.
            sleep(Duration::from_secs(1)).await;
            ask().await.unwrap();
            assert!(walk_start(&*worker.lock_page_cache().await) > first_walk);
        });
    }

    #[test]
    fn all_workers_walk_one_at_a_time_and_nobody_waits_for_ever() {
        run(true, async {
            let connection_limit = ConnectionLimit::new(9, usize::MAX);
            let (one, other) = (worker(plain(), &connection_limit), worker(plain(), &connection_limit));
            for (seconds, is_made) in [(10, true), (40, false)] {
                let lock = one.lock_page_cache().await;
                let (waiter, start) = (Rc::clone(&other), Instant::now());
                let waiting = spawn_local(async move {
                    let mut output = Vec::new();
                    make(walk(&waiter, "top10"), CLIENT, &waiter, &mut output).await;
                    let is_made = output.starts_with(b"HTTP/1.1 200 OK");
                    assert!(is_made || output.starts_with(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\n"));
                    (is_made, start.elapsed().as_secs())
                });
                sleep(Duration::from_secs(seconds)).await;
                drop(lock);
                assert_eq!(waiting.await.unwrap(), (is_made, seconds.min(WAIT_TIME.as_secs())));
                let refused = other.service.borrow().shared().counters.total(Counter::Http503);
                assert_eq!(refused, u64::from(!is_made));
            }
        });
    }
}
