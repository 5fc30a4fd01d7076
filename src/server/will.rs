//! What the control thread leaves to that of the next process, on its way there.
//!
//! ```text
//!   nothing is under way in the shards ─▶ wanted ─▶ made ─▶ its parts leave ─▶ the shards send
//! ```
//!
//! Invariant: it is made when nothing changes it any more, and has left before any shard sends what
//! it has, so whoever has everything from the shards has this too.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use crate::handover::{Bequest, Word};
use crate::limits::BEQUEST_PART_BYTES_MAX;
use crate::sys::fdpass::{self, SendError};

/// Where it stands.
#[derive(Debug, Default)]
pub(super) enum Will {
    /// The new process does not know that there is one.
    #[default]
    Unread,
    /// It waits for it.
    Waited,
    /// It is to be made.
    Wanted,
    /// Its parts leave, one word each.
    Made(VecDeque<Vec<u8>>),
}

impl Will {
    /// For a process that waits for it, or does not.
    pub(super) fn of(is_waited_for: bool) -> Self {
        if is_waited_for { Self::Waited } else { Self::Unread }
    }

    /// Nothing changes it any more; false if nobody waits for it.
    pub(super) fn begin(&mut self) -> bool {
        if matches!(self, Self::Waited) {
            *self = Self::Wanted;
        }
        matches!(self, Self::Wanted)
    }

    pub(super) fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted)
    }

    /// Whether parts of it are still to leave.
    pub(super) fn has_parts(&self) -> bool {
        matches!(self, Self::Made(parts) if !parts.is_empty())
    }

    /// Makes it, if it is wanted.
    pub(super) fn make(&mut self, bequest: &Bequest) {
        if self.is_wanted() {
            let bytes = bequest.encode();
            let parts = bytes.chunks(BEQUEST_PART_BYTES_MAX).chain([&[][..]]);
            *self = Self::Made(parts.map(|part| Word::Bequest(part.to_vec()).encode()).collect());
        }
    }

    /// Sends it, as far as there is room; all of it is on its way if that is `Ok`.
    pub(super) fn send(&mut self, socket: impl AsFd) -> Result<(), SendError> {
        let Self::Made(parts) = self else { return Ok(()) };
        while let Some(part) = parts.front() {
            fdpass::send(&socket, part, &[])?;
            parts.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HANDED_WORD_BYTES_MAX;

    #[test]
    fn it_is_made_once_and_leaves_in_parts_of_which_the_last_is_empty() {
        let counts = (0..1000).map(|number| (format!("count{number}"), number)).collect();
        let bequest = Bequest { counts, ..Bequest::default() };
        let mut will = Will::of(true);
        will.make(&bequest);
        assert!(!will.has_parts(), "it is too early");
        assert!(will.begin() && will.is_wanted());
        will.make(&bequest);
        assert!(will.has_parts() && !will.is_wanted());
        let (ours, theirs) = fdpass::pair().unwrap();
        let (mut arrived, mut parts) = (Vec::new(), 0);
        let mut buffer = [0; HANDED_WORD_BYTES_MAX];
        loop {
            let sent = will.send(&ours);
            let received = fdpass::receive(&theirs, &mut buffer, 0, &mut Vec::new()).unwrap();
            match Word::decode(&buffer[..received.payload_bytes]) {
                Ok(Word::Bequest(part)) if part.is_empty() => break assert!(sent.is_ok()),
                Ok(Word::Bequest(part)) => arrived.extend(part),
                other => panic!("{other:?}"),
            }
            parts += 1;
        }
        assert!(parts > 3 && !will.has_parts(), "{parts}");
        assert_eq!(Bequest::decode(&arrived), Ok(bequest));
    }

    #[test]
    fn who_does_not_know_of_it_is_sent_none() {
        for mut will in [Will::default(), Will::of(false)] {
            assert!(!will.begin() && !will.is_wanted());
        }
    }
}
