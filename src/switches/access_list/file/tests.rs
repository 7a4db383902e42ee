use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const HASH: &str = "00112233445566778899aAbBcCdDeEfF01234567";

fn hash(n: u8) -> InfoHash {
    InfoHash([n; 20])
}

fn parsed(text: impl AsRef<[u8]>) -> Result<Contents, Error> {
    let text = text.as_ref();
    parse(text, text.len() as u64)
}

#[track_caller]
fn whole(text: impl AsRef<[u8]>) -> Contents {
    parsed(text).expect("a list")
}

fn counts(contents: &Contents) -> (u64, u64, usize) {
    (contents.good, contents.bad, contents.list.len())
}

#[test]
fn a_line_of_every_kind_is_told_from_the_others() {
    let known = Line::Hash(InfoHash::from_hex(HASH.as_bytes()).expect("40 digits"));
    let with = |behind: &str| format!("{HASH}{behind}");
    for line in ["", "\n", "\r\n", " \t\r\n", " a comment", "\ta comment", "# a comment", ":7:9\n", ";", "-", " \u{fc}"]
    {
        assert_eq!(Line::of(with(line).as_bytes()), known, "{line:?}");
    }
    assert_eq!(Line::of(format!(" \t {HASH}\n").as_bytes()), known);
    for line in ["# a comment", "#", " \t# a comment\r\n", &format!("#{HASH}"), "# \u{fc}", "#\0"] {
        assert_eq!(Line::of(line.as_bytes()), Line::Comment, "{line:?}");
    }
    for line in ["", "\n", "\r\n", " \t\x0c \n"] {
        assert_eq!(Line::of(line.as_bytes()), Line::Blank, "{line:?}");
    }
    for (line, digits) in [("0", 1), ("abcDEF\r\n", 6), (&HASH[..39], 39)] {
        assert_eq!(Line::of(line.as_bytes()), Line::Digits(digits), "{line:?}");
    }
    for behind in ["0", "f", "g", "Z", "\0", "\u{fc}", "\x7f", HASH] {
        assert_eq!(Line::of(with(behind).as_bytes()), Line::Other, "{behind:?}");
    }
    for line in ["a comment", "xyz", "0 ", "; #", "magnet:?xt=urn:btih:", &HASH.replace('c', "x"), "\0\0\0", "\u{fc}"] {
        let line = format!("{line} {}", &HASH[..30]);
        assert_eq!(Line::of(line.as_bytes()), Line::Other, "{line:?}");
    }
}

#[test]
fn a_list_may_look_in_many_ways() {
    let (one, other) = (hash(1), hash(2));
    let both = |text: String| {
        let contents = whole(text);
        assert!(contents.list.contains(&one) && contents.list.contains(&other) && !contents.list.contains(&hash(3)));
        (contents.good, contents.bad)
    };
    assert_eq!(both(format!("{one}\n{other}\n")), (2, 0));
    assert_eq!(both(format!("{one}\n{other}")), (2, 0), "without a newline at the end");
    assert_eq!(both(format!("{one}\r\n{other}\r\n")), (2, 0));
    assert_eq!(both(format!("\u{feff}{one}\n\n# {one}\n{other} a comment\n{one}\n")), (3, 0), "a mark, and one twice");
    assert_eq!(both(format!("{one}\nno hash\n{other}\nno hash")), (2, 2));
    for nothing in ["", "\n", "# nothing", "\u{feff}# nothing\n \n"] {
        assert_eq!(counts(&whole(nothing)), (0, 0, 0), "{nothing:?}");
    }
}

#[test]
fn bad_lines_are_counted_and_the_first_ones_shown_with_their_numbers() {
    let good = hash(1).to_string();
    let mut text = format!("{good}\n\n# a comment\n\"a\x1b[31m\"\n{good}00\n{}\n", &good[1..]);
    text += &"bad\n".repeat(100);
    let contents = whole(&text);
    assert_eq!(counts(&contents), (1, 103, 1));
    let shown: Vec<_> = contents.first_bad.iter().map(|bad| (bad.number, bad.begins.as_str())).collect();
    assert_eq!(shown.len(), MAX_SHOWN);
    let longer = format!("{good}00");
    assert_eq!(shown[..4], [(4, r#"\"a\x1b[31m\""#), (5, &longer), (6, &good[1..]), (7, "bad")]);
    assert_eq!(contents.first_bad[3].to_string(), "line 7 is not an info hash of 40 hexadecimal digits: \"bad\"");
}

#[test]
fn long_lines_are_one_line_each() {
    let (one, other) = (hash(1), hash(2));
    let long = "x".repeat(10_000);
    let contents = whole(format!("{one} {long}\n#{long}\n{long}\n{other}\n"));
    assert_eq!(counts(&contents), (2, 1, 2));
    assert_eq!(contents.first_bad[0].number, 3);
    assert_eq!(contents.first_bad[0].begins, format!("{}...", "x".repeat(48)));
    // What stands too far to the right is not silently left out.
    let contents = whole(format!("{one}\n{}{other}\n{}", " ".repeat(300), "0".repeat(256)));
    assert_eq!(counts(&contents), (1, 2, 1));
    for len in MAX_LINE - 2..MAX_LINE + 2 {
        assert_eq!(counts(&whole(format!("{one}{}\n{other}\n", " ".repeat(len - 40)))), (2, 0, 2), "{len}");
        assert_eq!(
            counts(&whole(format!("{one}\n{}{other}\n", " ".repeat(len - 40)))).0,
            if len <= 256 { 2 } else { 1 }
        );
    }
}

#[test]
fn a_list_that_is_cut_is_not_whole() {
    let one = hash(1);
    let text = format!("{one}\n{one}");
    for end in 42..81 {
        assert!(matches!(parsed(&text[..end]), Err(Error::Cut { number: 2, digits }) if digits == end - 41), "{end}");
    }
    for end in [40, 41, 81] {
        assert_eq!(whole(&text[..end]).list.len(), 1);
    }
    assert!(matches!(parsed("00"), Err(Error::Cut { number: 1, digits: 2 })));
    // It goes on behind it.
    assert_eq!(counts(&whole(format!("{one}\n1234\n"))), (1, 1, 1));
}

#[test]
fn a_file_without_any_hash_is_no_list() {
    for text in ["bad\n", "#\nbad\n\0", "\u{feff}no", "# only\n1234\n", "\0"] {
        assert!(matches!(parsed(text), Err(Error::NoHash { .. })), "{text:?}");
    }
    let error = parsed("# not this one\n<html>\n</html>\n").expect_err("no list");
    assert_eq!(
        error.to_string(),
        "none of its 2 lines is an info hash; line 2 is not an info hash of 40 hexadecimal digits: \"<html>\""
    );
}

#[test]
fn more_or_less_than_the_files_length_is_a_change() {
    let text = format!("{}\n", hash(1));
    for len in [0, 40, 42, 100_000] {
        assert!(matches!(parse(text.as_bytes(), len), Err(Error::Changed)), "{len}");
    }
    assert!(matches!(parse(text.as_bytes(), u64::MAX / 64), Err(Error::TooLarge(_))));
}

/// A file that is gone with its test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("opentracker-list-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("a temporary file");
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_is_read() {
    let file = Temporary::new(&format!("{}\nbad\n", hash(1)));
    let contents = read(&file.0).expect("a list");
    assert_eq!(counts(&contents), (1, 1, 1));
    assert_eq!(contents.bytes, 45);
}

#[test]
fn what_cannot_be_a_list_is_named() {
    let error = |path: &Path| read(path).expect_err("no list").to_string();
    assert!(error(Path::new("/nowhere/at/all")).starts_with("No such file"));
    assert_eq!(error(&std::env::temp_dir()), "it is a directory, not a regular file");
    assert_eq!(error(Path::new("/dev/null")), "it is a character device, not a regular file");
}

/// Gives what is in the file, and does something to it before it gives the end.
struct Interrupted<'a, F: FnMut()> {
    file: &'a File,
    then: Option<F>,
}

impl<F: FnMut()> Read for Interrupted<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = Read::read(&mut self.file, buffer)?;
        if let Some(mut then) = self.then.take() {
            then();
        }
        Ok(len)
    }
}

#[test]
fn a_file_that_is_written_while_it_is_read_has_changed() {
    let line = format!("{}\n", hash(1));
    let half = line.len() as u64 / 2;
    let read_while = |change: &dyn Fn(&Path)| {
        let written = Temporary::new(&line);
        let file = File::open(&written.0).expect("it is there");
        // Kernels note times in steps of some milliseconds: as if it had been written long before.
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let writable = OpenOptions::new().write(true).open(&written.0).expect("it is there");
        writable.set_modified(long_ago).expect("it is ours");
        let reader = Interrupted { file: &file, then: Some(|| change(&written.0)) };
        read_open(&file, BufReader::new(reader))
    };
    let open = |path: &Path| OpenOptions::new().write(true).open(path).expect("it is there");
    let append = |path: &Path| {
        let mut file = OpenOptions::new().append(true).open(path).expect("it is there");
        file.write_all(line.as_bytes()).expect("room");
    };
    assert!(read_while(&|_| {}).is_ok());
    assert!(matches!(read_while(&append), Err(Error::Changed)), "appended to");
    assert!(matches!(read_while(&|path| open(path).set_len(half).expect("it is ours")), Err(Error::Changed)), "cut");
    let overwrite = |path: &Path| open(path).write_all(b"0").expect("room");
    assert!(matches!(read_while(&overwrite), Err(Error::Changed)), "written in place");
    // That is how it should be done.
    let replace = |path: &Path| {
        let other = Temporary::new("bad");
        fs::rename(&other.0, path).expect("on the same disk");
    };
    assert!(read_while(&replace).is_ok(), "replaced");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_to_the_end(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parsed(bytes);
    }

    /// Lines of every kind, in any order, read through a buffer of any size.
    #[test]
    fn every_hash_is_found(
        lines in prop::collection::vec((0..6_u8, 0..20_u8, 0..400_usize), 1..60),
        ends in prop::sample::select(vec!["\n", "\r\n"]),
        buffer in 1..100_usize,
    ) {
        let (mut text, mut model, mut good, mut bad) = (String::new(), BTreeSet::new(), 0, 0);
        for (kind, n, len) in lines {
            let filling = "x".repeat(len);
            match kind {
                0 => text += &hash(n).to_string(),
                1 => text += &hash(n).to_string().to_lowercase(),
                2 => text += &format!("{} {filling}", hash(n)),
                3 => text += &format!("#{filling}"),
                4 => text += &" ".repeat(len % 200),
                _ => text += &format!("x{filling}"),
            }
            if kind < 3 {
                model.insert(hash(n));
            }
            good += u64::from(kind < 3);
            bad += u64::from(kind == 5);
            text += ends;
        }
        let parsed = parse(BufReader::with_capacity(buffer, text.as_bytes()), text.len() as u64);
        if good == 0 && bad > 0 {
            let refused = matches!(parsed, Err(Error::NoHash { .. }));
            prop_assert!(refused);
        } else {
            let contents = parsed.expect("a list");
            prop_assert_eq!(counts(&contents), (good, bad, model.len()));
            prop_assert!((0..20).all(|n| contents.list.contains(&hash(n)) == model.contains(&hash(n))));
        }
    }
}
