//! What an announce costs in instructions that a cluster is told of: the figures that CI holds.
//!
//! `ci/bench/instructions`, which builds it with both transports: each of them is measured alone, as a build has it
//! that has no other, and then both. A peer that is still there is told of half an hour after the last time; in between
//! its announces cost what they cost without anybody to tell.
//!
//! Nothing is sent: that is for the transports' own threads, whose work is not of the announce.

mod asked;
mod counted;
mod plain;

use std::hint::black_box;
use std::net::Ipv4Addr;

use counted::{BATCH, REQUESTS, Udp, costs};
use gungraun::{library_benchmark, library_benchmark_group, main};
use opentracker::config::{NatsHost, NatsServer, Settings};
use opentracker::server::{Needs, Opening, Plug};
use opentracker::switches::ThisBuild;
use opentracker::tracker::{Cluster, Flavour, Standalone};

/// The transports of this build: live sync, and NATS.
trait Transports {
    type LiveSync: Cluster + Plug;
    type Nats: Cluster + Plug;
}

impl<A: Cluster + Plug, B: Cluster + Plug> Transports for (A, B) {
    type LiveSync = A;
    type Nats = B;
}

type Both = <ThisBuild as Flavour>::Cluster;
type LiveSync = (<Both as Transports>::LiveSync, Standalone);
type Nats = (Standalone, <Both as Transports>::Nats);

/// Peers of the swarm: as many as announce themselves in a minute, and as many again.
const PEERS: u32 = 2 * REQUESTS;
/// After so many minutes a peer is told of again.
const LATER: u32 = 30;

/// Those that are configured join a cluster in which nobody is: nothing is sent as long as the tracker has not begun.
fn swarm<C: Cluster + Plug>() -> Udp<C> {
    let mut settings = Settings::default();
    settings.livesync.listen = Some(([127, 0, 0, 1], 0).into());
    let host = NatsHost::Ip(Ipv4Addr::LOCALHOST.into());
    settings.sync.nats.servers = vec![NatsServer { tls: false, host, port: 1, has_user: false }];
    let mut needs = Needs::default();
    let opened =
        C::open(&mut Opening { settings: &settings, user: None, needs: &mut needs, sockets: &mut Default::default() })
            .expect("a socket of its own");
    let mut asked = Udp::new(C::plug(opened, &settings).expect("nothing else is needed"));
    asked.fill(PEERS);
    asked.ask((1..=PEERS).filter(|n| n % 2 == 1));
    asked
}

/// Leechers, and a seeder for each two, come back in the minute in which they came.
fn known<C: Cluster + Plug>() -> Udp<C> {
    swarm()
}

/// The same later, when a cluster is told that they are still there.
fn told<C: Cluster + Plug>() -> Udp<C> {
    let mut asked = swarm::<C>();
    asked.now.0 += LATER;
    asked
}

fn answer<C: Cluster>(mut asked: Udp<C>) -> Udp<C> {
    let datagrams = std::mem::take(&mut asked.datagrams);
    for batch in datagrams.chunks(BATCH) {
        black_box(asked.answer(batch));
    }
    // Freed by whoever drops the tracker: that is not of the announces.
    asked.datagrams = datagrams;
    asked
}

#[library_benchmark]
#[bench::known(args = (), setup = known, config = costs(3_296))]
#[bench::told(args = (), setup = told, config = costs(3_297))]
fn to_nobody(asked: Udp) -> Udp {
    answer(asked)
}

#[library_benchmark]
#[bench::known(args = (), setup = known, config = costs(3_296))]
#[bench::told(args = (), setup = told, config = costs(3_518))]
fn by_live_sync(asked: Udp<LiveSync>) -> Udp<LiveSync> {
    answer(asked)
}

#[library_benchmark]
#[bench::known(args = (), setup = known, config = costs(3_300))]
#[bench::told(args = (), setup = told, config = costs(3_545))]
fn over_nats(asked: Udp<Nats>) -> Udp<Nats> {
    answer(asked)
}

#[library_benchmark]
#[bench::known(args = (), setup = known, config = costs(3_298))]
#[bench::told(args = (), setup = told, config = costs(3_741))]
fn by_both(asked: Udp<Both>) -> Udp<Both> {
    answer(asked)
}

library_benchmark_group!(name = announces, benchmarks = [to_nobody, by_live_sync, over_nats, by_both]);
main!(library_benchmark_groups = announces);
