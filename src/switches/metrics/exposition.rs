//! The two text formats that Prometheus reads. A page says what is on it once, and is written in either.

use std::fmt::{Display, Write as _};

use crate::http::flavour::TimesSum;
use crate::http::weights::choices;

/// A format. Samples are the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older one, which simple readers and `promtool check metrics` understand. What it says of a counter it says
    /// under the name of its samples; an info is a gauge; it knows no units and no end of the page.
    Text,
}

impl Format {
    /// Returns the format that a client with these `Accept` fields wants (RFC 9110, section 12.5.1): OpenMetrics if it
    /// is named, unless `text/plain` is and weighs more. Versions do not matter: there is one of each.
    pub(super) fn accepted<'f>(accept: impl Iterator<Item = &'f [u8]>) -> Self {
        let (mut openmetrics, mut text) = (0, 0);
        for choice in choices(accept) {
            if choice.is("application/openmetrics-text") {
                openmetrics = openmetrics.max(choice.weight);
            } else if choice.is("text/plain") {
                text = text.max(choice.weight);
            }
        }
        if openmetrics > 0 && openmetrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the type of a page in this format.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A metric: its name, with the unit at its end if it has one, and what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric<'a> {
    name: &'a str,
    unit: Option<&'static str>,
    help: &'a str,
}

impl<'a> Metric<'a> {
    /// A metric without a unit. The help is a sentence without its full stop, and has no line ends, quotes or
    /// backslashes.
    pub(super) const fn new(name: &'a str, help: &'a str) -> Self {
        Self { name, unit: None, help }
    }

    /// The same in a unit, which stands at the end of its name.
    pub(super) const fn in_unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }
}

/// What a metric is, and so what its samples mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Info,
    Histogram,
}

impl Kind {
    fn name(self, format: Format) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Info if format == Format::OpenMetrics => "info",
            Self::Gauge | Self::Info => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// Returns what stands behind the metric's name in its samples, if all have the same there.
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }
}

/// A label and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

/// A page under way. Names must not come twice, and each kind writes the samples of its metric at once: the formats
/// want them together.
#[derive(Debug)]
pub(super) struct Exposition {
    format: Format,
    page: String,
}

// Writing to a string does not fail.
impl Exposition {
    /// Begins a page.
    pub(super) fn new(format: Format) -> Self {
        Self { format, page: String::new() }
    }

    /// Appends a number that only grows, once for each set of labels.
    pub(super) fn counter<'l>(
        &mut self,
        metric: Metric<'_>,
        rows: impl IntoIterator<Item = (&'l [Label<'l>], impl Display)>,
    ) {
        self.describe(metric, Kind::Counter);
        for (labels, value) in rows {
            self.sample(metric, Kind::Counter.suffix(), labels, value);
        }
    }

    /// Appends a number that may go up and down.
    pub(super) fn gauge(&mut self, metric: Metric<'_>, value: impl Display) {
        self.describe(metric, Kind::Gauge);
        self.sample(metric, Kind::Gauge.suffix(), &[], value);
    }

    /// Appends labels that say it all.
    pub(super) fn info(&mut self, metric: Metric<'_>, labels: &[Label<'_>]) {
        self.describe(metric, Kind::Info);
        self.sample(metric, Kind::Info.suffix(), labels, 1);
    }

    /// Appends a histogram.
    pub(super) fn histogram(&mut self, metric: Metric<'_>, times: &TimesSum) {
        self.describe(metric, Kind::Histogram);
        self.sample(metric, "_sum", &[], times.seconds);
        self.sample(metric, "_count", &[], times.count());
        let mut count = 0;
        for (bound, more) in &times.buckets {
            count += more;
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.sample(metric, "_bucket", &[("le", &bound)], count);
        }
    }

    /// Returns the page.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.page.push_str("# EOF\n");
        }
        self.page
    }

    fn describe(&mut self, metric: Metric<'_>, kind: Kind) {
        let Metric { name, help, unit } = metric;
        let suffix = if self.format == Format::Text { kind.suffix() } else { "" };
        let kind = kind.name(self.format);
        let _ = writeln!(self.page, "# HELP {name}{suffix} {help}.\n# TYPE {name}{suffix} {kind}");
        if let Some(unit) = unit.filter(|_| self.format == Format::OpenMetrics) {
            let _ = writeln!(self.page, "# UNIT {name} {unit}");
        }
    }

    fn sample(&mut self, metric: Metric<'_>, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.page.push_str(metric.name);
        self.page.push_str(suffix);
        for (n, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.page, "{}{label}=\"{}\"", if n == 0 { '{' } else { ',' }, Escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.page, "{end} {value}");
    }
}

/// The value of a label, as it stands between its quotes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '\\' => formatter.write_str("\\\\"),
            '"' => formatter.write_str("\\\""),
            '\n' => formatter.write_str("\\n"),
            other => formatter.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with a metric of each kind.
    fn page(format: Format) -> String {
        let mut page = Exposition::new(format);
        page.counter(
            Metric::new("sent_bytes", "Bytes sent").in_unit("bytes"),
            [(&[("to", "x"), ("by", "y")][..], 7), (&[], 8)],
        );
        page.gauge(Metric::new("torrents", "Torrents"), 2.5);
        page.info(Metric::new("build", "The build"), &[("version", "1")]);
        let times = TimesSum { seconds: 3.25, buckets: vec![(0.000_01, 2), (2.5, 0), (f64::INFINITY, 1)] };
        page.histogram(Metric::new("time_seconds", "Times").in_unit("seconds"), &times);
        page.finish()
    }

    #[test]
    fn a_page_in_openmetrics_has_units_and_an_end() {
        let expected = "\
            # HELP sent_bytes Bytes sent.\n# TYPE sent_bytes counter\n# UNIT sent_bytes bytes\n\
            sent_bytes_total{to=\"x\",by=\"y\"} 7\nsent_bytes_total 8\n\
            # HELP torrents Torrents.\n# TYPE torrents gauge\ntorrents 2.5\n\
            # HELP build The build.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
            # HELP time_seconds Times.\n# TYPE time_seconds histogram\n# UNIT time_seconds seconds\n\
            time_seconds_sum 3.25\ntime_seconds_count 3\n\
            time_seconds_bucket{le=\"0.00001\"} 2\ntime_seconds_bucket{le=\"2.5\"} 2\ntime_seconds_bucket{le=\"+Inf\"} 3\n\
            # EOF\n";
        assert_eq!(page(Format::OpenMetrics), expected);
    }

    #[test]
    fn a_page_in_text_has_the_same_samples_and_says_what_they_are_under_their_own_names() {
        let expected = "\
            # HELP sent_bytes_total Bytes sent.\n# TYPE sent_bytes_total counter\n\
            sent_bytes_total{to=\"x\",by=\"y\"} 7\nsent_bytes_total 8\n\
            # HELP torrents Torrents.\n# TYPE torrents gauge\ntorrents 2.5\n\
            # HELP build_info The build.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
            # HELP time_seconds Times.\n# TYPE time_seconds histogram\n\
            time_seconds_sum 3.25\ntime_seconds_count 3\n\
            time_seconds_bucket{le=\"0.00001\"} 2\ntime_seconds_bucket{le=\"2.5\"} 2\ntime_seconds_bucket{le=\"+Inf\"} 3\n";
        assert_eq!(page(Format::Text), expected);
        let page_samples =
            |format| page(format).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(page_samples(Format::Text), page_samples(Format::OpenMetrics));
    }

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        for (accept, is_openmetrics) in [
            (&["application/openmetrics-text"][..], true),
            (&["Application/OpenMetrics-Text;version=1.0.0;charset=utf-8"], true),
            // As Prometheus asks.
            (
                &["application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                true,
            ),
            (&["text/plain", "application/openmetrics-text"], true),
            (&["application/openmetrics-text;q=0.001, */*"], true),
            (&["application/openmetrics-text;q=0", "*/*"], false),
            (&["application/openmetrics-text;q=0.5, text/plain;version=0.0.4"], false),
            (&["application/openmetrics-text;q=2"], false),
            (&["text/plain;version=0.0.4;q=0.3"], false),
            (&["application/*"], false),
            (&["*/*"], false),
            (&["application/openmetrics-textual"], false),
            (&[""], false),
            (&[], false),
        ] {
            let expected = if is_openmetrics { Format::OpenMetrics } else { Format::Text };
            assert_eq!(Format::accepted(accept.iter().map(|field| field.as_bytes())), expected, "{accept:?}");
        }
    }

    #[test]
    fn values_of_labels_are_escaped() {
        let mut page = Exposition::new(Format::Text);
        page.info(Metric::new("x", "X"), &[("path", "C:\\\"a\"\nb")]);
        assert!(page.finish().contains("\nx_info{path=\"C:\\\\\\\"a\\\"\\nb\"} 1\n"));
    }
}
