//! The names on the page and where their numbers come from.
//!
//! Names follow the conventions of Prometheus: a unit at the end, and `_total` (which the encoder adds) for what only
//! grows. What a build cannot count because a switch is off (the list, live sync) is not on its page. Of the address
//! families there are those that it serves; of another one, what was counted all the same, such as a refusal.

use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::http::HttpFlavour;
use crate::http::flavour::{RequestTimes as _, TimesSum};
use crate::stats::{AddressFamily, Counter, Counters, Protocol};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{AddressFamilies as _, Admission as _, AnnounceError, Cluster as _, Tracker, TransportCounts};

const HTTP: &str = "http";
const UDP: &str = "udp";

/// A counter for each protocol that has one, with the protocol's label.
type CounterByProtocol = &'static [(&'static str, Counter)];

/// Requests of each family: the name, what is counted, and where.
pub(super) const REQUESTS: [(&str, &str, CounterByProtocol); 6] = [
    ("announces", "Announces answered", &[(HTTP, Counter::TcpAnnounced), (UDP, Counter::UdpAnnounced)]),
    ("scrapes", "Scrapes answered", &[(HTTP, Counter::TcpScraped), (UDP, Counter::UdpScraped)]),
    ("connects", "Connection ids given", &[(UDP, Counter::UdpConnected)]),
    ("connections", "TCP connections accepted", &[(HTTP, Counter::TcpAccepted)]),
    ("datagrams", "UDP datagrams received", &[(UDP, Counter::UdpReceived)]),
    ("redirects", "Requests sent to tracker.redirect_url", &[(HTTP, Counter::Http302)]),
];

/// The label of a kind of errors, and the counters that are added up to their number.
type ErrorKind = (&'static str, &'static [Counter]);

/// What went wrong over HTTP.
pub(super) const HTTP_ERRORS: [ErrorKind; 7] = [
    ("malformed", &[Counter::Http400Parse, Counter::HttpMethod]),
    ("invalid_parameter", &[Counter::Http400Parameter]),
    ("access_denied", &[Counter::Http403]),
    ("not_found", &[Counter::Http404]),
    ("internal", &[Counter::Http500]),
    ("busy", &[Counter::Http503]),
    ("no_info_hash", &[Counter::TcpNoInfoHash]),
];

/// The same over UDP.
pub(super) const UDP_ERRORS: [ErrorKind; 3] = [
    ("dropped", &[Counter::UdpDropped]),
    ("truncated", &[Counter::UdpTruncated]),
    ("connection_id_mismatch", &[Counter::UdpMismatched]),
];

/// Returns the label of an announce that is refused, over either.
fn refusal_label(refusal: AnnounceError) -> &'static str {
    match refusal {
        AnnounceError::NotAdmitted => "not_admitted",
        AnnounceError::FamilyNotServed => "family_not_served",
        AnnounceError::Full => "full",
    }
}

/// Reads one number of a transport.
type TransportNumber = fn(&TransportCounts) -> u64;

/// Transports of a cluster: the end of the name, what is counted (with a place for the title of the transport, where it
/// has one), and where the number stands.
pub(super) const TRANSPORT: [(&str, &str, TransportNumber); 7] = [
    ("packets_received", "{title} packets taken over", |counts| counts.packets_received),
    ("packets_sent", "{title} packets sent", |counts| counts.packets_sent),
    ("packets_refused", "{title} packets from strangers, from ourselves or malformed", |counts| counts.packets_refused),
    ("packets_lost", "{title} packets that could not be sent", |counts| counts.packets_lost),
    ("records_received", "Changes that other trackers told and that were taken over", |counts| counts.records_received),
    ("records_sent", "Changes told to other trackers", |counts| counts.records_sent),
    ("records_refused", "Changes told by other trackers and not taken over", |counts| counts.records_refused),
];

/// What a page is made from.
pub(super) struct Snapshot<'a, F: HttpFlavour> {
    pub(super) tracker: &'a Tracker<F>,
    pub(super) counters: &'a Counters,
    pub(super) started: SystemTime,
}

impl<F: HttpFlavour> Snapshot<'_, F> {
    /// Returns all that is on the page.
    pub(super) fn registry(self) -> Registry {
        let mut page = Registry::default();
        let started = ConstGauge::new(since_the_epoch(self.started));
        page.register_with_unit(
            "process_start_time",
            "Start of the process since the Unix epoch",
            Unit::Seconds,
            started,
        );
        let ours = page.sub_registry_with_prefix("opentracker");
        ours.register("build", "What this tracker was built from and with", Info::new(build(F::FEATURES)));
        self.torrents(ours);
        self.requests(ours);
        if let Some(list) = self.tracker.flavour().admission().list() {
            access_list(&list, ours);
        }
        for transport in self.tracker.flavour().cluster().transports() {
            for (name, help, number) in TRANSPORT {
                let name = format!("{}_{name}", transport.name);
                let help = help.replace("{title}", transport.title);
                ours.register(name, help, ConstCounter::new(number(&transport.counts)));
            }
        }
        if let Some(times) = self.tracker.flavour().request_times().sum() {
            ours.register_with_unit(
                "http_request_duration",
                "From a whole request to its reply, or to the beginning of one that looks at every torrent, without the network",
                Unit::Seconds,
                times,
            );
        }
        page
    }

    fn torrents(&self, ours: &mut Registry) {
        let census = self.tracker.store().census();
        ours.register("torrents", "Torrents", gauge(census.torrents));
        ours.register("peers", "Peers of all torrents, seeders included", gauge(census.peers.peers()));
        ours.register("seeders", "Peers that have everything", gauge(census.peers.seeders));
        let downloads = self.each_family(&[], Counter::Completed);
        ours.register("completed_downloads", "Downloads that clients have completed", Rows(downloads));
    }

    fn requests(&self, ours: &mut Registry) {
        for (name, help, protocols) in REQUESTS {
            let rows =
                protocols.iter().flat_map(|&(protocol, count)| self.each_family(&[("protocol", protocol)], count));
            ours.register(name, help, Rows(rows.collect()));
        }
        let errors =
            self.errors(HTTP, Protocol::Http, &HTTP_ERRORS).chain(self.errors(UDP, Protocol::Udp, &UDP_ERRORS));
        ours.register("errors", "Requests and datagrams not served", Rows(errors.collect()));
        ours.register(
            "full_scrapes",
            "Full scrapes begun",
            ConstCounter::new(self.counters.total(Counter::FullScraped)),
        );
        let bytes = ConstCounter::new(self.counters.total(Counter::FullScrapeBytes));
        ours.register_with_unit("full_scrape", "Bytes of full scrapes as sent", Unit::Bytes, bytes);
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
            let labels = labels(refusal_label(refusal));
            self.rows(&labels, |family| self.counters.refusals(protocol, refusal, family))
        });
        errors.chain(refusals)
    }

    /// Returns the rows of a counter, with these labels and the family.
    fn each_family(&self, labels: &[Label], counter: Counter) -> Vec<Row> {
        self.rows(labels, |family| self.counters.of(counter, family))
    }

    /// Returns a row for each family that is served or has been counted.
    fn rows(&self, labels: &[Label], value: impl Fn(AddressFamily) -> u64) -> Vec<Row> {
        let rows = [("ipv4", AddressFamily::Ipv4, F::Families::IPV4), ("ipv6", AddressFamily::Ipv6, F::Families::IPV6)]
            .map(|(name, family, is_served)| {
                let value = value(family);
                (is_served || value > 0).then(|| (labels.iter().copied().chain([("family", name)]).collect(), value))
            });
        rows.into_iter().flatten().collect()
    }
}

fn access_list(list: &ListStatus, ours: &mut Registry) {
    ours.register("access_list_torrents", "Torrents on the access list in force", gauge(list.torrents));
    ours.register_with_unit(
        "access_list_last_reload_success_timestamp",
        "When the access list in force was read since the Unix epoch",
        Unit::Seconds,
        ConstGauge::new(since_the_epoch(list.since)),
    );
    let failures = ConstCounter::new(list.failures);
    ours.register("access_list_failed_reloads", "Access lists that could not be read on SIGHUP", failures);
}

/// Returns the labels of the build: version, commit, and one for each of its features.
fn build(features: &[&str]) -> Vec<(String, &'static str)> {
    let source = [("version", env!("CARGO_PKG_VERSION")), ("commit", env!("OPENTRACKER_COMMIT"))];
    let features = features.iter().map(|feature| (feature.replace('-', "_"), "on"));
    source.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(features).collect()
}

fn gauge(number: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX))
}

fn since_the_epoch(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0.0, Duration::as_secs_f64)
}

type Label = (&'static str, &'static str);

/// Labels and their value.
type Row = (Vec<Label>, u64);

/// The counters of one name.
#[derive(Debug)]
struct Rows(Vec<Row>);

impl EncodeMetric for Rows {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, value)| {
            encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for TimesSum {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(
            self.seconds,
            self.buckets.iter().map(|(_, count)| count).sum(),
            &self.buckets,
            None,
        )
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
