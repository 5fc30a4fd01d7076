//! Claim: the streams of a home tell, keep and give back exactly what a model does that keeps
//! plain lists and follows the rules of the protocol word by word: positions, trimming by count,
//! time and budget, histories, and who is recovered with what.

use super::streams::{ALL, Frame, charge, streams};
use longwire::hub::{
    AskedEpoch, Epoch, Position, Recover, Recovery, Retention, Since, StreamId, Streams,
    Unrecoverable,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];

// --- The model ------------------------------------------------------------------------------

struct Stream {
    channel: usize,
    epoch: Epoch,
    top: u64,
    /// Offsets and charges, the oldest first.
    kept: Vec<(u64, usize)>,
    publications_end_s: u32,
    end_s: u32,
}

/// Streams in the order of their last use, channels in that of their last publication.
struct Model {
    streams: Vec<Stream>,
    published: Vec<usize>,
    streams_max: usize,
    bytes_max: usize,
    epochs: BTreeSet<Epoch>,
    now_s: u32,
}

impl Model {
    fn of(&mut self, channel: usize) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.channel == channel)
    }

    fn bytes(&self) -> usize {
        self.streams.iter().flat_map(|stream| &stream.kept).map(|(_, bytes)| bytes).sum()
    }

    fn expire(&mut self) {
        let now_s = self.now_s;
        self.streams.retain(|stream| stream.end_s > now_s);
        for stream in &mut self.streams {
            if stream.publications_end_s <= now_s {
                stream.kept.clear();
            }
        }
    }

    /// The stream of the channel, last in use; `epoch` is that of the real one.
    fn open(&mut self, channel: usize, epoch: Epoch, meta_ttl_s: u32) -> &mut Stream {
        let now_s = self.now_s;
        let place = self.streams.iter().position(|stream| stream.channel == channel);
        let mut stream = match place.map(|place| self.streams.remove(place)) {
            Some(stream) if stream.end_s > now_s => stream,
            _ => {
                assert!(self.epochs.insert(epoch), "a new stream has an epoch of its own");
                if self.streams.len() == self.streams_max {
                    self.streams.remove(0);
                }
                let (top, kept) = (0, Vec::new());
                Stream { channel, epoch, top, kept, publications_end_s: 0, end_s: 0 }
            }
        };
        if stream.publications_end_s <= now_s {
            stream.kept.clear();
        }
        let pinned_s = if stream.kept.is_empty() { 0 } else { stream.publications_end_s };
        stream.end_s = (now_s + meta_ttl_s + 1).max(pinned_s);
        self.streams.push(stream);
        self.streams.last_mut().unwrap()
    }

    fn append(&mut self, bytes: usize, keep: Retention) {
        let now_s = self.now_s;
        let stream = self.streams.last_mut().unwrap();
        let channel = stream.channel;
        stream.top += 1;
        stream.kept.push((stream.top, charge(bytes)));
        let surplus = stream.kept.len().saturating_sub(keep.publications_max as usize);
        stream.kept.drain(..surplus);
        if keep.ttl_s == 0 || charge(bytes) > self.bytes_max {
            stream.kept.clear();
        }
        stream.publications_end_s = now_s + keep.ttl_s + 1;
        let ttl_s = if stream.kept.is_empty() { 0 } else { keep.ttl_s };
        stream.end_s = now_s + keep.meta_ttl_s.max(ttl_s) + 1;
        self.published.retain(|&other| other != channel);
        self.published.push(channel);
        while self.bytes() > self.bytes_max {
            let has_some = |channel: &&usize| {
                self.streams.iter().any(|one| one.channel == **channel && !one.kept.is_empty())
            };
            let oldest = *self.published.iter().find(has_some).unwrap();
            self.of(oldest).unwrap().kept.remove(0);
        }
    }
}

impl Stream {
    fn history(&self, since: Option<Since>, max: usize, is_reverse: bool) -> Option<Vec<Frame>> {
        let mut offsets: Vec<u64> = self.kept.iter().map(|&(offset, _)| offset).collect();
        if is_reverse {
            offsets.reverse();
        }
        if let Some(since) = since {
            if !allows(since.epoch, self.epoch) {
                return None;
            }
            let is_asked = |&offset: &u64| {
                if is_reverse { offset < since.offset } else { offset > since.offset }
            };
            offsets.retain(is_asked);
        }
        Some(offsets.into_iter().take(max).map(|offset| (self.epoch, offset)).collect())
    }

    /// The rule of the protocol, of a stream whose top is what the shard was sent.
    fn recover(&self, recover: Recover, up_to: u64) -> Recovery<Frame> {
        let top = self.top.min(up_to);
        let (Recover::Missed { since, .. } | Recover::Latest { since }) = recover;
        if allows(since.epoch, self.epoch) && top < since.offset && since.offset <= self.top {
            return Recovery::Ahead;
        }
        let seen = self.kept.iter().map(|&(offset, _)| offset).filter(|&offset| offset <= top);
        let (is_recovered, given): (bool, Vec<u64>) = match recover {
            Recover::Missed { publications_max, .. } => {
                let missed = seen.filter(|&offset| offset > since.offset);
                let given: Vec<u64> = missed.take(publications_max as usize).collect();
                let is_whole = match (given.first(), given.last()) {
                    (Some(&first), Some(&last)) => first == since.offset + 1 && last == top,
                    _ => since.offset == top,
                };
                (is_whole && allows(since.epoch, self.epoch), given)
            }
            Recover::Latest { .. } => {
                let is_same = since.offset == top && since.epoch == AskedEpoch::Is(self.epoch);
                match seen.max() {
                    Some(last) if last == top => {
                        (true, (!is_same).then_some(last).into_iter().collect())
                    }
                    _ => (is_same, Vec::new()),
                }
            }
        };
        if !is_recovered {
            return Recovery::Lost;
        }
        Recovery::Whole(given.into_iter().map(|offset| (self.epoch, offset)).collect())
    }
}

fn allows(asked: AskedEpoch, epoch: Epoch) -> bool {
    asked == AskedEpoch::Any || asked == AskedEpoch::Is(epoch)
}

// --- The comparison -------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Publish { channel: usize, bytes: usize, keep: Retention },
    Read { channel: usize, since: Option<(u64, u8)>, max: u32, is_reverse: bool },
    Recover { channel: usize, since: (u64, u8), max: Option<u32>, up_to: u64 },
    Remove { channel: usize },
    Wait { seconds: u32 },
    Expire,
}

fn steps() -> impl Strategy<Value = Step> {
    let retention = (0..6_u32, 0..8_u32, 0..20_u32).prop_map(|(count, ttl_s, meta_ttl_s)| {
        Retention { publications_max: count, ttl_s, meta_ttl_s }
    });
    let since = || (0..10_u64, 0..4_u8);
    let up_to = || prop_oneof![2 => Just(ALL), 1 => 0..10_u64];
    prop_oneof![
        8 => (0..4_usize, 0..300_usize, retention)
            .prop_map(|(channel, bytes, keep)| Step::Publish { channel, bytes, keep }),
        4 => (0..4_usize, prop::option::of(since()), 0..6_u32, any::<bool>()).prop_map(
            |(channel, since, max, is_reverse)| Step::Read { channel, since, max, is_reverse }),
        8 => (0..4_usize, since(), prop::option::of(0..6_u32), up_to()).prop_map(
            |(channel, since, max, up_to)| Step::Recover { channel, since, max, up_to }),
        1 => (0..4_usize).prop_map(|channel| Step::Remove { channel }),
        1 => (0..5_u32).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Expire),
    ]
}

struct Both {
    real: Streams<Frame>,
    model: Model,
    /// An epoch that was, and is mostly over.
    first_epoch: Epoch,
}

const META_TTL_S: u32 = 10;

impl Both {
    fn new() -> Self {
        let (streams_max, bytes_max) = (3, 8 * charge(100));
        let model = Model {
            streams: Vec::new(),
            published: Vec::new(),
            streams_max,
            bytes_max,
            epochs: BTreeSet::new(),
            now_s: 0,
        };
        Self { real: streams(3, bytes_max), model, first_epoch: [b'?'; 8] }
    }

    fn open(&mut self, channel: usize, meta_ttl_s: u32) -> StreamId {
        let id = self.real.open(CHANNELS[channel], meta_ttl_s, self.model.now_s).unwrap();
        let position = self.real.position(id, ALL);
        let stream = self.model.open(channel, position.epoch, meta_ttl_s);
        assert_eq!(position, Position { offset: stream.top, epoch: stream.epoch });
        if self.first_epoch == [b'?'; 8] {
            self.first_epoch = position.epoch;
        }
        id
    }

    fn since(&self, (offset, kind): (u64, u8), epoch: Epoch) -> Since {
        let epoch = match kind {
            0 => AskedEpoch::Any,
            1 => AskedEpoch::Unknown,
            2 => AskedEpoch::Is(self.first_epoch),
            _ => AskedEpoch::Is(epoch),
        };
        Since { offset, epoch }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { channel, bytes, keep } => {
                let id = self.open(channel, keep.meta_ttl_s);
                let Position { offset, epoch } = self.real.next(id);
                self.real.append(id, (epoch, offset), bytes, keep, self.model.now_s);
                self.model.append(bytes, keep);
                assert_eq!(self.real.position(id, ALL), Position { offset, epoch });
            }
            Step::Read { channel, since, max, is_reverse } => {
                let id = self.open(channel, META_TTL_S);
                let epoch = self.real.position(id, ALL).epoch;
                let since = since.map(|since| self.since(since, epoch));
                let real = self.real.read(id, since, max, is_reverse);
                let stream = self.model.of(channel).unwrap();
                let expected = stream.history(since, max as usize, is_reverse);
                assert_eq!(real.map(|list| list.to_vec()), expected.ok_or(Unrecoverable));
            }
            Step::Recover { channel, since, max, up_to } => {
                let id = self.open(channel, META_TTL_S);
                let since = self.since(since, self.real.position(id, up_to).epoch);
                let recover = match max {
                    Some(publications_max) => Recover::Missed { since, publications_max },
                    None => Recover::Latest { since },
                };
                let real = self.real.recover(id, recover, up_to);
                let stream = self.model.of(channel).unwrap();
                assert_eq!(real, stream.recover(recover, up_to), "{recover:?} up to {up_to}");
                assert_eq!(self.real.position(id, up_to).offset, stream.top.min(up_to));
            }
            Step::Remove { channel } => {
                self.real.remove(CHANNELS[channel]);
                if let Some(stream) = self.model.of(channel) {
                    stream.kept.clear();
                }
            }
            Step::Wait { seconds } => self.model.now_s += seconds,
            Step::Expire => {
                self.real.expire(self.model.now_s, usize::MAX);
                self.model.expire();
                assert!(self.real.next_expiry_s().is_none_or(|next_s| next_s > self.model.now_s));
            }
        }
        assert_eq!(self.real.count() as usize, self.model.streams.len());
        assert_eq!(self.real.bytes(), self.model.bytes());
        assert!(self.real.bytes() <= self.model.bytes_max);
    }
}

proptest! {
    #[test]
    fn streams_are_what_the_model_is(steps in prop::collection::vec(steps(), 0..300)) {
        let mut both = Both::new();
        for step in steps {
            both.step(&step);
        }
        both.model.now_s += 1000;
        both.step(&Step::Expire);
        prop_assert_eq!((both.real.count(), both.real.bytes()), (0, 0));
    }
}
