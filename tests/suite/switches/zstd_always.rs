//! `zstd-always`: full scrapes are compressed with zstd, whatever clients say.

use super::gzip_always::{self, assert_coded_for_all, assert_nothing_else_is_coded};
use crate::flavour::{only_with, only_without};
use crate::harness::tests;

tests![
    without_it_who_does_not_ask_for_a_coding_gets_pages_unchanged,
    with_it_every_full_scrape_is_compressed_whatever_the_client_says,
    with_it_nothing_else_is_compressed,
];

fn without_it_who_does_not_ask_for_a_coding_gets_pages_unchanged() {
    only_without("zstd-always");
    gzip_always::without_it_who_does_not_ask_for_a_coding_gets_pages_unchanged();
}

fn with_it_every_full_scrape_is_compressed_whatever_the_client_says() {
    only_with("zstd-always");
    assert_coded_for_all("zstd");
}

fn with_it_nothing_else_is_compressed() {
    only_with("zstd-always");
    assert_nothing_else_is_coded();
}
