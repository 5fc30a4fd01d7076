//! The bytes of one batch of sends: an arena for what is encoded or joined, references for the
//! rest.
//!
//! Invariant (*the batch outlives its sends*): between [`Batch::recycle`] calls no byte of the
//! arena is written twice and no shared frame is let go, so a pointer into a [`Piece`] stays good
//! until the batch is recycled, which the ring does only with an empty submission queue.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

/// One immutable frame, shared by everything that sends it.
pub type Frame = Arc<[u8]>;

/// Bytes of the present batch: a place in the arena, or a part of a shared frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    place: Place,
    start: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Arena,
    Shared(u32),
}

impl Piece {
    /// Bytes in it.
    #[allow(clippy::len_without_is_empty)] // a piece is never empty
    pub fn len(self) -> usize {
        self.length as usize
    }

    /// A part of this piece.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.len(), "not within the piece");
        Self { start: self.start + index(range.start), length: index(range.len()), ..self }
    }

    /// This piece with `next` behind it, if the two stand side by side.
    pub fn extended_by(self, next: Self) -> Option<Self> {
        let adjacent = self.place == next.place && self.start + self.length == next.start;
        adjacent.then_some(Self { length: self.length + next.length, ..self })
    }
}

/// The bytes that the sends of one turn point into.
pub struct Batch {
    /// One allocation for the life of the batch; pages are touched only as far as turns fill it.
    arena: NonNull<u8>,
    arena_bytes: usize,
    used: usize,
    shared: Vec<Frame>,
}

/// Shared frames are let go turn by turn, but the table of them keeps its room up to here.
const SHARED_KEPT: usize = 1024;

impl Batch {
    /// A batch whose arena holds `arena_bytes`.
    pub fn new(arena_bytes: usize) -> Self {
        assert!(arena_bytes > 0 && u32::try_from(arena_bytes).is_ok());
        let layout = Self::layout(arena_bytes);
        // SAFETY: the layout's size is not zero, asserted above.
        let arena = unsafe { alloc(layout) };
        let Some(arena) = NonNull::new(arena) else { handle_alloc_error(layout) };
        Self { arena, arena_bytes, used: 0, shared: Vec::new() }
    }

    fn layout(arena_bytes: usize) -> Layout {
        Layout::array::<u8>(arena_bytes).expect("bounded by u32::MAX")
    }

    /// Whether nothing was put in since the last recycling.
    pub fn is_empty(&self) -> bool {
        self.used == 0 && self.shared.is_empty()
    }

    /// Bytes encoded or joined since the last recycling.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Copies `parts`, one behind the other, into the arena. `None` when they do not fit, or are
    /// empty: then the caller sends what it has, or makes a frame of its own.
    pub fn copy(&mut self, parts: &[&[u8]]) -> Option<Piece> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length == 0 || length > self.arena_bytes - self.used {
            return None;
        }
        let start = self.used;
        for part in parts {
            // SAFETY: `used + part.len()` stays within the arena by the check above, and a fresh
            // region of the arena overlaps nothing that could be borrowed.
            unsafe {
                let target = self.arena.as_ptr().add(self.used);
                std::ptr::copy_nonoverlapping(part.as_ptr(), target, part.len());
            }
            self.used += part.len();
        }
        Some(Piece { place: Place::Arena, start: index(start), length: index(length) })
    }

    /// Copies the bytes of `pieces`, one behind the other, into the arena.
    pub fn join(&mut self, pieces: impl Iterator<Item = Piece> + Clone) -> Option<Piece> {
        let length: usize = pieces.clone().map(Piece::len).sum();
        if length == 0 || length > self.arena_bytes - self.used {
            return None;
        }
        let start = self.used;
        for piece in pieces {
            // SAFETY: the source is a live region of this batch, the target a fresh region of the
            // arena that nothing overlaps, and the sum of lengths fits by the check above.
            unsafe {
                let target = self.arena.as_ptr().add(self.used);
                std::ptr::copy_nonoverlapping(self.bytes(piece).as_ptr(), target, piece.len());
            }
            self.used += piece.len();
        }
        Some(Piece { place: Place::Arena, start: index(start), length: index(length) })
    }

    /// Keeps `frame` until the batch is recycled. The frame must not be empty.
    pub fn share(&mut self, frame: Frame) -> Piece {
        assert!(!frame.is_empty(), "an empty frame is no frame");
        let length = index(frame.len());
        self.shared.push(frame);
        Piece { place: Place::Shared(index(self.shared.len() - 1)), start: 0, length }
    }

    /// The bytes of a piece of this batch.
    pub fn bytes(&self, piece: Piece) -> &[u8] {
        let (start, length) = (piece.start as usize, piece.len());
        match piece.place {
            Place::Shared(number) => &self.shared[number as usize][start..start + length],
            Place::Arena => {
                assert!(start + length <= self.used, "a piece of an earlier batch");
                // SAFETY: that region was written by `copy` or `join` and is not written again
                // before the batch is recycled, which needs `&mut self`.
                unsafe { std::slice::from_raw_parts(self.arena.as_ptr().add(start), length) }
            }
        }
    }

    /// Frees the room in the table of frames that are shared no more.
    pub(super) fn shrink(&mut self) {
        self.shared.shrink_to_fit();
    }

    /// Lets everything go. Pieces made before are of an earlier batch from now on.
    pub(super) fn recycle(&mut self) {
        self.used = 0;
        self.shared.clear();
        self.shared.shrink_to(SHARED_KEPT);
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, and freed once, here.
        unsafe { dealloc(self.arena.as_ptr(), Self::layout(self.arena_bytes)) }
    }
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("frames and arenas are far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_shares_come_back_byte_for_byte() {
        let mut batch = Batch::new(64);
        let head = batch.copy(&[b"ab", b"", b"cd"]).expect("fits");
        let frame = batch.share(Arc::from(&b"shared"[..]));
        let joined = batch.join([head, frame].into_iter()).expect("fits");
        assert_eq!(batch.bytes(head), b"abcd");
        assert_eq!(batch.bytes(frame), b"shared");
        assert_eq!(batch.bytes(joined), b"abcdshared");
        assert_eq!(batch.used(), 14);
    }

    #[test]
    fn a_part_is_those_bytes_of_the_piece_and_no_others() {
        let mut batch = Batch::new(64);
        batch.copy(&[b"before"]).expect("fits");
        let piece = batch.copy(&[b"0123456789"]).expect("fits");
        let part = piece.part(2..7);
        assert_eq!((batch.bytes(part), part.len()), (&b"23456"[..], 5));
        assert_eq!(batch.bytes(part.part(1..2)), b"3");
        assert_eq!(piece.part(0..10), piece);
        for range in [0..11, 10..11, 3..3] {
            let taken = std::panic::catch_unwind(|| piece.part(range.clone()));
            assert!(taken.is_err(), "{range:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut batch = Batch::new(4);
        assert_eq!(batch.copy(&[b"abc", b"de"]), None);
        assert_eq!(batch.used(), 0);
        let whole = batch.copy(&[b"abcd"]).expect("fits exactly");
        assert_eq!(batch.join([whole].into_iter()), None);
    }

    #[test]
    fn neighbours_extend_each_other_and_strangers_do_not() {
        let mut batch = Batch::new(64);
        let first = batch.copy(&[b"one"]).expect("fits");
        let second = batch.copy(&[b"two"]).expect("fits");
        let frame = batch.share(Arc::from(&b"x"[..]));
        let both = first.extended_by(second).expect("side by side");
        assert_eq!(batch.bytes(both), b"onetwo");
        assert_eq!(second.extended_by(first), None);
        assert_eq!(second.extended_by(frame), None);
    }

    #[test]
    fn recycling_lets_shared_frames_go() {
        let frame: Frame = Arc::from(&b"frame"[..]);
        let mut batch = Batch::new(16);
        batch.share(Arc::clone(&frame));
        assert_eq!(Arc::strong_count(&frame), 2);
        batch.recycle();
        assert_eq!((Arc::strong_count(&frame), batch.used()), (1, 0));
    }
}
