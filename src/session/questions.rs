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
    /// None: the user has the publications with these numbers.
    Acknowledge(Vec<u64>),
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
    /// To [`Question::Acknowledge`].
    Acknowledged,
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
        let options = *rules.named(&request.channel)?;
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
        let options = *terms.rules.named(name)?;
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
        if self.is_closed() {
            return Deferred::default();
        }
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
            Ok(Answer::Acknowledged) => Reply::Rpc(b"{}"),
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

#[cfg(test)]
mod tests {
    use super::super::options::ChannelOptions;
    use super::super::rig::Rig;
    use super::*;

    const HISTORY: Retention = Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 };

    fn rig(options: ChannelOptions) -> Rig {
        let mut rig = Rig::open();
        rig.terms.rules.insecure = false;
        rig.terms.rules.without_namespace = ChannelOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_history_for_anonymous: true,
            allow_presence_for_anonymous: true,
            ..options
        };
        rig
    }

    /// The error that a command gets, 0 if its home is asked.
    fn error(rig: &mut Rig, command: &str) -> u64 {
        rig.frame(&format!(r#"{{"id":2,{command}}}"#));
        match rig.lines().first() {
            None => {
                rig.asked.pop().expect("it is asked, or answered");
                0
            }
            Some(line) => {
                let reply: serde_json::Value = serde_json::from_str(line).unwrap();
                reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("{line}"))
            }
        }
    }

    #[test]
    fn what_is_not_there_is_said_before_what_is_not_allowed() {
        let questions = [
            r#""history":{"channel":"NAME"}"#,
            r#""presence":{"channel":"NAME"}"#,
            r#""presence_stats":{"channel":"NAME"}"#,
        ];
        let there =
            ChannelOptions { history: Some(HISTORY), presence: true, ..ChannelOptions::default() };
        let seen = ChannelOptions {
            allow_history_for_client: true,
            allow_presence_for_client: true,
            ..there
        };
        for question in questions {
            let ask = |options, name| error(&mut rig(options), &question.replace("NAME", name));
            assert_eq!(ask(seen, "ns:a"), 102, "{question}");
            assert_eq!(ask(ChannelOptions::default(), "a"), 108, "{question}");
            assert_eq!(ask(there, "a"), 103, "{question}");
            assert_eq!(ask(seen, "a"), 0, "{question}");
        }
    }

    #[test]
    fn who_is_in_the_channel_may_see_what_is_for_subscribers() {
        let mut rig = rig(ChannelOptions {
            presence: true,
            allow_presence_for_subscriber: true,
            ..ChannelOptions::default()
        });
        let question = r#""presence":{"channel":"a"}"#;
        assert_eq!(error(&mut rig, question), 103);
        rig.frame(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        rig.joined(Ok(()));
        rig.lines();
        assert_eq!(error(&mut rig, question), 0);
    }

    fn seen() -> Rig {
        rig(ChannelOptions {
            history: Some(HISTORY),
            allow_history_for_client: true,
            presence: true,
            allow_presence_for_client: true,
            ..ChannelOptions::default()
        })
    }

    #[test]
    fn pages_of_history_are_bounded_and_go_both_ways() {
        let most = 300;
        for (limit, page) in [("0", 0), ("7", 7), ("-1", most), ("301", most), ("300", most)] {
            let mut rig = seen();
            rig.frame(&format!(r#"{{"id":2,"history":{{"channel":"a","limit":{limit}}}}}"#));
            let expected = Question::History {
                since: None,
                publications_max: page,
                is_reverse: false,
                retention: HISTORY,
            };
            assert_eq!(rig.asked[0].2, expected, "{limit}");
        }
        let mut rig = seen();
        let since = |offset| {
            let since = format!(r#""since":{{"offset":{offset}}}"#);
            format!(r#""history":{{"channel":"a","limit":1,"reverse":true,{since}}}"#)
        };
        assert_eq!(error(&mut rig, &since(0)), 107);
        assert_eq!(error(&mut rig, &since(1)), 0);
    }

    #[test]
    fn answers_are_told_in_the_order_of_the_questions() {
        let mut rig = seen();
        rig.frame(concat!(
            "{\"id\":2,\"history\":{\"channel\":\"a\"}}\n",
            "{\"id\":3,\"presence\":{\"channel\":\"b\"}}\n",
            "{\"id\":4,\"presence_stats\":{\"channel\":\"c\"}}\n",
            "{\"id\":5,\"history\":{\"channel\":\"d\"}}",
        ));
        rig.answered_at(2, Ok(Answer::PresenceStats(PresenceStats { clients: 2, users: 1 })));
        rig.answered_at(1, Ok(Answer::Presence(b"")));
        rig.answered_at(1, Err(ErrorCode::UnrecoverablePosition));
        assert_eq!(rig.lines(), [""; 0]);
        let position = Position { offset: 7, epoch: "abcdefgh" };
        let publications = br#"{"data":1,"offset":7}"#;
        rig.answered_at(0, Ok(Answer::History { position, publications }));
        let lines = rig.lines();
        let history = concat!(
            r#"{"id":2,"history":{"publications":[{"data":1,"offset":7}],"#,
            r#""epoch":"abcdefgh","offset":7}}"#
        );
        assert_eq!(lines[..2], [history, r#"{"id":3,"presence":{"presence":{}}}"#]);
        assert_eq!(lines[2], r#"{"id":4,"presence_stats":{"num_clients":2,"num_users":1}}"#);
        assert!(lines[3].contains("\"code\":112"), "{lines:?}");
        assert!(!rig.session.is_waiting() && !rig.is_held);
    }
}
