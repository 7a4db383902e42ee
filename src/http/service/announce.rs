//! Answers announces (BEP 3, 7, 23, 24).

use crate::http::announce_query::{self, AnnounceQuery};
use crate::http::announce_reply::AnnounceReply;
use crate::http::exchange::{Answer, Exchange, Next, OwnMemory};
use crate::http::flavour::{ClientAddress, HttpFlavour};
use crate::http::query::Query;
use crate::http::reply::{self, Error};
use crate::log;
use crate::stats::{Counter, Protocol};
use crate::tracker::{
    AddressFamilies, AnnounceError, AnnounceRequest, Clients as _, Event, NetworkLog as _, PEER_ID_LEN, PeerBuffer,
    PeerBuffers, PeerRequest, WorkerWanted as _,
};

/// Carries out an announce, and replies with the peers that the client is handed. Who wants only the header has not
/// announced anything.
pub(super) fn answer<F: HttpFlavour>(exchange: &mut Exchange<'_, F>) -> Answer<F> {
    let Exchange { request, shared, counters, .. } = *exchange;
    let query = request.query().unwrap_or(Query::EMPTY);
    let announce_query = AnnounceQuery::read(query)?;
    let endpoint = shared.tracker.flavour().client_address().of_announce::<F::Families>(
        exchange.connection,
        announce_query.port,
        request,
        &query,
    )?;
    let client = endpoint.ip();
    if exchange.wants_header_only() {
        return Ok(exchange.respond_header(reply::TEXT));
    }
    let refuse = |reason| {
        counters.count_refusal(Protocol::Http, reason, client);
        Error::Announce(reason, shared.tracker.refusal_terms(reason).map(|terms| terms.retry))
    };
    exchange.own.wanted.count(announce_query.wanted);
    if !serves_client::<F>(shared.tracker.flavour(), announce_query.event, query) {
        shared.tracker.flavour().network_log().record(client, exchange.now.minute, exchange.rng);
        return Err(refuse(AnnounceError::ClientNotServed));
    }
    let announce = AnnounceRequest {
        info_hash: announce_query.info_hash,
        endpoint,
        seeder: announce_query.seeder,
        uploaded: announce_query.uploaded,
        event: announce_query.event,
    };
    let OwnMemory { ipv4, ipv6, .. } = &mut *exchange.own;
    let into = PeerBuffers::Both { ipv4: PeerBuffer::new(ipv4), ipv6: PeerBuffer::new(ipv6) };
    let mut peers = PeerRequest { wanted: announce_query.wanted, into };
    let outcome = shared.tracker.announce(&announce, exchange.now.minute, exchange.rng, &mut peers).map_err(refuse)?;
    let [ipv4, ipv6] = peers.into.written();
    // What the query says of the client's address is nothing that the tracker has seen.
    let seen = if F::ClientAddress::ASKS_QUERY {
        let own = shared.tracker.flavour().client_address().of_announce::<F::Families>(
            exchange.connection,
            announce_query.port,
            request,
            &Query::EMPTY,
        );
        own.ok().map(|endpoint| endpoint.ip())
    } else {
        Some(client)
    };

    let intervals = shared.tracker.intervals();
    let interval = intervals.draw(exchange.rng);
    let reply = AnnounceReply {
        counts: outcome.counts,
        external_ip: seen.filter(|ip| if ip.is_ipv4() { F::Families::IPV4 } else { F::Families::IPV6 }),
        interval,
        min_interval: intervals.min(interval),
        peers: ipv4,
        peers6: F::Families::IPV6.then_some(ipv6),
    };
    reply.write(exchange.keep_alive, exchange.out);
    counters.count_announce(Counter::TcpAnnounced, client, &outcome);
    if outcome.counted_download {
        log::completed(announce.info_hash, announce.endpoint);
    }
    Ok(Next::request(exchange.keep_alive))
}

/// Returns whether the client is served that sent this announce. One that leaves is heard in any case.
#[inline(always)] // Gone where every client is served.
fn serves_client<F: HttpFlavour>(flavour: &F, event: Event, query: Query<'_>) -> bool {
    !F::Clients::RESTRICTS
        || event == Event::Stopped
        || flavour.clients().serves(announce_query::peer_id(query, &mut [0; PEER_ID_LEN]))
}
