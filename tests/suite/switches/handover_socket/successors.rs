//! A process that is to take over, and ends at any moment, or says what it should not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;
use nix::unistd::User;

use super::killed::{PEERS, large, peers_of_large};
use super::{Post, Swarms, ended};
use crate::clients::handover::{HELLO, IDENTITY, KEEPS, PAUSE, READY, REFUSED, SWARMS, Speaker, TAKEN, VERSION, YOURS};
use crate::flavour::only_with;
use crate::harness::tests;
use crate::process::clocks::Clocks;
use crate::tracker::{Tracker, only_as_root};
use crate::wait::wait_until;

tests![
    one_that_ends_at_any_moment_leaves_the_old_one_serving,
    one_that_ends_when_it_has_taken_everything_leaves_the_old_one_serving,
    one_that_says_what_makes_no_sense_is_refused,
    one_that_reads_nothing_leaves_the_old_one_serving,
    one_that_says_nothing_is_waited_for_while_all_are_answered,
    one_that_says_nothing_for_too_long_is_left_alone,
    one_of_another_user_is_refused,
];

type Act = fn(&Speaker);

/// Goes as far as until nobody is answered any more, and all is sent.
fn take_all(speaker: &Speaker) {
    speaker.ask();
    speaker.say(READY, b"");
    let once = speaker.take_once();
    speaker.say(PAUSE, b"");
    speaker.take_changes(&once);
}

/// Waits until a log says so many times that nobody takes over.
#[track_caller]
fn wait_for_failures(tracker: &Tracker, times: usize) {
    let count = || tracker.log().matches("a process that was to take over does not: ").count();
    wait_until(|| (count() >= times).then_some(()));
    assert_eq!(count(), times, "{}", tracker.log());
}

/// Waits until the first thread of a tracker, which hands over, is in this state.
#[track_caller]
fn wait_for_state(tracker: &Tracker, state: char) {
    let stat = format!("/proc/{}/stat", tracker.pid());
    let is_in_it = || fs::read_to_string(&stat).unwrap().contains(&format!(") {state} ")).then_some(());
    wait_until(is_in_it).expect("another state");
}

/// Asserts that a real one can still take over, and has everything.
#[track_caller]
fn assert_hands_over(post: &Post, old: Tracker, swarms: &Swarms) -> String {
    let new = post.start().run();
    let log = ended(old);
    swarms.assert_served(&new);
    new.stop();
    log
}

fn one_that_ends_at_any_moment_leaves_the_old_one_serving() {
    only_with("handover");
    let acts: [Act; 8] = [
        |_| (),
        |speaker| speaker.say(HELLO, &VERSION),
        |speaker| {
            speaker.say(HELLO, &VERSION);
            speaker.expect(IDENTITY);
        },
        |speaker| drop(speaker.ask()),
        |speaker| {
            speaker.ask();
            speaker.say(READY, b"");
        },
        |speaker| {
            speaker.ask();
            speaker.say(READY, b"");
            speaker.expect(SWARMS);
        },
        |speaker| {
            speaker.ask();
            speaker.say(READY, b"");
            speaker.take_once();
            speaker.say(PAUSE, b"");
        },
        take_all,
    ];
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    for (at, act) in acts.into_iter().enumerate() {
        let speaker = Speaker::connect(&post.path());
        act(&speaker);
        drop(speaker);
        swarms.assert_served(&old);
        wait_for_failures(&old, at + 1);
        swarms.assert_served(&old);
    }
    assert_hands_over(&post, old, &swarms);
}

fn one_that_ends_when_it_has_taken_everything_leaves_the_old_one_serving() {
    only_with("handover");
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    for times in 1..=3 {
        let speaker = Speaker::connect(&post.path());
        take_all(&speaker);
        // It is gone when it is told that the tracker is its own.
        old.signal(Signal::SIGSTOP);
        wait_for_state(&old, 'T');
        speaker.say(TAKEN, b"");
        drop(speaker);
        old.signal(Signal::SIGCONT);
        wait_for_failures(&old, times);
        swarms.assert_served(&old);
    }
    assert_hands_over(&post, old, &swarms);
}

fn one_that_says_what_makes_no_sense_is_refused() {
    only_with("handover");
    // What it says, and what it is told.
    let acts: [(Act, u8, &str); 10] = [
        (|speaker| speaker.say(99, b""), REFUSED, ""),
        (|speaker| speaker.say(READY, b""), REFUSED, "makes no sense"),
        (|speaker| speaker.say(TAKEN, b""), REFUSED, "makes no sense"),
        (|speaker| speaker.say(HELLO, &[0, 2]), REFUSED, "another version"),
        (|speaker| speaker.say(HELLO, b""), REFUSED, "another version"),
        (|speaker| speaker.say(HELLO, &[0; 1 << 17]), REFUSED, ""),
        (
            |speaker| {
                speaker.ask();
                speaker.say(PAUSE, b"");
            },
            REFUSED,
            "makes no sense",
        ),
        (
            |speaker| {
                speaker.ask();
                speaker.say(READY, b"");
                speaker.take_once();
                speaker.say(READY, b"");
            },
            REFUSED,
            "makes no sense",
        ),
        (
            |speaker| {
                take_all(speaker);
                speaker.say(PAUSE, b"");
            },
            KEEPS,
            "makes no sense",
        ),
        (
            |speaker| {
                take_all(speaker);
                speaker.say(YOURS, b"");
            },
            KEEPS,
            "makes no sense",
        ),
    ];
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    for (at, (act, kind, said)) in acts.into_iter().enumerate() {
        let speaker = Speaker::connect(&post.path());
        act(&speaker);
        let reply = speaker.expect(kind);
        let told = String::from_utf8(reply.body).unwrap();
        assert!(told.contains("the process that runs goes on: ") && told.contains(said), "{told}");
        assert!(speaker.hear().is_none(), "and then it is left alone");
        swarms.assert_served(&old);
        wait_for_failures(&old, at + 1);
    }
    let log = assert_hands_over(&post, old, &swarms);
    assert!(log.contains("it speaks another version of the handover"), "{log}");
    assert!(log.contains("it says what makes no sense; going on"), "{log}");
}

fn one_that_reads_nothing_leaves_the_old_one_serving() {
    only_with("handover");
    let post = Post::new();
    let old = large(post.start());
    for (at, messages) in [0, 1, 3].into_iter().enumerate() {
        let speaker = Speaker::connect(&post.path());
        speaker.ask();
        speaker.say(READY, b"");
        // Meanwhile the stream fills what the system holds of it, and there is more.
        assert_eq!(peers_of_large(&old), u32::from(PEERS));
        (0..messages).for_each(|_| drop(speaker.expect(SWARMS)));
        drop(speaker);
        wait_for_failures(&old, at + 1);
        assert_eq!(peers_of_large(&old), u32::from(PEERS));
    }
    let new = post.start().run();
    ended(old);
    assert_eq!(peers_of_large(&new), u32::from(PEERS));
    new.stop();
}

fn one_that_says_nothing_is_waited_for_while_all_are_answered() {
    only_with("handover");
    let acts: [Act; 2] = [|_| (), |speaker| drop(speaker.ask())];
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    for act in acts {
        let speaker = Speaker::connect(&post.path());
        act(&speaker);
        swarms.assert_served(&old);
        drop(speaker);
    }
    let silent = Speaker::connect(&post.path());
    // Whoever comes after it waits.
    let mut new = post.start().begin();
    new.wait_for_log("taking over from the process that answers at");
    swarms.assert_served(&old);
    drop(silent);
    let new = new.ready();
    ended(old);
    swarms.assert_served(&new);
    new.stop();
}

fn one_that_says_nothing_for_too_long_is_left_alone() {
    only_with("handover");
    let post = Post::new();
    let (clocks, start) = Clocks::of(post.start());
    let old = start.run();
    let swarms = Swarms::announced(&old);
    // A minute while all are answered, and less when nobody is.
    let acts: [(Act, u8); 2] = [(|speaker| drop(speaker.ask()), REFUSED), (take_all, KEEPS)];
    for (seconds, (act, kind)) in [61, 72].into_iter().zip(acts) {
        let speaker = Speaker::connect(&post.path());
        act(&speaker);
        wait_for_state(&old, 'S');
        clocks.pass(seconds);
        // Whoever comes wakes it.
        let next = Speaker::connect(&post.path());
        let told = String::from_utf8(speaker.expect(kind).body).unwrap();
        assert!(told.ends_with("the process that runs goes on: it says nothing"), "{told}");
        assert!(speaker.hear().is_none(), "and then it is left alone");
        swarms.assert_served(&old);
        next.ask();
    }
    assert_hands_over(&post, old, &swarms);
}

fn one_of_another_user_is_refused() {
    only_with("handover");
    only_as_root();
    let post = Post::new();
    let old = post.start().run();
    let swarms = Swarms::announced(&old);
    let stranger = || post.start().started_by("daemon").finish();
    stranger().refuses(1, &["tracker.handover: ", "Permission denied"]);
    // Somebody has opened the socket to everybody.
    fs::set_permissions(post.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let uid = User::from_name("daemon").unwrap().unwrap().uid;
    stranger().refuses(1, &["tracker.handover: ", &format!("the process that runs goes on: user {uid} may not")]);
    swarms.assert_served(&old);
    let log = assert_hands_over(&post, old, &swarms);
    assert!(log.contains(&format!("a process that was to take over does not: user {uid} may not; going on")), "{log}");
}
