//! How a client enters a channel: what its home is asked for, what it says, and what the client is
//! told of it (10).

use super::effects::Span;
use super::options::{AckPolicy, Overflow, Retention};
use crate::filter::Reading;
use crate::protocol::SubscribeResult;

/// What a membership is to its session; kept with it, where the channel's members are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The client's position is known: it must not miss anything without being told.
    pub is_positioned: bool,
    /// The server has put the client into the channel, and the client does not leave it.
    pub is_server_side: bool,
}

impl Membership {
    /// It in three bits.
    pub fn bits(self) -> u8 {
        u8::from(self.is_positioned) | u8::from(self.is_server_side) << 1
    }

    /// The one with these bits.
    pub fn of_bits(bits: u8) -> Self {
        Self { is_positioned: bits & 1 != 0, is_server_side: bits & 2 != 0 }
    }
}

/// What the home of a channel is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The client's position in the channel's stream, which is kept so.
    pub stream: Option<Retention>,
    /// Publications from before.
    pub recover: Option<Recover>,
    /// Others may see that the client is there.
    pub is_present: bool,
    /// Whether those who ask who is in the channel hear of it; only where it is present.
    pub is_listed: bool,
    /// What they are shown of it in this channel; JSON.
    pub channel_info: Option<Span>,
    /// Others are told that it comes and goes.
    pub is_announced: bool,
    /// It is told of others that come and go.
    pub hears_joins: bool,
    /// Whoever else is there gives way.
    pub replaces_others: bool,
    /// What becomes of publications that it does not read in time.
    pub overflow: Overflow,
    /// How the client reads what is published.
    pub reading: Reading,
    /// What is retained for its user, until it is acknowledged.
    pub acknowledged: Option<AckPolicy>,
    /// What the membership is to be.
    pub membership: Membership,
}

/// Which publications from before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recover {
    /// All since then, if they are at most so many.
    Missed {
        /// What the client has seen.
        since: Since,
        /// More are not recovered.
        publications_max: u32,
    },
    /// The latest, unless it was seen.
    Latest {
        /// What the client has seen.
        since: Since,
    },
}

/// What a client has seen of a stream, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// The last publication.
    pub offset: u64,
    /// The epoch that it was in.
    pub epoch: Span,
}

/// What the home says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entered<'a> {
    /// Where in the stream the client is now, if that was asked for.
    pub position: Option<Position<'a>>,
    /// What there is of the publications from before, if any were asked for.
    pub recovered: Option<Recovered<'a>>,
    /// Publications that were given up before the user has acknowledged them.
    pub lost: u64,
}

/// A place in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position<'a> {
    /// The last publication before it.
    pub offset: u64,
    /// The epoch that the offset counts in.
    pub epoch: &'a str,
}

/// Publications from before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered<'a> {
    /// With them the client has everything.
    pub is_whole: bool,
    /// A list of publications for a subscription, in the client's format.
    pub publications: &'a [u8],
}

/// What the reply to a client that enters depends on beside the answer of the home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entrant {
    pub(super) is_positioned: bool,
    pub(super) is_recoverable: bool,
    /// It, or the channel's options, have asked for publications from before.
    pub(super) is_recovering: bool,
    /// It would rather not be in the channel than with a gap.
    pub(super) must_recover: bool,
    /// The place in the stream from which it recovers.
    pub(super) asked_offset: u64,
    /// It gets publications as deltas.
    pub(super) takes_deltas: bool,
}

impl Entrant {
    /// Whether the client is to be refused with this answer.
    pub(super) fn is_unrecoverable(self, entered: &Entered<'_>) -> bool {
        let is_whole = entered.recovered.is_some_and(|recovered| recovered.is_whole);
        self.must_recover && self.is_recovering && !is_whole
    }

    /// What the client is told. With what it recovers it gets from the place that it asked for to
    /// the one that it is at; without, it is at once where the stream is.
    pub(super) fn result<'a>(self, entered: &Entered<'a>, data: &'a [u8]) -> SubscribeResult<'a> {
        let recovered = entered.recovered.filter(|recovered| recovered.is_whole);
        let position = entered.position.unwrap_or_default();
        SubscribeResult {
            ttl_s: None,
            recoverable: self.is_recoverable,
            epoch: position.epoch,
            publications: recovered.map_or(&[], |recovered| recovered.publications),
            recovered: recovered.is_some(),
            offset: if recovered.is_some() { self.asked_offset } else { position.offset },
            positioned: self.is_positioned,
            data,
            was_recovering: self.is_recovering,
            delta: self.takes_deltas,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_NINE: Position<'_> = Position { offset: 9, epoch: "abcdefgh" };

    fn entrant(must_recover: bool) -> Entrant {
        Entrant {
            is_positioned: true,
            is_recoverable: true,
            is_recovering: true,
            must_recover,
            asked_offset: 5,
            takes_deltas: false,
        }
    }

    fn entered(is_whole: bool) -> Entered<'static> {
        let recovered = Recovered { is_whole, publications: b"list" };
        Entered { position: Some(AT_NINE), recovered: Some(recovered), lost: 0 }
    }

    #[test]
    fn who_recovers_is_told_the_place_it_asked_for_and_who_does_not_the_end() {
        let whole = entrant(false).result(&entered(true), b"");
        assert_eq!((whole.recovered, whole.offset, whole.publications), (true, 5, &b"list"[..]));
        let gap = entrant(false).result(&entered(false), b"");
        assert_eq!((gap.recovered, gap.offset, gap.publications), (false, 9, &b""[..]));
        assert!(gap.was_recovering && whole.was_recovering);
        assert_eq!((gap.epoch, whole.epoch), ("abcdefgh", "abcdefgh"));
    }

    #[test]
    fn who_would_rather_be_refused_is_refused_only_with_a_gap() {
        let refused =
            |must_recover, is_whole| entrant(must_recover).is_unrecoverable(&entered(is_whole));
        assert_eq!([refused(true, false), refused(true, true)], [true, false]);
        assert_eq!([refused(false, false), refused(false, true)], [false, false]);
        let fresh = Entrant { is_recovering: false, ..entrant(true) };
        assert!(!fresh.is_unrecoverable(&Entered::default()));
    }

    #[test]
    fn a_membership_is_found_again_in_its_bits() {
        for bits in 0..4 {
            assert_eq!(Membership::of_bits(bits).bits(), bits);
        }
    }
}
