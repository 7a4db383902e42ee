#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| opentracker::fuzz::run("client_ids", bytes));
