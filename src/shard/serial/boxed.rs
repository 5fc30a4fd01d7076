//! Messages with fields of their own, which travel in a box, as they are written.

use super::SerialError;
use super::fields::{Reader, Writer};
use crate::shard::message::{
    Answered, Consult, Consulted, Enter, EnteredBy, HandOver, ListChannels, Place, PublishKept,
    Returned, Version,
};
use crate::shard::moves::{Move, MoveId, MoveStep};

impl Writer<'_> {
    pub(super) fn publish_kept(&mut self, publish: &PublishKept) -> &mut Self {
        let PublishKept { channel, frame, keep } = publish;
        self.text(channel).bytes(frame).keep(*keep)
    }

    pub(super) fn place(&mut self, place: &Place) -> &mut Self {
        self.u32(place.ask).option(place.version.as_ref(), |put, version| {
            put.u64(version.number).text(&version.epoch)
        });
        self.publish_kept(&place.publication)
    }

    pub(super) fn enter(&mut self, enter: &Enter) -> &mut Self {
        let Enter { channel, connection, entry } = enter;
        self.text(channel).connection(*connection).entry(entry)
    }

    pub(super) fn entered_by(&mut self, entered: &EnteredBy) -> &mut Self {
        self.text(&entered.channel).connection(entered.connection).entered(&entered.result)
    }

    pub(super) fn answered(&mut self, answered: &Answered) -> &mut Self {
        self.connection(answered.connection).u32(answered.id).answer(&answered.result)
    }

    pub(super) fn consult(&mut self, consult: &Consult) -> &mut Self {
        let Consult { connection, id, question } = consult;
        self.connection(*connection).u32(*id).bytes(question)
    }

    pub(super) fn consulted(&mut self, consulted: &Consulted) -> &mut Self {
        let Consulted { connection, id, answer } = consulted;
        self.connection(*connection).u32(*id).option(answer.as_deref(), Writer::bytes)
    }

    /// A tag of its own, and the one number that a step has.
    pub(super) fn hand_over(&mut self, step: HandOver) -> &mut Self {
        match step {
            HandOver::Freeze { shards, attempt } => self.tag(0).u32(shards.into()).tag(attempt),
            HandOver::Moved { connections, copied } => {
                self.tag(1).option(connections, |put, count| put.u64(count)).u64(copied)
            }
            HandOver::Thaw => self.tag(2),
            HandOver::Leave => self.tag(3),
            HandOver::Survey { round } => self.tag(4).u32(round),
            HandOver::Surveyed { round, sent, received, is_idle } => {
                self.tag(5).u32(round).u64(sent).u64(received).bool(is_idle)
            }
            HandOver::Send => self.tag(6),
            HandOver::Settled => self.tag(7),
            HandOver::Ahead { shards, attempt } => self.tag(8).u32(shards.into()).tag(attempt),
            HandOver::Copied { attempt, copies } => {
                self.tag(9).tag(attempt).option(copies, |put, count| put.u64(count))
            }
        }
    }

    /// The move, a tag, and what the step says.
    pub(super) fn move_step(&mut self, one: &Move) -> &mut Self {
        self.u32(one.id.from.into()).u32(one.id.number);
        match &one.step {
            MoveStep::Ready => self.tag(0),
            MoveStep::Refused => self.tag(1),
            MoveStep::Stays => self.tag(2),
            MoveStep::Goes { words, record } => self.tag(3).u64(*words).bytes(record),
            MoveStep::Pin { to, channel, hears_joins } => {
                self.tag(4).u32((*to).into()).text(channel).bool(*hears_joins)
            }
            MoveStep::Pinned { channel } => self.tag(5).text(channel),
            MoveStep::Unpinned => self.tag(6),
        }
    }

    pub(super) fn returned(&mut self, returned: &Returned) -> &mut Self {
        let Returned { channel, connection, former, .. } = returned;
        self.text(channel)
            .connection(*connection)
            .u64(*former)
            .bool(returned.is_present)
            .bool(returned.acknowledges)
            .bool(returned.hears_joins)
            .bool(returned.takes_deltas)
    }

    pub(super) fn reports(&mut self, reports: &[Box<[u8]>]) -> &mut Self {
        self.count(reports.len());
        reports.iter().fold(self, |put, report| put.bytes(report))
    }
}

impl Reader<'_> {
    pub(super) fn place(&mut self) -> Result<Place, SerialError> {
        let ask = self.u32()?;
        let version = self.option(|take| {
            let (number, epoch) = (take.u64()?, take.text()?);
            Ok(Version { number, epoch: (*epoch).into() })
        })?;
        Ok(Place { ask, version, publication: self.publish_kept()? })
    }

    pub(super) fn hand_over(&mut self) -> Result<HandOver, SerialError> {
        Ok(match self.u8()? {
            0 => HandOver::Freeze { shards: self.shard()?, attempt: self.u8()? },
            1 => HandOver::Moved { connections: self.option(Reader::u64)?, copied: self.u64()? },
            2 => HandOver::Thaw,
            3 => HandOver::Leave,
            4 => HandOver::Survey { round: self.u32()? },
            5 => HandOver::Surveyed {
                round: self.u32()?,
                sent: self.u64()?,
                received: self.u64()?,
                is_idle: self.bool()?,
            },
            6 => HandOver::Send,
            7 => HandOver::Settled,
            8 => HandOver::Ahead { shards: self.shard()?, attempt: self.u8()? },
            9 => HandOver::Copied { attempt: self.u8()?, copies: self.option(Reader::u64)? },
            other => return Err(SerialError::Tag(other)),
        })
    }

    pub(super) fn move_step(&mut self) -> Result<Move, SerialError> {
        let id = MoveId { from: self.shard()?, number: self.u32()? };
        let step = match self.u8()? {
            0 => MoveStep::Ready,
            1 => MoveStep::Refused,
            2 => MoveStep::Stays,
            3 => MoveStep::Goes { words: self.u64()?, record: self.bytes()?.into() },
            4 => MoveStep::Pin {
                to: self.shard()?,
                channel: self.text()?,
                hears_joins: self.bool()?,
            },
            5 => MoveStep::Pinned { channel: self.text()? },
            6 => MoveStep::Unpinned,
            other => return Err(SerialError::Tag(other)),
        };
        Ok(Move { id, step })
    }

    fn shard(&mut self) -> Result<u16, SerialError> {
        let shards = self.u32()?;
        u16::try_from(shards).map_err(|_| SerialError::Number { shards })
    }

    pub(super) fn returned(&mut self) -> Result<Returned, SerialError> {
        Ok(Returned {
            channel: self.text()?,
            connection: self.connection()?,
            former: self.u64()?,
            is_present: self.bool()?,
            acknowledges: self.bool()?,
            hears_joins: self.bool()?,
            takes_deltas: self.bool()?,
        })
    }

    pub(super) fn reports(&mut self) -> Result<Box<[Box<[u8]>]>, SerialError> {
        (0..self.u32()?).map(|_| Ok(self.bytes()?.into())).collect()
    }

    pub(super) fn list_channels(&mut self) -> Result<ListChannels, SerialError> {
        Ok(ListChannels { ask: self.u64()?, pattern: self.text()? })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::shard::message::Message;

    /// One of each step.
    pub(in crate::shard::serial) fn moves() -> Vec<Message> {
        let goes = MoveStep::Goes { words: u64::MAX - 7, record: [1, 2, 3].into() };
        let pin = MoveStep::Pin { to: 513, channel: "a".into(), hears_joins: true };
        let pinned = MoveStep::Pinned { channel: "bc".into() };
        let steps = [MoveStep::Ready, MoveStep::Refused, MoveStep::Stays, goes, pin, pinned];
        let steps = steps.into_iter().chain([MoveStep::Unpinned]);
        let id = MoveId { from: u16::MAX - 8, number: u32::MAX - 9 };
        steps.map(|step| Message::Move(Box::new(Move { id, step }))).collect()
    }
}
