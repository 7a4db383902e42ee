//! Content codings: those of a build, and which of them a page is sent in.

use std::cmp::Reverse;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::weights::choices;

/// A coding that a build has (RFC 9110, section 8.4.1).
pub trait Coding: Send + Sync + 'static {
    /// Returns the names under which clients ask for it, in lower case. The first one is the one that is answered with.
    fn names(&self) -> &'static [&'static str];

    /// Returns an encoder for one page; `None` while as many pages are being coded as may be at a time.
    fn encoder(&self) -> Option<Box<dyn Encoder>>;
}

/// Codes one page, piece by piece, in bounded memory.
pub trait Encoder {
    /// Takes the next piece of the page, and appends what can be sent by now to `out`: all the rest, if `is_last`.
    fn encode(&mut self, piece: &[u8], is_last: bool, out: &mut Vec<u8>);
}

/// The codings of a build, best first: one coding, none, or a pair of such lists.
pub trait Codings: Send + Sync + 'static {
    /// True where there is a coding, and the client has a say: then what is sent depends on what it accepts.
    const NEGOTIATES: bool;

    /// `None` where a page can be sent unchanged. Else every page is sent in the first coding of the list, whatever the
    /// client accepts, and this is how many pages there may be at a time. There are more encoders than that, since the
    /// one of a page that is cut off is freed a moment later.
    const ALWAYS: Option<usize> = None;

    /// Appends all codings to `list`, the one that the server likes best first.
    fn list<'a>(&'a self, list: &mut Vec<&'a dyn Coding>);
}

/// Stands where no coding is built in.
#[derive(Debug, Default)]
pub struct NoCoding;

impl Codings for NoCoding {
    const NEGOTIATES: bool = false;

    fn list<'a>(&'a self, _: &mut Vec<&'a dyn Coding>) {}
}

impl<C: Coding> Codings for C {
    const NEGOTIATES: bool = true;

    fn list<'a>(&'a self, list: &mut Vec<&'a dyn Coding>) {
        list.push(self);
    }
}

impl<A: Codings, B: Codings> Codings for (A, B) {
    const NEGOTIATES: bool = A::NEGOTIATES || B::NEGOTIATES;

    fn list<'a>(&'a self, list: &mut Vec<&'a dyn Coding>) {
        self.0.list(list);
        self.1.list(list);
    }
}

/// Bounds how many pages are coded at a time with one coding: each takes memory for as long as its client is slow, and
/// strangers decide how many there are. Each coding has a limit of its own, since what a page takes depends on it.
/// Whoever comes when the limit is reached gets the next best coding, and in the end none.
#[derive(Debug)]
pub struct EncoderLimit(Arc<Semaphore>);

impl EncoderLimit {
    /// Returns a limit of `max` pages.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max)))
    }

    /// Returns a permit for one page; `None` if all are taken.
    pub fn take(&self) -> Option<EncoderPermit> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(EncoderPermit)
    }
}

/// Lets one page be coded, until this is dropped.
#[derive(Debug)]
pub struct EncoderPermit(#[allow(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Every page has to be coded, and there is no encoder left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoEncoder;

/// A coding for one page: its name, and an encoder.
pub(super) type Chosen = (&'static str, Box<dyn Encoder>);

/// Returns an encoder, and the name of its coding, that suits a client with these `Accept-Encoding` fields best (RFC
/// 9110, section 12.5.3), or the one that every page gets; `None` if the page is to be sent unchanged.
///
/// # Errors
///
/// The page would have to be sent unchanged, and the build sends none so.
pub(super) fn choose<'f, C: Codings>(
    codings: &C,
    accept_encoding: impl Iterator<Item = &'f [u8]>,
) -> Result<Option<Chosen>, NoEncoder> {
    let mut list = Vec::new();
    codings.list(&mut list);
    match C::ALWAYS {
        None => Ok(negotiate(&list, accept_encoding)),
        Some(_) => list.first().and_then(|coding| begin(*coding)).map(Some).ok_or(NoEncoder),
    }
}

/// Returns the encoder that suits a client best.
///
/// The coding with the greatest weight is the best, and of two with the same weight the one that the server lists
/// first. A page is sent unchanged only when no coding weighs as much, or none has a free permit: then even a client
/// that refuses unchanged pages is sent one. Malformed members of the fields do not count.
fn negotiate<'f>(list: &[&dyn Coding], accept_encoding: impl Iterator<Item = &'f [u8]>) -> Option<Chosen> {
    ranked(list, accept_encoding).into_iter().find_map(begin)
}

/// Begins a page in a coding, and names it; `None` while as many are being coded as may be.
fn begin(coding: &dyn Coding) -> Option<Chosen> {
    Some((*coding.names().first()?, coding.encoder()?))
}

/// Returns the codings of `list` that a client likes at least as much as an unchanged page, best first.
fn ranked<'l, 'f>(list: &[&'l dyn Coding], accept_encoding: impl Iterator<Item = &'f [u8]>) -> Vec<&'l dyn Coding> {
    let mut weights = vec![None; list.len()];
    let (mut identity, mut others) = (None, None);
    // A coding has no parameters.
    for choice in choices(accept_encoding).filter(|choice| !choice.has_parameters) {
        let known = list.iter().position(|coding| coding.names().iter().any(|name| choice.is(name)));
        match known.and_then(|at| weights.get_mut(at)) {
            Some(known) => *known = Some(choice.weight),
            None if choice.is("identity") => identity = Some(choice.weight),
            None if choice.is("*") => others = Some(choice.weight),
            None => (),
        }
    }
    let identity = identity.or(others).unwrap_or(0);
    let weighed = list.iter().zip(weights).map(|(coding, weight)| (*coding, weight.or(others).unwrap_or(0)));
    let mut liked: Vec<_> = weighed.filter(|&(_, weight)| weight > 0 && weight >= identity).collect();
    liked.sort_by_key(|&(_, weight)| Reverse(weight));
    liked.into_iter().map(|(coding, _)| coding).collect()
}

#[cfg(test)]
mod tests;
