use super::*;

#[test]
fn a_full_scrape_is_chunked_for_those_who_know_chunks() {
    let pieces = vec![b"d5:files".to_vec(), vec![], vec![b'x'; 300]];
    let long = "x".repeat(300);
    run(true, async {
        let mut driven = Driven::new(fancy(pieces.clone()), 50);
        driven.send(&format!("GET /scrape HTTP/1.1\r\n{KEEP}")).await;
        let chunks = format!("00000008\r\nd5:files\r\n0000012c\r\n{long}\r\n00000006\r\nScrape\r\n0\r\n\r\n");
        assert!(driven.read_until("\r\n0\r\n\r\n").await.ends_with(&format!("keep-alive\r\n\r\n{chunks}")));
        assert_eq!(driven.count(Counter::FullScraped), 1);
        assert_eq!(driven.count(Counter::FullScrapeBytes), 314);
        driven.send("GET /scrape HTTP/1.0\r\n\r\n").await;
        assert!(driven.read_to_end().await.ends_with(&format!("close\r\n\r\nd5:files{long}Scrape")));
    });
}

#[test]
fn a_full_scrape_gives_way_to_others_and_to_none_that_stall() {
    let service = |n| fancy(vec![vec![b'x'; 10]; n]);
    run(true, async {
        let turns = Rc::new(Cell::new(0));
        let mut driven = Driven::new(service(20), 10_000);
        driven.send("GET /scrape HTTP/1.1\r\n\r\n").await;
        let (end, other) = (driven.end, Rc::clone(&turns));
        spawn_local(async move {
            loop {
                other.set(other.get() + 1);
                yield_now().await;
            }
        });
        end.await.unwrap();
        assert!(turns.get() >= 20, "{}", turns.get());
    });
    run(true, async {
        let mut driven = Driven::new(service(20), 200);
        driven.send("GET /scrape HTTP/1.1\r\n\r\n").await;
        assert_eq!(driven.seconds().await, 30);
    });
}

#[test]
fn a_full_scrape_is_cut_off_when_its_lease_ends() {
    // A client that stalls, and one that reads whatever comes.
    for (buffer, is_read) in [(200, false), (10_000, true)] {
        run(true, async {
            let mut driven = Driven::new(fancy(vec![vec![b'x'; 10]; 20]), buffer);
            driven.send("GET /scrape HTTP/1.1\r\n\r\n").await;
            let lease = driven.worker.service.borrow().shared().tracker.flavour().routes.0.1.clone();
            let ended = loop {
                yield_now().await;
                if let Some(lease) = lease.lock().unwrap().take() {
                    break lease;
                }
            };
            drop(ended);
            if is_read {
                let reply = driven.read_to_end().await;
                assert!(reply.contains("\r\n\r\n") && !reply.ends_with("\r\n0\r\n\r\n"), "{reply}");
            }
            assert_eq!(driven.seconds().await, 0);
        });
    }
}
