//! What handlers have in common that depends on the plugs of the build: who asks, who may see a page, and pages that
//! are made while they are sent.

use std::net::IpAddr;

use crate::stats::Counter;

use super::address::BadAddress;
use super::coding::{Chosen, Codings, choose};
use super::exchange::{Answer, Exchange, Next, StreamedBody};
use super::flavour::{Access, ClientAddress, HttpFlavour, StatsAccess};
use super::reply::{self, Error};
use super::request::Version;
use super::stream::{Coded, LeaseEnd, Stream};

impl<F: HttpFlavour> Exchange<'_, F> {
    /// Returns the address of the client that asks for a page.
    ///
    /// # Errors
    ///
    /// What a proxy says of the client cannot be understood.
    pub fn client(&self) -> Result<IpAddr, BadAddress> {
        self.flavour().client_address().of_page(self.connection, self.request)
    }

    /// Checks that the client may see a page.
    ///
    /// # Errors
    ///
    /// The client may not, or what a proxy says of it cannot be understood.
    pub fn check(&self, access: Access) -> Result<(), Error> {
        let is_allowed = match access {
            Access::Everyone => true,
            Access::Statistics => self.flavour().stats_access().allows(self.client()?),
        };
        if is_allowed { Ok(()) } else { Err(Error::StatsDenied) }
    }

    /// Returns the content coding that suits the client best or that the build sends always, for a reply that is made
    /// while it is sent. It is to be had before anything is taken from others for the reply.
    ///
    /// # Errors
    ///
    /// It would have to be coded, and there are too many that are.
    pub fn stream_coding(&self) -> Result<StreamCoding, Error> {
        Ok(StreamCoding(choose(self.flavour().codings(), self.request.header("accept-encoding"))?))
    }

    /// Begins a reply that is made while it is sent, and counts it as `begun`. It is cut off when its lease ends. Its
    /// bytes are counted as `bytes`.
    pub fn stream(
        &mut self,
        page: impl Stream<F::Families> + 'static,
        StreamCoding(coding): StreamCoding,
        lease_end: LeaseEnd,
        begun: Counter,
        bytes: Counter,
    ) -> Next<F> {
        let (encoding, encoder) = coding.unzip();
        let (chunked, keep_alive) = self.write_stream_head(reply::BINARY, encoding, F::Codings::NEGOTIATES);
        let mut stream: Box<dyn Stream<F::Families>> = Box::new(page);
        if let Some(encoder) = encoder {
            stream = Box::new(Coded::new(stream, encoder));
        }
        self.counters.count(begun);
        Next::Stream(StreamedBody { stream, chunked, keep_alive, lease_end, bytes: Some(bytes) })
    }

    /// Begins a page of text that is made while it is sent, and is neither coded nor counted.
    pub(super) fn stream_text(&mut self, page: impl Stream<F::Families> + 'static, lease_end: LeaseEnd) -> Next<F> {
        let (chunked, keep_alive) = self.write_stream_head(reply::TEXT, None, false);
        Next::Stream(StreamedBody { stream: Box::new(page), chunked, keep_alive, lease_end, bytes: None })
    }

    /// Replies with the header alone of a reply that would be made while it is sent.
    ///
    /// # Errors
    ///
    /// As of [`stream_coding`](Self::stream_coding).
    pub fn respond_stream_header(&mut self) -> Answer<F> {
        let StreamCoding(coding) = self.stream_coding()?;
        let encoding = coding.map(|(encoding, _)| encoding);
        let (_, keep_alive) = self.write_stream_head(reply::BINARY, encoding, F::Codings::NEGOTIATES);
        Ok(Next::request(keep_alive))
    }

    /// Writes the head of a reply that is made while it is sent. Returns whether it comes in chunks, and whether the
    /// connection stays open.
    fn write_stream_head(&mut self, kind: &str, encoding: Option<&str>, varies: bool) -> (bool, bool) {
        let chunked = self.request.version() >= Version::Http11;
        let keep_alive = self.keep_alive && chunked;
        reply::write_stream_head(kind, chunked, encoding, varies, keep_alive, self.out);
        (chunked, keep_alive)
    }
}

/// The content coding of one reply that is made while it is sent, with its encoder, if it is coded.
pub struct StreamCoding(Option<Chosen>);
