//! What handlers have in common that depends on the plugs of the build: who asks, who may see a page, and pages that
//! are made while they are sent.

use std::net::IpAddr;

use crate::stats::Counter;

use super::address::BadAddress;
use super::coding::{Codings, negotiate};
use super::exchange::{Exchange, Next, StreamedBody};
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

    /// Begins a reply that is made while it is sent, in the content coding that suits the client best, and counts it as
    /// `begun`. It is cut off when its lease ends. Its bytes are counted as `bytes`. Who wants only the header gets no
    /// more, and nothing is counted.
    pub fn stream(
        &mut self,
        page: impl Stream<F::Families> + 'static,
        lease_end: LeaseEnd,
        begun: Counter,
        bytes: Counter,
    ) -> Next<F> {
        let mut stream: Box<dyn Stream<F::Families>> = Box::new(page);
        let mut encoding = None;
        if let Some((name, encoder)) = negotiate(self.flavour().codings(), self.request.header("accept-encoding")) {
            stream = Box::new(Coded::new(stream, encoder));
            encoding = Some(name);
        }
        let chunked = self.request.version() >= Version::Http11;
        let keep_alive = self.keep_alive && chunked;
        reply::write_stream_head(chunked, encoding, F::Codings::NEGOTIATES, keep_alive, self.out);
        if self.wants_header_only() {
            return Next::request(keep_alive);
        }
        self.counters.count(begun);
        Next::Stream(StreamedBody { stream, chunked, keep_alive, lease_end, bytes })
    }
}
