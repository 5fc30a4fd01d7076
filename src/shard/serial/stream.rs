//! The fields of messages about streams and presence.

use std::sync::Arc;

use super::SerialError;
use super::fields::{Reader, Writer};
use crate::handler::{
    Acknowledges, Answer, AskError, AskedEpoch, Entered, Entry, Epoch, JoinError, Keep, Overflow,
    Position, Present, Publications, Question, Reading, Recover, Recovered, Retention, Since, Whom,
};
use crate::shard::message::{
    Answered, Ask, Enter, EnteredBy, Gone, PublishKept, Redeliver, ShowAnew, TellUser,
};

/// By their tags.
const OVERFLOWS: [Overflow; 3] = [Overflow::Close, Overflow::DropOldest, Overflow::Latest];

/// By their tags.
const JOIN_ERRORS: [JoinError; 7] = [
    JoinError::Gone,
    JoinError::ConnectionChannels,
    JoinError::ShardFull,
    JoinError::HomeFull,
    JoinError::Name,
    JoinError::Member,
    JoinError::Busy,
];

/// By their tags.
const ASK_ERRORS: [AskError; 4] =
    [AskError::Gone, AskError::Busy, AskError::HomeFull, AskError::Name];

impl Writer<'_> {
    pub(super) fn keep(&mut self, keep: Keep) -> &mut Self {
        let Keep { retention, makes_delta } = keep;
        self.retention(retention).bool(makes_delta)
    }

    fn retention(&mut self, retention: Retention) -> &mut Self {
        let Retention { publications_max, ttl_s, meta_ttl_s } = retention;
        self.u32(publications_max).u32(ttl_s).u32(meta_ttl_s)
    }

    fn epoch(&mut self, epoch: Epoch) -> &mut Self {
        self.u64(u64::from_le_bytes(epoch.0))
    }

    pub(super) fn position(&mut self, position: Position) -> &mut Self {
        self.u64(position.offset).epoch(position.epoch)
    }

    fn since(&mut self, since: Since) -> &mut Self {
        self.u64(since.offset);
        match since.epoch {
            AskedEpoch::Any => self.tag(0),
            AskedEpoch::Is(epoch) => self.tag(1).epoch(epoch),
            AskedEpoch::Unknown => self.tag(2),
        }
    }

    fn recover(&mut self, recover: Recover) -> &mut Self {
        match recover {
            Recover::Missed { since, publications_max } => {
                self.tag(0).since(since).u32(publications_max)
            }
            Recover::Latest { since } => self.tag(1).since(since),
        }
    }

    pub(super) fn ask(&mut self, ask: &Ask) -> &mut Self {
        let Ask { channel, connection, id, question } = ask;
        self.text(channel).connection(*connection).u32(*id).question(question)
    }

    pub(super) fn show_anew(&mut self, anew: &ShowAnew) -> &mut Self {
        let ShowAnew { channel, connection, present } = anew;
        self.text(channel).connection(*connection).present(present)
    }

    fn present(&mut self, present: &Present) -> &mut Self {
        self.0.extend(present.id());
        self.text(present.user()).bytes(present.info()).bytes(present.channel_info());
        self.bool(present.is_listed())
    }

    fn publications(&mut self, publications: &Publications) -> &mut Self {
        self.count(publications.len());
        for frame in &**publications.frames() {
            self.bytes(frame);
        }
        self
    }

    pub(super) fn redeliver(&mut self, one: &Redeliver) -> &mut Self {
        let Redeliver { channel, connection, frame } = one;
        self.text(channel).connection(*connection).bytes(frame)
    }

    pub(super) fn gone(&mut self, gone: Gone) -> &mut Self {
        let Gone { is_present, is_announced, acknowledges, is_for_good } = gone;
        self.bool(is_present).bool(is_announced).bool(acknowledges).bool(is_for_good)
    }

    fn acknowledges(&mut self, acknowledges: &Acknowledges) -> &mut Self {
        let &Acknowledges { ref user, publications_max, bytes_max, ttl_s } = acknowledges;
        self.text(user).u32(publications_max).u32(bytes_max).u32(ttl_s)
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> &mut Self {
        let Entry {
            stream,
            recover,
            presence,
            is_announced,
            hears_joins,
            replaces_others,
            overflow,
            reading,
            acknowledges,
            tag,
        } = entry;
        self.option(*stream, Self::retention).option(*recover, Self::recover);
        self.option(presence.as_ref(), Self::present).bool(*is_announced).bool(*hears_joins);
        self.bool(*replaces_others).one_of(&OVERFLOWS, overflow).tag(*tag);
        // A filter stays with the shard that asks: its home has no part in it.
        self.bool(*reading == Reading::Deltas);
        self.option(acknowledges.as_ref(), Self::acknowledges)
    }

    pub(super) fn entered(&mut self, result: &Result<Entered, JoinError>) -> &mut Self {
        match result {
            Ok(Entered { position, recovered, lost }) => {
                self.tag(0).u64(*lost).option(*position, Self::position);
                self.option(recovered.as_ref(), |put, recovered| {
                    put.bool(recovered.is_whole).publications(&recovered.publications)
                })
            }
            Err(error) => self.tag(1).one_of(&JOIN_ERRORS, error),
        }
    }

    pub(super) fn question(&mut self, question: &Question) -> &mut Self {
        match question {
            Question::History { since, publications_max, is_reverse, retention } => {
                self.tag(0).option(*since, Self::since).u32(*publications_max);
                self.bool(*is_reverse).retention(*retention)
            }
            Question::Presence => self.tag(1),
            Question::PresenceStats => self.tag(2),
            Question::RemoveHistory => self.tag(3),
            Question::Acknowledge { user, ids } => {
                self.tag(4).text(user).count(ids.len());
                ids.iter().fold(self, |put, id| put.u64(*id))
            }
        }
    }

    pub(super) fn answer(&mut self, result: &Result<Answer, AskError>) -> &mut Self {
        match result {
            Ok(Answer::History { position, publications }) => {
                self.tag(0).position(*position).publications(publications)
            }
            Ok(Answer::Unrecoverable) => self.tag(1),
            Ok(Answer::Presence(all)) => {
                self.tag(2).count(all.len());
                all.iter().fold(self, Self::present)
            }
            Ok(Answer::PresenceStats { clients, users }) => self.tag(3).u32(*clients).u32(*users),
            Err(error) => self.tag(4).one_of(&ASK_ERRORS, error),
            Ok(Answer::HistoryRemoved) => self.tag(5),
            Ok(Answer::Acknowledged) => self.tag(6),
        }
    }
}

impl Reader<'_> {
    fn retention(&mut self) -> Result<Retention, SerialError> {
        Ok(Retention { publications_max: self.u32()?, ttl_s: self.u32()?, meta_ttl_s: self.u32()? })
    }

    fn epoch(&mut self) -> Result<Epoch, SerialError> {
        self.array().map(Epoch)
    }

    pub(super) fn position(&mut self) -> Result<Position, SerialError> {
        Ok(Position { offset: self.u64()?, epoch: self.epoch()? })
    }

    fn since(&mut self) -> Result<Since, SerialError> {
        let offset = self.u64()?;
        let epoch = match self.u8()? {
            0 => AskedEpoch::Any,
            1 => AskedEpoch::Is(self.epoch()?),
            2 => AskedEpoch::Unknown,
            other => return Err(SerialError::Tag(other)),
        };
        Ok(Since { offset, epoch })
    }

    fn recover(&mut self) -> Result<Recover, SerialError> {
        match self.u8()? {
            0 => Ok(Recover::Missed { since: self.since()?, publications_max: self.u32()? }),
            1 => Ok(Recover::Latest { since: self.since()? }),
            other => Err(SerialError::Tag(other)),
        }
    }

    pub(super) fn show_anew(&mut self) -> Result<ShowAnew, SerialError> {
        let (channel, connection) = (self.text()?, self.connection()?);
        Ok(ShowAnew { channel, connection, present: self.present()? })
    }

    fn present(&mut self) -> Result<Present, SerialError> {
        let id = self.array()?;
        let present = Present::new(id, &self.text()?, self.bytes()?, self.bytes()?);
        Ok(if self.bool()? { present } else { present.unlisted() })
    }

    fn publications(&mut self) -> Result<Publications, SerialError> {
        let frames: Result<Arc<[_]>, _> = (0..self.u32()?).map(|_| self.frame()).collect();
        frames.map(Publications::of_frames)
    }

    pub(super) fn redeliver(&mut self) -> Result<Redeliver, SerialError> {
        let (channel, connection) = (self.text()?, self.connection()?);
        Ok(Redeliver { channel, connection, frame: self.frame()? })
    }

    pub(super) fn gone(&mut self) -> Result<Gone, SerialError> {
        Ok(Gone {
            is_present: self.bool()?,
            is_announced: self.bool()?,
            acknowledges: self.bool()?,
            is_for_good: self.bool()?,
        })
    }

    fn acknowledges(&mut self) -> Result<Acknowledges, SerialError> {
        Ok(Acknowledges {
            user: self.text()?,
            publications_max: self.u32()?,
            bytes_max: self.u32()?,
            ttl_s: self.u32()?,
        })
    }

    fn entry(&mut self) -> Result<Entry, SerialError> {
        Ok(Entry {
            stream: self.option(Self::retention)?,
            recover: self.option(Self::recover)?,
            presence: self.option(Self::present)?,
            is_announced: self.bool()?,
            hears_joins: self.bool()?,
            replaces_others: self.bool()?,
            overflow: self.one_of(&OVERFLOWS)?,
            tag: self.u8()?,
            reading: if self.bool()? { Reading::Deltas } else { Reading::Whole },
            acknowledges: self.option(Self::acknowledges)?,
        })
    }

    pub(super) fn publish_kept(&mut self) -> Result<PublishKept, SerialError> {
        Ok(PublishKept {
            channel: self.text()?,
            frame: self.frame()?,
            keep: Keep { retention: self.retention()?, makes_delta: self.bool()? },
        })
    }

    pub(super) fn enter(&mut self) -> Result<Enter, SerialError> {
        Ok(Enter { channel: self.text()?, connection: self.connection()?, entry: self.entry()? })
    }

    pub(super) fn tell_user(&mut self) -> Result<TellUser, SerialError> {
        let ask = self.u64()?;
        let whom = match self.u8()? {
            0 => Whom::User(self.text()?),
            1 => Whom::Marked(self.text()?),
            other => return Err(SerialError::Tag(other)),
        };
        Ok(TellUser { ask, whom, word: self.frame()? })
    }

    pub(super) fn entered_by(&mut self) -> Result<EnteredBy, SerialError> {
        let (channel, connection) = (self.text()?, self.connection()?);
        let result = match self.u8()? {
            0 => Ok(Entered {
                lost: self.u64()?,
                position: self.option(Self::position)?,
                recovered: self.option(|take| {
                    let is_whole = take.bool()?;
                    Ok(Recovered { is_whole, publications: take.publications()? })
                })?,
            }),
            1 => Err(self.one_of(&JOIN_ERRORS)?),
            other => return Err(SerialError::Tag(other)),
        };
        Ok(EnteredBy { channel, connection, result })
    }

    pub(super) fn ask(&mut self) -> Result<Ask, SerialError> {
        let (channel, connection, id) = (self.text()?, self.connection()?, self.u32()?);
        let question = match self.u8()? {
            0 => Question::History {
                since: self.option(Self::since)?,
                publications_max: self.u32()?,
                is_reverse: self.bool()?,
                retention: self.retention()?,
            },
            1 => Question::Presence,
            2 => Question::PresenceStats,
            3 => Question::RemoveHistory,
            4 => Question::Acknowledge {
                user: self.text()?,
                ids: (0..self.u32()?).map(|_| self.u64()).collect::<Result<_, _>>()?,
            },
            other => return Err(SerialError::Tag(other)),
        };
        Ok(Ask { channel, connection, id, question })
    }

    pub(super) fn answered(&mut self) -> Result<Answered, SerialError> {
        let (connection, id) = (self.connection()?, self.u32()?);
        let result = match self.u8()? {
            0 => Ok(Answer::History {
                position: self.position()?,
                publications: self.publications()?,
            }),
            1 => Ok(Answer::Unrecoverable),
            2 => {
                let all: Result<Arc<[_]>, _> = (0..self.u32()?).map(|_| self.present()).collect();
                Ok(Answer::Presence(all?))
            }
            3 => Ok(Answer::PresenceStats { clients: self.u32()?, users: self.u32()? }),
            4 => Err(self.one_of(&ASK_ERRORS)?),
            5 => Ok(Answer::HistoryRemoved),
            6 => Ok(Answer::Acknowledged),
            other => return Err(SerialError::Tag(other)),
        };
        Ok(Answered { connection, id, result })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::handler::ConnectionId;
    use crate::shard::message::{Message, Place, Version};

    const EPOCH: Epoch = Epoch(*b"abcdEFGH");
    const RETENTION: Retention = Retention { publications_max: 1, ttl_s: 2, meta_ttl_s: 3 };

    const POSITION: Position = Position { offset: 1 << 40, epoch: EPOCH };

    fn publications() -> Publications {
        Publications::of_frames(Arc::new([(*b"a").into(), (*b"").into()]))
    }

    fn present() -> Present {
        let id = std::array::from_fn(|place| u8::try_from(place).expect("sixteen"));
        Present::new(id, "größe", b"{}", b"[]")
    }

    fn entries() -> impl Iterator<Item = Entry> {
        let since = |offset, epoch| Since { offset, epoch };
        let full = Entry {
            stream: Some(RETENTION),
            recover: Some(Recover::Missed {
                since: since(u64::MAX, AskedEpoch::Is(EPOCH)),
                publications_max: 7,
            }),
            presence: Some(present()),
            is_announced: true,
            hears_joins: true,
            replaces_others: true,
            overflow: Overflow::Latest,
            reading: Reading::Deltas,
            acknowledges: Some(Acknowledges {
                user: "ann".into(),
                publications_max: 4,
                bytes_max: 5,
                ttl_s: 6,
            }),
            tag: Entry::TAG_MAX,
        };
        let latest = |epoch| Some(Recover::Latest { since: since(1, epoch) });
        let others = [AskedEpoch::Any, AskedEpoch::Unknown]
            .map(|epoch| Entry { recover: latest(epoch), ..Entry::default() });
        let nobody = Present::new([0; 16], "", b"", b"");
        let alone = Entry { presence: Some(nobody), ..Entry::default() };
        others.into_iter().chain([full, alone, Entry::default()])
    }

    /// What a home says to entries, in every way.
    fn entered() -> impl Iterator<Item = Result<Entered, JoinError>> {
        let recovered = Recovered { is_whole: true, publications: publications() };
        let entered = Entered { position: Some(POSITION), recovered: Some(recovered), lost: 7 };
        [Ok(entered), Ok(Entered::default())].into_iter().chain(JOIN_ERRORS.map(Err))
    }

    /// What a home says to questions, in every way.
    fn answers() -> impl Iterator<Item = Result<Answer, AskError>> {
        let answers = [
            Answer::Acknowledged,
            Answer::History { position: POSITION, publications: publications() },
            Answer::Unrecoverable,
            Answer::HistoryRemoved,
            Answer::Presence(Arc::new([present(), present()])),
            Answer::PresenceStats { clients: 5, users: 4 },
        ];
        answers.map(Ok).into_iter().chain(ASK_ERRORS.map(Err))
    }

    /// One for each thing that a message about streams and presence can say.
    pub(in crate::shard::serial) fn messages() -> Vec<Message> {
        let channel: Arc<str> = "news".into();
        let connection = ConnectionId::new(3, 4);
        let kept = PublishKept {
            channel: channel.clone(),
            frame: (*b"kept").into(),
            keep: Keep { retention: RETENTION, makes_delta: true },
        };
        let place = |version| {
            Message::Place(Box::new(Place { ask: 17, version, publication: kept.clone() }))
        };
        let version = Version { number: u64::MAX - 9, epoch: "v1".into() };
        let mut messages = vec![place(None), place(Some(version))];
        for place in [None, Some(POSITION)] {
            messages.push(Message::Placed { ask: u32::MAX, place });
        }
        messages.push(Message::PublishKept(Box::new(kept)));
        let anew = ShowAnew { channel: channel.clone(), connection, present: present().unlisted() };
        messages.push(Message::ShowAnew(Box::new(anew)));
        let (of, frame) = (channel.clone(), (*b"again").into());
        let again = Redeliver { channel: of, connection, frame };
        messages.push(Message::Redeliver(Box::new(again)));
        for bits in 0..16_u8 {
            let gone = Gone {
                is_present: bits & 1 != 0,
                is_announced: bits & 2 != 0,
                acknowledges: bits & 4 != 0,
                is_for_good: bits & 8 != 0,
            };
            messages.push(Message::Absent { channel: channel.clone(), connection, gone });
        }
        for entry in entries() {
            let enter = Enter { channel: channel.clone(), connection, entry };
            messages.push(Message::Enter(Box::new(enter)));
        }
        let history = Question::History {
            since: Some(Since { offset: 9, epoch: AskedEpoch::Any }),
            publications_max: 10,
            is_reverse: true,
            retention: RETENTION,
        };
        let acknowledge = Question::Acknowledge { user: "ann".into(), ids: vec![1, u64::MAX] };
        let others = [Question::Presence, Question::PresenceStats, Question::RemoveHistory];
        for question in others.into_iter().chain([history, acknowledge]) {
            let ask = Ask { channel: channel.clone(), connection, id: 6, question };
            messages.push(Message::Ask(Box::new(ask)));
        }
        messages.extend(entered().map(|result| {
            Message::Entered(Box::new(EnteredBy { channel: channel.clone(), connection, result }))
        }));
        messages.extend(
            answers()
                .map(|result| Message::Answered(Box::new(Answered { connection, id: 8, result }))),
        );
        messages
    }
}
