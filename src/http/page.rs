//! Makes the pages of the statistics that take a walk over all torrents: one at a time, whoever asks.
//!
//! A walk over millions of torrents takes a second or so, and holds some memory: strangers are not to have as many at a
//! time as they like.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::timeout;

use crate::core::Clock;
use crate::stats::pages::{Report, Walk};

use super::flavour::HttpFlavour;
use super::reply;
use super::service::Moment;
use super::worker::Worker;

/// For those who asked earlier to get their pages. Whoever waits for longer than that gets none.
pub(super) const TURN_TIME: Duration = Duration::from_secs(30);

/// Makes a page, and puts the whole reply in the place of what is in `output`. The worker's other connections have
/// their turns between two steps.
pub(super) async fn make<F: HttpFlavour, C: Clock>(
    mut walk: Walk,
    worker: &Worker<F, C>,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    let shared = Arc::clone(worker.service.borrow().shared());
    let turn = timeout(TURN_TIME, worker.turn_to_walk()).await?;
    let page = loop {
        let Moment { minute, uptime } = worker.now();
        let report = Report { tracker: &shared.tracker, board: &shared.board, now: minute, uptime };
        if let Some(page) = walk.step(&report) {
            break page;
        }
        yield_now().await;
    };
    drop((turn, walk));
    output.clear();
    reply::write(reply::OK, reply::TEXT, false, page.as_bytes(), output);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::spawn_local;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::core::InfoHash;
    use crate::http::testing::{NOW, Plain, Still, add_peer, plain, run, worker};
    use crate::http::worker::Places;
    use crate::stats::pages::Page;

    fn walk(worker: &Worker<Plain, Still>, mode: &str) -> Walk {
        let shared = Arc::clone(worker.service.borrow().shared());
        let report = Report { tracker: &shared.tracker, board: &shared.board, now: NOW, uptime: Duration::ZERO };
        match report.page(mode) {
            Ok(Page::Walk(walk)) => walk,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_page_is_sent_whole_and_gives_way_to_others_while_it_is_made() {
        run(true, async {
            let worker = worker(plain(), &Places::new(9));
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
                ("s24s", "Networks, limit /16:\n00005000: 10.0.0.0\n".to_owned()),
            ] {
                turns.set(0);
                let mut output = b"left over".to_vec();
                make(walk(&worker, mode), &worker, &mut output).await.unwrap();
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
    fn all_workers_walk_one_at_a_time_and_nobody_waits_for_ever() {
        run(true, async {
            let places = Places::new(9);
            let (one, other) = (worker(plain(), &places), worker(plain(), &places));
            for (seconds, is_made) in [(10, true), (40, false)] {
                let turn = one.turn_to_walk().await;
                let (other, begun) = (Rc::clone(&other), Instant::now());
                let waiting = spawn_local(async move {
                    let made = make(walk(&other, "top10"), &other, &mut Vec::new()).await;
                    (made.is_ok(), begun.elapsed().as_secs())
                });
                sleep(Duration::from_secs(seconds)).await;
                drop(turn);
                assert_eq!(waiting.await.unwrap(), (is_made, seconds.min(TURN_TIME.as_secs())));
            }
        });
    }
}
