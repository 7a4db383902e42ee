//! The numbers as `GET /dashboard.json` tells them (RFC 8259). FEATURES.md says what each name stands for; scripts rely
//! on them.

use std::collections::VecDeque;
use std::fmt::{Display, Write as _};
use std::time::{Duration, SystemTime};

use crate::stats::errors;
use crate::stats::{AddressFamily, Counter, Counters, Protocol};
use crate::tracker::flavour::ListStatus;
use crate::tracker::{AddressFamilies as _, Admission as _, Cluster as _, Flavour, Second, Tracker, TransportStatus};

use super::history::{History, Row};
use super::sample::{FAMILIES, REQUESTS, Sample};

/// The version of the names and what they stand for. More names may come without another version.
const FORMAT: u32 = 1;

/// What the numbers are made from.
pub(super) struct Report<'a, F: Flavour> {
    pub(super) tracker: &'a Tracker<F>,
    pub(super) counters: &'a Counters,
    /// The numbers as they are now.
    pub(super) sample: Sample,
    /// And as they were.
    pub(super) history: History,
    pub(super) now: Second,
    /// Seconds since the process was started.
    pub(super) uptime: f64,
    /// The memory that the process may use, in bytes.
    pub(super) usable_memory: u64,
}

/// One number for each protocol and family, or for each row of such a number.
type Leaf<'a> = dyn Fn(&mut Object<'_>, &str, usize, usize) + 'a;

impl<F: Flavour> Report<'_, F> {
    /// Returns all of it.
    pub(super) fn json(&self) -> String {
        let Self { tracker, counters, sample, .. } = self;
        let mut json = String::with_capacity(16 << 10);
        let mut object = Object::begin(&mut json);
        object.value("format", FORMAT);
        object.value("time", self.now.0);
        object.value("uptime", Seconds(self.uptime));
        object.object("build", build::<F>);
        object.value("torrents", sample.levels.torrents);
        object.value("peers", sample.levels.peers);
        object.value("seeders", sample.levels.seeders);
        object.value("memory", OrNull(sample.levels.memory));
        object.object("limits", |limits| {
            limits.value("torrents", tracker.store().torrent_allowance().limit());
            limits.value("peers", tracker.store().peer_allowance().limit());
            limits.value("memory", self.usable_memory);
        });
        object.value("completed", counters.total(Counter::Completed));
        object.value("full_scrapes", counters.total(Counter::FullScraped));
        object.object("taken", |taken| {
            let (torrents, peers) = tracker.taken();
            taken.value("torrents", torrents);
            taken.value("peers", peers);
        });
        object.object("requests", |requests| {
            self.requests(requests, &|object, name, request, family| {
                object.value(name, cell(&self.sample.counts.requests, request, family));
            });
        });
        object.object("errors", |errors| {
            self.errors(errors, false, &|object, name, kind, _| object.value(name, count(&sample.counts.errors, kind)));
        });
        match tracker.flavour().admission().list() {
            None => object.value("list", "null"),
            Some(list) => object.object("list", |object| self::list(&list, object)),
        }
        object.objects("cluster", &tracker.flavour().cluster().transports(), transport);
        object.object("minutes", |object| self.rows(&self.history.minutes, object));
        object.object("quarters", |object| self.rows(&self.history.quarters, object));
        object.end();
        json
    }

    /// Writes rows as columns, each with the oldest value first.
    fn rows(&self, rows: &VecDeque<Row>, object: &mut Object<'_>) {
        object.array("end", rows.iter().map(|row| row.end.0));
        object.array("seconds", rows.iter().map(|row| Seconds(row.length.as_secs_f64())));
        object.array("torrents", rows.iter().map(|row| row.levels.torrents));
        object.array("peers", rows.iter().map(|row| row.levels.peers));
        object.array("seeders", rows.iter().map(|row| row.levels.seeders));
        object.array("memory", rows.iter().map(|row| OrNull(row.levels.memory)));
        object.object("requests", |requests| {
            self.requests(requests, &|object, name, request, family| {
                object.array(name, rows.iter().map(|row| cell(&row.counts.requests, request, family)));
            });
        });
        object.object("errors", |errors| {
            self.errors(errors, true, &|object, name, kind, _| {
                object.array(name, rows.iter().map(|row| count(&row.counts.errors, kind)));
            });
        });
    }

    /// Writes a leaf for each family that is served or has been counted, in an object for each protocol, in one for
    /// each kind of request. A leaf is given the numbers of the request and of the family.
    fn requests(&self, object: &mut Object<'_>, leaf: &Leaf<'_>) {
        for chunk in REQUESTS.chunk_by(|one, next| one.0 == next.0) {
            let Some((what, ..)) = chunk.first() else { continue };
            object.object(what, |of_one| {
                for (number, (_, protocol, _)) in REQUESTS.iter().enumerate().filter(|(_, (name, ..))| name == what) {
                    of_one.object(protocol_name(*protocol), |of_protocol| {
                        for (n, family) in FAMILIES.into_iter().enumerate().filter(|(n, _)| self.is_shown(*n)) {
                            leaf(of_protocol, family_name(family), number, n);
                        }
                    });
                }
            });
        }
    }

    /// The same for each kind of errors of each protocol: for all, or for those alone that have been counted.
    fn errors(&self, object: &mut Object<'_>, only_counted: bool, leaf: &Leaf<'_>) {
        let mut number = 0;
        for protocol in [Protocol::Http, Protocol::Udp] {
            object.object(protocol_name(protocol), |of_protocol| {
                for name in errors::names(protocol) {
                    if !only_counted || count(&self.sample.counts.errors, number) > 0 {
                        leaf(of_protocol, name, number, 0);
                    }
                    number += 1;
                }
            });
        }
    }

    /// Returns whether this family is served, or anything of it has been counted.
    fn is_shown(&self, family: usize) -> bool {
        let is_served = [F::Families::IPV4, F::Families::IPV6].get(family).is_some_and(|served| *served);
        is_served || (0..REQUESTS.len()).any(|request| cell(&self.sample.counts.requests, request, family) > 0)
    }
}

fn build<F: Flavour>(build: &mut Object<'_>) {
    build.text("version", env!("CARGO_PKG_VERSION"));
    build.text("commit", env!("OPENTRACKER_COMMIT"));
    build.array("features", F::FEATURES.iter().map(|feature| Text(feature)));
}

fn list(list: &ListStatus, object: &mut Object<'_>) {
    let read = list.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    object.value("torrents", list.torrents);
    object.value("read", Seconds(read.as_secs_f64()));
    object.value("failed_reloads", list.failures);
}

fn transport(transport: &TransportStatus, object: &mut Object<'_>) {
    let TransportStatus { name, title, counts, lag, members, connected } = transport;
    object.text("name", name);
    object.text("title", title);
    object.value("members", members);
    object.value("lag", Seconds(lag.as_secs_f64()));
    object.value("connected", OrNull(*connected));
    object.value("received", counts.records_received);
    object.value("sent", counts.records_sent);
    object.value("refused", counts.records_refused);
    object.value("lost_packets", counts.packets_lost);
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Udp => "udp",
    }
}

fn family_name(family: AddressFamily) -> &'static str {
    match family {
        AddressFamily::Ipv4 => "ipv4",
        AddressFamily::Ipv6 => "ipv6",
    }
}

fn count(counts: &[u64], n: usize) -> u64 {
    counts.get(n).copied().unwrap_or_default()
}

fn cell<const N: usize>(requests: &[[u64; N]], request: usize, family: usize) -> u64 {
    requests.get(request).map_or(0, |families| count(families, family))
}

/// An object that is being written. Writing to a string does not fail.
pub(super) struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, is_empty: true }
    }

    fn end(self) {
        self.out.push('}');
    }

    fn name(&mut self, name: &str) {
        if !self.is_empty {
            self.out.push(',');
        }
        self.is_empty = false;
        let _ = write!(self.out, "{}:", Text(name));
    }

    /// Adds what is written as it is in JSON: a number, or a word.
    fn value(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.out, "{value}");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.value(name, Text(text));
    }

    fn array(&mut self, name: &str, values: impl Iterator<Item = impl Display>) {
        self.name(name);
        self.out.push('[');
        for (n, value) in values.enumerate() {
            let _ = write!(self.out, "{}{value}", if n == 0 { "" } else { "," });
        }
        self.out.push(']');
    }

    fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        let mut object = Object::begin(self.out);
        write(&mut object);
        object.end();
    }

    fn objects<T>(&mut self, name: &str, items: &[T], write: impl Fn(&T, &mut Object<'_>)) {
        self.name(name);
        self.out.push('[');
        for (n, item) in items.iter().enumerate() {
            self.out.push_str(if n == 0 { "" } else { "," });
            let mut object = Object::begin(self.out);
            write(item, &mut object);
            object.end();
        }
        self.out.push(']');
    }
}

/// A text between quotes, escaped where it has to be.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_char('"')?;
        for char in self.0.chars() {
            match char {
                '"' | '\\' => write!(formatter, "\\{char}")?,
                '\0'..='\x1f' => write!(formatter, "\\u{:04x}", u32::from(char))?,
                other => formatter.write_char(other)?,
            }
        }
        formatter.write_char('"')
    }
}

/// Seconds, to a thousandth.
struct Seconds(f64);

impl Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.3}", self.0)
    }
}

/// A value that is not always known.
struct OrNull<T>(Option<T>);

impl<T: Display> Display for OrNull<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(formatter),
            None => formatter.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        assert_eq!(Text("a\"b\\c\n\u{1}é/").to_string(), "\"a\\\"b\\\\c\\u000a\\u0001é/\"");
    }

    #[test]
    fn values_stand_behind_their_names_with_commas_between() {
        let mut json = String::new();
        let mut object = Object::begin(&mut json);
        object.value("a", 1);
        object.object("b", |_| {});
        object.array("c", [1, 2].iter());
        object.objects("d", &["x", "y"], |text, object| object.text("e", text));
        object.value("f", OrNull::<bool>(None));
        object.value("g", Seconds(1.5));
        object.end();
        assert_eq!(json, r#"{"a":1,"b":{},"c":[1,2],"d":[{"e":"x"},{"e":"y"}],"f":null,"g":1.500}"#);
    }
}
