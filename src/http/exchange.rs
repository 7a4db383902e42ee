//! A request and its reply: what a handler is given, and what it gives back.

use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;

use crate::stats::pages::Walk;
use crate::stats::{Counter, Counters, WorkerCounters};
use crate::tracker::peer::{Peer as _, PeerV4, PeerV6};
use crate::tracker::{Flavour, PeerBuffer, Tracker, WantedLog};

use super::announce_query::MAX_WANTED;
use super::method::Method;
use super::reply::{self, Error};
use super::request::{Request, RequestTime};
use super::stream::{LeaseEnd, Stream};
use super::takeover::Takeover;

/// What all workers share.
pub struct Shared<F: Flavour> {
    /// The torrents, and the plugs of the build.
    pub tracker: Arc<Tracker<F>>,
    /// The counters of all workers.
    pub counters: Arc<Counters>,
    /// The path of the statistics, without the slash before it.
    pub stats_path: String,
    /// Where `/` redirects to; without it, `/` is not found.
    pub redirect_url: Option<String>,
}

/// One request, with all that a handler needs to answer it.
pub struct Exchange<'a, F: Flavour> {
    /// What the client asks.
    pub request: &'a Request<'a>,
    /// The address at the other end of the connection, which need not be the client's: a proxy hands on requests of
    /// others. [`Self::client`] says whose it is.
    pub connection: IpAddr,
    /// When the request came.
    pub now: RequestTime,
    /// The connection is to stay open for another request. The head of the reply says so.
    pub keep_alive: bool,
    /// What all workers share.
    pub shared: &'a Arc<Shared<F>>,
    /// The counters of this worker.
    pub counters: &'a Arc<WorkerCounters>,
    /// Random numbers that no secret depends on.
    pub rng: &'a mut Rng,
    /// The reply, to be appended to.
    pub out: &'a mut Vec<u8>,
    /// What this worker keeps for announces.
    pub(super) own: &'a mut OwnMemory<F>,
}

/// What a worker keeps for announces: where the peers of a reply are collected, so that none has to allocate, and its
/// part of the counts of how many are asked for.
pub(super) struct OwnMemory<F: Flavour> {
    pub(super) ipv4: Box<[u8]>,
    pub(super) ipv6: Box<[u8]>,
    pub(super) wanted: <F::WantedLog as WantedLog>::OfWorker,
}

impl<F: Flavour> OwnMemory<F> {
    /// Makes that of one more worker.
    pub(super) fn of_worker(flavour: &F) -> Self {
        let for_peers = |len: usize| vec![0; MAX_WANTED * len + PeerBuffer::SPARE].into_boxed_slice();
        Self {
            ipv4: for_peers(PeerV4::COMPACT),
            ipv6: for_peers(PeerV6::COMPACT),
            wanted: flavour.wanted_log().for_worker(),
        }
    }
}

/// What a handler gives back once its reply, or the beginning of it, is written.
pub type Answer<F> = Result<Next<F>, Error>;

/// What is to be done once the bytes of a reply are sent.
pub enum Next<F: Flavour> {
    /// Close the connection.
    Close,
    /// Wait for another request.
    KeepAlive,
    /// Make and send a page piece by piece. The head is in the reply.
    Stream(StreamedBody<F>),
    /// Make a page of the statistics in a walk, send it with its head, and close the connection.
    Walk(Walk),
    /// Hand the connection over: HTTP is over on it.
    TakeOver(Box<dyn Takeover>),
}

/// A body that is made while it is sent.
pub struct StreamedBody<F: Flavour> {
    /// What makes it.
    pub stream: Box<dyn Stream<F::Families>>,
    /// It goes out in chunks (RFC 9112, section 7.1); else the end of the connection is its end.
    pub chunked: bool,
    /// Another request may follow once its last chunk is sent.
    pub keep_alive: bool,
    /// When the client is cut off, whatever is still to come.
    pub lease_end: LeaseEnd,
    /// Where its bytes are counted, as they are sent, if they are.
    pub bytes: Option<Counter>,
}

impl<F: Flavour> Next<F> {
    /// Returns what follows a whole reply.
    pub fn request(keep_alive: bool) -> Self {
        if keep_alive { Self::KeepAlive } else { Self::Close }
    }

    /// Returns whether another request may follow on the connection.
    pub fn keep_alive(&self) -> bool {
        match self {
            Self::Close | Self::Walk(_) | Self::TakeOver(_) => false,
            Self::KeepAlive => true,
            Self::Stream(body) => body.keep_alive,
        }
    }

    /// Returns whether the whole reply is there.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Close | Self::KeepAlive)
    }

    /// Returns whether nothing is left to be done but to close the connection.
    pub(super) fn is_close(&self) -> bool {
        matches!(self, Self::Close)
    }
}

impl<F: Flavour> Exchange<'_, F> {
    /// Returns the plugs of the build.
    pub fn flavour(&self) -> &F {
        self.shared.tracker.flavour()
    }

    /// Replies with a whole page.
    pub fn respond(&mut self, content_type: &str, body: &[u8]) -> Next<F> {
        reply::write(reply::OK, content_type, self.keep_alive, body, self.out);
        Next::request(self.keep_alive)
    }

    /// Returns whether only the header of the reply is wanted. A page is not made then if that would do or remember
    /// something, or look at more torrents than a few.
    pub fn wants_header_only(&self) -> bool {
        self.request.method() == Method::Head
    }

    /// Replies with the header of a page that is not made, without the length that it would have (RFC 9110, section
    /// 9.3.2).
    pub(super) fn respond_header(&mut self, content_type: &str) -> Next<F> {
        reply::write_header(content_type, self.keep_alive, self.out);
        Next::request(self.keep_alive)
    }

    /// Replies with a whole page that is another one for clients whose request field `varies_by` says something else.
    pub fn respond_negotiated(&mut self, varies_by: &str, content_type: &str, body: &[u8]) -> Next<F> {
        self.respond_with(&[("Vary", varies_by)], content_type, body)
    }

    /// Replies with a whole page whose head has these fields too.
    pub fn respond_with(&mut self, fields: &[(&str, &str)], content_type: &str, body: &[u8]) -> Next<F> {
        reply::write_with(fields, content_type, self.keep_alive, body, self.out);
        Next::request(self.keep_alive)
    }

    /// Replies with what is wrong, and counts it.
    pub(super) fn refuse(&mut self, error: Error) -> Next<F> {
        error.refuse(self.counters, self.connection, self.keep_alive, self.out);
        Next::request(self.keep_alive)
    }
}
