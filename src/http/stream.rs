//! Replies that are made while they are sent.

use std::convert::Infallible;

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::tracker::AddressFamilies;
use crate::tracker::store::Store;

use super::coding::Encoder;
use super::request::RequestTime;

/// A page that is made piece by piece from the torrents.
pub trait Stream<F: AddressFamilies> {
    /// Appends the next piece, of bounded size and perhaps empty, to `out`. Returns whether there is more. Locks one
    /// shard at a time, each for some microseconds.
    fn next(&mut self, store: &Store<F>, now: RequestTime, out: &mut Vec<u8>) -> bool;
}

/// Lets a page be sent for as long as this is kept. When it is dropped before the page ends, the client is cut off.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "only whether it is there is looked at")] oneshot::Sender<Infallible>);

/// The connection's side of a [`Lease`].
#[derive(Debug)]
pub struct LeaseEnd(oneshot::Receiver<Infallible>);

impl Lease {
    /// Returns a lease, and its other side.
    pub fn new() -> (Self, LeaseEnd) {
        let (lease, end) = oneshot::channel();
        (Self(lease), LeaseEnd(end))
    }
}

impl LeaseEnd {
    /// Returns whether the lease has been dropped.
    pub fn has_come(&mut self) -> bool {
        matches!(self.0.try_recv(), Err(TryRecvError::Closed))
    }

    /// Waits until the lease is dropped.
    pub(super) async fn come(&mut self) {
        // Nothing is ever sent: this is the error that nothing will be.
        let _ = (&mut self.0).await;
    }
}

/// A page that is coded on its way.
pub(super) struct Coded<F> {
    page: Box<dyn Stream<F>>,
    encoder: Box<dyn Encoder>,
    /// The piece that is being coded.
    piece: Vec<u8>,
}

impl<F> Coded<F> {
    /// Returns `page` as `encoder` codes it.
    pub(super) fn new(page: Box<dyn Stream<F>>, encoder: Box<dyn Encoder>) -> Self {
        Self { page, encoder, piece: Vec::new() }
    }
}

impl<F: AddressFamilies> Stream<F> for Coded<F> {
    fn next(&mut self, store: &Store<F>, now: RequestTime, out: &mut Vec<u8>) -> bool {
        self.piece.clear();
        let more = self.page.next(store, now, &mut self.piece);
        self.encoder.encode(&self.piece, !more, out);
        more
    }
}
