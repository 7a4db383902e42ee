use super::*;
use proptest::prelude::*;

/// Of 65,536 hashes, spread so that their order is not that of their numbers.
fn hash(n: u16) -> InfoHash {
    let mut hash = [3; 20];
    hash[..2].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
    hash[18..].copy_from_slice(&n.to_be_bytes());
    InfoHash(hash)
}

fn list(hashes: impl IntoIterator<Item = u16>) -> List {
    List::new(hashes.into_iter().map(hash).collect()).expect("not so many")
}

fn said(max: u32) -> Said {
    let mut settings = Settings::default();
    settings.access.dynamic_max = max;
    Changed::nothing_said(&settings)
}

/// What is in force, and who changes it.
struct Kept {
    now: Changed,
    said: Said,
}

impl Kept {
    fn new(hashes: impl IntoIterator<Item = u16>, max: u32) -> Self {
        let mut kept = Self { now: Changed::default(), said: said(max) };
        kept.read(hashes);
        kept
    }

    fn read(&mut self, hashes: impl IntoIterator<Item = u16>) {
        self.begin_reading();
        self.end_reading(hashes);
    }

    fn begin_reading(&mut self) {
        Changed::ask_for_reading(&mut self.said);
        Changed::begin_reading(&mut self.said);
    }

    fn end_reading(&mut self, hashes: impl IntoIterator<Item = u16>) {
        self.now = Changed::read(list(hashes), &mut self.said);
    }

    fn change(&mut self, changes: &[(u16, bool)]) -> (usize, usize) {
        let (new, outcome) = self.now.change(&mut self.said, changes.iter().map(|(n, listed)| (hash(*n), *listed)));
        assert!(new.is_none() || outcome.changed > 0, "nothing has changed");
        self.now = new.unwrap_or_else(|| mem::take(&mut self.now));
        (outcome.changed, outcome.refused)
    }

    fn fold(&mut self) {
        self.now = self.now.fold(&mut self.said).unwrap_or_else(|| mem::take(&mut self.now));
    }

    fn has(&self, n: u16) -> bool {
        self.now.contains(&hash(n))
    }
}

#[test]
fn what_is_said_takes_effect_at_once_and_is_counted() {
    let mut kept = Kept::new([1, 2, 3], 10);
    assert_eq!(kept.change(&[(1, true), (4, true), (4, true), (2, false), (9, false)]), (2, 0));
    assert_eq!([1, 2, 3, 4, 9].map(|n| kept.has(n)), [true, false, true, true, false]);
    assert_eq!((kept.now.len(), kept.said.difference()), (3, 2));
    assert_eq!(kept.change(&[(4, false), (2, true), (5, true), (5, false)]), (4, 0));
    assert_eq!((kept.now.len(), kept.said.difference(), kept.now.flips.len()), (3, 0, 0));
    assert_eq!(kept.said.counts(), Counts { added: 3, deleted: 3, refused: 0 });
}

#[test]
fn there_is_room_for_so_many_differences_and_complaint_of_more_is_made_once() {
    let mut kept = Kept::new(0..100, 3);
    assert_eq!(kept.change(&[(200, true), (0, false), (201, true), (202, true), (1, false)]), (3, 2));
    let refusal = |kept: &mut Kept| kept.now.change(&mut kept.said, [(hash(203), true)].into_iter()).1;
    assert!(!refusal(&mut kept).is_first_refusal, "that has been complained of");
    kept.fold();
    assert_eq!((kept.now.len(), kept.change(&[(203, true)])), (101, (0, 1)), "folded ones count as well");
    assert_eq!(kept.change(&[(0, true), (203, true)]), (2, 0), "what is as in the file again makes room");
    assert_eq!(kept.said.counts().refused, 4);
    kept.read(0..100);
    assert_eq!((kept.now.len(), kept.said.difference(), kept.change(&[(200, true)])), (100, 0, (1, 0)));
    kept.change(&[(201, true), (202, true)]);
    assert!(refusal(&mut kept).is_first_refusal);
}

#[test]
fn a_reading_has_what_was_said_before_it_began_and_not_what_was_said_since() {
    let mut kept = Kept::new([1, 2], 3);
    kept.change(&[(3, true), (1, false)]);
    kept.begin_reading();
    assert_eq!(kept.change(&[(2, true), (4, true), (4, false), (5, true)]), (3, 0));
    assert_eq!([1, 2, 3, 5].map(|n| kept.has(n)), [false, true, true, true]);
    // It lacks what was said before, and has what is not to be listed since.
    kept.end_reading([1, 4]);
    assert_eq!([1, 2, 3, 4, 5].map(|n| kept.has(n)), [true, true, false, false, true]);
    assert_eq!((kept.now.len(), kept.said.difference()), (3, 3));

    kept.begin_reading();
    kept.change(&[(2, false)]);
    Changed::refuse("gone", &mut kept.said);
    assert_eq!([1, 2, 5].map(|n| kept.has(n)), [true, false, true], "one that fails changes nothing");
    let readings = kept.said.readings().borrow().clone();
    assert_eq!((readings.begun, readings.ended, readings.outcome), (3, 3, Some(Err("gone".into()))));
}

#[test]
fn what_is_refused_while_the_file_is_read_leaves_what_was_said_before() {
    let mut kept = Kept::new([1, 2], 2);
    assert_eq!(kept.change(&[(3, true)]), (1, 0));
    kept.begin_reading();
    assert_eq!(kept.change(&[(1, false), (1, true), (2, false), (1, false)]), (3, 1));
    kept.end_reading([2]);
    assert_eq!([1, 2, 3].map(|n| kept.has(n)), [true, false, false]);
}

#[test]
fn who_asks_while_the_file_is_read_does_not_lose_what_is_said_before_it_is_read_once_more() {
    let mut kept = Kept::new([1, 2], 10);
    kept.begin_reading();
    kept.change(&[(3, true)]);
    Changed::ask_for_reading(&mut kept.said);
    kept.change(&[(4, true)]);
    kept.end_reading([1, 2]);
    assert_eq!([3, 4].map(|n| kept.has(n)), [true, true]);
    kept.change(&[(1, false)]);
    Changed::begin_reading(&mut kept.said);
    kept.end_reading([1, 2]);
    assert_eq!([1, 3, 4].map(|n| kept.has(n)), [false, false, true]);
    assert!(kept.said.meanwhile.is_none());
}

#[test]
fn no_more_is_kept_of_a_long_reading_than_there_is_room_for() {
    let mut kept = Kept::new([], 10);
    kept.begin_reading();
    for n in 0..1000 {
        kept.change(&[(n, true), (n, false)]);
    }
    assert_eq!(kept.said.meanwhile.as_ref().map(HashMap::len), Some(10));
    assert_eq!((kept.now.len(), kept.said.counts().refused), (0, 2 * 990));
}

#[test]
fn many_flips_are_folded() {
    let mut kept = Kept::new(0..100, 100_000);
    let changes: Vec<_> = (0..10_000).map(|n| (n, n % 2 == 0)).collect();
    for changes in changes.chunks(1000) {
        kept.change(changes);
        assert!(kept.now.flips.len() <= FEW);
    }
    assert!((0..10_000).all(|n| kept.has(n) == (n % 2 == 0)));
    assert_eq!((kept.now.len(), kept.said.difference()), (5000, 4950 + 50));
    kept.fold();
    assert!(kept.now.flips.hashes.is_empty() && kept.now.fold(&mut kept.said).is_none());
    assert!((0..10_000).all(|n| kept.has(n) == (n % 2 == 0)));
}

#[test]
fn the_cost_of_a_change_is_bounded_however_long_the_list_is() {
    let lens = [0, 1_000, 65_536, 1_000_000, 10_000_000, 1_000_000_000, u32::MAX as usize];
    let few = lens.map(need_no_folding);
    assert_eq!(few, [FEW, FEW, FEW, 16_000, 50_592, MANY, MANY]);
    // One at a time, as by commands.
    let mut kept = Kept::new(0..60_000, 100_000);
    for n in 0..6_000 {
        kept.change(&[(n, false)]);
        assert!(kept.now.flips.len() <= FEW);
        assert_eq!(kept.now.len(), 60_000 - usize::from(n) - 1);
    }
}

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Change(Vec<(u16, bool)>),
    Fold,
    Ask,
    End(BTreeSet<u16>),
    Refuse,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((0..40_u16, any::<bool>()), 0..12).prop_map(Step::Change),
        2 => Just(Step::Fold),
        1 => Just(Step::Ask),
        1 => prop::collection::btree_set(0..40_u16, 0..30).prop_map(Step::End),
        1 => Just(Step::Refuse),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against two sets: the file's, and the one in force.
    #[test]
    fn it_is_the_set_that_was_said(
        file in prop::collection::btree_set(0..40_u16, 0..30),
        steps in prop::collection::vec(step(), 0..40),
        max in 1..20_u32,
    ) {
        let mut kept = Kept::new(file.iter().copied(), max);
        let (mut file, mut in_force) = (file.clone(), file);
        let mut meanwhile: Option<HashMap<u16, bool>> = None;
        let mut since: Option<HashMap<u16, bool>> = None;
        for step in steps {
            match step {
                Step::Change(changes) => {
                    let mut expected = (0, 0);
                    for (n, listed) in &changes {
                        let room = meanwhile.as_ref().is_none_or(|noted| noted.len() < max as usize || noted.contains_key(n));
                        let change = in_force.contains(n) != *listed;
                        let more = in_force.contains(n) == file.contains(n);
                        let full = file.symmetric_difference(&in_force).count() >= max as usize;
                        if !room || change && more && full {
                            expected.1 += 1;
                            continue;
                        }
                        meanwhile.iter_mut().chain(&mut since).for_each(|noted| _ = noted.insert(*n, *listed));
                        expected.0 += usize::from(change);
                        if *listed { in_force.insert(*n) } else { in_force.remove(n) };
                    }
                    prop_assert_eq!(kept.change(&changes), expected);
                }
                Step::Fold => kept.fold(),
                Step::Ask => {
                    *if meanwhile.is_none() { &mut meanwhile } else { &mut since } = Some(HashMap::new());
                    Changed::ask_for_reading(&mut kept.said);
                }
                Step::End(read) => {
                    kept.end_reading(read.iter().copied());
                    (file, in_force) = (read.clone(), read);
                    for (n, listed) in meanwhile.take().unwrap_or_default() {
                        if listed { in_force.insert(n) } else { in_force.remove(&n) };
                    }
                    meanwhile = since.take();
                }
                Step::Refuse => {
                    meanwhile = since.take();
                    Changed::refuse("no", &mut kept.said);
                }
            }
            prop_assert_eq!(kept.now.len(), in_force.len());
            prop_assert_eq!(kept.said.difference(), file.symmetric_difference(&in_force).count());
            for n in 0..40 {
                prop_assert_eq!(kept.has(n), in_force.contains(&n));
            }
        }
    }
}
