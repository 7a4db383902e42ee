#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| opentracker::fuzz::run("dynamic_lines", bytes));
