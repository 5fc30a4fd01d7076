//! The storage of a shard's connections: values in, small indexes out.
//!
//! ```text
//!  chunk 0 [4096 entries]   chunk 1 [4096 entries]   chunk 2 –   chunk 3 –   spare: none or one
//! ```
//!
//! Entries never move: a chunk is allocated whole, filled in place, and released when its last
//! entry leaves. New values go to the lowest chunk with room, so the high chunks of a shard that
//! was fuller once run empty. One empty chunk is kept as a spare, so that a load that sways
//! around a chunk's edge does not allocate.
//!
//! Invariants: an index is below `entries_max`; memory is held for the chunks with entries, and
//! at most one more. An index is reused as soon as its entry has left; whoever keeps one beyond
//! that compares a serial inside the entry.
#![forbid(unsafe_code)]

use std::fmt;

use super::bitmap::Bitmap;
use crate::limits::{SLAB_CHUNK_ENTRIES, SLAB_ENTRIES_MAX};

const CHUNK: usize = SLAB_CHUNK_ENTRIES as usize;

/// The place of an entry in its slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(u32);

const _: () = assert!(size_of::<Index>() == 4); // two of them are a wheel node's links

impl Index {
    /// The index with this number, as it came out of [`Index::as_u32`].
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number of this index, for a completion's `user_data` or a link.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The number of this index, for tables with a row per entry.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    const fn at(chunk: usize, entry: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "below SLAB_ENTRIES_MAX")]
        Self((chunk * CHUNK + entry) as u32)
    }

    const fn chunk(self) -> usize {
        self.as_usize() / CHUNK
    }

    const fn entry(self) -> usize {
        self.as_usize() % CHUNK
    }
}

/// The slab holds `entries_max` values already; this one comes back.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// A bounded store of values under [`Index`]es; see the module's docs.
pub struct Slab<T> {
    chunks: Box<[Option<slab::Slab<T>>]>,
    /// The chunks with a free entry, the not allocated ones among them.
    room: Bitmap,
    /// An empty chunk that waits for its next use.
    spare: Option<slab::Slab<T>>,
    len: u32,
    entries_max: u32,
}

impl<T> Slab<T> {
    /// Bytes that one entry takes: the value, and the free list's link where it has no niche.
    pub const ENTRY_BYTES: usize = size_of::<EntryLayout<T>>();

    /// An empty slab for at most `entries_max` values; no chunk is allocated yet.
    pub fn new(entries_max: u32) -> Self {
        assert!(entries_max <= SLAB_ENTRIES_MAX, "{entries_max} entries in one slab");
        let chunk_count = entries_max.div_ceil(SLAB_CHUNK_ENTRIES) as usize;
        let mut room = Bitmap::new(chunk_count);
        (0..chunk_count).for_each(|chunk| room.insert(chunk));
        let chunks = (0..chunk_count).map(|_| None).collect();
        Self { chunks, room, spare: None, len: 0, entries_max }
    }

    /// Puts a value into the lowest chunk with room.
    pub fn insert(&mut self, value: T) -> Result<Index, Full<T>> {
        if self.len == self.entries_max {
            return Err(Full(value));
        }
        let chunk = self.room.first_from(0).expect("fewer than entries_max leave a chunk free");
        let entries = self.chunks[chunk].get_or_insert_with(|| {
            self.spare.take().unwrap_or_else(|| slab::Slab::with_capacity(CHUNK))
        });
        let entry = entries.insert(value);
        if entries.len() == CHUNK {
            self.room.remove(chunk);
        }
        self.len += 1;
        Ok(Index::at(chunk, entry))
    }

    /// Takes a value out. That it is there is the caller's contract.
    pub fn remove(&mut self, index: Index) -> T {
        let chunk = index.chunk();
        let entries = self.chunks[chunk].as_mut().expect("an index of a live entry");
        let value = entries.remove(index.entry());
        self.room.insert(chunk);
        self.len -= 1;
        if entries.is_empty() {
            self.release(chunk);
        }
        value
    }

    /// The value at an index, if there is one.
    pub fn get(&self, index: Index) -> Option<&T> {
        self.chunks.get(index.chunk())?.as_ref()?.get(index.entry())
    }

    /// The value at an index, if there is one.
    pub fn get_mut(&mut self, index: Index) -> Option<&mut T> {
        self.chunks.get_mut(index.chunk())?.as_mut()?.get_mut(index.entry())
    }

    /// All values in the order of their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (Index, &T)> {
        let chunks = self.chunks.iter().enumerate();
        let held = chunks.filter_map(|(chunk, entries)| Some((chunk, entries.as_ref()?)));
        held.flat_map(|(chunk, entries)| {
            entries.iter().map(move |(entry, value)| (Index::at(chunk, entry), value))
        })
    }

    /// All values in the order of their indexes.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Index, &mut T)> {
        let chunks = self.chunks.iter_mut().enumerate();
        let held = chunks.filter_map(|(chunk, entries)| Some((chunk, entries.as_mut()?)));
        held.flat_map(|(chunk, entries)| {
            entries.iter_mut().map(move |(entry, value)| (Index::at(chunk, entry), value))
        })
    }

    /// Places up to the last chunk that is held: no index is larger.
    pub fn places(&self) -> u32 {
        let held = self.chunks.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        u32::try_from(held * CHUNK).expect("below SLAB_ENTRIES_MAX and a chunk")
    }

    /// Bytes of memory behind the slab, the spare chunk and the table of chunks included.
    pub fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten().chain(&self.spare);
        let entries: usize = chunks.map(slab::Slab::capacity).sum();
        entries * Self::ENTRY_BYTES + size_of_val(&*self.chunks)
    }

    /// How many values are in it.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True when no value is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many values fit.
    pub fn entries_max(&self) -> u32 {
        self.entries_max
    }

    /// How many chunks are allocated, the spare among them.
    pub fn chunk_count(&self) -> usize {
        self.chunks.iter().flatten().count() + usize::from(self.spare.is_some())
    }

    /// Frees the spare chunk: nobody comes for it.
    pub(super) fn release_spare(&mut self) {
        self.spare = None;
    }

    /// Takes an emptied chunk out of use: it is the spare, unless there is one.
    fn release(&mut self, chunk: usize) {
        let entries = self.chunks[chunk].take().expect("a chunk that was just emptied");
        self.spare.get_or_insert(entries);
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("len", &self.len)
            .field("entries_max", &self.entries_max)
            .field("chunk_count", &self.chunk_count())
            .finish_non_exhaustive()
    }
}

/// What an entry of `slab::Slab` is made of, for [`Slab::ENTRY_BYTES`] (a test compares).
#[expect(dead_code, reason = "only its size is used")]
enum EntryLayout<T> {
    Vacant(usize),
    Occupied(T),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    const ENTRIES_MAX: u32 = 3 * SLAB_CHUNK_ENTRIES + 100;

    /// Steps in bulk, so that a run of a few crosses chunk edges often.
    #[derive(Clone, Debug)]
    enum Step {
        Insert {
            count: u32,
        },
        /// Removes `count` entries, each `stride` entries after the last one.
        Remove {
            first: u32,
            stride: u32,
            count: u32,
        },
        /// Removes all entries of one chunk.
        Empty {
            chunk: u32,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let count = prop_oneof![1..10_u32, 1..6000_u32, Just(SLAB_CHUNK_ENTRIES)];
        prop_oneof![
            3 => count.clone().prop_map(|count| Step::Insert { count }),
            2 => (any::<u32>(), 1..9_u32, count)
                .prop_map(|(first, stride, count)| Step::Remove { first, stride, count }),
            1 => (0..4_u32).prop_map(|chunk| Step::Empty { chunk }),
        ]
    }

    /// A slab beside the map that it must equal.
    struct Twins {
        slab: Slab<u64>,
        model: BTreeMap<Index, u64>,
        chunk_lens: [u32; 4],
        serial: u64,
    }

    impl Twins {
        fn new() -> Self {
            let slab = Slab::new(ENTRIES_MAX);
            Self { slab, model: BTreeMap::new(), chunk_lens: [0; 4], serial: 0 }
        }

        fn insert(&mut self) {
            self.serial += 1;
            let lowest = self.chunk_lens.iter().position(|&len| len < SLAB_CHUNK_ENTRIES);
            match self.slab.insert(self.serial) {
                Ok(index) => {
                    assert!(index.as_u32() < ENTRIES_MAX, "{index:?} is beyond the bound");
                    assert_eq!(Some(index.chunk()), lowest, "the lowest chunk with room");
                    assert_eq!(self.model.insert(index, self.serial), None, "{index:?} twice");
                    self.chunk_lens[index.chunk()] += 1;
                }
                Err(Full(value)) => {
                    assert_eq!(value, self.serial);
                    assert_eq!(self.model.len(), ENTRIES_MAX as usize, "full too early");
                }
            }
        }

        fn remove(&mut self, index: Index) {
            assert_eq!(Some(self.slab.remove(index)), self.model.remove(&index));
            assert_eq!(self.slab.get(index), None);
            self.chunk_lens[index.chunk()] -= 1;
        }

        fn remove_all(&mut self, indexes: impl IntoIterator<Item = Index>) {
            for index in indexes {
                self.remove(index);
            }
        }

        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Insert { count } => (0..count).for_each(|_| self.insert()),
                Step::Remove { first, stride, count } => {
                    let from = Index::new(first % ENTRIES_MAX);
                    let found: Vec<_> = self.model.range(from..).map(|(&index, _)| index).collect();
                    let chosen = found.into_iter().step_by(stride as usize);
                    self.remove_all(chosen.take(count as usize));
                }
                Step::Empty { chunk } => {
                    let range = Index::at(chunk as usize, 0)..Index::at(chunk as usize + 1, 0);
                    let found: Vec<_> = self.model.range(range).map(|(&index, _)| index).collect();
                    self.remove_all(found);
                }
            }
        }

        fn compare(&mut self) {
            assert_eq!(self.slab.len() as usize, self.model.len());
            let model: Vec<_> = self.model.iter().map(|(&index, &value)| (index, value)).collect();
            let seen: Vec<_> = self.slab.iter().map(|(index, &value)| (index, value)).collect();
            assert_eq!(seen, model);
            let seen: Vec<_> =
                self.slab.iter_mut().map(|(index, &mut value)| (index, value)).collect();
            assert_eq!(seen, model);
            for &(index, value) in &model {
                assert_eq!(self.slab.get(index), Some(&value));
                assert_eq!(self.slab.get_mut(index), Some(&mut { value }));
            }
            let used = self.chunk_lens.iter().filter(|&&len| len > 0).count();
            let held = self.slab.chunk_count();
            assert!(held == used || held == used + 1, "{held} chunks held, {used} used");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn it_equals_a_map_and_fills_from_below(
            steps in prop::collection::vec(step(), 1..30)
        ) {
            let mut twins = Twins::new();
            for step in &steps {
                twins.apply(step);
                twins.compare();
            }
        }
    }

    #[test]
    fn a_full_slab_gives_the_value_back() {
        let mut slab = Slab::new(2);
        let first = slab.insert('a').unwrap();
        slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), Err(Full('c')));
        assert_eq!(slab.remove(first), 'a');
        assert_eq!(slab.insert('c'), Ok(first));
        assert_eq!(Slab::new(0).insert('a'), Err(Full('a')));
    }

    #[test]
    fn entries_never_move() {
        let mut slab = Slab::new(2 * SLAB_CHUNK_ENTRIES);
        let first = slab.insert(0_u64).unwrap();
        let place = std::ptr::from_ref(slab.get(first).unwrap());
        for value in 1..u64::from(slab.entries_max()) {
            slab.insert(value).unwrap();
        }
        assert_eq!(std::ptr::from_ref(slab.get(first).unwrap()), place);
    }

    #[test]
    fn the_memory_of_empty_chunks_is_given_back() {
        let mut slab = Slab::new(8 * SLAB_CHUNK_ENTRIES);
        assert_eq!(slab.chunk_count(), 0);
        let all: Vec<_> = (0..slab.entries_max()).map(|n| slab.insert(n).unwrap()).collect();
        assert_eq!(slab.chunk_count(), 8);
        for &index in &all[CHUNK..] {
            slab.remove(index);
        }
        assert_eq!(slab.chunk_count(), 2, "the chunk in use and one spare");
        all[..CHUNK].iter().for_each(|&index| {
            slab.remove(index);
        });
        assert_eq!(slab.chunk_count(), 1, "the spare");
        slab.release_spare();
        assert_eq!(slab.chunk_count(), 0);
    }

    #[test]
    fn swaying_around_a_chunks_edge_keeps_its_memory() {
        let mut slab = Slab::new(2 * SLAB_CHUNK_ENTRIES);
        (0..SLAB_CHUNK_ENTRIES).for_each(|n| {
            slab.insert(n).unwrap();
        });
        let above = slab.insert(0).unwrap();
        let place = std::ptr::from_ref(slab.get(above).unwrap());
        for _ in 0..10 {
            slab.remove(above);
            assert_eq!(slab.chunk_count(), 2);
            assert_eq!(slab.insert(0), Ok(above));
            assert_eq!(std::ptr::from_ref(slab.get(above).unwrap()), place);
        }
    }

    #[test]
    fn an_index_of_no_entry_finds_nothing() {
        let mut slab = Slab::new(10);
        slab.insert('a').unwrap();
        for number in [1, 9, 10, SLAB_CHUNK_ENTRIES, SLAB_ENTRIES_MAX, u32::MAX] {
            assert_eq!(slab.get(Index::new(number)), None);
            assert_eq!(slab.get_mut(Index::new(number)), None);
        }
    }

    #[test]
    fn the_stated_entry_bytes_are_the_real_distance_of_two_entries() {
        fn distance<T: Default>() -> usize {
            let mut slab = Slab::new(2);
            let [a, b] = [(); 2].map(|()| slab.insert(T::default()).ok().expect("room for two"));
            let [a, b] = [a, b].map(|index| std::ptr::from_ref(slab.get(index).unwrap()).addr());
            b - a
        }
        /// A niche with 8 bytes beside it: the free list's link costs nothing.
        #[derive(Default)]
        #[expect(dead_code, reason = "only its size is used")]
        struct Niche(u64, bool, Option<NonZeroU32>);
        assert_eq!(distance::<u64>(), Slab::<u64>::ENTRY_BYTES);
        assert_eq!(distance::<[u8; 3]>(), Slab::<[u8; 3]>::ENTRY_BYTES);
        assert_eq!(distance::<Niche>(), Slab::<Niche>::ENTRY_BYTES);
        assert_eq!(Slab::<u64>::ENTRY_BYTES, 16);
        assert_eq!(Slab::<Niche>::ENTRY_BYTES, size_of::<Niche>());
    }
}
