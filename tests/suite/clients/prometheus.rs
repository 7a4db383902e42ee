//! A reader of the two text formats of Prometheus, as strict as they are specified. Prometheus' own readers are used in
//! `tests/e2e/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use super::http::Reply;

/// The value of each name with its labels, as they are written.
pub(crate) type Samples = BTreeMap<String, f64>;

/// OpenMetrics, as its type says in a reply.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The older text format.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Parses a page in the format that its type says. Both formats want the samples of a name together, after its
/// description and each once. OpenMetrics wants a mark at the end of the page too.
#[track_caller]
pub(crate) fn samples(reply: &Reply) -> Samples {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("vary"), Some("Accept"));
    let page = reply.text();
    match reply.header("content-type") {
        Some(OPENMETRICS) => parse(page.strip_suffix("# EOF\n").expect("the end of the page"), |kind| match kind {
            "counter" => ("", &["_total"]),
            "info" => ("", &["_info"]),
            "gauge" => ("", &[""]),
            "histogram" => ("", &["_sum", "_count", "_bucket"]),
            _ => panic!("no {kind} is known"),
        }),
        Some(TEXT) => {
            assert!(!page.contains("# UNIT") && !page.contains("# EOF"), "for this format those are comments: {page}");
            parse(&page, |kind| match kind {
                "counter" => ("_total", &[""]),
                "gauge" => ("", &[""]),
                "histogram" => ("", &["_sum", "_count", "_bucket"]),
                _ => panic!("no {kind} is known"),
            })
        }
        other => panic!("{other:?} is neither format"),
    }
}

/// Parses a page whose format says what the names of a kind end with, and what its samples have behind that.
#[track_caller]
fn parse(page: &str, endings: impl Fn(&str) -> (&'static str, &'static [&'static str])) -> Samples {
    let (mut samples, mut described) = (BTreeMap::new(), BTreeSet::new());
    let (mut name, mut suffixes): (_, &[_]) = ("", &[]);
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            name = help.split(' ').next().unwrap();
            assert!(described.insert(name), "{name} is described twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (_, kind) = rest.split_once(' ').filter(|(same, _)| *same == name).expect("the type of that name");
            let ending;
            (ending, suffixes) = endings(kind);
            assert!(name.ends_with(ending), "{line}");
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (_, unit) = rest.split_once(' ').filter(|(same, _)| *same == name).expect("the unit of that name");
            assert!(name.ends_with(&format!("_{unit}")), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a name and a value");
            let suffix =
                sample.split('{').next().unwrap().strip_prefix(name).unwrap_or_else(|| panic!("{line}: {name}"));
            assert!(suffixes.contains(&suffix), "{line}");
            assert_eq!(samples.insert(sample.to_owned(), value.parse().expect("a number")), None, "{line} twice");
        }
    }
    samples
}
