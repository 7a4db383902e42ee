//! What an access list of ten million torrents costs: the time to read it, its memory, and a look-up.
//!
//! `cargo bench -p opentracker-bench --features accesslist-white --bench lists`, with `accesslist-dynamic` as well for
//! a list that can be changed. Each look-up is for another torrent, chosen at random, so that it finds nothing in the
//! processor's caches that an earlier one has left there by chance. `TORRENTS` in the environment makes the list longer
//! or shorter.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use opentracker::config::Settings;
use opentracker::server::{Opening, Plug as _};
use opentracker::switches::ThisBuild;
use opentracker::tracker::{Admission as _, Flavour, InfoHash};

type Admission = <ThisBuild as Flavour>::Admission;

const SEED: u64 = 1;

fn torrents(seed: u64) -> impl Iterator<Item = InfoHash> {
    let mut rng = Rng::with_seed(seed);
    std::iter::repeat_with(move || {
        let mut hash = InfoHash::default();
        rng.fill(&mut hash.0);
        hash
    })
}

fn write(path: &Path, len: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut file = BufWriter::new(File::create(path).expect("a temporary file"));
    for hash in torrents(SEED).take(len) {
        let mut line = [b'\n'; 41];
        for (pair, byte) in line.chunks_mut(2).zip(hash.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
        }
        file.write_all(&line).expect("room for a temporary file");
    }
    file.flush().expect("room for a temporary file");
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a Linux system");
    let kilobytes: usize = line.trim_end_matches("kB").trim().parse().expect("a number");
    kilobytes * 1024
}

fn lists(criterion: &mut Criterion) {
    let len = std::env::var("TORRENTS").map_or(10_000_000, |len| len.parse().expect("TORRENTS is a number"));
    let path: PathBuf = std::env::temp_dir().join(format!("opentracker-bench-{}", std::process::id()));
    write(&path, len);
    let mut settings = Settings::default();
    settings.access.whitelist = Some(path.clone());
    let before = resident();
    let began = Instant::now();
    let (mut needs, mut sockets) = Default::default();
    let mut opening = Opening { settings: &settings, user: None, needs: &mut needs, sockets: &mut sockets };
    let opened = Admission::open(&mut opening);
    let list = opened.and_then(|opened| Admission::plug(opened, &settings)).expect("a list");
    println!("{len} torrents read in {:.2?}", began.elapsed());
    println!("{:.2} bytes resident for each", (resident() - before) as f64 / len as f64);
    fs::remove_file(path).expect("it is there");

    // Drawn beforehand: that takes as long as a look-up.
    let known: Vec<_> = torrents(SEED).step_by(len.div_ceil(1 << 20)).take(len.min(1 << 20)).collect();
    let unknown: Vec<_> = torrents(SEED + 1).take(1 << 20).collect();
    for (name, asked) in [("listed", known), ("not-listed", unknown)] {
        let mut asked: Vec<_> = asked;
        Rng::with_seed(2).shuffle(&mut asked);
        let mut asked = asked.iter().cycle();
        criterion.bench_function(&format!("list/{name}"), |bencher| {
            bencher.iter(|| black_box(list.admits(asked.next().expect("there are some"))))
        });
    }
}

criterion_group!(benches, lists);
criterion_main!(benches);
