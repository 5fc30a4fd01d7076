//! The records of one shard on their way to one shard of the other process, over messages that
//! carry bytes and descriptors.
//!
//! ```text
//!   Start(version) │ (Copy+fd │ Dropped │ Mark) … │ Listener+fd … │ Legacy? │
//!     (Connection+fd │ Connection of a copy) … │
//!     (Stream │ Publication …) … │ Present … │ (Owed … │ Mailbox …) … │ Lost … │
//!     End(how many, checksum)
//! ```
//!
//! Invariant: a descriptor leaves no later than the end of its record, in the order of the
//! records, so each record that takes one finds its own at the front.

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::iter::Take;

use super::connection::Connection;
use super::copies::{self, COPY, Copies, DROPPED, MARK};
use super::estate::{Present, Stream, decode_publication, encode_publication};
use super::field::{self, Record, first, record};
use super::mailbox::{Lost, Mailbox, Owed};
use super::{FormatError, VERSION};
use crate::limits::{HANDED_FDS_MAX, HANDED_MESSAGE_BYTES_MAX};

const START: u8 = 16;
const LISTENER: u8 = 17;
pub(super) const CONNECTION: u8 = 18;
const END: u8 = 19;
pub(super) const STREAM: u8 = 20;
pub(super) const PUBLICATION: u8 = 21;
pub(super) const PRESENT: u8 = 22;
const LEGACY: u8 = 23;
pub(super) const OWED: u8 = 24;
pub(super) const MAILBOX: u8 = 25;
pub(super) const LOST: u8 = 26;

/// What has been sent or received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Listeners.
    pub listeners: u64,
    /// Connections.
    pub connections: u64,
    /// Over all bytes in front of the end.
    checksum: Checksum,
}

/// FNV-1a, 64 bits: against bugs and lost messages, not against enemies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Writes records, and cuts them into messages. `T` stands for a descriptor.
#[derive(Debug)]
pub struct Sink<T> {
    bytes: Vec<u8>,
    sent_bytes: usize,
    descriptors: VecDeque<T>,
    /// Where in `bytes` the record of each descriptor begins.
    starts: VecDeque<usize>,
    totals: Totals,
    /// Copies that were put, and have not been dropped.
    copy_count: u64,
}

impl<T> Default for Sink<T> {
    fn default() -> Self {
        let mut sink = Self {
            bytes: Vec::new(),
            sent_bytes: 0,
            descriptors: VecDeque::new(),
            starts: VecDeque::new(),
            totals: Totals::default(),
            copy_count: 0,
        };
        sink.put(|out| record(out, START, |put| put.number(1, VERSION.into())));
        sink
    }
}

impl<T> Sink<T> {
    /// Whether another record may be put before some are sent.
    pub fn has_room(&self) -> bool {
        self.bytes.len() - self.sent_bytes < HANDED_MESSAGE_BYTES_MAX
            && self.descriptors.len() < HANDED_FDS_MAX
    }

    /// Puts a listener of the place with this number.
    pub fn listener(&mut self, place: u16, descriptor: T) {
        self.totals.listeners += 1;
        self.goes_along(descriptor);
        self.put(|out| record(out, LISTENER, |put| put.number(1, u64::from(place) + 1)));
    }

    /// Puts a copy of the descriptor of a connection whose record comes later, and names it by this
    /// number.
    pub fn copy(&mut self, number: u64, descriptor: T) {
        self.copy_count += 1;
        self.goes_along(descriptor);
        self.put(|out| copies::encode_copy(number, out));
    }

    /// Puts that the connection of a copy has ended, or comes with another descriptor: no record
    /// will name it.
    pub fn dropped(&mut self, number: u64) {
        self.copy_count -= 1;
        self.put(|out| copies::encode_dropped(number, out));
    }

    /// Puts how many copies there are, for who says that they have come.
    pub fn mark(&mut self) {
        let count = self.copy_count;
        self.put(|out| copies::encode_mark(count, out));
    }

    /// Puts a connection of which a copy was put before, that it names.
    pub fn copied(&mut self, connection: &Connection) {
        assert!(connection.copy.is_some(), "it names its copy");
        self.totals.connections += 1;
        self.put(|out| connection.encode(out));
    }

    /// Puts a connection.
    pub fn connection(&mut self, connection: &Connection, descriptor: T) {
        assert!(connection.copy.is_none(), "its descriptor comes with it");
        self.totals.connections += 1;
        self.goes_along(descriptor);
        self.put(|out| connection.encode(out));
    }

    /// Puts what the application of every shard has to know, whichever connections it gets.
    pub fn legacy(&mut self, bytes: &[u8]) {
        self.put(|out| record(out, LEGACY, |put| put.bytes(1, bytes)));
    }

    /// Puts a stream; its publications follow.
    pub fn stream(&mut self, stream: &Stream) {
        self.put(|out| stream.encode(out));
    }

    /// Puts the next publication of the last stream.
    pub fn publication(&mut self, frame: &[u8]) {
        self.put(|out| encode_publication(frame, out));
    }

    /// Puts somebody who is present in a channel.
    pub fn present(&mut self, present: &Present) {
        self.put(|out| present.encode(out));
    }

    /// Puts a publication that users have not acknowledged; their mailboxes follow.
    pub fn owed(&mut self, owed: &Owed) {
        self.put(|out| owed.encode(out));
    }

    /// Puts what a user has not acknowledged.
    pub fn mailbox(&mut self, mailbox: &Mailbox) {
        self.put(|out| mailbox.encode(out));
    }

    /// Puts what a user has lost.
    pub fn lost(&mut self, lost: &Lost) {
        self.put(|out| lost.encode(out));
    }

    /// Puts the end.
    pub fn end(&mut self) {
        let Totals { listeners, connections, checksum } = self.totals;
        self.put(|out| {
            record(out, END, |put| {
                put.number(1, listeners).number(2, connections).number(3, checksum.0)
            });
        });
    }

    /// The descriptor of the record that is put next.
    fn goes_along(&mut self, descriptor: T) {
        self.descriptors.push_back(descriptor);
        self.starts.push_back(self.bytes.len());
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.totals.checksum.add(&self.bytes[start..]);
    }

    /// The next message: bytes, and the descriptors that go with them.
    pub fn message(&self) -> Option<(&[u8], Take<Iter<'_, T>>)> {
        let bytes = &self.bytes[self.sent_bytes..self.message_end()];
        (!bytes.is_empty()).then(|| (bytes, self.descriptors.iter().take(HANDED_FDS_MAX)))
    }

    /// Where the next message ends: before the first record whose descriptor does not fit into it.
    fn message_end(&self) -> usize {
        let end = self.bytes.len().min(self.sent_bytes + HANDED_MESSAGE_BYTES_MAX);
        self.starts.get(HANDED_FDS_MAX).map_or(end, |&start| start.min(end))
    }

    /// The message has been sent.
    pub fn sent(&mut self) {
        self.sent_bytes = self.message_end();
        let with = self.descriptors.len().min(HANDED_FDS_MAX);
        self.descriptors.drain(..with);
        self.starts.drain(..with);
        // What has left is let go of in large pieces, also when more is put all the time.
        if self.sent_bytes == self.bytes.len() || self.sent_bytes >= HANDED_MESSAGE_BYTES_MAX {
            self.bytes.drain(..self.sent_bytes);
            self.starts.iter_mut().for_each(|start| *start -= self.sent_bytes.min(*start));
            self.sent_bytes = 0;
        }
    }

    /// What was put until now.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

/// Something that has arrived whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<T> {
    /// A listener of the place with this number.
    Listener(u16, T),
    /// A connection, and its descriptor, whenever that was sent.
    Connection(Box<Connection>, T),
    /// As many copies as were sent ahead are here.
    Mark,
    /// What the application of every shard has to know.
    Legacy(Vec<u8>),
    /// A stream; its publications follow.
    Stream(Box<Stream>),
    /// The next publication of the last stream.
    Publication(Vec<u8>),
    /// Somebody who is present in a channel.
    Present(Box<Present>),
    /// A publication that users have not acknowledged; their mailboxes follow.
    Owed(Box<Owed>),
    /// What a user has not acknowledged.
    Mailbox(Box<Mailbox>),
    /// What a user has lost.
    Lost(Box<Lost>),
    /// All that was sent is here.
    End(Totals),
}

/// Reads messages.
#[derive(Debug)]
pub struct Source<T> {
    bytes: Vec<u8>,
    read_bytes: usize,
    descriptors: VecDeque<T>,
    copies: Copies<T>,
    totals: Totals,
    has_started: bool,
}

impl<T> Default for Source<T> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            read_bytes: 0,
            descriptors: VecDeque::new(),
            copies: Copies::default(),
            totals: Totals::default(),
            has_started: false,
        }
    }
}

impl<T> Source<T> {
    /// Takes one message.
    pub fn feed(&mut self, bytes: &[u8], descriptors: impl IntoIterator<Item = T>) {
        self.bytes.drain(..std::mem::take(&mut self.read_bytes));
        self.bytes.extend_from_slice(bytes);
        self.descriptors.extend(descriptors);
    }

    /// Copies that belong to no connection yet.
    pub fn copy_count(&self) -> usize {
        self.copies.len()
    }

    /// The next item that has arrived whole.
    pub fn next_item(&mut self) -> Result<Option<Item<T>>, FormatError> {
        loop {
            let bytes = &self.bytes[self.read_bytes..];
            let Some((record, length)) = first(bytes)? else { return Ok(None) };
            self.read_bytes += length;
            let descriptors = &mut self.descriptors;
            let item = match record.number {
                START if !self.has_started => {
                    check_version(&record)?;
                    self.has_started = true;
                    None
                }
                LISTENER if self.has_started => {
                    let place = read_place(&record)?;
                    self.totals.listeners += 1;
                    Some(Item::Listener(place, take(descriptors)?))
                }
                COPY if self.has_started => {
                    let number = Copies::<T>::number(&record)?;
                    self.copies.keep(number, take(descriptors)?)?;
                    None
                }
                DROPPED if self.has_started => {
                    drop(self.copies.take(Copies::<T>::number(&record)?)?);
                    None
                }
                MARK if self.has_started => {
                    self.copies.check(&record)?;
                    Some(Item::Mark)
                }
                CONNECTION if self.has_started => {
                    let connection = Box::new(Connection::decode(&record)?);
                    self.totals.connections += 1;
                    let descriptor = match connection.copy {
                        Some(number) => self.copies.take(number)?,
                        None => take(descriptors)?,
                    };
                    Some(Item::Connection(connection, descriptor))
                }
                END if self.has_started => {
                    check_end(&record, self.totals)?;
                    if !descriptors.is_empty() || self.copies.len() > 0 {
                        return Err(FormatError::Descriptors);
                    }
                    return Ok(Some(Item::End(self.totals)));
                }
                number if !self.has_started => return Err(FormatError::Record { number }),
                _ => Some(estate_item(&record)?),
            };
            self.totals.checksum.add(&bytes[..length]);
            if item.is_some() {
                return Ok(item);
            }
        }
    }
}

/// What comes without a descriptor.
fn estate_item<T>(record: &Record<'_>) -> Result<Item<T>, FormatError> {
    Ok(match record.number {
        LEGACY => Item::Legacy(read_legacy(record)?),
        STREAM => Item::Stream(Box::new(Stream::decode(record)?)),
        PUBLICATION => Item::Publication(decode_publication(record)?),
        PRESENT => Item::Present(Box::new(Present::decode(record)?)),
        OWED => Item::Owed(Box::new(Owed::decode(record)?)),
        MAILBOX => Item::Mailbox(Box::new(Mailbox::decode(record)?)),
        LOST => Item::Lost(Box::new(Lost::decode(record)?)),
        number => return Err(FormatError::Record { number }),
    })
}

fn take<T>(descriptors: &mut VecDeque<T>) -> Result<T, FormatError> {
    descriptors.pop_front().ok_or(FormatError::Descriptors)
}

fn check_version(record: &Record<'_>) -> Result<(), FormatError> {
    let mut found = 0;
    record.read(|field, value| {
        if field == 1 {
            found = field::narrow(value)?;
        }
        Some(field == 1)
    })?;
    if found == VERSION { Ok(()) } else { Err(FormatError::Version { found }) }
}

fn read_place(record: &Record<'_>) -> Result<u16, FormatError> {
    let mut place: Option<u16> = None;
    record.read(|field, value| {
        if field == 1 {
            place = Some(field::narrow::<u16>(value)?.checked_sub(1)?);
        }
        Some(field == 1)
    })?;
    place.ok_or(record.missing(1))
}

fn read_legacy(record: &Record<'_>) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::new();
    record.read(|field, value| {
        if field == 1 {
            bytes = value.to_vec();
        }
        Some(field == 1)
    })?;
    Ok(bytes)
}

fn check_end(record: &Record<'_>, totals: Totals) -> Result<(), FormatError> {
    let mut sent = [0; 3];
    record.read(|field, value| {
        let known = matches!(field, 1..=3);
        if known {
            sent[usize::from(field) - 1] = field::number(value)?;
        }
        Some(known)
    })?;
    let Totals { listeners, connections, checksum } = totals;
    if sent == [listeners, connections, checksum.0] { Ok(()) } else { Err(FormatError::Changed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::connection::tests::{connections, full};
    use crate::handover::estate::tests::full as estate;
    use proptest::prelude::*;

    type Message = (Vec<u8>, Vec<usize>);

    fn drain(sink: &mut Sink<usize>, into: &mut Vec<Message>) {
        while let Some((bytes, descriptors)) = sink.message() {
            into.push((bytes.to_vec(), descriptors.copied().collect()));
            sink.sent();
        }
    }

    /// Two listeners and these connections, numbered, as messages.
    fn messages(connections: &[Connection]) -> Vec<Message> {
        let (mut sink, mut messages) = (Sink::default(), Vec::new());
        sink.listener(0, 1000);
        sink.listener(7, 1001);
        for (number, connection) in connections.iter().enumerate() {
            if !sink.has_room() {
                drain(&mut sink, &mut messages);
            }
            sink.connection(connection, number);
        }
        let (stream, present) = estate();
        sink.legacy(b"all");
        sink.stream(&stream);
        sink.publication(b"frame");
        sink.present(&present);
        sink.end();
        drain(&mut sink, &mut messages);
        messages
    }

    fn read(messages: &[Message]) -> Result<Vec<Item<usize>>, FormatError> {
        let (mut source, mut items) = (Source::default(), Vec::new());
        for (bytes, descriptors) in messages {
            source.feed(bytes, descriptors.iter().copied());
            while let Some(item) = source.next_item()? {
                items.push(item);
            }
        }
        Ok(items)
    }

    fn expected(connections: &[Connection]) -> Vec<Item<usize>> {
        let listeners = [Item::Listener(0, 1000), Item::Listener(7, 1001)];
        let carried = connections.iter().enumerate();
        let carried = carried.map(|(number, one)| Item::Connection(Box::new(one.clone()), number));
        let (stream, present) = estate();
        let rest = [
            Item::Legacy(b"all".to_vec()),
            Item::Stream(Box::new(stream)),
            Item::Publication(b"frame".to_vec()),
            Item::Present(Box::new(present)),
        ];
        listeners.into_iter().chain(carried).chain(rest).collect()
    }

    proptest! {
        #[test]
        fn all_that_was_put_arrives_with_its_descriptor(
            connections in prop::collection::vec(connections(), 0..150)
        ) {
            let mut items = read(&messages(&connections)).unwrap();
            let Some(Item::End(totals)) = items.pop() else { panic!("it has an end") };
            prop_assert_eq!((totals.listeners, totals.connections), (2, connections.len() as u64));
            prop_assert_eq!(items, expected(&connections));
        }
    }

    #[test]
    fn a_record_longer_than_a_message_arrives_in_parts() {
        let long = Connection { output: vec![7; 5 * HANDED_MESSAGE_BYTES_MAX], ..full() };
        let connections = [full(), long, full()];
        let messages = messages(&connections);
        assert!(
            messages.len() >= 5
                && messages.iter().all(|(b, _)| b.len() <= HANDED_MESSAGE_BYTES_MAX)
        );
        let items = read(&messages).unwrap();
        assert_eq!(items[..9], expected(&connections));
    }

    /// A message took all records that fitted, and not all of their descriptors.
    #[test]
    fn a_record_leaves_with_its_descriptor_or_later_however_many_there_are() {
        let (mut sink, mut messages) = (Sink::default(), Vec::new());
        let count = 3 * HANDED_FDS_MAX + 1;
        (0..count).for_each(|number| sink.listener(0, number));
        sink.end();
        drain(&mut sink, &mut messages);
        let mut items = read(&messages).unwrap();
        assert!(matches!(items.pop(), Some(Item::End(_))));
        assert_eq!(items, (0..count).map(|number| Item::Listener(0, number)).collect::<Vec<_>>());
    }

    /// It kept all that had left while more was put.
    #[test]
    fn what_has_left_is_let_go_of() {
        let mut sink = Sink::default();
        let mut lengths = Vec::new();
        for number in 0..1000 {
            sink.connection(&full(), number);
            sink.publication(&[7; 1000]);
            if !sink.has_room() {
                assert!(sink.message().is_some());
                sink.sent();
            }
            lengths.push(sink.bytes.len());
        }
        let most = lengths.into_iter().max().unwrap();
        assert!(most < 3 * HANDED_MESSAGE_BYTES_MAX, "{most}");
    }

    #[test]
    fn messages_that_are_lost_changed_or_repeated_are_noticed() {
        let connections = vec![full(); 200];
        let whole = messages(&connections);
        assert!(whole.len() > 3, "{}", whole.len());
        let mut cut_count = 0;
        for place in 1..whole.len() - 1 {
            let mut lost = whole.clone();
            lost.remove(place);
            assert!(is_refused(&lost), "message {place} lost");
            let mut repeated = whole.clone();
            repeated.insert(place, whole[place].clone());
            assert!(is_refused(&repeated), "message {place} repeated");
            let mut without_descriptor = whole.clone();
            if without_descriptor[place].1.pop().is_some() {
                cut_count += 1;
                assert!(is_refused(&without_descriptor), "message {place} without one");
            }
        }
        assert!(cut_count > 2, "{cut_count}");
        let mut changed = whole;
        // A byte of somebody's output.
        let output = |(bytes, _): &mut Message| {
            let place = bytes.windows(99).position(|bytes| bytes == [0; 99])?;
            bytes[place + 50] = 1;
            Some(())
        };
        changed.iter_mut().find_map(output).unwrap();
        assert_eq!(read(&changed).unwrap_err(), FormatError::Changed);
    }

    /// Whether the messages come to no good end.
    fn is_refused(messages: &[Message]) -> bool {
        !matches!(read(messages).as_deref(), Ok([.., Item::End(_)]))
    }

    #[test]
    fn the_golden_bytes_of_version_1_are_read_and_written() {
        let golden = golden(include_str!("golden/version_1.hex"));
        let connections = [Connection::default(), full()];
        let written: Vec<u8> =
            messages(&connections).into_iter().flat_map(|(bytes, _)| bytes).collect();
        let hex: Vec<String> = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, golden, "the format has changed: {}", hex.join(" "));
        let items = read(&[(golden, vec![1000, 1001, 0, 1])]).unwrap();
        assert_eq!(items[..8], expected(&connections));
    }

    #[test]
    fn the_golden_bytes_of_what_users_are_owed_are_read_and_written() {
        let (owed, mailbox, lost) = crate::handover::mailbox::tests::full();
        let (mut sink, mut messages) = (Sink::default(), Vec::new());
        sink.owed(&owed);
        sink.mailbox(&mailbox);
        sink.lost(&lost);
        sink.end();
        drain(&mut sink, &mut messages);
        let written: Vec<u8> = messages.into_iter().flat_map(|(bytes, _)| bytes).collect();
        let golden = golden(include_str!("golden/mailboxes_2.hex"));
        let hex: Vec<String> = written.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(written, golden, "the format has changed: {}", hex.join(" "));
        let mut items = read(&[(golden, Vec::new())]).unwrap();
        assert!(matches!(items.pop(), Some(Item::End(_))));
        let expected = [
            Item::Owed(Box::new(owed)),
            Item::Mailbox(Box::new(mailbox)),
            Item::Lost(Box::new(lost)),
        ];
        assert_eq!(items, expected);
    }

    /// They were written before homes said which number they had given last.
    #[test]
    fn the_golden_bytes_of_older_mailboxes_are_read() {
        let golden = golden(include_str!("golden/mailboxes_1.hex"));
        let items = read(&[(golden, Vec::new())]).unwrap();
        let (_, mailbox, _) = crate::handover::mailbox::tests::full();
        let older = crate::handover::Mailbox { given_id: 0, ..mailbox };
        assert_eq!(items[1], Item::Mailbox(Box::new(older)));
    }

    fn golden(hex: &str) -> Vec<u8> {
        hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }
}
