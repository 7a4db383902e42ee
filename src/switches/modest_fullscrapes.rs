//! `modest-fullscrapes` (`WANT_MODEST_FULLSCRAPES`): an address gets one full scrape in `limits.full_scrape_interval`.
//! That goes for every page that names all torrents, `mode=tpbs` and `mode=statedump` too; the original limits
//! `/scrape` alone.
//!
//! What counts is that a page is begun, even if its client is cut off or goes away. Who is refused for another reason
//! (there is no seat, or no place for the connection) or asks for the header alone has lost nothing. Nor does asking
//! too early make anybody wait longer.

mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Settings;
use crate::http::flavour::{ScrapeLimit, ScrapePermit};
use crate::http::reply::Refusal;
use crate::http::request::RequestTime;
use crate::server::{Plug, StartError, opens_nothing, random_words};
use crate::stats::Counter;
use crate::tracker::Holder;

use table::Table;

/// Gives each address (of IPv6: each network of 64 bits) a full scrape now and then.
pub struct Modest {
    table: Arc<Table>,
}

impl Plug for Modest {
    opens_nothing!();

    fn plug((): (), settings: &Settings) -> Result<Self, StartError> {
        let interval = Duration::from_secs(settings.limits.full_scrape_interval.into());
        Ok(Self { table: Arc::new(Table::new(random_words()?, interval)) })
    }
}

impl ScrapeLimit for Modest {
    type Permit = Permit;

    fn check(&self, client: IpAddr, now: RequestTime) -> Result<(), Refusal> {
        self.table.check(client.into(), now.uptime).map_err(too_soon)
    }

    fn admit(&self, client: IpAddr, now: RequestTime) -> Result<Permit, Refusal> {
        let holder = client.into();
        let until = self.table.admit(holder, now.uptime).map_err(too_soon)?;
        Ok(Permit { table: Arc::clone(&self.table), holder, until, is_begun: false })
    }
}

/// What a client is told who comes too soon: the words of the original, and when to come again.
fn too_soon(wait: Duration) -> Refusal {
    let seconds = wait.as_millis().div_ceil(1000);
    Refusal {
        status: "402 Payment Required",
        reason: "",
        retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
        counter: Some(Counter::Http402),
    }
}

/// Lets one page be made. If none is, the client can have another at once.
pub struct Permit {
    table: Arc<Table>,
    holder: Holder,
    until: Duration,
    is_begun: bool,
}

impl ScrapePermit for Permit {
    fn begin(&mut self) {
        self.is_begun = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_begun {
            self.table.take_back(self.holder, self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::coding::NoCoding;
    use crate::http::exchange::Next;
    use crate::http::flavour::{Connected, Everyone, RequestsUnlogged, Untimed};
    use crate::http::testing::{TestHttp, ask, service};
    use crate::http::wrapper::NoWrapper;
    use crate::switches::fullscrape::Pages;
    use crate::tracker::testing::TestFlavour;
    use crate::tracker::{Ipv4Only, Minute, Open, Standalone};

    fn modest(interval: u32) -> Modest {
        let mut settings = Settings::default();
        settings.limits.full_scrape_interval = interval;
        Modest::plug((), &settings).unwrap()
    }

    fn at(millis: u64) -> RequestTime {
        RequestTime { minute: Minute(29_000_000), uptime: Duration::from_millis(millis) }
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    impl Modest {
        /// Begins a full scrape, and ends it. Returns the seconds to wait if it is refused.
        fn scrape(&self, client: &str, millis: u64) -> Result<(), u32> {
            let refused = |refusal: Refusal| refusal.retry_after.unwrap();
            self.admit(ip(client), at(millis)).map_err(refused)?.begin();
            Ok(())
        }
    }

    #[test]
    fn an_address_gets_one_in_the_interval() {
        let modest = modest(300);
        assert_eq!(modest.scrape("192.0.2.1", 7_000), Ok(()));
        for (millis, seconds) in [(7_000, 300), (7_001, 300), (8_000, 299), (306_000, 1), (306_999, 1)] {
            assert_eq!(modest.scrape("192.0.2.1", millis), Err(seconds), "{millis}");
        }
        // Those who were refused have not begun anew.
        assert_eq!(modest.scrape("192.0.2.1", 307_000), Ok(()));
        assert_eq!(modest.scrape("192.0.2.1", 307_000), Err(300));
    }

    #[test]
    fn addresses_are_told_apart_and_of_ipv6_networks_of_64_bits() {
        let modest = modest(300);
        for first in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "::", "0.0.0.0"] {
            assert_eq!(modest.scrape(first, 0), Ok(()), "{first}");
        }
        for other in ["::ffff:192.0.2.1", "2001:db8::2", "2001:db8::ffff:0:0:1", "2001:db8:0:1:8000::", "::1"] {
            assert_eq!(modest.scrape(other, 1), Err(300), "{other}");
        }
    }

    #[test]
    fn a_page_that_is_not_begun_costs_nothing() {
        let modest = modest(300);
        let first = modest.admit(ip("192.0.2.1"), at(0)).ok().unwrap();
        assert_eq!(modest.scrape("192.0.2.1", 1), Err(300), "two at a time");
        drop(first);
        assert_eq!(modest.scrape("192.0.2.1", 2), Ok(()));
        assert_eq!(modest.scrape("192.0.2.1", 3), Err(300));
    }

    #[test]
    fn who_gets_no_seat_or_no_place_can_come_again_at_once() {
        let flavour = TestHttp {
            tracker: TestFlavour::<Ipv4Only>::with_plugs(Open, Standalone),
            client_address: Connected,
            stats_access: Everyone,
            routes: Pages::<NoCoding>::default(),
            codings: NoCoding,
            scrape_limit: modest(300),
            request_times: Untimed,
            wrappers: NoWrapper,
            request_log: RequestsUnlogged,
        };
        let mut service = service(flavour, "stats", None);
        let mut held = Vec::new();
        let get = |service: &mut _, n| ask(service, &format!("192.0.2.{n}"), "GET /scrape HTTP/1.1\r\n\r\n");
        let refused = (1..100).find(|n| {
            let (reply, next) = get(&mut service, *n);
            held.push(next);
            reply.starts_with("HTTP/1.1 503 ")
        });
        let refused = refused.expect("no seat is left");
        let (reply, _) = get(&mut service, refused);
        assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
        // The connection had no place, so nothing was made.
        drop(held);
        for n in [1, refused] {
            let (reply, next) = get(&mut service, n);
            assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
            let Next::Stream(mut body) = next else { panic!("no page") };
            body.stream.next(service.shared().tracker.store(), at(0), &mut Vec::new());
            drop(body);
            let (reply, _) = get(&mut service, n);
            assert!(reply.starts_with("HTTP/1.1 402 Payment Required\r\nRetry-After: 300\r\n"), "{reply}");
            assert!(reply.ends_with("\r\n\r\n<title>402 Payment Required</title>\n"), "{reply}");
        }
    }

    #[test]
    fn a_header_alone_costs_nothing_and_says_what_the_page_would() {
        let modest = modest(300);
        let check = |millis| modest.check(ip("192.0.2.1"), at(millis)).map_err(|refusal| refusal.retry_after.unwrap());
        assert_eq!((check(0), check(0)), (Ok(()), Ok(())));
        assert_eq!(modest.scrape("192.0.2.1", 0), Ok(()));
        assert_eq!((check(1), check(299_001), check(300_000)), (Err(300), Err(1), Ok(())));
    }

    #[test]
    fn an_interval_of_0_is_no_limit() {
        let modest = modest(0);
        assert_eq!([0, 0, 1].map(|millis| modest.scrape("192.0.2.1", millis)), [Ok(()); 3]);
    }

    #[test]
    fn the_refusal_is_the_originals_and_counted() {
        let refusal = too_soon(Duration::from_millis(1));
        assert_eq!(refusal.to_string(), "402 Payment Required");
        assert_eq!((refusal.retry_after, refusal.counter), (Some(1), Some(Counter::Http402)));
    }
}
