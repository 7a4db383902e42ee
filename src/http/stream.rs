//! Replies that are made while they are sent.

use crate::tracker::store::Store;
use crate::tracker::{AddressFamilies, Minute};

use super::coding::Encoder;

/// A page that is made piece by piece from the torrents.
pub trait Stream<F: AddressFamilies> {
    /// Appends the next piece, of bounded size and perhaps empty, to `out`. Returns whether there is more. Locks one
    /// shard at a time, each for some microseconds.
    fn next(&mut self, store: &Store<F>, now: Minute, out: &mut Vec<u8>) -> bool;
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
    fn next(&mut self, store: &Store<F>, now: Minute, out: &mut Vec<u8>) -> bool {
        self.piece.clear();
        let more = self.page.next(store, now, &mut self.piece);
        self.encoder.encode(&self.piece, !more, out);
        more
    }
}
