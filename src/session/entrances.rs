//! The channels that the server puts a client into as it connects (13): those of its token, its
//! personal one, and those that it says it was in and may be in.
//!
//! ```text
//!   connect ─▶ Entrances ─▶ one entry each ─▶ their homes ─▶ connect reply with all results
//! ```

mod connecting;

use std::collections::BTreeMap;

use super::command::Refusal;
use super::deferred::Deferred;
use super::effects::{Effect, Effects};
use super::entry::{Entered, Position, Recovered};
use super::grants::{Grant, Wishes};
use super::losses;
use super::options::ChannelOptions;
use super::rules::Rules;
use super::state::{Phase, Session, Terms};
use super::subscribe::Plan;
use super::under_way::{Awaited, SlotId, Taken};
use crate::limits::REPLIES_WAITING_BYTES_MAX;
use crate::protocol::{Connect, DisconnectCode, ErrorCode, Held, SubscribeResult};
use crate::token::Claimed;

/// The channels of one connect, and what has come of them.
#[derive(Debug, Default)]
pub(super) struct Entrances {
    /// What the client is told as it connects; empty for nothing.
    pub(super) data: Vec<u8>,
    /// What it is told behind that, each in a message of its own.
    messages: Vec<Vec<u8>>,
    /// By the names of their channels.
    list: BTreeMap<Box<str>, Entrance>,
    /// Those whose homes have answered.
    answered_count: usize,
    /// Bytes of publications in these answers.
    answered_bytes: usize,
}

/// What a client says that it holds of channels: the place that it recovers from, if it does.
#[derive(Debug, Default)]
pub(super) struct HeldChannels(BTreeMap<Box<str>, Option<(u64, Box<str>)>>);

impl HeldChannels {
    pub(super) fn of(request: &Connect<'_>) -> Self {
        Self(request.subs.iter().map(|(name, held)| (name.into(), since(held))).collect())
    }

    /// It holds nothing of this channel, if it does not say otherwise: the latest is news to it.
    pub(super) fn recover_latest(&mut self, channel: &str) {
        self.0.entry(channel.into()).or_default().get_or_insert_with(|| (0, Box::default()));
    }
}

#[derive(Debug)]
struct Entrance {
    options: ChannelOptions,
    grant: Grant,
    /// What the client holds of it.
    since: Option<(u64, Box<str>)>,
    info: Vec<u8>,
    data: Vec<u8>,
    /// It is the channel of a user who has one connection at most.
    replaces_others: bool,
    has_user: bool,
    answer: Option<Answer>,
}

/// What its home said.
#[derive(Debug)]
struct Answer {
    position: Option<(u64, Box<str>)>,
    recovered: Option<(bool, Box<[u8]>)>,
}

impl Entrance {
    fn plan(&self) -> Plan<'_> {
        Plan {
            options: self.options,
            grant: self.grant,
            since: self.since.as_ref().map(|(offset, epoch)| (*offset, &**epoch)),
            is_server_side: true,
            replaces_others: self.replaces_others,
            channel_info: &self.info,
            filter: None,
            has_user: self.has_user,
        }
    }

    fn result(&self) -> SubscribeResult<'_> {
        let answer = self.answer.as_ref().expect("all have answered");
        let position = answer.position.as_ref();
        let recovered = answer.recovered.as_ref();
        let entered = Entered {
            position: position.map(|(offset, epoch)| Position { offset: *offset, epoch }),
            recovered: recovered
                .map(|(is_whole, list)| Recovered { is_whole: *is_whole, publications: list }),
            lost: 0,
        };
        self.plan().entrant().result(&entered, &self.data)
    }
}

impl Entrances {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What the client is told of each.
    pub(super) fn results(&self) -> Vec<(&str, SubscribeResult<'_>)> {
        self.list.iter().map(|(channel, entrance)| (&**channel, entrance.result())).collect()
    }

    /// What the client is told besides.
    pub(super) fn messages(&self) -> &[Vec<u8>] {
        &self.messages
    }

    /// Bytes of publications that homes have answered with.
    pub(super) fn answered_bytes(&self) -> usize {
        self.answered_bytes
    }

    /// Notes what a home said.
    fn note(&mut self, channel: &str, entered: &Entered<'_>) {
        let list = entered.recovered.map_or(&[][..], |found| found.publications);
        self.answered_bytes += list.len();
        let entrance = self.list.get_mut(channel).expect("it was asked");
        let told = losses::told(entered.lost, channel, &entrance.data);
        self.messages.extend(told.message);
        entrance.data = told.data.into_owned();
        entrance.answer = Some(Answer {
            position: entered.position.map(|at| (at.offset, at.epoch.into())),
            recovered: entered.recovered.map(|found| (found.is_whole, found.publications.into())),
        });
        self.answered_count += 1;
    }

    /// Whether all homes have answered.
    fn are_answered(&self) -> bool {
        self.answered_count == self.list.len()
    }

    /// The client is not to be in this channel after all; false if it was not.
    fn strike_out(&mut self, channel: &str) -> bool {
        let Some(entrance) = self.list.remove(channel) else { return false };
        if let Some(Answer { recovered, .. }) = entrance.answer {
            self.answered_count -= 1;
            self.answered_bytes -= recovered.map_or(0, |(_, list)| list.len());
        }
        true
    }
}

impl Session {
    /// Which channels the client is to be put into.
    pub(super) fn plan_entrances(
        &self,
        claimed: Vec<Claimed>,
        held: &HeldChannels,
        rules: &Rules,
    ) -> Result<Entrances, Refusal> {
        let HeldChannels(held) = held;
        let mut list = BTreeMap::new();
        let personal = rules.personal_channel(self.user());
        let is_single = rules.personal_channel.as_ref().is_some_and(|rules| rules.is_single);
        let claimed = claimed.into_iter().chain(personal.clone().map(Claimed::plain));
        for claimed in claimed {
            let options = rules.options(&claimed.channel)?.overridden(claimed.overrides);
            let entrance = Entrance {
                grant: rules.grant(options, self.user(), Wishes::default()),
                options,
                since: held.get(&*claimed.channel).cloned().flatten(),
                replaces_others: is_single && personal.as_ref() == Some(&claimed.channel),
                info: claimed.info,
                data: claimed.data,
                has_user: !self.user().is_empty(),
                answer: None,
            };
            // What the token says of a personal channel holds.
            list.entry(claimed.channel.into()).or_insert(entrance);
        }
        if list.len() > rules.channel_limit.into() {
            return Err(DisconnectCode::ChannelLimit.into());
        }
        for (name, since) in held {
            if list.contains_key(name) || list.len() >= rules.channel_limit.into() {
                continue;
            }
            let entrance = self.held_entrance(name, since.as_ref(), rules);
            list.extend(entrance.map(|entrance| (name.clone(), entrance)));
        }
        Ok(Entrances { list, ..Entrances::default() })
    }

    /// A channel that the client says it was in, if it could subscribe to it. It is not told why
    /// not.
    fn held_entrance(
        &self,
        name: &str,
        since: Option<&(u64, Box<str>)>,
        rules: &Rules,
    ) -> Option<Entrance> {
        let options = *rules.options(name).ok()?;
        let is_name = (1..=rules.channel_bytes_max).contains(&name.len());
        let may = is_name && rules.is_name(name) && rules.may_subscribe(options, self.user(), name);
        let wishes = Wishes { recoverable: since.is_some(), ..Wishes::default() };
        may.then(|| Entrance {
            options,
            grant: rules.grant(options, self.user(), wishes),
            since: since.cloned(),
            info: Vec::new(),
            data: Vec::new(),
            replaces_others: false,
            has_user: !self.user().is_empty(),
            answer: None,
        })
    }

    /// The client is let in: asks the homes of the channels that it is put into, or tells it so.
    pub(super) fn be_let_in(
        &mut self,
        id: u32,
        entrances: Entrances,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        if entrances.is_empty() {
            return self.be_connected(id, &entrances, terms, effects);
        }
        self.phase = Phase::Entering;
        self.channel_count = u16::try_from(entrances.list.len()).expect("at most the limit");
        // It is told of all of them at once, and must not hear from one before.
        effects.push(Effect::HoldDeliveries);
        for (channel, entrance) in &entrances.list {
            self.set_channel_info(channel, &entrance.info);
            effects.enter(channel, &entrance.plan(), &terms.rules);
        }
        let under_way = self.begin();
        let slot = under_way.await_answer(id, "", Awaited::Entrances(entrances));
        under_way.block(slot);
    }

    /// The home of a channel that the client is put into has answered.
    pub(super) fn entered_by_server(
        &mut self,
        channel: &str,
        result: Result<Entered<'_>, ErrorCode>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Deferred {
        let entered = match result {
            Ok(entered) => entered,
            Err(code) => {
                self.close(not_entered(code), effects);
                return Deferred::default();
            }
        };
        let under_way = self.under_way_mut().expect("it waits");
        let slot = under_way.find("").expect("nothing else is under way");
        let entrances = under_way.entrances(slot);
        entrances.note(channel, &entered);
        if entrances.are_answered() {
            return self.have_entered(slot, terms, effects);
        }
        if entrances.answered_bytes > REPLIES_WAITING_BYTES_MAX {
            self.close(DisconnectCode::Slow, effects);
        }
        Deferred::default()
    }

    /// The client is in all channels that it is put into.
    fn have_entered(&mut self, slot: SlotId, terms: &Terms, effects: &mut Effects) -> Deferred {
        let under_way = self.under_way_mut().expect("it waits");
        let Taken { id, awaited: Awaited::Entrances(entrances), .. } = under_way.take(slot) else {
            unreachable!("it waits for them")
        };
        under_way.leave_first();
        self.be_connected(id, &entrances, terms, effects);
        effects.push(Effect::ReleaseDeliveries);
        self.read_on()
    }
}

/// The place that a client wants to recover from.
fn since(held: &Held<'_>) -> Option<(u64, Box<str>)> {
    held.recover.then(|| (held.offset, (*held.epoch).into()))
}

/// Why a client that was not let into one of its channels is not connected.
pub(super) fn not_entered(code: ErrorCode) -> DisconnectCode {
    match code {
        ErrorCode::BadRequest => DisconnectCode::BadRequest,
        ErrorCode::LimitExceeded => DisconnectCode::ChannelLimit,
        // The server is full, for now: it comes back.
        _ => DisconnectCode::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Retention;
    use super::super::rig::{KEY, Rig, signed};
    use super::super::{Membership, PersonalChannel, Recover};
    use super::*;
    use crate::token::{HmacKey, TokenRules};
    use serde_json::{Value, json};

    fn rules() -> Rules {
        let history = Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 };
        let kept = ChannelOptions {
            history: Some(history),
            force_recovery: true,
            allow_subscribe_for_client: true,
            ..ChannelOptions::default()
        };
        Rules {
            token: TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() },
            without_namespace: ChannelOptions {
                allow_subscribe_for_client: true,
                ..Default::default()
            },
            namespaces: [("kept".to_owned(), kept)].into(),
            ..Rules::default()
        }
    }

    /// A client whose connect command has this token and these other fields.
    fn connecting(rules: Rules, claims: &str, fields: &str) -> Rig {
        let mut rig = Rig::new(rules);
        let token = signed(claims);
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{token}"{fields}}}}}"#));
        rig
    }

    fn subs(rig: &mut Rig) -> Value {
        let lines = rig.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let reply: Value = serde_json::from_str(&lines[0]).unwrap();
        reply["connect"]["subs"].clone()
    }

    fn code(rig: &Rig) -> Option<u16> {
        rig.closed.map(|why| why.code.code())
    }

    const AT_SEVEN: Position<'_> = Position { offset: 7, epoch: "abcdefgh" };

    #[test]
    fn who_is_put_into_channels_hears_of_all_of_them_in_its_connect_reply() {
        let claims = r#"{"sub":"ann","subs":{"a":{"data":{"n":1},"info":{"m":2}},"kept:b":{}}}"#;
        let mut rig = connecting(rules(), claims, "");
        rig.frame(r#"{"id":2,"subscribe":{"channel":"c"}}"#);
        assert_eq!(rig.joining_names(), ["a", "kept:b"], "what follows waits");
        rig.entered_at(1, Ok(Entered { position: Some(AT_SEVEN), recovered: None, lost: 0 }));
        assert!(rig.is_held && !rig.has_connected && rig.messages.is_empty());
        rig.joined(Ok(()));
        assert!(!rig.is_held && rig.has_connected);
        let expected = json!({
            "a": {"data": {"n": 1}},
            "kept:b": {"recoverable": true, "positioned": true, "epoch": "abcdefgh", "offset": 7},
        });
        assert_eq!(subs(&mut rig), expected);
        assert!(rig.members.values().all(|membership| membership.is_server_side));
        assert_eq!((rig.joining_names(), rig.session.channel_count), (vec!["c"], 3));
    }

    #[test]
    fn what_is_said_of_a_client_in_a_channel_is_shown_there_while_it_is_in_it() {
        let claims = r#"{"sub":"ann","info":1,"subs":{"a":{"info":{"m":2}},"b":{}}}"#;
        let mut rules = rules();
        rules.without_namespace.allow_publish_for_client = true;
        let mut rig = connecting(rules, claims, "");
        rig.joined(Ok(()));
        rig.joined(Ok(()));
        rig.lines();
        for (channel, info) in [("a", true), ("b", false), ("c", false)] {
            rig.frame(&format!(r#"{{"id":2,"publish":{{"channel":"{channel}","data":7}}}}"#));
            let (_, message) = rig.published.pop().expect("it may publish");
            assert_eq!(message.contains(r#""chan_info":{"m":2}"#), info, "{message}");
            assert!(message.contains(r#""conn_info":1"#), "{message}");
        }
        rig.session.leave("a", None, &mut rig.effects);
        assert_eq!(rig.session.shown_in("a", &rig.terms).channel_info, b"");
    }

    #[test]
    fn what_a_client_holds_of_such_a_channel_is_recovered_in_the_connect_reply() {
        let fields = r#","subs":{"kept:b":{"recover":true,"offset":5,"epoch":"abcdefgh"}}"#;
        let mut rig = connecting(rules(), r#"{"sub":"ann","channels":["kept:b"]}"#, fields);
        let entry = &rig.joining[0].1;
        assert!(matches!(&entry.recover, Some(Recover::Missed { since, .. }) if since.offset == 5));
        assert_eq!(rig.entry_texts.0, "abcdefgh");
        let publications = br#"{"data":1,"offset":6},{"data":2,"offset":7}"#;
        let recovered = Some(Recovered { is_whole: true, publications });
        rig.entered_at(0, Ok(Entered { position: Some(AT_SEVEN), recovered, lost: 0 }));
        let subs = subs(&mut rig);
        let told = &subs["kept:b"];
        assert_eq!((&told["offset"], &told["recovered"]), (&json!(5), &json!(true)));
        assert_eq!(told["publications"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn what_its_user_has_lost_there_is_said_in_the_connect_reply_or_behind_it() {
        let claims = r#"{"sub":"ann","subs":{"a":{"data":{"n":1}},"b":{"data":7},"c":{}}}"#;
        let mut rig = connecting(rules(), claims, "");
        for lost in [1, 2, 3] {
            rig.entered_at(0, Ok(Entered { lost, ..Entered::default() }));
        }
        let lines = rig.lines();
        let reply: Value = serde_json::from_str(&lines[0]).unwrap();
        let told = json!({
            "a": {"data": {"n": 1, "lw_lost": 1}}, "b": {"data": 7}, "c": {"data": {"lw_lost": 3}},
        });
        assert_eq!(reply["connect"]["subs"], told);
        let message = r#"{"push":{"message":{"data":{"channel":"b","lw_lost":2}}}}"#;
        assert_eq!(lines[1..], [message]);
    }

    #[test]
    fn a_channel_that_only_the_client_names_is_entered_if_it_may_be() {
        let fields = r#","subs":{"b":{"recover":true},"none:x":{},"$c":{},"d":null}"#;
        let mut rig = connecting(Rules { channel_limit: 1, ..rules() }, r#"{"sub":"ann"}"#, fields);
        assert_eq!(rig.joining_names(), ["b"], "the rest may not be, or is too much");
        rig.joined(Ok(()));
        assert_eq!(subs(&mut rig), json!({"b": {}}));
    }

    #[test]
    fn a_user_has_a_channel_of_its_own_and_nobody_has_none() {
        for (namespace, user, name) in
            [("", "ann", Some("#ann")), ("kept", "ann", Some("kept:#ann")), ("", "", None)]
        {
            let namespace = namespace.to_owned();
            let personal_channel = Some(PersonalChannel { namespace, is_single: true });
            let claims = format!(r#"{{"sub":"{user}"}}"#);
            let rig = connecting(Rules { personal_channel, ..rules() }, &claims, "");
            assert_eq!(rig.joining_names().first().copied(), name);
            assert!(rig.joining.iter().all(|(_, entry)| entry.replaces_others));
            assert_eq!(rig.has_connected, name.is_none());
        }
    }

    #[test]
    fn the_client_neither_enters_nor_leaves_such_a_channel() {
        let mut rig = connecting(rules(), r#"{"sub":"ann","channels":["a"]}"#, "");
        rig.joined(Ok(()));
        rig.lines();
        rig.frame(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        rig.frame(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
        let lines = rig.lines();
        assert!(
            lines[0].contains("\"code\":105") && lines[1].contains("\"code\":103"),
            "{lines:?}"
        );
        assert_eq!(rig.members["a"], Membership { is_positioned: false, is_server_side: true });
    }

    #[test]
    fn who_missed_something_in_such_a_channel_connects_again() {
        let mut rig = connecting(rules(), r#"{"sub":"ann","channels":["kept:a"]}"#, "");
        rig.joined(Ok(()));
        rig.missed("kept:a");
        assert_eq!(code(&rig), Some(3010));
    }

    #[test]
    fn channels_that_cannot_be_end_the_connect() {
        let limited = Rules { channel_limit: 1, ..rules() };
        let many = r#"{"sub":"ann","channels":["a","b"]}"#;
        assert_eq!(code(&connecting(limited, many, "")), Some(3505));
        let mut rig = connecting(rules(), r#"{"sub":"ann","channels":["none:a"]}"#, "");
        let lines = rig.lines();
        assert!(lines[0].contains("\"code\":102"), "{lines:?}");
        for (error, expected) in [(ErrorCode::Internal, 3004), (ErrorCode::BadRequest, 3501)] {
            let mut rig = connecting(rules(), many, "");
            rig.joined(Err(error));
            assert_eq!(code(&rig), Some(expected));
            rig.joined(Ok(()));
            assert_eq!((rig.lines(), rig.has_connected), (vec![], false), "nothing follows");
        }
        let mut slow = connecting(rules(), many, "");
        slow.session.late(&slow.terms, &mut slow.effects);
        assert_eq!(slow.effects.outbox.reply_count(), 0);
        assert!(slow.session.is_closed());
    }

    #[test]
    fn the_user_is_counted_before_its_channels_are_entered() {
        let rules = Rules { user_connection_limit: 3, ..rules() };
        let mut rig = connecting(rules, r#"{"sub":"ann","channels":["a"]}"#, "");
        assert_eq!((rig.signing_in, rig.joining.len()), (Some(3), 0));
        rig.frame(r#"{"id":2,"rpc":{}}"#);
        rig.signed_in(Ok(()));
        assert_eq!((rig.joining_names(), rig.has_connected), (vec!["a"], false));
        rig.joined(Ok(()));
        assert!(rig.has_connected && rig.lines()[1].contains("\"id\":2"));
    }

    #[test]
    fn a_new_token_for_other_channels_makes_the_client_connect_again() {
        for (channels, expected) in
            [(r#"["a","b"]"#, None), (r#"["a"]"#, Some(3010)), ("[]", Some(3010))]
        {
            let mut rig = connecting(rules(), r#"{"sub":"ann","channels":["b","a"]}"#, "");
            rig.joined(Ok(()));
            rig.joined(Ok(()));
            let token = signed(&format!(r#"{{"sub":"ann","channels":{channels}}}"#));
            rig.frame(&format!(r#"{{"id":2,"refresh":{{"token":"{token}"}}}}"#));
            assert_eq!(code(&rig), expected, "{channels}");
        }
    }
}
