use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bendy::decoding::Decoder;
use fastrand::Rng;
use proptest::prelude::*;

use super::*;
use crate::http::coding::{Coding, NoCoding};
use crate::http::flavour::{Connected, Everyone, RequestsUnlogged, ScrapePermit, Unlimited, Untimed};
use crate::http::request::RequestTime;
use crate::http::stream::{LeaseEnd, Stream};
use crate::http::testing::{TestHttp, ask, service};
use crate::http::wrapper::NoWrapper;
use crate::switches::fullscrape::row::{Row, TORRENTS_PER_PIECE};
use crate::tracker::testing::{TestFlavour, TestTracker};
use crate::tracker::{
    AnnounceRequest, Capacity, Event, Holder, InfoHash, Ipv4Only, Minute, Open, PeerRequest, ScrapeCounts, Standalone,
};

pub(super) const NOW: Minute = Minute(29_000_000);

const LISTINGS: [Listing; 7] = [
    Listing::Scrape,
    Listing::Tpbs(TpbsFormat::Ben),
    Listing::Tpbs(TpbsFormat::Bin),
    Listing::Tpbs(TpbsFormat::Url),
    Listing::Tpbs(TpbsFormat::Txt),
    Listing::Tpbs(TpbsFormat::Txtp),
    Listing::Statedump,
];

/// More bytes than any torrent takes in any format.
const MAX_ROW: usize = 110;

pub(super) fn tracker() -> TestTracker {
    limited(u64::MAX)
}

pub(super) fn limited(torrents: u64) -> TestTracker {
    let limits = Capacity { torrents, ..Capacity::NONE };
    TestTracker::plain(limits, NOW)
}

pub(super) fn announce(tracker: &TestTracker, info_hash: InfoHash, port: u16, now: Minute, seeder: bool) {
    tell(tracker, info_hash, port, now, seeder, Event::Update);
}

pub(super) fn leave(tracker: &TestTracker, info_hash: InfoHash, port: u16) {
    tell(tracker, info_hash, port, NOW, true, Event::Stopped);
}

fn complete(tracker: &TestTracker, info_hash: InfoHash, port: u16, now: Minute, seeder: bool) {
    tell(tracker, info_hash, port, now, seeder, Event::Completed);
}

fn tell(tracker: &TestTracker, info_hash: InfoHash, port: u16, now: Minute, seeder: bool, event: Event) {
    let endpoint: SocketAddr = ([10, 0, 0, 1], port).into();
    tracker
        .announce(
            &AnnounceRequest { info_hash, endpoint, seeder, uploaded: false, event },
            now,
            &mut Rng::with_seed(1),
            &mut PeerRequest::none(),
        )
        .unwrap();
}

/// Whom seats are counted for, another for each number.
pub(super) fn holder(n: u8) -> Holder {
    std::net::IpAddr::from([192, 0, 2, n]).into()
}

pub(super) fn nth(n: u32) -> InfoHash {
    let mut hash = [b'%'; 20];
    hash[8..12].copy_from_slice(&n.to_be_bytes());
    InfoHash(hash)
}

/// The time so many milliseconds after the start.
pub(super) fn after(millis: u64) -> RequestTime {
    RequestTime { minute: NOW, uptime: Duration::from_millis(millis) }
}

pub(super) type Page = Box<dyn Stream<<TestFlavour as Flavour>::Families>>;

/// A page of which nothing has been made.
pub(super) fn page(listing: Listing, seats: &Arc<Seats>, now: RequestTime) -> (Page, LeaseEnd) {
    let (seat, lease_end) = seats.take(is_sorted(listing), holder(1), now.uptime).unwrap();
    if is_sorted(listing) {
        (Box::new(SortedPage::new(seat, ())), lease_end)
    } else {
        (Box::new(UnsortedPage::new(listing, seat, ())), lease_end)
    }
}

/// A permit that counts what it hears.
struct Heard(Arc<AtomicUsize>);

impl ScrapePermit for Heard {
    fn begin(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_permit_hears_of_the_first_piece_before_anything_is_made_and_of_nothing_before() {
    let tracker = tracker();
    for listing in LISTINGS {
        let heard = Arc::<AtomicUsize>::default();
        let (seats, permit) = (Arc::<Seats>::default(), Heard(Arc::clone(&heard)));
        let (seat, _lease_end) = seats.take(is_sorted(listing), holder(1), Duration::ZERO).unwrap();
        let mut page: Page = if is_sorted(listing) {
            Box::new(SortedPage::new(seat, permit))
        } else {
            Box::new(UnsortedPage::new(listing, seat, permit))
        };
        assert_eq!(heard.load(Ordering::Relaxed), 0, "{listing:?}");
        page.next(tracker.store(), after(0), &mut Vec::new());
        assert_eq!(heard.load(Ordering::Relaxed), 1, "{listing:?}");
    }
}

/// Every page is coded; three may be at a time.
struct ThreeAtATime;

impl Codings for ThreeAtATime {
    const NEGOTIATES: bool = false;
    const ALWAYS: Option<usize> = Some(3);

    fn list<'a>(&'a self, _: &mut Vec<&'a dyn Coding>) {}
}

#[test]
fn where_every_page_is_coded_there_are_as_many_seats_as_pages_that_can_be() {
    let seats_of = |seats: &Arc<Seats>| {
        let taken: Vec<_> = (0..100).map_while(|n| seats.take(false, holder(n), Duration::ZERO).ok()).collect();
        taken.len()
    };
    assert_eq!(seats_of(&Pages::<ThreeAtATime>::default().seats), 3);
    assert_eq!(seats_of(&Pages::<NoCoding>::default().seats), LIMITS.pages);
}

#[test]
fn nobody_is_cut_off_for_a_page_for_which_there_is_no_encoder() {
    let routes = Pages::<ThreeAtATime>::default();
    let mut taken: Vec<_> = (0..3).map(|_| routes.seats.take(false, holder(1), Duration::ZERO).unwrap()).collect();
    let flavour = TestHttp {
        tracker: TestFlavour::<Ipv4Only>::with_plugs(Open, Standalone),
        client_address: Connected,
        stats_access: Everyone,
        routes,
        codings: ThreeAtATime,
        scrape_limit: Unlimited,
        request_times: Untimed,
        wrappers: NoWrapper,
        request_log: RequestsUnlogged,
    };
    let (reply, _) = ask(&mut service(flavour, "stats", None), "192.0.2.2", "GET /scrape HTTP/1.1\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    assert!(taken.iter_mut().all(|(_, lease_end)| !lease_end.has_come()));
}

/// The pieces of a page, but for empty ones.
fn pieces(tracker: &TestTracker, listing: Listing) -> Vec<Vec<u8>> {
    let (mut page, _) = page(listing, &Arc::default(), after(0));
    let mut pieces = Vec::new();
    loop {
        let mut piece = Vec::new();
        let more = page.next(tracker.store(), after(0), &mut piece);
        pieces.push(piece);
        if !more {
            pieces.retain(|piece| !piece.is_empty());
            return pieces;
        }
    }
}

/// What stands before the first torrent and behind the last.
fn frame(listing: Listing) -> (&'static [u8], &'static [u8]) {
    if is_sorted(listing) { row::BENCODE_FRAME } else { (b"", b"") }
}

/// The torrents of a bencoded page, as a strict reader takes it: keys sorted, each once, nothing behind.
#[track_caller]
pub(super) fn strictly_read(page: &[u8]) -> Vec<InfoHash> {
    let (mut decoder, mut torrents) = (Decoder::new(page), Vec::new());
    {
        let mut root = decoder.next_object().unwrap().unwrap().try_into_dictionary().unwrap();
        {
            let (key, files) = root.next_pair().unwrap().unwrap();
            assert_eq!(key, b"files");
            let mut files = files.try_into_dictionary().unwrap();
            while let Some((hash, counts)) = files.next_pair().unwrap() {
                torrents.push(InfoHash(hash.try_into().unwrap()));
                let mut counts = counts.try_into_dictionary().unwrap();
                for expected in [&b"complete"[..], b"downloaded", b"incomplete"] {
                    let (key, number) = counts.next_pair().unwrap().unwrap();
                    assert_eq!(key, expected);
                    number.try_into_integer().unwrap().parse::<u32>().unwrap();
                }
                assert!(counts.next_pair().unwrap().is_none());
            }
        }
        assert!(root.next_pair().unwrap().is_none());
    }
    assert!(decoder.next_object().unwrap().is_none());
    torrents
}

/// Takes a page apart that has exactly these rows, in any order; bencode in order.
#[track_caller]
fn has_rows(page: &[u8], listing: Listing, rows: impl IntoIterator<Item = Row>) {
    if is_sorted(listing) {
        strictly_read(page);
    }
    let (before, behind) = frame(listing);
    let mut rest = page.strip_prefix(before).unwrap().strip_suffix(behind).unwrap();
    let written = |row: Row| {
        let mut out = Vec::new();
        row.write(listing, &mut out);
        out
    };
    let mut rows: Vec<_> = rows.into_iter().map(written).collect();
    while !rest.is_empty() {
        let at = rows.iter().position(|row| rest.starts_with(row));
        let at = at.unwrap_or_else(|| panic!("not expected: {}", rest.escape_ascii()));
        rest = &rest[rows.swap_remove(at).len()..];
    }
    assert_eq!(rows, Vec::<Vec<u8>>::new(), "not on the page");
}

#[test]
fn an_empty_tracker_has_empty_pages() {
    for listing in LISTINGS {
        let (before, behind) = frame(listing);
        assert_eq!(pieces(&tracker(), listing).concat(), [before, behind].concat());
    }
    assert_eq!(pieces(&tracker(), Listing::Scrape).concat(), b"d5:filesdee");
}

#[test]
fn one_torrent_is_on_each_page_to_the_byte() {
    let tracker = tracker();
    let hash = InfoHash(*b"abcdefghijklmnopqrst");
    complete(&tracker, hash, 1, NOW, true);
    announce(&tracker, hash, 2, NOW, true);
    announce(&tracker, hash, 3, NOW, false);
    for (listing, expected) in [
        (Listing::Scrape, "d5:filesd20:abcdefghijklmnopqrstd8:completei2e10:downloadedi1e10:incompletei1eeee"),
        (Listing::Tpbs(TpbsFormat::Bin), "abcdefghijklmnopqrst\0\0\0\u{2}\0\0\0\u{1}"),
        (Listing::Tpbs(TpbsFormat::Url), "abcdefghijklmnopqrst:2:1\n"),
        (Listing::Tpbs(TpbsFormat::Txt), "6162636465666768696A6B6C6D6E6F7071727374:2:1\n"),
        (Listing::Tpbs(TpbsFormat::Txtp), "6162636465666768696A6B6C6D6E6F7071727374:2:1:1\n"),
        (Listing::Statedump, "6162636465666768696A6B6C6D6E6F7071727374:29000000:1\n"),
    ] {
        assert_eq!(String::from_utf8(pieces(&tracker, listing).concat()).unwrap(), expected);
    }
}

#[test]
fn a_piece_is_bounded_and_but_for_the_last_one_full() {
    let tracker = tracker();
    let most = u32::try_from(3 * TORRENTS_PER_PIECE).unwrap() + 5;
    (0..most).for_each(|n| announce(&tracker, nth(n), 1, NOW, true));
    let pieces = pieces(&tracker, Listing::Tpbs(TpbsFormat::Bin));
    let torrents: Vec<_> = pieces.iter().map(|piece| piece.len() / 28).collect();
    assert_eq!(torrents, [TORRENTS_PER_PIECE, TORRENTS_PER_PIECE, TORRENTS_PER_PIECE, 5]);
    for listing in LISTINGS {
        let longest = super::tests::pieces(&tracker, listing).iter().map(Vec::len).max().unwrap();
        assert!(longest <= TORRENTS_PER_PIECE * MAX_ROW + 20, "{longest}");
    }
}

#[test]
fn a_dump_says_when_a_torrent_was_last_heard_of() {
    let tracker = tracker();
    complete(&tracker, nth(1), 1, Minute(NOW.0 - 30), true);
    announce(&tracker, nth(1), 2, Minute(NOW.0 - 7), false);
    tracker.restore(&nth(2), 9, Minute(NOW.0 - 1000), NOW).unwrap();
    let row = |n, seeders, leechers, downloaded, quiet| Row {
        info_hash: nth(n),
        counts: ScrapeCounts { seeders, leechers, downloaded },
        touched: Minute(NOW.0 - quiet),
    };
    let dump = pieces(&tracker, Listing::Statedump).concat();
    has_rows(&dump, Listing::Statedump, [row(1, 1, 1, 1, 7), row(2, 0, 0, 9, 1000)]);

    // What is dumped is what is restored.
    let other = super::tests::tracker();
    for line in dump.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let text = std::str::from_utf8(line).unwrap();
        let fields: Vec<_> = text.split(':').collect();
        let touched = Minute(fields[1].parse().unwrap());
        let hash = InfoHash::from_hex(fields[0].as_bytes()).unwrap();
        other.restore(&hash, fields[2].parse().unwrap(), touched, NOW).unwrap();
    }
    has_rows(
        &pieces(&other, Listing::Statedump).concat(),
        Listing::Statedump,
        [row(1, 1, 1, 1, 7), row(2, 0, 0, 9, 1000)],
    );
}

#[test]
fn a_torrent_that_stays_is_named_while_others_come_and_go() {
    let tracker = tracker();
    // Pieces end in the middle of shards, which are others when the next piece begins.
    let (staying, going): (Vec<_>, Vec<_>) = (0..40_000).map(nth).partition(|hash| hash.0[11] % 2 == 0);
    for hash in staying.iter().chain(&going) {
        announce(&tracker, *hash, 1, NOW, true);
    }
    let ((mut page, _), mut out) = (page(Listing::Tpbs(TpbsFormat::Bin), &Arc::default(), after(0)), Vec::new());
    let mut going = going.into_iter();
    while page.next(tracker.store(), after(0), &mut out) {
        for hash in going.by_ref().take(TORRENTS_PER_PIECE / 4) {
            leave(&tracker, hash, 1);
        }
    }
    let named: std::collections::BTreeSet<_> = out.chunks(28).map(|row| &row[..20]).collect();
    assert!(staying.iter().all(|hash| named.contains(&hash.0[..])));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn pages_are_what_a_naive_listing_gives(
        torrents in prop::collection::btree_map(any::<[u8; 20]>(), (1..5_u16, 0..5_u16, 0..40_u32), 0..100),
        more in 0..600_u32,
    ) {
        let tracker = tracker();
        let mut rows = Vec::new();
        for (hash, (seeders, leechers, quiet)) in torrents {
            let touched = Minute(NOW.0 - quiet);
            for port in 1..=seeders {
                complete(&tracker, InfoHash(hash), port, touched, true);
            }
            for port in 0..leechers {
                complete(&tracker, InfoHash(hash), 100 + port, touched, false);
            }
            let downloaded = seeders.into();
            let counts = ScrapeCounts { seeders: seeders.into(), leechers: leechers.into(), downloaded };
            rows.push(Row { info_hash: InfoHash(hash), counts, touched });
        }
        for n in 0..more {
            announce(&tracker, nth(n), 1, NOW, false);
            let counts = ScrapeCounts { seeders: 0, leechers: 1, downloaded: 0 };
            rows.push(Row { info_hash: nth(n), counts, touched: NOW });
        }
        for listing in LISTINGS {
            has_rows(&pieces(&tracker, listing).concat(), listing, rows.iter().copied());
        }
    }
}
