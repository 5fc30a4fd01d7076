//! Places in a channel's stream of publications, and what clients ask about them.
//!
//! Invariant: within one epoch an offset is given once. Two epochs never say anything about each
//! other: what was published between them is unknown.

#[cfg(test)]
use super::planted::{Fault, is_planted};

/// Names one life of a stream: eight letters, drawn when its offsets begin at 1.
pub type Epoch = [u8; 8];

/// A place in a stream: behind the publication with this offset, 0 before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Offsets count from 1.
    pub offset: u64,
    /// The life of the stream that they count in.
    pub epoch: Epoch,
}

/// The epoch in which a client believes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedEpoch {
    /// It named none, and takes whichever it is.
    Any,
    /// This one.
    Is(Epoch),
    /// One that no stream of ours has ever had.
    Unknown,
}

impl AskedEpoch {
    pub(super) fn allows(self, epoch: Epoch) -> bool {
        match self {
            Self::Any => true,
            Self::Is(asked) => asked == epoch,
            Self::Unknown => false,
        }
    }
}

/// The place behind which a client asks for publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The offset of the last publication that it has.
    pub offset: u64,
    /// The epoch of that offset.
    pub epoch: AskedEpoch,
}

/// How a client that comes back is brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recover {
    /// By all publications that it missed, if they are no more than so many.
    Missed {
        /// Where it left.
        since: Since,
        /// The most that it is sent.
        publications_max: u32,
    },
    /// By the latest publication, unless it has that one.
    Latest {
        /// Where it left.
        since: Since,
    },
}

impl Recover {
    pub(super) fn since(self) -> Since {
        match self {
            Self::Missed { since, .. } | Self::Latest { since } => since,
        }
    }
}

/// How long a stream keeps what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The publications that are kept: the last so many.
    pub publications_max: u32,
    /// How long after the last publication they are kept, in seconds.
    pub ttl_s: u32,
    /// How long after its last use the stream itself is: its epoch and the offset of the next
    /// publication. Never shorter than its publications.
    pub meta_ttl_s: u32,
}

/// Draws epochs from a seed: as many as are asked for, in an order that tells nothing of it.
pub(super) struct Epochs(u64);

impl Epochs {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn draw(&mut self) -> Epoch {
        const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        #[cfg(test)]
        if is_planted(Fault::EpochKept) {
            return *b"epochAll";
        }
        let mut bits = self.next_bits();
        std::array::from_fn(|_| {
            let letter = LETTERS[usize::try_from(bits % 52).expect("below 52")];
            bits /= 52;
            letter
        })
    }

    /// `SplitMix64`: a counter in steps that meet every number, each well mixed. A seed's epochs
    /// repeat no sooner than 52^8 of them are drawn by chance.
    fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn epochs_are_eight_letters_and_differ_within_a_seed_and_between_seeds() {
        let mut seen = BTreeSet::new();
        for seed in [0, 1, u64::MAX] {
            let mut epochs = Epochs::new(seed);
            for _ in 0..1000 {
                let epoch = epochs.draw();
                assert!(epoch.iter().all(u8::is_ascii_alphabetic), "{epoch:?}");
                assert!(seen.insert(epoch), "{epoch:?} twice");
            }
        }
    }
}
