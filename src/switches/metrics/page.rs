//! The names on the page and where their numbers come from.
//!
//! Names follow the conventions of Prometheus: a unit at the end, and `_total` (which [`Exposition`] adds) for what
//! only grows. What a build cannot count because a switch is off (the list, live sync) is not on its page. Of the
//! address families there are those that it serves; of another one, what was counted all the same, such as a refusal.

use std::time::{Duration, SystemTime};

use crate::http::HttpFlavour;
use crate::http::flavour::RequestTimes as _;
use crate::stats::errors::{ErrorKind, HTTP_ERRORS, UDP_ERRORS, refusal_name};
use crate::stats::{AddressFamily, Counter, Counters, Protocol};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{
    AddressFamilies as _, Admission as _, AnnounceError, Cluster as _, Tracker, TransportCounts, TransportStatus,
};

use super::exposition::{Exposition, Format, Label, Metric};

const HTTP: &str = "http";
const UDP: &str = "udp";

/// A counter for each protocol that has one, with the protocol's label.
type CounterByProtocol = &'static [(&'static str, Counter)];

/// Requests of each family: the name, what is counted, and where.
pub(super) const REQUESTS: [(&str, &str, CounterByProtocol); 7] = [
    ("announces", "Announces answered", &[(HTTP, Counter::TcpAnnounced), (UDP, Counter::UdpAnnounced)]),
    ("scrapes", "Scrapes answered", &[(HTTP, Counter::TcpScraped), (UDP, Counter::UdpScraped)]),
    ("connects", "Connection ids given", &[(UDP, Counter::UdpConnected)]),
    ("connections", "TCP connections accepted", &[(HTTP, Counter::TcpAccepted)]),
    ("datagrams", "UDP datagrams received", &[(UDP, Counter::UdpReceived)]),
    ("errors_withheld", "Errors not sent because of limits.udp_errors_per_address", &[(UDP, Counter::UdpWithheld)]),
    ("redirects", "Requests sent to tracker.redirect_url", &[(HTTP, Counter::Http302)]),
];

/// Reads one number of a transport.
type TransportNumber = fn(&TransportCounts) -> u64;

/// Transports of a cluster: the end of the name, what is counted (with a place for the title of the transport, where it
/// has one), and where the number stands.
pub(super) const TRANSPORT: [(&str, &str, TransportNumber); 12] = [
    ("packets_received", "{title} packets taken over", |counts| counts.packets_received),
    ("packets_sent", "{title} packets sent", |counts| counts.packets_sent),
    ("packets_refused", "{title} packets from strangers, from ourselves or malformed", |counts| counts.packets_refused),
    ("packets_lost", "{title} packets that could not be sent", |counts| counts.packets_lost),
    ("records_received", "Changes that other trackers told and that were taken over", |counts| counts.records_received),
    ("records_sent", "Changes told to other trackers", |counts| counts.records_sent),
    ("records_refused", "Changes told by other trackers and not taken over", |counts| counts.records_refused),
    ("records_republished", "Changes published anew, as others may have missed them", |counts| counts.republished),
    ("reconnects", "{title} connections made anew after one was lost", |counts| counts.reconnects),
    ("gaps", "Gaps in the numbers of {title} packets received", |counts| counts.gaps),
    ("snapshots_given", "Snapshots given to other trackers as a whole", |counts| counts.snapshots_given),
    ("snapshots_taken", "Snapshots taken from other trackers as a whole", |counts| counts.snapshots_taken),
];

/// The same in bytes.
pub(super) const TRANSPORT_BYTES: [(&str, &str, TransportNumber); 2] = [
    ("received_bytes", "Bytes of {title} packets taken over", |counts| counts.bytes_received),
    ("sent_bytes", "Bytes of {title} packets sent", |counts| counts.bytes_sent),
];

/// The same in seconds, of numbers in milliseconds.
pub(super) const TRANSPORT_SECONDS: [(&str, &str, TransportNumber); 2] = [
    ("snapshots_given_seconds", "How long it took to give snapshots", |counts| counts.snapshots_given_ms),
    ("snapshots_taken_seconds", "How long it took to take snapshots", |counts| counts.snapshots_taken_ms),
];

/// What a page is made from.
pub(super) struct Snapshot<'a, F: HttpFlavour> {
    pub(super) tracker: &'a Tracker<F>,
    pub(super) counters: &'a Counters,
    pub(super) started: SystemTime,
}

impl<F: HttpFlavour> Snapshot<'_, F> {
    /// Returns the page.
    pub(super) fn page(&self, format: Format) -> String {
        let mut page = Exposition::new(format);
        let started = Metric::new("process_start_time_seconds", "Start of the process since the Unix epoch");
        page.gauge(started.in_unit("seconds"), since_the_epoch(self.started));
        build::<F>(&mut page);
        self.torrents(&mut page);
        self.requests(&mut page);
        if let Some(list) = self.tracker.flavour().admission().list() {
            access_list(&list, &mut page);
        }
        for transport in self.tracker.flavour().cluster().transports() {
            self::transport(&transport, &mut page);
        }
        if let Some(times) = self.tracker.flavour().request_times().sum() {
            let duration = Metric::new(
                "opentracker_http_request_duration_seconds",
                "From a whole request to its reply, or to the beginning of one that looks at every torrent, without the network",
            );
            page.histogram(duration.in_unit("seconds"), &times);
        }
        page.finish()
    }

    fn torrents(&self, page: &mut Exposition) {
        let census = self.tracker.store().census();
        page.gauge(Metric::new("opentracker_torrents", "Torrents"), census.torrents);
        let peers = Metric::new("opentracker_peers", "Peers of all torrents, seeders included");
        page.gauge(peers, census.peers.peers());
        page.gauge(Metric::new("opentracker_seeders", "Peers that have everything"), census.peers.seeders);
        let downloads = Metric::new("opentracker_completed_downloads", "Downloads that clients have completed");
        counter(downloads, &self.each_family(&[], Counter::Completed), page);
        let (torrents, peers) = self.tracker.taken();
        let taken = Metric::new("opentracker_taken_torrents", "Torrents forgotten to make room");
        page.counter(taken, [(&[][..], torrents)]);
        let taken = Metric::new("opentracker_taken_peers", "Peers of other torrents forgotten to make room");
        page.counter(taken, [(&[][..], peers)]);
    }

    fn requests(&self, page: &mut Exposition) {
        for (name, help, protocols) in REQUESTS {
            let rows =
                protocols.iter().flat_map(|&(protocol, count)| self.each_family(&[("protocol", protocol)], count));
            counter(Metric::new(&format!("opentracker_{name}"), help), &rows.collect::<Vec<_>>(), page);
        }
        let errors =
            self.errors(HTTP, Protocol::Http, &HTTP_ERRORS).chain(self.errors(UDP, Protocol::Udp, &UDP_ERRORS));
        let requests = Metric::new("opentracker_errors", "Requests and datagrams not served");
        counter(requests, &errors.collect::<Vec<_>>(), page);
        let begun = self.counters.total(Counter::FullScraped);
        page.counter(Metric::new("opentracker_full_scrapes", "Full scrapes begun"), [(&[][..], begun)]);
        let bytes = Metric::new("opentracker_full_scrape_bytes", "Bytes of full scrapes as sent").in_unit("bytes");
        page.counter(bytes, [(&[][..], self.counters.total(Counter::FullScrapeBytes))]);
    }

    /// Returns the rows of what went wrong over a protocol: its own errors, and announces that were refused.
    fn errors(
        &self,
        name: &'static str,
        protocol: Protocol,
        errors: &'static [ErrorKind],
    ) -> impl Iterator<Item = Row> {
        let labels = move |kind| [("protocol", name), ("kind", kind)];
        let errors = errors.iter().flat_map(move |&(kind, counters)| {
            self.rows(&labels(kind), |family| counters.iter().map(|&counter| self.counters.of(counter, family)).sum())
        });
        let refusals = AnnounceError::ALL.into_iter().flat_map(move |refusal| {
            let labels = labels(refusal_name(refusal));
            self.rows(&labels, |family| self.counters.refusals(protocol, refusal, family))
        });
        errors.chain(refusals)
    }

    /// Returns the rows of a counter, with these labels and the family.
    fn each_family(&self, labels: &[Label<'static>], counter: Counter) -> Vec<Row> {
        self.rows(labels, |family| self.counters.of(counter, family))
    }

    /// Returns a row for each family that is served or has been counted.
    fn rows(&self, labels: &[Label<'static>], value: impl Fn(AddressFamily) -> u64) -> Vec<Row> {
        let rows = [("ipv4", AddressFamily::Ipv4, F::Families::IPV4), ("ipv6", AddressFamily::Ipv6, F::Families::IPV6)]
            .map(|(name, family, is_served)| {
                let value = value(family);
                (is_served || value > 0).then(|| (labels.iter().copied().chain([("family", name)]).collect(), value))
            });
        rows.into_iter().flatten().collect()
    }
}

/// Appends a counter with its rows.
fn counter(metric: Metric<'_>, rows: &[Row], page: &mut Exposition) {
    page.counter(metric, rows.iter().map(|(labels, value)| (&**labels, *value)));
}

/// Appends what a transport of a cluster has counted, and how it is.
fn transport(transport: &TransportStatus, page: &mut Exposition) {
    let TransportStatus { name: prefix, title, counts, lag, connected, .. } = transport;
    let named = |name: &str, help: &str| (format!("opentracker_{prefix}_{name}"), help.replace("{title}", title));
    for (name, help, number) in TRANSPORT {
        let (name, help) = named(name, help);
        page.counter(Metric::new(&name, &help), [(&[][..], number(counts))]);
    }
    for (name, help, number) in TRANSPORT_BYTES {
        let (name, help) = named(name, help);
        page.counter(Metric::new(&name, &help).in_unit("bytes"), [(&[][..], number(counts))]);
    }
    for (name, help, number) in TRANSPORT_SECONDS {
        let (name, help) = named(name, help);
        let seconds = Duration::from_millis(number(counts)).as_secs_f64();
        page.counter(Metric::new(&name, &help).in_unit("seconds"), [(&[][..], seconds)]);
    }
    let (name, help) = named("lag_seconds", "Age of the newest change that was taken over, or how long none has come");
    page.gauge(Metric::new(&name, &help).in_unit("seconds"), lag.as_secs_f64());
    if let Some(connected) = connected {
        let (name, help) = named("connected", "Whether {title} is connected");
        page.gauge(Metric::new(&name, &help), u8::from(*connected));
    }
}

fn access_list(list: &ListStatus, page: &mut Exposition) {
    let torrents = Metric::new("opentracker_access_list_torrents", "Torrents on the access list in force");
    page.gauge(torrents, list.torrents);
    let read = Metric::new(
        "opentracker_access_list_last_reload_success_timestamp_seconds",
        "When the access list in force was read since the Unix epoch",
    );
    page.gauge(read.in_unit("seconds"), since_the_epoch(list.since));
    let failures = Metric::new(
        "opentracker_access_list_failed_reloads",
        "Readings of the access list that failed, and left the list as it was",
    );
    page.counter(failures, [(&[][..], list.failures)]);
}

/// Appends what the build was made from: version, commit, and a label for each of its features.
fn build<F: HttpFlavour>(page: &mut Exposition) {
    let features: Vec<_> = F::FEATURES.iter().map(|feature| feature.replace('-', "_")).collect();
    let source = [("version", env!("CARGO_PKG_VERSION")), ("commit", env!("OPENTRACKER_COMMIT"))];
    let labels: Vec<_> = source.into_iter().chain(features.iter().map(|feature| (feature.as_str(), "on"))).collect();
    page.info(Metric::new("opentracker_build", "What this tracker was built from and with"), &labels);
}

fn since_the_epoch(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0.0, Duration::as_secs_f64)
}

/// Labels and their value.
type Row = (Vec<Label<'static>>, u64);
