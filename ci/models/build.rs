//! Has the tracker's helpers for tests compiled, as for fuzzers.

fn main() {
    println!("cargo::rustc-cfg=fuzzing");
}
