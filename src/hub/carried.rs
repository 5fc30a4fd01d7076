//! What a home keeps, as another process needs it, and what another process has kept.
//!
//! Times travel as seconds from now on. The order in which streams were used does not travel: where
//! there is too little room, others go first than would have gone.

use super::position::Epoch;
use super::presence::Presence;
use super::stream::Carriage;
use super::streams::{StreamError, StreamId, Streams};
use std::hash::Hash;

/// A stream without its publications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedStream {
    /// The life that its offsets count in.
    pub epoch: Epoch,
    /// The offset of its last publication.
    pub top: u64,
    /// Until its publications end.
    pub publications_left_s: u32,
    /// Until it ends; while it is pinned, how long it lives from the end of that.
    pub left_s: u32,
    /// Its channel has members.
    pub is_pinned: bool,
    /// The last version of what is published, if it has any.
    pub version: Option<(u64, Box<str>)>,
}

impl<F: Clone> Streams<F> {
    /// Places of streams, some of them vacant.
    pub fn places(&self) -> u32 {
        self.channels.places()
    }

    /// The stream at a place with its name, and the publications that it keeps, the oldest first.
    pub fn carried(
        &self,
        place: u32,
        now_s: u32,
    ) -> Option<(&str, CarriedStream, impl Iterator<Item = &F>)> {
        let (name, stream) = self.channels.in_places(place..place + 1).next()?;
        let key = self.channels.find(name).expect("it has just been found");
        let Carriage { epoch, top, publications_left_s, left_s } = stream.carried(now_s);
        let carried = CarriedStream {
            epoch,
            top,
            publications_left_s,
            left_s,
            is_pinned: stream.is_pinned(),
            version: self.versions.of(key),
        };
        Some((name, carried, stream.kept.iter().map(|kept| &kept.frame)))
    }

    /// Begins a stream where another process has left it. One that was pinned is pinned: its
    /// members come back later, and it is not ended for others' sake before that.
    pub fn take_over(
        &mut self,
        channel: &str,
        carried: CarriedStream,
        now_s: u32,
    ) -> Result<(), StreamError> {
        let CarriedStream { epoch, top, publications_left_s, left_s, is_pinned, version } = carried;
        let StreamId(key) = self.open(channel, left_s, now_s)?;
        let carriage = Carriage { epoch, top, publications_left_s, left_s };
        self.at_mut(key).take_over(&carriage, now_s);
        if let Some((number, of)) = version {
            self.versions.note(key, number, &of);
        }
        if is_pinned {
            self.pin(StreamId(key), left_s);
        }
        self.schedule(key);
        Ok(())
    }

    /// Keeps the next publication of a stream that was taken over; false if there are more than
    /// have been published.
    pub fn keep_taken_over(&mut self, channel: &str, frame: F, frame_bytes: usize) -> bool {
        let Some(StreamId(key)) = self.find(channel) else { return false };
        if self.at(key).kept.len() as u64 >= self.at(key).position(u64::MAX).offset {
            return false;
        }
        self.keep_again(key, frame, frame_bytes);
        self.schedule(key);
        true
    }
}

impl<K: Copy + Eq + Hash, P: Clone> Presence<K, P> {
    /// Places of channels, some of them vacant.
    pub fn places(&self) -> u32 {
        self.channels.places()
    }

    /// Those in the channel at a place, with its name.
    pub fn in_place(&self, place: u32) -> Option<(&str, &[(K, P)])> {
        let (name, present) = self.channels.in_places(place..place + 1).next()?;
        Some((name, present.crowd.entries()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AskedEpoch, Retention, Since, StreamBounds};
    use super::*;
    use std::hash::RandomState;

    const RETENTION: Retention = Retention { publications_max: 3, ttl_s: 10, meta_ttl_s: 60 };

    fn streams(seed: u64) -> Streams<u32> {
        Streams::new(StreamBounds::default(), seed, RandomState::new())
    }

    #[test]
    fn a_stream_goes_on_where_it_was_with_its_epoch_its_offsets_and_its_time() {
        let mut before = streams(1);
        let stream = before.open("a", 60, 100).unwrap();
        assert!(before.is_news(stream, 7, "v"));
        for number in 1..=5 {
            before.append(stream, number, 4, RETENTION, 100);
        }
        let position = before.position(stream, u64::MAX);
        let (name, carried, frames) = before.carried(0, 104).unwrap();
        assert_eq!(name, "a");
        let mut after = streams(2);
        after.take_over("a", carried, 1000).unwrap();
        for frame in frames {
            assert!(after.keep_taken_over("a", *frame, 4));
        }
        let stream = after.find("a").unwrap();
        assert_eq!(after.position(stream, u64::MAX), position);
        assert!(!after.is_news(stream, 7, "v"), "it was published already");
        let since = Since { offset: 3, epoch: AskedEpoch::Is(position.epoch) };
        assert_eq!(after.read(stream, Some(since), 9, false).unwrap()[..], [4, 5]);
        // Six of the ten seconds are left, and as many of the sixty.
        after.expire(1006, 9);
        assert_eq!(after.read(stream, None, 9, false).unwrap()[..], [3, 4, 5]);
        after.expire(1008, 9);
        let stream = after.find("a").expect("its epoch lives on");
        assert!(after.read(stream, None, 9, false).unwrap().is_empty());
        after.expire(1060, 9);
        assert_eq!(after.find("a"), None);
    }

    /// Streams whose channels have members ended when more others came than there are places for:
    /// members went on from positions in a life that was over.
    #[test]
    fn a_stream_with_members_does_not_give_way_before_they_are_back() {
        let bounds = StreamBounds { streams_max: 2, ..StreamBounds::default() };
        let mut streams: Streams<u32> = Streams::new(bounds, 1, RandomState::new());
        let carried = |is_pinned| CarriedStream {
            epoch: *b"abcdefgh",
            top: 1,
            publications_left_s: 9,
            left_s: 9,
            is_pinned,
            version: None,
        };
        streams.take_over("pinned", carried(true), 0).unwrap();
        for other in ["a", "b"] {
            streams.take_over(other, carried(false), 0).unwrap();
        }
        assert!(streams.find("pinned").is_some() && streams.find("a").is_none());
        streams.take_over("c", carried(true), 0).unwrap();
        assert_eq!(streams.take_over("d", carried(true), 0), Err(StreamError::AllPinned));
        // Without its members it has its time.
        streams.unpin("pinned", 5);
        streams.expire(13, 9);
        assert!(streams.find("pinned").is_some());
        streams.expire(15, 9);
        assert!(streams.find("pinned").is_none());
    }

    #[test]
    fn more_publications_than_there_were_are_none() {
        let mut streams = streams(1);
        let carried = CarriedStream {
            epoch: *b"abcdefgh",
            top: 1,
            publications_left_s: 9,
            left_s: 9,
            is_pinned: false,
            version: None,
        };
        streams.take_over("a", carried, 0).unwrap();
        assert!(streams.keep_taken_over("a", 1, 4) && !streams.keep_taken_over("a", 2, 4));
    }
}
