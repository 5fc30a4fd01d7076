//! The fields of messages, written and read one after the other.

use std::sync::Arc;

use super::SerialError;
use crate::handler::{ConnectionId, SignInError};
use crate::hub::Answer;
use crate::metrics::{Counters, Details, Memory};
use crate::ring::{Frame, Operation};
use crate::shard::message::{Consult, Consulted, Counted, Listed};

/// The results of a sign-in, by their tags.
pub(super) const SIGN_IN_RESULTS: [Result<(), SignInError>; 6] = [
    Ok(()),
    Err(SignInError::Gone),
    Err(SignInError::Limit),
    Err(SignInError::Busy),
    Err(SignInError::HomeFull),
    Err(SignInError::User),
];

/// A home's answers to a shard's interest, by their tags.
pub(super) const ANSWERS: [Answer; 2] = [Answer::Confirmed, Answer::Refused];

/// Appends fields.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.tag(u8::from(value))
    }

    /// A field that may be absent.
    pub(super) fn option<T>(
        &mut self,
        value: Option<T>,
        put: impl FnOnce(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        self.bool(value.is_some());
        match value {
            Some(value) => put(self, value),
            None => self,
        }
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A value by its place in the table of all that it can be.
    pub(super) fn one_of<T: PartialEq>(&mut self, table: &[T], value: &T) -> &mut Self {
        let place = table.iter().position(|known| known == value).expect("the table has all");
        self.tag(u8::try_from(place).expect("tables are short"))
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn connection(&mut self, id: ConnectionId) -> &mut Self {
        self.u32(id.index()).u32(id.serial())
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("names, frames and tables are far below 4 GiB"))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).0.extend(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Channels and their members.
    pub(super) fn members(&mut self, list: &Arc<Vec<Listed>>) -> &mut Self {
        self.count(list.len());
        list.iter().fold(self, |put, listed| put.text(&listed.channel).u32(listed.members))
    }

    pub(super) fn counted(&mut self, counted: &Counted) -> &mut Self {
        let Counted { round, shard, counters, details, connections, open, .. } = counted;
        let Counted { channels, subscriptions, users, submitted, .. } = counted;
        let Counted { streams, stream_bytes, present, mailboxes, mailbox_bytes, .. } = counted;
        let Counted { backlog_bytes, partial_bytes, memory, timers, ready, .. } = counted;
        self.count(NUMBERS);
        let counts = counters.iter().map(|(_, value)| value).chain(details.values());
        for value in counts.chain(memory.iter().map(|(_, bytes)| bytes)) {
            self.u64(value);
        }
        let gauges = [
            round,
            shard,
            connections,
            open,
            channels,
            subscriptions,
            users,
            streams,
            stream_bytes,
            present,
            mailboxes,
            mailbox_bytes,
            backlog_bytes,
            partial_bytes,
            timers,
            ready,
        ];
        for value in gauges {
            self.u64(*value);
        }
        self.count(submitted.len());
        for &(operation, count) in submitted {
            self.tag(operation as u8).u64(count);
        }
        self
    }
}

/// Numbers of a [`Counted`] that have no field of their own here.
const NUMBERS: usize = Counters::COUNT + Details::COUNT + Memory::COUNT;

/// What has not been decoded yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Channels and their members.
    pub(super) fn members(&mut self) -> Result<Vec<Listed>, SerialError> {
        let count = self.u32()?;
        let listed = |_| Ok(Listed { channel: self.text()?, members: self.u32()? });
        (0..count).map(listed).collect()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], SerialError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SerialError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SerialError> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, SerialError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn bool(&mut self) -> Result<bool, SerialError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(SerialError::Tag(other)),
        }
    }

    /// A field that may be absent.
    pub(super) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, SerialError>,
    ) -> Result<Option<T>, SerialError> {
        if self.bool()? { take(self).map(Some) } else { Ok(None) }
    }

    /// One of a table's values, by its place in it.
    pub(super) fn one_of<T: Copy>(&mut self, table: &[T]) -> Result<T, SerialError> {
        let place = self.u8()?;
        table.get(usize::from(place)).copied().ok_or(SerialError::Tag(place))
    }

    pub(super) fn u32(&mut self) -> Result<u32, SerialError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, SerialError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], SerialError> {
        let count = self.u32()?;
        self.take(count as usize)
    }

    pub(super) fn frame(&mut self) -> Result<Frame, SerialError> {
        self.bytes().map(Arc::from)
    }

    pub(super) fn connection(&mut self) -> Result<ConnectionId, SerialError> {
        Ok(ConnectionId::new(self.u32()?, self.u32()?))
    }

    pub(super) fn consult(&mut self) -> Result<Consult, SerialError> {
        let (connection, id) = (self.connection()?, self.u32()?);
        Ok(Consult { connection, id, question: self.bytes()?.into() })
    }

    pub(super) fn consulted(&mut self) -> Result<Consulted, SerialError> {
        let (connection, id) = (self.connection()?, self.u32()?);
        let answer = self.option(|take| Ok(take.bytes()?.into()))?;
        Ok(Consulted { connection, id, answer })
    }

    pub(super) fn sign_in_result(&mut self) -> Result<Result<(), SignInError>, SerialError> {
        self.one_of(&SIGN_IN_RESULTS)
    }

    pub(super) fn text(&mut self) -> Result<Arc<str>, SerialError> {
        std::str::from_utf8(self.bytes()?).map(Arc::from).map_err(|_| SerialError::Text)
    }

    pub(super) fn counted(&mut self) -> Result<Counted, SerialError> {
        let count = self.u32()?;
        if count as usize != NUMBERS {
            let count = u16::try_from(count).unwrap_or(u16::MAX);
            return Err(SerialError::Counters { count });
        }
        let (mut counters, mut details) = (Counters::default(), Details::default());
        let mut memory = Memory::default();
        let counts = counters.values_mut().into_iter().chain(details.values_mut());
        for value in counts.chain(memory.values_mut()) {
            *value = self.u64()?;
        }
        Ok(Counted {
            counters,
            details,
            memory,
            round: self.u64()?,
            shard: self.u64()?,
            connections: self.u64()?,
            open: self.u64()?,
            channels: self.u64()?,
            subscriptions: self.u64()?,
            users: self.u64()?,
            streams: self.u64()?,
            stream_bytes: self.u64()?,
            present: self.u64()?,
            mailboxes: self.u64()?,
            mailbox_bytes: self.u64()?,
            backlog_bytes: self.u64()?,
            partial_bytes: self.u64()?,
            timers: self.u64()?,
            ready: self.u64()?,
            submitted: self.submitted()?,
        })
    }

    pub(super) fn submitted(&mut self) -> Result<Vec<(Operation, u64)>, SerialError> {
        (0..self.u32()?)
            .map(|_| {
                let number = self.u8()?;
                let operation = Operation::ALL.get(usize::from(number)).copied();
                Ok((operation.ok_or(SerialError::Tag(number))?, self.u64()?))
            })
            .collect()
    }
}
