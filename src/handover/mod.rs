//! What a process says to its successor, and the order in which they say it.
//!
//! ```text
//!  older process                              newer process (its child)
//!    Offer: addresses, shards ─────────────▶  builds its shards, checks itself
//!    ◀───────────────────────────── Built: shards, seats   (or Refused, with the reason)
//!    Channel × old shards × new shards ────▶  each way's new end says that it is there
//!    copies of descriptors, while all ═════▶  kept, and touched by nobody; each way's new end
//!    is served                                says that as many are there as were sent
//!    shards stand still; Still ────────────▶
//!    Bequest … ────────────────────────────▶  keys of publications, what was counted
//!    connections, by their copies or with ═▶  shards take them, and touch none
//!    descriptors
//!    ◀──────────────────── Committed: all of them are there, by count and checksum
//!    leaves: closes its copies                serves
//! ```
//!
//! Pure: bytes in, records out, and [`Older`], which decides what the older process does when.
//! The format is of fields with numbers. A reader skips a field that it does not know, unless the
//! field's writer has marked it as one that must be understood; then the reader refuses, before
//! anything has moved. Times are sent as what is left, or has passed: clocks start anew.
//!
//! Either side may be of a build that knows nothing of copies: [`Offer::sends_ahead`] and
//! [`Built::takes_ahead`] say so, and if one does not, all descriptors come with the records.
//!
//! Invariant: memory follows what has arrived, never a length that was declared.

#![forbid(unsafe_code)]

mod bequest;
mod connection;
mod copies;
mod error;
mod estate;
mod field;
mod filter;
#[doc(hidden)]
pub mod fuzz;
mod mailbox;
mod membership;
mod older;
mod revocations;
mod session;
mod stream;
mod word;

pub use self::bequest::{Bequest, KnownKey};
pub use self::connection::{Connection, Stage};
pub use self::error::FormatError;
pub use self::estate::{Present, Stream};
pub use self::filter::FilterNode;
pub use self::mailbox::{Lost, Mailbox, Owed, OwedPlace};
pub use self::membership::{Aside, Membership};
pub use self::older::{Action, Event, Failure, Older};
pub use self::revocations::{IssuedBefore, Revocations};
pub use self::session::{Expiring, Session, SessionStage};
pub use self::stream::{Item, Sink, Source, Totals};
pub use self::word::{Built, Offer, Place, Word};

/// The version of the format. Fields come and go without another one; a reader refuses versions
/// that it does not know.
pub const VERSION: u16 = 1;
