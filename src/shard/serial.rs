//! The serial form of what shards say to each other: a message in, bytes out, and back.
//!
//! ```text
//!   tag u8 │ fields in the order of the enum │ text and frames behind their length, a u32
//! ```
//!
//! Numbers are little-endian. Between threads messages travel as they are; this is their form for
//! a hand-over to another process. Builds with debug assertions send every message through it, so
//! a field that is forgotten here fails wherever it matters.
//!
//! Invariant: decoding takes all bytes of a message and no other; anything else is an error.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::message::{Counted, Message};
use crate::handler::{ConnectionId, SignInError};
use crate::hub::Answer;
use crate::metrics::{Counters, Details};
use crate::ring::{Frame, Operation};

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SerialError {
    /// It ends before a field does.
    Short,
    /// Bytes are left behind the last field.
    Long { left: usize },
    /// No message, answer or operation has this number.
    Tag(u8),
    /// A channel's name is not UTF-8.
    Text,
    /// Another version's counters.
    Counters { count: u16 },
}

const PUBLISH: u8 = 0;
const DELIVER: u8 = 1;
const GAP: u8 = 2;
const INTERESTED: u8 = 3;
const INTEREST_ANSWERED: u8 = 4;
const UNINTERESTED: u8 = 5;
const STOP: u8 = 6;
const COUNT: u8 = 7;
const COUNTED: u8 = 8;
const SIGN_IN: u8 = 9;
const SIGNED_IN: u8 = 10;
const SIGN_OUT: u8 = 11;
const BOTH_FORMS: u8 = 12;

impl Message {
    /// Appends the serial form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut put = Writer(out);
        match self {
            Self::Publish { channel, frame } => put.tag(PUBLISH).text(channel).bytes(frame),
            Self::Deliver { channel, frame } => put.tag(DELIVER).text(channel).bytes(frame),
            Self::Gap { channel, missed } => put.tag(GAP).text(channel).u64(*missed),
            Self::Interested { channel, ask } => put.tag(INTERESTED).text(channel).u32(*ask),
            Self::InterestAnswered { channel, ask, answer } => {
                let answer = match answer {
                    Answer::Confirmed => 0,
                    Answer::Refused => 1,
                };
                put.tag(INTEREST_ANSWERED).text(channel).u32(*ask).tag(answer)
            }
            Self::Uninterested { channel } => put.tag(UNINTERESTED).text(channel),
            Self::BothForms { channel } => put.tag(BOTH_FORMS).text(channel),
            Self::SignIn { user, limit, connection } => {
                put.tag(SIGN_IN).text(user).u32(*limit).connection(*connection)
            }
            Self::SignedIn { user, connection, result } => {
                put.tag(SIGNED_IN).text(user).connection(*connection).tag(sign_in_tag(*result))
            }
            Self::SignOut { user } => put.tag(SIGN_OUT).text(user),
            Self::Stop => put.tag(STOP),
            Self::Count { round } => put.tag(COUNT).u64(*round),
            Self::Counted(counted) => put.tag(COUNTED).counted(counted),
        };
    }

    /// The message that these bytes are.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SerialError> {
        let mut take = Reader(bytes);
        let message = match take.u8()? {
            PUBLISH => Self::Publish { channel: take.text()?, frame: take.frame()? },
            DELIVER => Self::Deliver { channel: take.text()?, frame: take.frame()? },
            GAP => Self::Gap { channel: take.text()?, missed: take.u64()? },
            INTERESTED => Self::Interested { channel: take.text()?, ask: take.u32()? },
            INTEREST_ANSWERED => {
                let (channel, ask) = (take.text()?, take.u32()?);
                let answer = match take.u8()? {
                    0 => Answer::Confirmed,
                    1 => Answer::Refused,
                    other => return Err(SerialError::Tag(other)),
                };
                Self::InterestAnswered { channel, ask, answer }
            }
            UNINTERESTED => Self::Uninterested { channel: take.text()? },
            BOTH_FORMS => Self::BothForms { channel: take.text()? },
            SIGN_IN => Self::SignIn {
                user: take.text()?,
                limit: take.u32()?,
                connection: take.connection()?,
            },
            SIGNED_IN => Self::SignedIn {
                user: take.text()?,
                connection: take.connection()?,
                result: take.sign_in_result()?,
            },
            SIGN_OUT => Self::SignOut { user: take.text()? },
            STOP => Self::Stop,
            COUNT => Self::Count { round: take.u64()? },
            COUNTED => Self::Counted(Box::new(take.counted()?)),
            other => return Err(SerialError::Tag(other)),
        };
        match take.0.len() {
            0 => Ok(message),
            left => Err(SerialError::Long { left }),
        }
    }

    /// The same message after a round trip, in builds that check themselves.
    pub(super) fn checked(self) -> Self {
        if !cfg!(debug_assertions) {
            return self;
        }
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        Self::decode(&bytes).expect("every message has a serial form")
    }
}

/// The results of a sign-in, by their tags.
const SIGN_IN_RESULTS: [Result<(), SignInError>; 6] = [
    Ok(()),
    Err(SignInError::Gone),
    Err(SignInError::Limit),
    Err(SignInError::Busy),
    Err(SignInError::HomeFull),
    Err(SignInError::User),
];

fn sign_in_tag(result: Result<(), SignInError>) -> u8 {
    let tag = SIGN_IN_RESULTS.iter().position(|known| *known == result).expect("all are there");
    u8::try_from(tag).expect("there are six")
}

/// Appends fields.
struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn connection(&mut self, id: ConnectionId) -> &mut Self {
        self.u32(id.index()).u32(id.serial())
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("names, frames and tables are far below 4 GiB"))
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).0.extend(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn counted(&mut self, counted: &Counted) -> &mut Self {
        let Counted { round, shard, counters, details, connections, open, .. } = counted;
        let Counted { channels, subscriptions, users, submitted, .. } = counted;
        let Counted { backlog_bytes, partial_bytes, timers, ready, .. } = counted;
        self.count(Counters::COUNT + Details::COUNT);
        for value in counters.iter().map(|(_, value)| value).chain(details.values()) {
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

/// What has not been decoded yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SerialError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SerialError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SerialError> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    fn u8(&mut self) -> Result<u8, SerialError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, SerialError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, SerialError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], SerialError> {
        let count = self.u32()?;
        self.take(count as usize)
    }

    fn frame(&mut self) -> Result<Frame, SerialError> {
        self.bytes().map(Arc::from)
    }

    fn connection(&mut self) -> Result<ConnectionId, SerialError> {
        Ok(ConnectionId::new(self.u32()?, self.u32()?))
    }

    fn sign_in_result(&mut self) -> Result<Result<(), SignInError>, SerialError> {
        let tag = self.u8()?;
        SIGN_IN_RESULTS.get(usize::from(tag)).copied().ok_or(SerialError::Tag(tag))
    }

    fn text(&mut self) -> Result<Arc<str>, SerialError> {
        std::str::from_utf8(self.bytes()?).map(Arc::from).map_err(|_| SerialError::Text)
    }

    fn counted(&mut self) -> Result<Counted, SerialError> {
        let count = self.u32()?;
        if count as usize != Counters::COUNT + Details::COUNT {
            let count = u16::try_from(count).unwrap_or(u16::MAX);
            return Err(SerialError::Counters { count });
        }
        let (mut counters, mut details) = (Counters::default(), Details::default());
        for value in counters.values_mut().into_iter().chain(details.values_mut()) {
            *value = self.u64()?;
        }
        Ok(Counted {
            counters,
            details,
            round: self.u64()?,
            shard: self.u64()?,
            connections: self.u64()?,
            open: self.u64()?,
            channels: self.u64()?,
            subscriptions: self.u64()?,
            users: self.u64()?,
            backlog_bytes: self.u64()?,
            partial_bytes: self.u64()?,
            timers: self.u64()?,
            ready: self.u64()?,
            submitted: self.submitted()?,
        })
    }

    fn submitted(&mut self) -> Result<Vec<(Operation, u64)>, SerialError> {
        (0..self.u32()?)
            .map(|_| {
                let number = self.u8()?;
                let operation = Operation::ALL.get(usize::from(number)).copied();
                Ok((operation.ok_or(SerialError::Tag(number))?, self.u64()?))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, with a value of its own in every field.
    fn messages() -> Vec<Message> {
        let channel: Arc<str> = "news:größe".into();
        let frame: Frame = Arc::from(&b"\x81\x02hi"[..]);
        let (mut counters, mut details) = (Counters::default(), Details::default());
        let values = counters.values_mut().into_iter().chain(details.values_mut());
        for (value, number) in values.zip(1000..) {
            *value = number;
        }
        let counted = Counted {
            round: 1,
            shard: 8,
            counters,
            details,
            connections: 2,
            open: 3,
            channels: 4,
            subscriptions: 9,
            users: 10,
            backlog_bytes: 5,
            partial_bytes: 6,
            timers: 7,
            ready: u64::MAX,
            submitted: Operation::ALL.map(|operation| (operation, operation as u64 + 9)).into(),
        };
        let answered =
            |answer| Message::InterestAnswered { channel: channel.clone(), ask: 8, answer };
        let connection = ConnectionId::new(5, 0xffff_fff0);
        let mut messages = vec![
            Message::Publish { channel: channel.clone(), frame: frame.clone() },
            Message::Deliver { channel: "".into(), frame: Arc::from(&b""[..]) },
            Message::Gap { channel: channel.clone(), missed: u64::MAX - 1 },
            Message::Interested { channel: channel.clone(), ask: u32::MAX },
            answered(Answer::Confirmed),
            answered(Answer::Refused),
            Message::Uninterested { channel: channel.clone() },
            Message::BothForms { channel },
            Message::SignIn { user: "anna".into(), limit: 3, connection },
            Message::SignOut { user: "bo".into() },
            Message::Stop,
            Message::Count { round: 77 },
            Message::Counted(Box::new(counted)),
        ];
        let signed_in = SIGN_IN_RESULTS.map(|result| Message::SignedIn {
            user: "cleo".into(),
            connection,
            result,
        });
        messages.extend(signed_in);
        messages
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    }

    #[test]
    fn every_message_comes_back_as_it_was() {
        let all = messages();
        // A new kind of message fails to compile here until it stands in the list above.
        let kinds = all.iter().map(|message| match message {
            Message::Publish { .. } => PUBLISH,
            Message::Deliver { .. } => DELIVER,
            Message::Gap { .. } => GAP,
            Message::Interested { .. } => INTERESTED,
            Message::InterestAnswered { .. } => INTEREST_ANSWERED,
            Message::Uninterested { .. } => UNINTERESTED,
            Message::BothForms { .. } => BOTH_FORMS,
            Message::Stop => STOP,
            Message::Count { .. } => COUNT,
            Message::Counted(_) => COUNTED,
            Message::SignIn { .. } => SIGN_IN,
            Message::SignedIn { .. } => SIGNED_IN,
            Message::SignOut { .. } => SIGN_OUT,
        });
        let kinds: std::collections::BTreeSet<_> = kinds.collect();
        assert!(kinds.into_iter().eq(PUBLISH..=BOTH_FORMS));
        for message in all {
            let back = Message::decode(&encoded(&message)).unwrap();
            assert_eq!(format!("{back:?}"), format!("{message:?}"));
        }
    }

    #[test]
    fn a_message_cut_or_continued_anywhere_is_none() {
        for message in messages() {
            let mut bytes = encoded(&message);
            for end in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..end]).err(), Some(SerialError::Short));
            }
            bytes.push(0);
            assert_eq!(Message::decode(&bytes).err(), Some(SerialError::Long { left: 1 }));
        }
    }

    #[test]
    fn bytes_that_mean_nothing_are_refused_by_what_is_wrong() {
        assert_eq!(
            Message::decode(&[BOTH_FORMS + 1]).err(),
            Some(SerialError::Tag(BOTH_FORMS + 1))
        );
        let not_utf8 = [&[UNINTERESTED, 1, 0, 0, 0][..], b"\xff"].concat();
        assert_eq!(Message::decode(&not_utf8).err(), Some(SerialError::Text));
        let no_answer = [INTEREST_ANSWERED, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        assert_eq!(Message::decode(&no_answer).err(), Some(SerialError::Tag(2)));
        let others = [COUNTED, 1, 0, 0, 0];
        assert_eq!(Message::decode(&others).err(), Some(SerialError::Counters { count: 1 }));
        // A length beyond what is there reserves nothing.
        assert_eq!(Message::decode(&[PUBLISH, 255, 255, 255, 255]).err(), Some(SerialError::Short));
    }
}
