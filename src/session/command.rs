//! What each command does (3, 7, 10, 15).

use super::acknowledging;
use super::effects::{Effect, Effects};
use super::entry::Membership;
use super::questions::Question;
use super::state::{Phase, Session, Terms};
use crate::protocol::{
    Channel, Command, Disconnect, DisconnectCode, ErrorCode, Publication, Publish, Reply,
    ReplyError, Request,
};

/// Why a command gets no result.
pub(super) enum Refusal {
    /// It is answered with an error.
    Reply(ReplyError),
    /// It ends the connection.
    Close(Disconnect),
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Reply(code.into())
    }
}

impl From<DisconnectCode> for Refusal {
    fn from(code: DisconnectCode) -> Self {
        Self::Close(code.into())
    }
}

/// What a command comes to at once.
pub(super) enum Outcome {
    /// Its reply.
    Reply(Reply<'static>),
    /// Its reply comes later, or there is none.
    Nothing,
}

impl Session {
    /// Does what a command asks for, or says why not.
    pub(super) fn obey(
        &mut self,
        command: &Command<'_>,
        membership: Option<Membership>,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        let id = command.id;
        let outcome = match (self.phase, &command.request) {
            (Phase::Waiting, Request::Connect(request)) => {
                self.connect(id, request, terms, effects)
            }
            (Phase::Connected, request) => self.serve(id, request, membership, terms, effects),
            _ => Err(DisconnectCode::BadRequest.into()),
        };
        match outcome {
            Ok(Outcome::Nothing) => {}
            Ok(Outcome::Reply(reply)) => self.reply(id, &reply, effects),
            Err(Refusal::Reply(error)) => {
                self.reply(id, &Reply::Error(error), effects);
                if self.phase == Phase::Waiting {
                    self.be_refused(effects);
                }
            }
            Err(Refusal::Close(why)) => self.close(why, effects),
        }
    }

    fn serve(
        &mut self,
        id: u32,
        request: &Request<'_>,
        membership: Option<Membership>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        if request.channel().is_some_and(str::is_empty) {
            return Err(DisconnectCode::BadRequest.into());
        }
        let is_member = membership.is_some();
        match request {
            Request::Pong => effects.push(Effect::Pong),
            Request::Subscribe(request) => {
                self.subscribe(id, request, is_member, terms, effects)?;
            }
            Request::Unsubscribe(request) => {
                let reply = self.unsubscribe(&request.channel, membership, effects)?;
                return Ok(Outcome::Reply(reply));
            }
            Request::Publish(request) => self.publish(id, request, is_member, terms, effects)?,
            Request::Presence(Channel { channel }) => {
                self.presence(id, channel, Question::Presence, is_member, terms, effects)?;
            }
            Request::PresenceStats(Channel { channel }) => {
                self.presence(id, channel, Question::PresenceStats, is_member, terms, effects)?;
            }
            Request::History(request) => self.history(id, request, is_member, terms, effects)?,
            Request::Rpc(request) if *request.method == *acknowledging::METHOD => {
                self.acknowledge(id, request, terms, effects)?;
            }
            Request::Rpc(request) => self.rpc(id, request, terms, effects)?,
            Request::Send => return Err(DisconnectCode::NotAvailable.into()),
            Request::Refresh(request) => return self.refresh(request, terms, effects),
            Request::SubRefresh(request) => {
                return self.sub_refresh(request, membership, terms, effects);
            }
            _ => return Err(DisconnectCode::BadRequest.into()),
        }
        Ok(Outcome::Nothing)
    }

    fn publish(
        &mut self,
        id: u32,
        request: &Publish<'_>,
        is_member: bool,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let name = &*request.channel;
        let options = *terms.rules.named(name)?;
        if !options.data_format.admits(request.data.bytes()) {
            return Err(ErrorCode::BadRequest.into());
        }
        if request.kind != 0 {
            let message = "not available: maps are not served";
            return Err(Refusal::Reply(ReplyError { code: ErrorCode::NotAvailable, message }));
        }
        if let Some(proxy) = terms.rules.hooks.publish.of(terms.rules.naming.namespace(name)) {
            self.ask_to_publish(id, request, proxy, terms, effects);
            return Ok(());
        }
        if !terms.rules.may_publish(options, self.user(), is_member) {
            return Err(ErrorCode::PermissionDenied.into());
        }
        let publication = Publication {
            data: request.data.bytes(),
            info: Some(self.shown_in(name, terms)),
            ..Publication::default()
        };
        effects.publish((id, None), name, publication, options.keep());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{CLIENT, Rig};
    use super::super::{ChannelOptions, Rules};
    use super::*;

    fn open() -> ChannelOptions {
        ChannelOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_publish_for_client: true,
            allow_publish_for_anonymous: true,
            ..ChannelOptions::default()
        }
    }

    /// What the client gets for a command that nobody else has to answer: a reply, or the end.
    fn outcome(rig: &mut Rig, command: &str) -> Result<String, Disconnect> {
        rig.frame(command);
        let lines = rig.lines();
        match rig.closed {
            Some(why) => Err(why),
            None => Ok(lines.join("|")),
        }
    }

    fn error_of(rig: &mut Rig, command: &str) -> u64 {
        let reply = outcome(rig, command).expect("it stays open");
        let reply: serde_json::Value = serde_json::from_str(&reply).expect("one reply");
        reply["error"]["code"].as_u64().unwrap_or(0)
    }

    fn closes(command: &str) -> u16 {
        outcome(&mut Rig::open(), command).expect_err("it is closed").code.code()
    }

    #[test]
    fn nothing_is_served_before_connect_and_connect_only_once() {
        let anonymous = Rules { allow_anonymous_connect_without_token: true, ..Rules::default() };
        for command in
            [r#"{"id":1,"subscribe":{"channel":"a"}}"#, "{}", r#"{"send":{}}"#, r#"{"connect":{}}"#]
        {
            let end = outcome(&mut Rig::new(anonymous.clone()), command);
            assert_eq!(end, Err(DisconnectCode::BadRequest.into()), "{command}");
        }
        assert_eq!(closes(r#"{"id":2,"connect":{}}"#), 3501);
    }

    #[test]
    fn without_a_token_only_those_servers_connect_that_allow_it() {
        let connect = r#"{"id":1,"connect":{}}"#;
        let end = outcome(&mut Rig::new(Rules::default()), connect);
        assert_eq!(end, Err(DisconnectCode::BadRequest.into()));
        let rules = [
            Rules { allow_anonymous_connect_without_token: true, ..Rules::default() },
            Rules { insecure: true, ..Rules::default() },
        ];
        for rules in rules {
            assert!(outcome(&mut Rig::new(rules), connect).is_ok());
        }
    }

    #[test]
    fn a_token_that_cannot_be_verified_is_never_taken_for_granted() {
        let connect = r#"{"id":1,"connect":{"token":"eyJhbGciOiJIUzI1NiJ9.e30.AAAA"}}"#;
        let rules = Rules { insecure: true, ..Rules::default() };
        let end = outcome(&mut Rig::new(rules), connect).expect_err("closed");
        assert_eq!(end.code, DisconnectCode::InvalidToken);
        assert!(end.reason.contains("no key"), "{}", end.reason);
    }

    #[test]
    fn pings_are_announced_to_those_who_get_them() {
        for (interval_s, has_message_pings, expected) in
            [(25, true, true), (0, true, false), (25, false, false)]
        {
            let rules = Rules { insecure: true, ping_interval_s: interval_s, ..Rules::default() };
            let mut rig = Rig::new(rules);
            rig.session.has_message_pings = has_message_pings;
            let reply = outcome(&mut rig, r#"{"id":1,"connect":{}}"#).unwrap();
            assert_eq!(reply.contains("\"ping\":25,\"pong\":true"), expected, "{reply}");
        }
    }

    #[test]
    fn a_subscribe_is_refused_by_the_first_check_that_fails() {
        let rules = Rules {
            allow_anonymous_connect_without_token: true,
            channel_limit: 1,
            without_namespace: open(),
            namespaces: [("closed".to_owned(), ChannelOptions::default())].into(),
            ..Rules::default()
        };
        let mut rig = Rig::new(rules);
        rig.frame(r#"{"id":1,"connect":{}}"#);
        rig.lines();
        let long = format!(r#"{{"id":1,"subscribe":{{"channel":"{}"}}}}"#, "a".repeat(256));
        let cases = [
            (&*long, 107),
            (r#"{"id":2,"subscribe":{"channel":"other:a"}}"#, 102),
            (r#"{"id":2,"subscribe":{"channel":"other:é"}}"#, 102),
            (r#"{"id":2,"subscribe":{"channel":"é"}}"#, 107),
            (r#"{"id":2,"subscribe":{"channel":"closed:a"}}"#, 103),
            (r#"{"id":2,"subscribe":{"channel":"$a"}}"#, 103),
            (r#"{"id":2,"subscribe":{"channel":"a#42"}}"#, 103),
            (r#"{"id":2,"subscribe":{"channel":"a","type":1}}"#, 103),
            (r#"{"id":2,"subscribe":{"channel":"$a","token":"t"}}"#, 103),
            (r#"{"id":2,"subscribe":{"channel":"a","tf":{"key":"k"}}}"#, 107),
        ];
        for (command, code) in cases {
            assert_eq!(error_of(&mut rig, command), code, "{command}");
        }
        rig.frame(r#"{"id":2,"subscribe":{"channel":"a","delta":"fossil","recover":true}}"#);
        rig.joined(Ok(()));
        assert_eq!(rig.lines(), [r#"{"id":2,"subscribe":{}}"#]);
        assert_eq!(error_of(&mut rig, r#"{"id":3,"subscribe":{"channel":"a"}}"#), 105);
        assert_eq!(error_of(&mut rig, r#"{"id":4,"subscribe":{"channel":"b"}}"#), 106);
        let left = outcome(&mut rig, r#"{"id":5,"unsubscribe":{"channel":"a"}}"#);
        assert_eq!(left.as_deref(), Ok(r#"{"id":5,"unsubscribe":{}}"#));
        rig.frame(r#"{"id":6,"subscribe":{"channel":"b"}}"#);
        rig.joined(Ok(()));
        assert_eq!(rig.lines(), [r#"{"id":6,"subscribe":{}}"#]);
    }

    #[test]
    fn a_refusal_says_what_is_not_there_yet() {
        let command = r#"{"id":2,"subscribe":{"channel":"a","type":1}}"#;
        let reply = outcome(&mut Rig::open(), command).unwrap();
        assert!(reply.contains("stream"), "{reply}");
    }

    #[test]
    fn a_publication_says_who_published_it() {
        let mut rig = Rig::open();
        let reply = outcome(&mut rig, r#"{"id":4,"publish":{"channel":"a","data":{"n": 1}}}"#);
        assert_eq!(reply.as_deref(), Ok(r#"{"id":4,"publish":{}}"#));
        let message = format!(
            concat!(
                r#"{{"push":{{"channel":"a","pub":{{"data":{{"n": 1}},"#,
                r#""info":{{"user":"","client":"{}"}}}}}}}}"#
            ),
            CLIENT
        );
        assert_eq!(rig.published, [("a".to_owned(), message)]);
        rig.publish = Err(ErrorCode::TooManyRequests);
        assert_eq!(error_of(&mut rig, r#"{"id":5,"publish":{"channel":"a","data":1}}"#), 111);
    }

    #[test]
    fn names_are_checked_in_every_command_about_a_channel() {
        let mut rig = Rig::open();
        for request in [
            r#""subscribe":{"channel":"é"}"#,
            r#""publish":{"channel":"é","data":1}"#,
            r#""history":{"channel":"é"}"#,
            r#""presence":{"channel":"é"}"#,
            r#""presence_stats":{"channel":"é"}"#,
        ] {
            assert_eq!(error_of(&mut rig, &format!("{{\"id\":2,{request}}}")), 107, "{request}");
        }
    }

    #[test]
    fn a_publish_is_refused_without_data_or_right() {
        let member = ChannelOptions {
            allow_publish_for_subscriber: true,
            allow_publish_for_client: false,
            ..open()
        };
        let rules = Rules {
            allow_anonymous_connect_without_token: true,
            without_namespace: member,
            ..Rules::default()
        };
        let mut rig = Rig::new(rules);
        rig.frame(r#"{"id":1,"connect":{}}"#);
        rig.lines();
        let publish = r#"{"id":2,"publish":{"channel":"a","data":null}}"#;
        assert_eq!(error_of(&mut rig, publish), 103);
        assert_eq!(error_of(&mut rig, r#"{"id":2,"publish":{"channel":"a"}}"#), 107);
        assert_eq!(error_of(&mut rig, r#"{"id":2,"publish":{"channel":"ns:a","data":1}}"#), 102);
        let map = r#"{"id":2,"publish":{"channel":"a","data":1,"type":1}}"#;
        assert_eq!(error_of(&mut rig, map), 108);
        rig.frame(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        rig.joined(Ok(()));
        rig.lines();
        assert_eq!(error_of(&mut rig, publish), 0, "subscribers may");
    }

    #[test]
    fn what_is_not_served_is_answered_as_the_reference_does() {
        let mut rig = Rig::open();
        for (command, code) in [
            (r#"{"id":2,"presence":{"channel":"a"}}"#, 108),
            (r#"{"id":2,"presence_stats":{"channel":"a"}}"#, 108),
            (r#"{"id":2,"history":{"channel":"a","limit":1}}"#, 108),
            (r#"{"id":2,"history":{"channel":"ns:a"}}"#, 102),
            (r#"{"id":2,"rpc":{"method":"m"}}"#, 108),
            (r#"{"id":2,"sub_refresh":{"channel":"a","token":"t"}}"#, 103),
            (r#"{"id":2,"sub_refresh":{"channel":"a"}}"#, 103),
            (r#"{"id":2,"unsubscribe":{"channel":"never"}}"#, 0),
        ] {
            assert_eq!(error_of(&mut rig, command), code, "{command}");
        }
        for (command, code) in [
            (r#"{"send":{"data":1}}"#, 3508),
            (r#"{"id":2,"refresh":{"token":"t"}}"#, 3500),
            (r#"{"id":2,"refresh":{}}"#, 3501),
            (r#"{"id":2,"ping":{}}"#, 3501),
            (r#"{"id":2}"#, 3501),
            ("nonsense", 3501),
            (r#"{"id":2,"subscribe":{"channel":"a","delta":"other"}}"#, 3501),
        ] {
            assert_eq!(closes(command), code, "{command}");
        }
    }

    #[test]
    fn a_channel_that_is_not_named_ends_the_session() {
        let commands = [
            "subscribe",
            "unsubscribe",
            "publish",
            "presence",
            "presence_stats",
            "history",
            "sub_refresh",
        ];
        for command in commands {
            for empty in ["", r#""channel":"""#] {
                let command = format!(r#"{{"id":2,"{command}":{{{empty}}}}}"#);
                assert_eq!(closes(&command), 3501, "{command}");
            }
        }
    }
}
