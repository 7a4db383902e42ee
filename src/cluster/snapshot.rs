//! Snapshots: a tracker that starts takes over all that another one of its cluster knows.
//!
//! - [`Snapshots`]: what all transports of a tracker share.
//! - [`Search`]: when the joiner asks, and whom; [`Offer`]: what a donor answers.
//! - [`ready_by`]: when the joiner is ready.
//! - [`Giver`], [`Taker`]: the two sides of one snapshot, which is a stream of [`swarms`](crate::swarms).
//! - [`limits`]: what bounds them.
//!
//! A transport brings the questions, the offers and the pieces. The joiner's side:
//!
//! ```text
//! let mut search = Search::new(snapshots, now);
//! loop {
//!     match search.next(now) {
//!         Next::Ask => ask everybody,
//!         Next::Wait(until) => wait for an offer (search.offered), or for anybody (search.heard), until then,
//!         Next::Take(candidate) => {
//!             let mut taker = Taker::new(tracker, limits.max, now);
//!             take pieces (taker.take) until it is whole: taker.finish, search.taken(candidate);
//!             or it fails, or nothing comes for PATIENCE: taker.give_up, search.failed(candidate, &error)
//!         }
//!         Next::Over(end) => break,
//!     }
//! }
//! ```
//!
//! And the donor's: [`Snapshots::offer`] where it is asked, [`Giver::begin`] where it is wanted, then each
//! [`next`](Giver::next) piece once it is due, and [`finish`](Giver::finish) or [`give_up`](Giver::give_up).

pub mod limits;

mod error;
mod giver;
mod offer;
mod pace;
mod ready;
mod search;
mod shared;
mod taker;
#[cfg(test)]
mod tests;

pub use error::SnapshotError;
pub use giver::{Giver, Piece};
pub use limits::{Limits, MAX_GIVEN, MAX_PIECE, MAX_TIME, PATIENCE};
pub use offer::Offer;
pub use ready::ready_by;
pub use search::{Candidate, End, Next, Search};
pub use shared::{Snapshots, Taking, Turn};
pub use taker::Taker;
