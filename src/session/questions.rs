//! What a client asks about a channel: history, presence, and its numbers (16, 17).

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::entry::{Position, Since};
use super::options::Retention;
use super::rules::Rules;
use super::state::{Session, Terms};
use super::under_way::{Awaited, SlotId};
use crate::protocol::{ErrorCode, History, HistoryResult, PresenceStats, Reply};

/// What the home of a channel is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What is kept of the publications.
    History {
        /// Only those beyond this place.
        since: Option<Since>,
        /// So many at most; none for 0.
        publications_max: u32,
        /// From the newest to the oldest.
        is_reverse: bool,
        /// How they are kept.
        retention: Retention,
    },
    /// Who is there.
    Presence,
    /// How many are.
    PresenceStats,
}

/// What it says. The lists are in the client's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To [`Question::History`].
    History {
        /// The end of the stream.
        position: Position<'a>,
        /// A list of publications for a history.
        publications: &'a [u8],
    },
    /// To [`Question::Presence`]: a list of clients.
    Presence(&'a [u8]),
    /// To [`Question::PresenceStats`].
    PresenceStats(PresenceStats),
}

impl Session {
    pub(super) fn history(
        &mut self,
        id: u32,
        request: &History<'_>,
        is_member: bool,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let rules = &terms.rules;
        let options = *rules.options(&request.channel)?;
        let retention = options.history.ok_or(ErrorCode::NotAvailable)?;
        if !rules.may_see_history(options, self.user(), is_member) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let since = request.since.as_ref();
        if request.reverse && since.is_some_and(|since| since.offset == 0) {
            return Err(ErrorCode::BadRequest.into()); // nothing stands before the beginning
        }
        let since = since.map(|since| {
            let epoch = effects.text(since.epoch.as_bytes());
            Since { offset: since.offset, epoch }
        });
        let question = Question::History {
            since,
            publications_max: page(request.limit, rules),
            is_reverse: request.reverse,
            retention,
        };
        self.ask(id, &request.channel, question, effects);
        Ok(())
    }

    pub(super) fn presence(
        &mut self,
        id: u32,
        name: &str,
        question: Question,
        is_member: bool,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let options = *terms.rules.options(name)?;
        if !options.presence {
            return Err(ErrorCode::NotAvailable.into());
        }
        if !terms.rules.may_see_presence(options, self.user(), is_member) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        self.ask(id, name, question, effects);
        Ok(())
    }

    fn ask(&mut self, id: u32, name: &str, question: Question, effects: &mut Effects) {
        let slot = self.begin().await_answer(id, name, Awaited::Answer);
        let channel = effects.text(name.as_bytes());
        effects.push(Effect::Ask { slot, channel, question });
    }

    /// The home of a channel has answered a question, or there was no asking it. Returns what was
    /// deferred meanwhile, to be read now.
    pub fn answered(
        &mut self,
        slot: SlotId,
        result: Result<Answer<'_>, ErrorCode>,
        effects: &mut Effects,
    ) -> Deferred {
        let taken = self.take(slot);
        assert!(matches!(taken.awaited, Awaited::Answer), "{:?}: not asked", taken.awaited);
        let reply = match result {
            Ok(Answer::History { position, publications }) => Reply::History(HistoryResult {
                publications,
                epoch: position.epoch,
                offset: position.offset,
            }),
            Ok(Answer::Presence(clients)) => Reply::Presence(clients),
            Ok(Answer::PresenceStats(stats)) => Reply::PresenceStats(stats),
            Err(code) => Reply::Error(code.into()),
        };
        self.answer(taken, &reply, effects)
    }
}

/// How many publications a history may have that was asked for with this limit: none for 0, and
/// for a negative one as many as there may be.
fn page(limit: i32, rules: &Rules) -> u32 {
    let most = rules.history_publications_max;
    u32::try_from(limit).map_or(most, |limit| limit.min(most))
}
