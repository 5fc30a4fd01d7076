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

mod boxed;
mod fields;
mod stream;

use std::sync::Arc;

use self::fields::{ANSWERS, Reader, SIGN_IN_RESULTS, Writer};
use super::message::Message;
use crate::handler::Whom;

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
    /// So many shards no process has.
    Number { shards: u32 },
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
const PUBLISH_KEPT: u8 = 13;
const ENTER: u8 = 14;
const ENTERED: u8 = 15;
const ASK: u8 = 16;
const ANSWERED: u8 = 17;
const ABSENT: u8 = 18;
const TELL: u8 = 19;
const REPLACED: u8 = 20;
const TELL_USER: u8 = 21;
const USER_TOLD: u8 = 22;
const CONSULT: u8 = 23;
const UNCONSULT: u8 = 24;
const CONSULTED: u8 = 25;
const SHOW_ANEW: u8 = 26;
const PLACE: u8 = 27;
const PLACED: u8 = 28;
const LIST_CHANNELS: u8 = 29;
const CHANNELS_LISTED: u8 = 30;
const REDELIVER: u8 = 31;
const REPORTED: u8 = 32;
const HAND_OVER: u8 = 33;
const RETURNED: u8 = 34;
const COUNT_AGAIN: u8 = 35;

const MOVE: u8 = 36;

/// The kind that was added last.
#[cfg(test)]
const LAST: u8 = MOVE;

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
                put.tag(INTEREST_ANSWERED).text(channel).u32(*ask).one_of(&ANSWERS, answer)
            }
            Self::Uninterested { channel } => put.tag(UNINTERESTED).text(channel),
            Self::BothForms { channel } => put.tag(BOTH_FORMS).text(channel),
            Self::PublishKept(publish) => put.tag(PUBLISH_KEPT).publish_kept(publish),
            Self::Place(place) => put.tag(PLACE).place(place),
            Self::Placed { ask, place } => {
                put.tag(PLACED).u32(*ask).option(*place, Writer::position)
            }
            Self::Enter(enter) => put.tag(ENTER).enter(enter),
            Self::Entered(entered) => put.tag(ENTERED).entered_by(entered),
            Self::Ask(ask) => put.tag(ASK).ask(ask),
            Self::Answered(answered) => put.tag(ANSWERED).answered(answered),
            Self::Absent { channel, connection, gone } => {
                put.tag(ABSENT).text(channel).connection(*connection).gone(*gone)
            }
            Self::ShowAnew(anew) => put.tag(SHOW_ANEW).show_anew(anew),
            Self::Redeliver(one) => put.tag(REDELIVER).redeliver(one),
            Self::Tell { channel, frame } => put.tag(TELL).text(channel).bytes(frame),
            Self::Replaced { channel } => put.tag(REPLACED).text(channel),
            Self::SignIn { user, limit, connection } => {
                put.tag(SIGN_IN).text(user).u32(*limit).connection(*connection)
            }
            Self::SignedIn { user, connection, result } => put
                .tag(SIGNED_IN)
                .text(user)
                .connection(*connection)
                .one_of(&SIGN_IN_RESULTS, result),
            Self::SignOut { user } => put.tag(SIGN_OUT).text(user),
            Self::Returned(returned) => put.tag(RETURNED).returned(returned),
            Self::CountAgain { user } => put.tag(COUNT_AGAIN).text(user),
            Self::Consult(consult) => put.tag(CONSULT).consult(consult),
            Self::Unconsult { connection, id } => {
                put.tag(UNCONSULT).connection(*connection).u32(*id)
            }
            Self::Consulted(consulted) => put.tag(CONSULTED).consulted(consulted),
            Self::Reported(reports) => put.tag(REPORTED).reports(reports),
            Self::TellUser(tell) => {
                let (is_marked, name) = match &tell.whom {
                    Whom::User(user) => (false, user),
                    Whom::Marked(mark) => (true, mark),
                };
                put.tag(TELL_USER).u64(tell.ask).bool(is_marked).text(name).bytes(&tell.word)
            }
            Self::ListChannels(list) => put.tag(LIST_CHANNELS).u64(list.ask).text(&list.pattern),
            Self::ChannelsListed { ask, found } => {
                put.tag(CHANNELS_LISTED).u64(*ask).option(found.as_ref(), Writer::members)
            }
            Self::UserTold { ask, was_heard } => put.tag(USER_TOLD).u64(*ask).bool(*was_heard),
            Self::Stop => put.tag(STOP),
            Self::HandOver(step) => put.tag(HAND_OVER).hand_over(*step),
            Self::Move(step) => put.tag(MOVE).move_step(step),
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
            INTEREST_ANSWERED => Self::InterestAnswered {
                channel: take.text()?,
                ask: take.u32()?,
                answer: take.one_of(&ANSWERS)?,
            },
            UNINTERESTED => Self::Uninterested { channel: take.text()? },
            BOTH_FORMS => Self::BothForms { channel: take.text()? },
            PUBLISH_KEPT => Self::PublishKept(Box::new(take.publish_kept()?)),
            PLACE => Self::Place(Box::new(take.place()?)),
            PLACED => Self::Placed { ask: take.u32()?, place: take.option(Reader::position)? },
            ENTER => Self::Enter(Box::new(take.enter()?)),
            ENTERED => Self::Entered(Box::new(take.entered_by()?)),
            ASK => Self::Ask(Box::new(take.ask()?)),
            ANSWERED => Self::Answered(Box::new(take.answered()?)),
            ABSENT => Self::Absent {
                channel: take.text()?,
                connection: take.connection()?,
                gone: take.gone()?,
            },
            SHOW_ANEW => Self::ShowAnew(Box::new(take.show_anew()?)),
            REDELIVER => Self::Redeliver(Box::new(take.redeliver()?)),
            TELL => Self::Tell { channel: take.text()?, frame: take.frame()? },
            REPLACED => Self::Replaced { channel: take.text()? },
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
            RETURNED => Self::Returned(Box::new(take.returned()?)),
            COUNT_AGAIN => Self::CountAgain { user: take.text()? },
            CONSULT => Self::Consult(Box::new(take.consult()?)),
            UNCONSULT => Self::Unconsult { connection: take.connection()?, id: take.u32()? },
            CONSULTED => Self::Consulted(Box::new(take.consulted()?)),
            REPORTED => Self::Reported(take.reports()?),
            TELL_USER => Self::TellUser(Box::new(take.tell_user()?)),
            LIST_CHANNELS => Self::ListChannels(Box::new(take.list_channels()?)),
            CHANNELS_LISTED => Self::ChannelsListed {
                ask: take.u64()?,
                found: take.option(Reader::members)?.map(Arc::new),
            },
            USER_TOLD => Self::UserTold { ask: take.u64()?, was_heard: take.bool()? },
            STOP => Self::Stop,
            HAND_OVER => Self::HandOver(take.hand_over()?),
            MOVE => Self::Move(Box::new(take.move_step()?)),
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

#[cfg(test)]
mod tests {
    use super::super::message::{
        Consult, Consulted, Counted, HandOver, ListChannels, Listed, Returned, TellUser,
    };
    use super::*;
    use crate::handler::ConnectionId;
    use crate::hub::Answer;
    use crate::metrics::{Counters, Details, Memory};
    use crate::ring::{Frame, Operation};

    /// What a shard counts, with a value of its own everywhere.
    fn counted() -> Counted {
        let (mut counters, mut details) = (Counters::default(), Details::default());
        let mut memory = Memory::default();
        let values = counters.values_mut().into_iter().chain(details.values_mut());
        for (value, number) in values.chain(memory.values_mut()).zip(1000..) {
            *value = number;
        }
        Counted {
            round: 1,
            shard: 8,
            counters,
            details,
            connections: 2,
            open: 3,
            channels: 4,
            subscriptions: 9,
            users: 10,
            streams: 11,
            stream_bytes: 12,
            present: 13,
            mailboxes: 14,
            mailbox_bytes: 15,
            backlog_bytes: 5,
            partial_bytes: 6,
            memory,
            timers: 7,
            ready: u64::MAX,
            submitted: Operation::ALL.map(|operation| (operation, operation as u64 + 9)).into(),
        }
    }

    /// One of each kind, with a value of its own in every field.
    fn messages() -> Vec<Message> {
        let channel: Arc<str> = "news:größe".into();
        let frame: Frame = Arc::from(&b"\x81\x02hi"[..]);
        let answered =
            |answer| Message::InterestAnswered { channel: channel.clone(), ask: 8, answer };
        let listed = |channel: &str, members| Listed { channel: channel.into(), members };
        let connection = ConnectionId::new(5, 0xffff_fff0);
        let answer = Some([9].into());
        let consulted = Message::Consulted(Box::new(Consulted { connection, id: 7, answer }));
        let mut messages = vec![
            Message::Publish { channel: channel.clone(), frame: frame.clone() },
            Message::Deliver { channel: "".into(), frame: Arc::from(&b""[..]) },
            Message::Gap { channel: channel.clone(), missed: u64::MAX - 1 },
            Message::Interested { channel: channel.clone(), ask: u32::MAX },
            answered(Answer::Confirmed),
            answered(Answer::Refused),
            Message::Uninterested { channel: channel.clone() },
            Message::BothForms { channel: channel.clone() },
            Message::Replaced { channel: channel.clone() },
            Message::Tell { channel, frame },
            Message::Consult(Box::new(Consult { connection, id: 4, question: [7, 8].into() })),
            Message::Unconsult { connection, id: 5 },
            Message::Consulted(Box::new(Consulted { connection, id: 6, answer: None })),
            consulted,
            Message::Reported([[1, 2].into(), [].into(), [3].into()].into()),
            Message::SignIn { user: "anna".into(), limit: 3, connection },
            Message::SignOut { user: "bo".into() },
            Message::TellUser(Box::new(TellUser {
                ask: u64::MAX - 3,
                whom: Whom::User("dora".into()),
                word: Arc::from(&b"{}"[..]),
            })),
            Message::TellUser(Box::new(TellUser {
                ask: 11,
                whom: Whom::Marked("".into()),
                word: Arc::from(&b"7"[..]),
            })),
            Message::UserTold { ask: 12, was_heard: true },
            Message::ListChannels(Box::new(ListChannels { ask: 13, pattern: "a*".into() })),
            Message::ChannelsListed { ask: 14, found: None },
            Message::ChannelsListed {
                ask: 15,
                found: Some(Arc::new(vec![listed("a", 1), listed("ab", u32::MAX)])),
            },
            Message::Stop,
            Message::Count { round: 77 },
            Message::Counted(Box::new(counted())),
        ];
        let signed_in = SIGN_IN_RESULTS.map(|result| Message::SignedIn {
            user: "cleo".into(),
            connection,
            result,
        });
        messages.extend(signed_in);
        messages.extend(hand_overs(connection));
        messages.extend(boxed::tests::moves());
        messages.extend(stream::tests::messages());
        messages
    }

    /// The steps of a hand-over, and what they lead to.
    fn hand_overs(connection: ConnectionId) -> Vec<Message> {
        vec![
            Message::HandOver(HandOver::Freeze { shards: 513, attempt: 7 }),
            Message::HandOver(HandOver::Ahead { shards: 514, attempt: 8 }),
            Message::HandOver(HandOver::Copied { attempt: 9, copies: Some(u64::MAX - 3) }),
            Message::HandOver(HandOver::Copied { attempt: 10, copies: None }),
            Message::HandOver(HandOver::Moved { connections: Some(u64::MAX - 4), copied: 5 }),
            Message::HandOver(HandOver::Moved { connections: None, copied: 0 }),
            Message::HandOver(HandOver::Thaw),
            Message::HandOver(HandOver::Leave),
            Message::HandOver(HandOver::Survey { round: 9 }),
            Message::HandOver(HandOver::Surveyed {
                round: 10,
                sent: u64::MAX - 5,
                received: 11,
                is_idle: true,
            }),
            Message::HandOver(HandOver::Send),
            Message::HandOver(HandOver::Settled),
            Message::CountAgain { user: "eve".into() },
            Message::Returned(Box::new(Returned {
                channel: "news".into(),
                connection,
                former: u64::MAX - 6,
                is_present: true,
                acknowledges: false,
                hears_joins: true,
                takes_deltas: false,
            })),
        ]
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
            Message::HandOver(_) => HAND_OVER,
            Message::Move(_) => MOVE,
            Message::Count { .. } => COUNT,
            Message::Counted(_) => COUNTED,
            Message::SignIn { .. } => SIGN_IN,
            Message::SignedIn { .. } => SIGNED_IN,
            Message::SignOut { .. } => SIGN_OUT,
            Message::PublishKept(_) => PUBLISH_KEPT,
            Message::Enter(_) => ENTER,
            Message::Place(_) => PLACE,
            Message::Placed { .. } => PLACED,
            Message::Entered(_) => ENTERED,
            Message::Ask(_) => ASK,
            Message::Answered(_) => ANSWERED,
            Message::Absent { .. } => ABSENT,
            Message::ShowAnew(_) => SHOW_ANEW,
            Message::Redeliver(_) => REDELIVER,
            Message::Tell { .. } => TELL,
            Message::Replaced { .. } => REPLACED,
            Message::Consult(_) => CONSULT,
            Message::Unconsult { .. } => UNCONSULT,
            Message::Consulted(_) => CONSULTED,
            Message::Reported(_) => REPORTED,
            Message::TellUser(_) => TELL_USER,
            Message::UserTold { .. } => USER_TOLD,
            Message::ListChannels(_) => LIST_CHANNELS,
            Message::ChannelsListed { .. } => CHANNELS_LISTED,
            Message::Returned(_) => RETURNED,
            Message::CountAgain { .. } => COUNT_AGAIN,
        });
        let kinds: std::collections::BTreeSet<_> = kinds.collect();
        assert!(kinds.into_iter().eq(PUBLISH..=LAST));
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
        assert_eq!(Message::decode(&[LAST + 1]).err(), Some(SerialError::Tag(LAST + 1)));
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
