//! Channels that remember: where a publication stands in its channel's stream, how a connection
//! enters such a channel, and what may be asked of the channel's home.
//!
//! ```text
//!   Peer::enter(Entry) ─▶ home: presence, reading ─▶ Entered ─▶ a member from here on
//!   Peer::ask(Question) ─▶ home ─▶ Answer
//! ```
//!
//! The home answers in the same queue that carries its publications, and the connection becomes a
//! member when the answer is handled. So whatever was published up to the [`Position`] of the
//! answer is in the answer, and whatever comes after it is delivered.

use std::sync::Arc;

use crate::filter::Reading;

use super::{Present, Publications};

/// For how long, and how many of, a channel's publications are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Publications that are kept at most; the oldest goes first.
    pub publications_max: u32,
    /// Seconds after the last publication for which those kept are kept.
    pub ttl_s: u32,
    /// Seconds without use for which the stream's epoch and offset outlive its publications.
    pub meta_ttl_s: u32,
}

/// How its channel's home keeps a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// For how long, and beside how many others.
    pub retention: Retention,
    /// Whether those who take deltas ([`Reading::Deltas`]) are sent what it differs by from the
    /// publication before it ([`Handler::delta`](super::Handler::delta)).
    pub makes_delta: bool,
}

impl From<Retention> for Keep {
    fn from(retention: Retention) -> Self {
        Self { retention, makes_delta: false }
    }
}

/// Which life of a stream an offset belongs to: eight ASCII letters.
///
/// A stream whose metadata was lost begins again at offset 1, in another epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 8]);

impl Epoch {
    /// The letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an epoch is made of ASCII letters")
    }
}

/// A place in a stream: publications are numbered from 1, and 0 is before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of the last publication before it.
    pub offset: u64,
    /// The life of the stream that the offset counts in.
    pub epoch: Epoch,
}

/// The epoch that a client says it was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedEpoch {
    /// It says none: any will do.
    Any,
    /// This one.
    Is(Epoch),
    /// What can be no epoch of ours; it matches none.
    Unknown,
}

impl AskedEpoch {
    /// What a client says in its command.
    pub fn of(text: &str) -> Self {
        match <[u8; 8]>::try_from(text.as_bytes()) {
            _ if text.is_empty() => Self::Any,
            Ok(letters) if letters.iter().all(u8::is_ascii_alphabetic) => Self::Is(Epoch(letters)),
            _ => Self::Unknown,
        }
    }

    /// Whether this is the epoch that was meant.
    pub fn matches(self, epoch: Epoch) -> bool {
        match self {
            Self::Any => true,
            Self::Is(asked) => asked == epoch,
            Self::Unknown => false,
        }
    }
}

/// The place in a stream that a client has seen everything up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The number of the last publication it has seen.
    pub offset: u64,
    /// The epoch that it says the offset counts in.
    pub epoch: AskedEpoch,
}

/// What a connection that enters wants of the publications before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recover {
    /// All that it has missed, if they are at most so many: or none of them.
    Missed {
        /// What it has seen.
        since: Since,
        /// More than these are not recovered.
        publications_max: u32,
    },
    /// The latest, unless it has seen that.
    Latest {
        /// What it has seen.
        since: Since,
    },
}

/// A client that came to a channel, or left it: what [`Handler::joins`](super::Handler::joins)
/// puts into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinEvent<'a> {
    /// Who it is.
    pub present: &'a Present,
    /// Whether it came.
    pub has_come: bool,
}

/// What becomes of a channel's publications for a member that does not read as fast as they come.
///
/// What is dropped is counted (`overflow_dropped_oldest`, `overflow_conflated`), but the member is
/// not told of it, also where it knows its position: that is what the policy is for. The last
/// publication of a channel is never dropped: a member for which too much waits even so, of many
/// channels, is closed as with [`Close`](Self::Close). Whatever the policy, a member that takes
/// nothing at all is cut at the write timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// They wait, and the connection is closed when its output is at its bound.
    #[default]
    Close,
    /// The oldest that wait are dropped.
    DropOldest,
    /// Only the latest waits.
    Latest,
}

/// The user of a connection that acknowledges what is published, and what is retained until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledges {
    /// Whose publications they are.
    pub user: Arc<str>,
    /// Publications that are retained at most; the oldest goes first.
    pub publications_max: u32,
    /// Bytes of them at most.
    pub bytes_max: u32,
    /// Seconds for which each is, and for which the user is known without a connection.
    pub ttl_s: u32,
}

/// How a connection enters a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Asks for the connection's position in the stream, which is made if it is not there.
    pub stream: Option<Retention>,
    /// Asks for publications from before; only where `stream` is asked for, too.
    pub recover: Option<Recover>,
    /// Makes it present in the channel, before the home answers.
    pub presence: Option<Present>,
    /// Whether others are told that it comes and goes; only where it is present.
    pub is_announced: bool,
    /// Whether it is told of others that come and go.
    pub hears_joins: bool,
    /// Whether it comes in the place of all who are in the channel, who are told so by
    /// [`Handler::replaced`](super::Handler::replaced). Of those who enter so, one stays.
    pub replaces_others: bool,
    /// What becomes of publications that it does not read in time.
    pub overflow: Overflow,
    /// How it reads what is published. As deltas only where `stream` is asked for, too.
    pub reading: Reading,
    /// Has what is published retained for its user, and sent again until it is acknowledged
    /// ([`Question::Acknowledge`]).
    pub acknowledges: Option<Acknowledges>,
    /// The application's own, below 8: [`Peer::tag`](super::Peer::tag) returns it.
    pub tag: u8,
}

impl Entry {
    /// The highest tag.
    pub const TAG_MAX: u8 = 7;

    /// Whether the home has a part in it beyond noting that the shard has members.
    pub fn asks_home(&self) -> bool {
        self.stream.is_some()
            || self.presence.is_some()
            || self.hears_joins
            || self.replaces_others
            || self.acknowledges.is_some()
    }
}

/// A connection has entered a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// Where in the stream it has; what follows is delivered.
    pub position: Option<Position>,
    /// What it has asked for of the publications before that.
    pub recovered: Option<Recovered>,
    /// Publications that were given up before its user has acknowledged them, and that no entry
    /// of the user has been told of.
    pub lost: u64,
}

/// What was found of the publications that a connection asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Whether nothing is missing between what it had seen and its position. Otherwise there are
    /// no publications here.
    pub is_whole: bool,
    /// The publications, in order.
    pub publications: Publications,
}

/// How an entry, or a question, goes on that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// The channel's home is this shard: this is what it says.
    Done(T),
    /// The home was asked; its answer comes by a call of the handler.
    Waits,
}

/// What may be asked of a channel's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The publications that are kept.
    History {
        /// Only those after this, or before it where they are wanted in reverse.
        since: Option<Since>,
        /// So many of them at most; 0 asks for the position alone.
        publications_max: u32,
        /// From the latest to the oldest.
        is_reverse: bool,
        /// How long the stream's epoch lives, if it is made by this.
        retention: Retention,
    },
    /// To drop the publications that are kept: the position stays.
    RemoveHistory,
    /// Who is in the channel.
    Presence,
    /// How many are.
    PresenceStats,
    /// None: a user has these publications, by the number in their tag `lw_id`.
    Acknowledge {
        /// The user.
        user: Arc<str>,
        /// The numbers. Those that the home does not know mean nothing.
        ids: Vec<u64>,
    },
}

/// What the home says to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Question::History`].
    History {
        /// The end of the stream.
        position: Position,
        /// What is kept of it, as far as it was asked for.
        publications: Publications,
    },
    /// To [`Question::History`] of another epoch.
    Unrecoverable,
    /// To [`Question::RemoveHistory`].
    HistoryRemoved,
    /// To [`Question::Presence`]. Lists that are the same object have the same content.
    Presence(Arc<[Present]>),
    /// To [`Question::PresenceStats`].
    PresenceStats {
        /// Clients in the channel.
        clients: u32,
        /// Users that they belong to.
        users: u32,
    },
    /// To [`Question::Acknowledge`].
    Acknowledged,
}

/// A question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The connection is closing or gone.
    Gone,
    /// The queue to the channel's home is full: ask again later.
    Busy,
    /// The home keeps as many streams as its limit says.
    HomeFull,
    /// The channel's name is empty or longer than 255 bytes.
    Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_eight_letters_and_what_is_not_matches_none() {
        let epoch = Epoch(*b"abcdWXYZ");
        assert_eq!(AskedEpoch::of("abcdWXYZ"), AskedEpoch::Is(epoch));
        for (text, matches) in [("", true), ("abcdWXYZ", true), ("abcdWXYz", false)] {
            assert_eq!(AskedEpoch::of(text).matches(epoch), matches, "{text}");
        }
        for text in ["_", "abcdWXY", "abcdWXY1", "abcdWXYZZ", "größen!"] {
            assert_eq!(AskedEpoch::of(text), AskedEpoch::Unknown, "{text}");
            assert!(!AskedEpoch::of(text).matches(epoch));
        }
    }
}
