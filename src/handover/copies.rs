//! Copies of descriptors that are sent ahead, while the older process serves, and kept under their
//! numbers until a connection's record names them.
//!
//! ```text
//!   Copy(number)+fd … │ Dropped(number) … │ Mark(how many)      while the older process serves
//!   Connection(copy number) … │ Connection+fd …                 while it stands still
//! ```
//!
//! A number is of one connection's life in the older shard, so none comes twice. Invariants: a copy
//! is closed when its connection has ended, or belongs to one record; one that is named and not
//! there, that is there already, or that is left at the end, refuses all.

use std::collections::HashMap;

use super::FormatError;
use super::field::{self, Record, record};

pub(super) const COPY: u8 = 27;
pub(super) const DROPPED: u8 = 28;
pub(super) const MARK: u8 = 29;

/// The copies that have come, and belong to no connection yet.
#[derive(Debug)]
pub(super) struct Copies<T>(HashMap<u64, T>);

impl<T> Default for Copies<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Copies<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The number that a [`COPY`] or [`DROPPED`] names.
    pub(super) fn number(record: &Record<'_>) -> Result<u64, FormatError> {
        let mut number = None;
        record.read(|field, value| {
            if field == 1 {
                number = Some(field::number(value)?.checked_sub(1)?);
            }
            Some(field == 1)
        })?;
        number.ok_or(record.missing(1))
    }

    pub(super) fn keep(&mut self, number: u64, copy: T) -> Result<(), FormatError> {
        let before = self.0.insert(number, copy);
        if before.is_some() { Err(FormatError::Copy { number }) } else { Ok(()) }
    }

    pub(super) fn take(&mut self, number: u64) -> Result<T, FormatError> {
        self.0.remove(&number).ok_or(FormatError::Copy { number })
    }

    /// Whether as many are here as the [`MARK`] says.
    pub(super) fn check(&self, record: &Record<'_>) -> Result<(), FormatError> {
        let mut count = 0;
        record.read(|field, value| {
            if field == 1 {
                count = field::number(value)?;
            }
            Some(field == 1)
        })?;
        if count == self.len() as u64 { Ok(()) } else { Err(FormatError::Changed) }
    }
}

pub(super) fn encode_copy(number: u64, out: &mut Vec<u8>) {
    record(out, COPY, |put| put.maybe(1, Some(number)));
}

pub(super) fn encode_dropped(number: u64, out: &mut Vec<u8>) {
    record(out, DROPPED, |put| put.maybe(1, Some(number)));
}

pub(super) fn encode_mark(count: u64, out: &mut Vec<u8>) {
    record(out, MARK, |put| put.number(1, count));
}

#[cfg(test)]
mod tests {
    use crate::handover::connection::tests::full;
    use crate::handover::{Connection, FormatError, Item, Sink, Source};
    use proptest::prelude::*;

    /// A connection whose copy was sent ahead.
    fn copied(number: u64) -> Connection {
        Connection { copy: Some(number), ..full() }
    }

    fn bytes_of(sink: &mut Sink<u64>) -> (Vec<u8>, Vec<u64>) {
        let (mut all, mut descriptors) = (Vec::new(), Vec::new());
        while let Some((bytes, with)) = sink.message() {
            all.extend_from_slice(bytes);
            descriptors.extend(with.copied());
            sink.sent();
        }
        (all, descriptors)
    }

    fn read(sink: &mut Sink<u64>) -> Result<Vec<Item<u64>>, FormatError> {
        let (bytes, descriptors) = bytes_of(sink);
        let (mut source, mut items) = (Source::default(), Vec::new());
        source.feed(&bytes, descriptors);
        while let Some(item) = source.next_item()? {
            items.push(item);
        }
        Ok(items)
    }

    /// What becomes of one that is copied.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Carried,
        EndsAhead,
        EndsAfterTheMark,
        /// It was not copied.
        ComesSince,
    }

    fn fates() -> impl Strategy<Value = Vec<Fate>> {
        let all = [Fate::Carried, Fate::EndsAhead, Fate::EndsAfterTheMark, Fate::ComesSince];
        prop::collection::vec(prop::sample::select(all.to_vec()), 0..200)
    }

    proptest! {
        /// Descriptor 1000 + n is that of connection n, whichever way it comes.
        #[test]
        fn every_connection_gets_its_own_descriptor_whenever_that_was_sent(fates in fates()) {
            let mut sink = Sink::default();
            let of = |fate| {
                let numbered = (0..).zip(&fates).filter(move |(_, one)| **one == fate);
                numbered.map(|(number, _)| number).collect::<Vec<u64>>()
            };
            for (number, fate) in (0..).zip(&fates) {
                if *fate != Fate::ComesSince {
                    sink.copy(number, 1000 + number);
                }
            }
            for number in of(Fate::EndsAhead) {
                sink.dropped(number);
            }
            sink.mark();
            for number in of(Fate::EndsAfterTheMark) {
                sink.dropped(number);
            }
            let mut expected = vec![Item::Mark];
            for number in of(Fate::Carried) {
                sink.copied(&copied(number));
                expected.push(Item::Connection(Box::new(copied(number)), 1000 + number));
            }
            for number in of(Fate::ComesSince) {
                sink.connection(&full(), 1000 + number);
                expected.push(Item::Connection(Box::new(full()), 1000 + number));
            }
            sink.end();
            let mut items = read(&mut sink).unwrap();
            let Some(Item::End(totals)) = items.pop() else { panic!("it has an end") };
            prop_assert_eq!(totals.connections, expected.len() as u64 - 1);
            prop_assert_eq!(items, expected);
        }
    }

    #[test]
    fn a_copy_that_is_not_there_is_there_twice_or_is_left_refuses_all() {
        type Case = (&'static str, fn(&mut Sink<u64>));
        let cases: [Case; 6] = [
            ("named and never sent", |sink| sink.copied(&copied(8))),
            ("named twice", |sink| {
                sink.copied(&copied(7));
                sink.copied(&copied(7));
            }),
            ("named when it was dropped", |sink| {
                sink.dropped(7);
                sink.copied(&copied(7));
            }),
            ("dropped when it was named", |sink| {
                sink.copied(&copied(7));
                sink.dropped(7);
            }),
            ("dropped and never sent", |sink| sink.dropped(8)),
            ("sent twice", |sink| sink.copy(7, 1)),
        ];
        for (what, put) in cases {
            let mut sink = Sink::default();
            sink.copy(7, 0);
            put(&mut sink);
            assert!(matches!(read(&mut sink), Err(FormatError::Copy { .. })), "{what}");
        }
        let mut left = Sink::default();
        left.copy(7, 0);
        left.end();
        assert_eq!(read(&mut left), Err(FormatError::Descriptors));
    }

    #[test]
    fn a_mark_that_counts_other_copies_than_have_come_refuses_all() {
        let mut sink = Sink::default();
        (0..3).for_each(|number| sink.copy(number, number));
        sink.dropped(1);
        let (bytes, descriptors) = bytes_of(&mut sink);
        let mut source = Source::default();
        source.feed(&bytes, descriptors);
        assert_eq!(source.next_item(), Ok(None));
        assert_eq!(source.copy_count(), 2);
        let mut wrong = Vec::new();
        super::encode_mark(3, &mut wrong);
        source.feed(&wrong, []);
        assert_eq!(source.next_item(), Err(FormatError::Changed));
    }

    #[test]
    fn the_golden_bytes_of_copies_are_read_and_written() {
        let mut sink = Sink::default();
        sink.copy(0, 10);
        sink.copy(7 << 32 | 1, 11);
        sink.copy(2, 12);
        sink.dropped(7 << 32 | 1);
        sink.mark();
        let carried = [0, 2].map(|number| Connection { copy: Some(number), ..Default::default() });
        for one in &carried {
            sink.copied(one);
        }
        sink.connection(&Connection::default(), 13);
        sink.end();
        let (written, descriptors) = bytes_of(&mut sink);
        let golden: Vec<u8> = include_str!("golden/copies_1.hex")
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let hex: Vec<String> = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, golden, "the format has changed: {}", hex.join(" "));
        let mut source = Source::default();
        source.feed(&golden, descriptors);
        let [first, second] = carried.map(Box::new);
        let expected = [
            Item::Mark,
            Item::Connection(first, 10),
            Item::Connection(second, 12),
            Item::Connection(Box::default(), 13),
        ];
        for item in expected {
            assert_eq!(source.next_item(), Ok(Some(item)));
        }
        assert!(matches!(source.next_item(), Ok(Some(Item::End(_)))));
    }
}
