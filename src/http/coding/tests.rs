use proptest::prelude::*;

use super::*;

/// A coding that passes everything through.
struct Named {
    names: &'static [&'static str],
    limit: EncoderLimit,
}

impl Named {
    const fn limit() -> usize {
        2
    }

    fn new(names: &'static [&'static str]) -> Self {
        Self { names, limit: EncoderLimit::new(Self::limit()) }
    }
}

struct Held(#[allow(dead_code)] EncoderPermit);

impl Coding for Named {
    fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn encoder(&self) -> Option<Box<dyn Encoder>> {
        Some(Box::new(Held(self.limit.take()?)))
    }
}

impl Encoder for Held {
    fn encode(&mut self, piece: &[u8], _: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(piece);
    }
}

fn gzip() -> Named {
    Named::new(&["gzip", "x-gzip"])
}

fn zstd() -> Named {
    Named::new(&["zstd"])
}

/// The first coding of these, for everybody.
struct Always<C>(C);

impl<C: Codings> Codings for Always<C> {
    const NEGOTIATES: bool = false;
    const ALWAYS: Option<usize> = Some(Named::limit());

    fn list<'a>(&'a self, list: &mut Vec<&'a dyn Coding>) {
        self.0.list(list);
    }
}

/// The coding that is answered with, and the encoder, which holds its permit.
fn negotiated(codings: &impl Codings, fields: &[&str]) -> Option<(&'static str, Box<dyn Encoder>)> {
    choose(codings, fields.iter().map(|field| field.as_bytes())).unwrap()
}

/// The coding that a client with one field gets.
fn chosen(codings: &impl Codings, field: &str) -> &'static str {
    negotiated(codings, &[field]).map_or("identity", |(name, _)| name)
}

#[test]
fn the_client_chooses() {
    for (value, is_coded) in [
        ("gzip", true),
        ("GZip", true),
        ("x-gzip", true),
        ("gzip, deflate, br", true),
        ("deflate,\tgzip\t; q=0.001", true),
        ("br;q=1.0, gzip;Q=0.8, *;q=0.1", true),
        ("gzip;q=1.000", true),
        ("gzip;q=1.", true),
        ("gzip;q=0.5, identity;q=0.5", true),
        ("gzip, identity;q=0", true),
        ("*", true),
        ("*;q=0.5", true),
        ("*, identity;q=0.9", true),
        ("gzip;q=0, x-gzip", true),
        ("", false),
        ("identity", false),
        ("deflate, br", false),
        ("gzipped", false),
        ("gzip;q=0", false),
        ("gzip;q=0.000", false),
        ("x-gzip;q=0", false),
        ("gzip;q=0, *", false),
        ("*;q=0", false),
        ("*;q=0, identity", false),
        ("identity;q=0", false),
        ("identity, gzip;q=0.999", false),
        ("*, gzip;q=0.9", false),
        // Malformed members do not count.
        ("gzip;q=2", false),
        ("gzip;q=1.001", false),
        ("gzip;q=0.5000", false),
        ("gzip;q=-1", false),
        ("gzip;q=", false),
        ("gzip;q=.5", false),
        ("gzip;q = 1", false),
        ("gzip;", false),
        ("gzip;level=9", false),
        ("gzip;q=1;q=1", false),
        ("gzip;q=x, identity;q=y, *", true),
        (",,;,;q=1,gzip,", true),
    ] {
        assert_eq!(chosen(&gzip(), value) == "gzip", is_coded, "{value}");
    }
    let is_coded = |fields| negotiated(&gzip(), fields).is_some();
    assert!(!is_coded(&[]) && is_coded(&["br", "gzip"]) && !is_coded(&["gzip;q=0.5", "identity"]));
}

#[test]
fn the_heaviest_coding_wins_and_the_first_of_two_that_weigh_the_same() {
    let codings = (zstd(), (NoCoding, gzip()));
    for (value, expected) in [
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("zstd;q=0.5, gzip;q=0.6", "gzip"),
        ("zstd;q=0.6, x-gzip;q=0.6, identity;q=0.6", "zstd"),
        ("*", "zstd"),
        ("*, zstd;q=0", "gzip"),
        ("*;q=0.5, zstd;q=0.4", "gzip"),
        ("*;q=0.3, gzip;q=0.2, identity;q=0.1", "zstd"),
        ("zstd;q=0.4, gzip;q=0.5, identity;q=0.6", "identity"),
        ("zstd;q=0, gzip;q=0, *", "identity"),
    ] {
        assert_eq!(chosen(&codings, value), expected, "{value}");
    }
    assert_eq!(chosen(&(gzip(), zstd()), "zstd, gzip"), "gzip");
    let is_negotiated = <(Named, Named)>::NEGOTIATES && <(NoCoding, Named)>::NEGOTIATES && Named::NEGOTIATES;
    assert!(is_negotiated && !<(NoCoding, NoCoding)>::NEGOTIATES);
}

#[test]
fn when_the_permits_of_a_coding_are_taken_the_next_one_serves_and_then_none() {
    let codings = (zstd(), gzip());
    let begin = |field| negotiated(&codings, &[field]);
    let mut held: Vec<_> = (0..2 * Named::limit()).map(|_| begin("zstd, gzip").unwrap()).collect();
    let names: Vec<_> = held.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["zstd", "zstd", "gzip", "gzip"]);
    assert!(begin("zstd, gzip").is_none());
    held.remove(0);
    assert!(begin("gzip, zstd;q=0").is_none(), "a coding that is refused is no way out");
    assert_eq!(begin("gzip, zstd;q=0.1").unwrap().0, "zstd");
}

#[test]
fn where_every_page_is_coded_none_is_sent_unchanged_or_in_the_next_best_coding() {
    let codings = Always((gzip(), zstd()));
    let begin = |field: &'static str| choose(&codings, [field.as_bytes()].into_iter());
    let mut held: Vec<_> = ["identity", "gzip;q=0, zstd"].map(|field| begin(field).unwrap().unwrap()).into();
    assert!(held.iter().all(|(name, _)| *name == "gzip"));
    assert_eq!(begin("zstd").err(), Some(NoEncoder));
    held.pop();
    assert!(begin("*;q=0").is_ok());
    assert_eq!(choose(&Always(NoCoding), [].into_iter()).err(), Some(NoEncoder));
}

/// What a field says of one coding: which, how it is written, and its weight in thousandths.
#[derive(Debug, Clone)]
struct Said {
    name: &'static str,
    weight: Option<u16>,
    text: String,
}

/// Members of a field: some well formed, some not, with names in either case and weights with and without zeros.
fn said() -> impl Strategy<Value = Said> {
    let names = prop::sample::select(vec!["zstd", "gzip", "x-gzip", "identity", "*", "br"]);
    (names, any::<bool>(), prop::option::of(0..=1000_u16), 0..6_u8).prop_map(|(name, upper, weight, form)| {
        let written = if upper { name.to_uppercase() } else { name.to_owned() };
        let digits = |weight: u16| format!("{}.{:03}", weight / 1000, weight % 1000);
        let (text, weight) = match (weight, form) {
            (None, _) => (written, Some(1000)),
            (Some(weight), 0) => (format!("{written};q={}0", digits(weight)), None),
            (Some(weight), 1) => (format!("{written};x={}", digits(weight)), None),
            (Some(weight), 2) => (format!(" {written} ;\tQ={} ", digits(weight)), Some(weight)),
            (Some(weight), 3) => {
                let short = digits(weight).trim_end_matches('0').to_owned();
                (format!("{written};q={short}"), Some(weight))
            }
            (Some(weight), _) => (format!("{written}; q={}", digits(weight)), Some(weight)),
        };
        Said { name, weight, text }
    })
}

/// The coding that is found by looking at all pairs of a coding and what is said last of it.
fn naive(said: &[Said], server: &[&'static str]) -> &'static str {
    let last = |names: &[&str]| {
        said.iter().filter(|said| names.contains(&said.name)).filter_map(|said| said.weight).next_back()
    };
    let weight = |name: &str| {
        let named = if name == "gzip" { last(&["gzip", "x-gzip"]) } else { last(&[name]) };
        named.or(last(&["*"])).unwrap_or(0)
    };
    let mut best = ("identity", weight("identity"));
    for name in server.iter().rev() {
        if weight(name) > 0 && weight(name) >= best.1 {
            best = (name, weight(name));
        }
    }
    best.0
}

proptest! {
    #[test]
    fn the_chosen_coding_is_the_one_that_a_naive_search_finds(
        fields in prop::collection::vec(prop::collection::vec(said(), 0..5), 0..3),
    ) {
        let text: Vec<_> = fields
            .iter()
            .map(|members| members.iter().map(|said| said.text.as_str()).collect::<Vec<_>>().join(","))
            .collect();
        let text: Vec<_> = text.iter().map(String::as_str).collect();
        let said = fields.concat();
        let name = |chosen: Option<(&'static str, Box<dyn Encoder>)>| chosen.map_or("identity", |(name, _)| name);
        prop_assert_eq!(name(negotiated(&(zstd(), gzip()), &text)), naive(&said, &["zstd", "gzip"]), "{:?}", text);
        prop_assert_eq!(name(negotiated(&(gzip(), zstd()), &text)), naive(&said, &["gzip", "zstd"]), "{:?}", text);
        prop_assert_eq!(name(negotiated(&NoCoding, &text)), "identity");
        prop_assert_eq!(name(negotiated(&Always((zstd(), gzip())), &text)), "zstd", "{:?}", text);
        // Of one coding alone, the other's name says nothing.
        prop_assert_eq!(name(negotiated(&(NoCoding, gzip()), &text)), naive(&said, &["gzip"]), "{:?}", text);
    }

    #[test]
    fn no_field_is_too_strange(bytes: Vec<u8>, text in "([a-z*]{0,3}|gzip)( ?;q=[0-9.]{0,6})?(,gzip;q=0)?") {
        let fields = [&bytes[..], text.as_bytes()];
        prop_assert!(choose(&(zstd(), gzip()), fields.into_iter()).is_ok());
        // Where the client has no say, every field leads to the same.
        for fields in [&fields[..], &fields[..1], &[]] {
            let chosen = choose(&Always((gzip(), zstd())), fields.iter().copied());
            prop_assert_eq!(chosen.ok().flatten().map(|(name, _)| name), Some("gzip"));
        }
    }
}
