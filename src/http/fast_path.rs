//! Answers connections before the event loop knows of them.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use crate::stats::Counter;
use crate::tracker::Clock;

use super::connection::{Buffers, INITIAL_INPUT, MAX_KEPT_OUTPUT, OpenConnection, answer};
use super::flavour::HttpFlavour;
use super::incoming::Incoming;
use super::reply::Refusal;
use super::worker::Worker;

/// What a client is told for whose connection there is no room.
const NO_ROOM: Refusal = Refusal {
    status: "503 Service Unavailable",
    reason: "too many connections are open, please try again later",
    retry_after: Some(30),
    counter: Some(Counter::Http503),
};

/// Answers connections before the event loop knows of them where that is possible, one after the other.
pub(super) struct FastPath {
    input: [u8; INITIAL_INPUT],
    output: Vec<u8>,
}

impl FastPath {
    pub(super) fn new() -> Self {
        Self { input: [0; INITIAL_INPUT], output: Vec::new() }
    }

    /// Reads a request and sends its reply as far as that takes no waiting. Returns `None` if the connection is done
    /// with and is to be closed, else how far it has got.
    pub(super) fn answer<F: HttpFlavour, C: Clock>(
        &mut self,
        incoming: &mut impl Incoming,
        from: IpAddr,
        worker: &Worker<F, C>,
    ) -> Option<OpenConnection<F>> {
        let received = match at_once(incoming.receive(&mut self.input)) {
            Ok(Some(0)) | Err(_) => return None,
            Ok(received) => self.input.get(..received.unwrap_or(0)).unwrap_or_default(),
        };
        self.output.clear();
        self.output.shrink_to(MAX_KEPT_OUTPUT);
        let Some((reply, head_len)) = answer(from, worker, received, &mut self.output) else {
            let buffers = Buffers { input: received.to_vec(), output: Vec::new() };
            return Some(OpenConnection { buffers, reply: None, deadline: None });
        };
        let input = received.get(head_len..).unwrap_or_default();
        let more = reply.unread || !reply.next.is_close();
        // A connection that stays has its reply sent once it has a permit: else more would be served than may be open.
        let stays = more || !input.is_empty() || received.len() == INITIAL_INPUT;
        let sent = if stays || self.output.is_empty() { None } else { at_once(incoming.send(&self.output)).ok()? };
        let output = self.output.get(sent.unwrap_or(0)..).unwrap_or_default();
        // Else it is closed without another look: what comes from now on would be a second request of a client that did
        // not ask to keep the connection.
        if stays || !output.is_empty() {
            let buffers = Buffers { input: input.to_vec(), output: output.to_vec() };
            return Some(OpenConnection { buffers, reply: Some(reply), deadline: None });
        }
        None
    }

    /// Tells a client that there is no room for its connection, as far as that takes no waiting.
    pub(super) fn refuse<F: HttpFlavour, C>(
        &mut self,
        incoming: &mut impl Incoming,
        from: IpAddr,
        worker: &Worker<F, C>,
    ) {
        self.output.clear();
        worker.service.borrow().refuse(NO_ROOM.into(), from, &mut self.output);
        // Whatever comes of it, the connection is closed.
        let _ = incoming.send(&self.output);
    }
}

/// Returns how many bytes were received or sent; `None` if that would have to be waited for.
fn at_once(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
