//! Content codings, taken off by programs and libraries that share no code with the tracker's.

use std::fs;
use std::io::Read as _;
use std::process::Command;

use ruzstd::decoding::StreamingDecoder;

use crate::directory::Directory;
use crate::programs::output;

/// Takes this coding off.
#[track_caller]
pub(crate) fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => unzipped(bytes),
        "zstd" => one_frame(bytes),
        _ => panic!("a coding that no build has: {coding}"),
    }
}

/// What the program `gzip` makes of it.
#[track_caller]
fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let directory = Directory::new();
    let file = directory.0.join("page.gz");
    fs::write(&file, bytes).unwrap();
    let output = output(Command::new("gzip").args(["-d", "-c"]).arg(&file)).expect("the program gzip");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What is in one frame of zstd, behind which there must be nothing.
#[track_caller]
fn one_frame(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut plain) = (bytes, Vec::new());
    let mut decoder = StreamingDecoder::new(&mut rest).expect("a frame");
    decoder.read_to_end(&mut plain).expect("a whole frame");
    assert!(rest.is_empty(), "{} bytes behind the frame", rest.len());
    plain
}
