//! Channels: who publishes in which order, and who gets what. It knows ids, never sockets.
//!
//! ```text
//! publish ─▶ Order at the channel's home ─▶ mesh ─▶ Fanout of each shard with members ─▶ sends
//!               sequence, interest, lag                  members, runs, cursors
//! join, leave ─▶ Fanout ─▶ interest changes ─▶ mesh ─▶ Order ─▶ mesh ─▶ Fanout ─▶ joined
//! ```
//!
//! Every shard owns one [`Order`] (for the channels whose home it is, by [`Homes`]) and one
//! [`Fanout`] (for the channels that its own connections are members of). Both are plain state
//! machines: all of their inputs are calls, all of their outputs are returned values, and equal
//! calls give equal values.
//!
//! Beside its order, a home keeps what was published ([`Streams`]), who is there ([`Presence`]) and
//! who has just come or left ([`Joins`]). [`Users`] counts the connections of the users whose home
//! a shard is, and each shard's [`Roster`] finds its own connections of any user, its [`Marks`]
//! those that bear any other name.
//!
//! Invariant: a shard sees the publications of a channel in sequence order, with no hole except
//! where it is told of a gap; a member gets exactly those queued while it was a member.

#![forbid(unsafe_code)]

mod arena;
mod backlog;
mod bounds;
mod bucket;
mod carried;
mod channel;
mod crowd;
mod entrance;
mod fanout;
mod holds;
mod interest;
mod joining;
mod joins;
mod listing;
mod marks;
mod memberships;
mod names;
mod order;
mod outstanding;
#[cfg(test)]
pub(crate) mod planted;
mod position;
mod presence;
mod reading;
mod reads;
mod recency;
mod roster;
mod rotation;
mod shard_set;
mod stream;
mod streams;
mod turns;
mod users;
mod versions;

pub use bounds::{AckBounds, FanoutBounds, JoinBounds, StreamBounds};
pub use bucket::{BUCKETS, Bucket, Homes, ShardId, bucket_of};
pub use carried::CarriedStream;
pub use fanout::{
    Chain, ChannelId, Delivery, Fanout, FanoutCounters, JoinError, MemberId, QueueFull,
};
pub use interest::{Answer, InterestChange, Told};
pub use joining::Announcement;
pub use joins::{JoinBatch, JoinEvent, Joins};
pub use listing::Page;
pub use marks::Marks;
pub use memberships::Standing;
pub use order::{Follows, HomeChannelId, Order, OrderCounters, OrderError, Published, Repair};
pub use outstanding::{
    AckCounters, AckPolicy, CarriedMailbox, CarriedPlace, MailboxesFull, Outstanding, Redelivery,
    Untakable,
};
pub use position::{AskedEpoch, Epoch, Position, Recover, Retention, Since};
pub use presence::{Presence, PresenceError, PresenceStats};
pub use reading::Wording;
pub use roster::Roster;
pub use shard_set::{ShardSet, Shards};
pub use streams::{Recovery, StreamCounters, StreamError, StreamId, Streams, Unrecoverable};
pub use turns::Runs;
pub use users::{UserError, Users};
