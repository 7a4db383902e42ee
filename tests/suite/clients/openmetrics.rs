//! A reader of the text format of OpenMetrics, as strict as the specification. The official reader is used in
//! `tests/e2e/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use super::http::Reply;

/// The value of each name with its labels, as they are written.
pub(crate) type Samples = BTreeMap<String, f64>;

/// Parses a page. The format wants the samples of a name together, after its description and each once, and a mark at
/// the end of the page.
#[track_caller]
pub(crate) fn samples(reply: &Reply) -> Samples {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(reply.header("content-type"), Some(content_type));
    let page = reply.text();
    let (mut samples, mut described, mut name, mut kind) = (BTreeMap::new(), BTreeSet::new(), "", "");
    for line in page.strip_suffix("# EOF\n").expect("the end of the page").lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            name = help.split(' ').next().unwrap();
            assert!(described.insert(name), "{name} is described twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (name, kind) = rest.split_once(' ').filter(|(same, _)| *same == name).expect("the type of that name");
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (_, unit) = rest.split_once(' ').filter(|(same, _)| *same == name).expect("the unit of that name");
            assert!(name.ends_with(&format!("_{unit}")), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a name and a value");
            let suffix =
                sample.split('{').next().unwrap().strip_prefix(name).unwrap_or_else(|| panic!("{line}: {name}"));
            let expected: &[_] = match kind {
                "counter" => &["_total"],
                "info" => &["_info"],
                "histogram" => &["_sum", "_count", "_bucket"],
                _ => &[""],
            };
            assert!(expected.contains(&suffix), "{line} is no {kind}");
            assert_eq!(samples.insert(sample.to_owned(), value.parse().expect("a number")), None, "{line} twice");
        }
    }
    samples
}
