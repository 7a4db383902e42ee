//! What handlers have in common that depends on the plugs of the build: who asks, who may see a page, and pages that
//! are made while they are sent.

use std::net::IpAddr;

use crate::stats::Counter;

use super::address::BadAddress;
use super::coding::{Codings, Encoder, choose};
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

    /// Begins a reply that is made while it is sent, in the content coding that suits the client best or that the build
    /// sends always, and counts it as `begun`. It is cut off when its lease ends. Its bytes are counted as `bytes`.
    ///
    /// # Errors
    ///
    /// It would have to be coded, and there are too many that are. Nothing has been written then.
    pub fn stream(
        &mut self,
        page: impl Stream<F::Families> + 'static,
        lease_end: LeaseEnd,
        begun: Counter,
        bytes: Counter,
    ) -> Answer<F> {
        let StreamHead { encoder, chunked, keep_alive } = self.write_stream_head()?;
        let mut stream: Box<dyn Stream<F::Families>> = Box::new(page);
        if let Some(encoder) = encoder {
            stream = Box::new(Coded::new(stream, encoder));
        }
        self.counters.count(begun);
        Ok(Next::Stream(StreamedBody { stream, chunked, keep_alive, lease_end, bytes: Some(bytes) }))
    }

    /// Begins a page of text that is made while it is sent, and is neither coded nor counted.
    pub(super) fn stream_text(&mut self, page: impl Stream<F::Families> + 'static, lease_end: LeaseEnd) -> Next<F> {
        let chunked = self.request.version() >= Version::Http11;
        let keep_alive = self.keep_alive && chunked;
        reply::write_stream_head(reply::TEXT, chunked, None, false, keep_alive, self.out);
        Next::Stream(StreamedBody { stream: Box::new(page), chunked, keep_alive, lease_end, bytes: None })
    }

    /// Replies with the header alone of a reply that would be made while it is sent.
    ///
    /// # Errors
    ///
    /// As of [`stream`](Self::stream).
    pub fn respond_stream_header(&mut self) -> Answer<F> {
        Ok(Next::request(self.write_stream_head()?.keep_alive))
    }

    /// Writes the head of a reply that is made while it is sent. Returns what it says.
    fn write_stream_head(&mut self) -> Result<StreamHead, Error> {
        let coding = choose(self.flavour().codings(), self.request.header("accept-encoding"))?;
        let (encoding, encoder) = coding.unzip();
        let chunked = self.request.version() >= Version::Http11;
        let keep_alive = self.keep_alive && chunked;
        reply::write_stream_head(reply::BINARY, chunked, encoding, F::Codings::NEGOTIATES, keep_alive, self.out);
        Ok(StreamHead { encoder, chunked, keep_alive })
    }
}

/// What the head of a reply says that is made while it is sent.
struct StreamHead {
    encoder: Option<Box<dyn Encoder>>,
    chunked: bool,
    keep_alive: bool,
}
