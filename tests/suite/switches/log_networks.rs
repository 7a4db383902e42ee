//! `log-networks`: which networks ask.

use crate::clients::http::get;
use crate::flavour::has;
use crate::http::announce;
use crate::tracker::Tracker;

#[test]
fn without_it_its_page_is_not_there_and_says_which_feature_is_missing() {
    if has("log-networks") {
        return;
    }
    let tracker = Tracker::start(&[]);
    announce(tracker.http(), 0, "port=1");
    let reply = get(tracker.http(), "/stats?mode=busy");
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(reply.text().contains("log-networks") && reply.text().lines().count() == 1, "{}", reply.text());
}
