//! Commands that wait for the one under way: the bytes they came in, read later.

use crate::limits::DEFERRED_BYTES_MAX;

/// Frames of one client behind each other, and how far they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deferred {
    bytes: Vec<u8>,
    read: usize,
}

/// There is no room for another frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeferredFull;

impl Deferred {
    /// The commands that wait, in the client's format; `None` if there are none.
    pub fn rest(&self) -> Option<&[u8]> {
        (self.read < self.bytes.len()).then(|| &self.bytes[self.read..])
    }

    /// Notes that all but the last `left` bytes have been read.
    pub fn read_to(&mut self, left: usize) {
        self.read = self.bytes.len() - left;
    }

    /// Bytes of memory that are held.
    pub fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the commands of a frame, or of the rest of one, behind what stands between two
    /// commands. A single one always fits: its size has a bound of its own.
    pub(super) fn append(&mut self, separator: &[u8], frame: &[u8]) -> Result<(), DeferredFull> {
        self.bytes.drain(..self.read);
        self.read = 0;
        if !self.bytes.is_empty() {
            if self.bytes.len() + separator.len() + frame.len() > DEFERRED_BYTES_MAX {
                return Err(DeferredFull);
            }
            self.bytes.extend_from_slice(separator);
        }
        self.bytes.extend_from_slice(frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_behind_each_other_and_are_read_from_the_front() {
        let mut deferred = Deferred::default();
        assert_eq!((deferred.rest(), deferred.is_empty()), (None, true));
        deferred.append(b"\n", b"one\ntwo").unwrap();
        deferred.append(b"\n", b"three").unwrap();
        assert_eq!(deferred.rest(), Some(&b"one\ntwo\nthree"[..]));
        deferred.read_to(b"two\nthree".len());
        assert_eq!(deferred.rest(), Some(&b"two\nthree"[..]));
        deferred.append(b"\n", b"four").unwrap();
        assert_eq!(deferred.rest(), Some(&b"two\nthree\nfour"[..]));
        deferred.read_to(0);
        assert_eq!((deferred.rest(), deferred.len()), (None, 0));
    }

    #[test]
    fn commands_that_say_their_length_stand_side_by_side() {
        let mut deferred = Deferred::default();
        deferred.append(b"", &[1, 2]).unwrap();
        deferred.append(b"", &[3]).unwrap();
        assert_eq!(deferred.rest(), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn one_frame_always_fits_and_all_together_have_a_bound() {
        let mut deferred = Deferred::default();
        let large = vec![b'x'; 2 * DEFERRED_BYTES_MAX];
        deferred.append(b"\n", &large).unwrap();
        assert_eq!(deferred.append(b"\n", b"y"), Err(DeferredFull));
        assert_eq!(deferred.len(), large.len(), "what did not fit left nothing behind");

        let mut deferred = Deferred::default();
        deferred.append(b"\n", b"x").unwrap();
        assert_eq!(deferred.append(b"\n", &large[..DEFERRED_BYTES_MAX - 1]), Err(DeferredFull));
        deferred.append(b"\n", &large[..DEFERRED_BYTES_MAX - 2]).unwrap();
        assert_eq!(deferred.len(), DEFERRED_BYTES_MAX);
    }
}
