//! Who a client is: connect (3, 14).
//!
//! A connection that expires is told its time to live. At its end the client brings a new token;
//! if it does not, the connection is closed once the delay for that is over too.

use super::command::{Outcome, Refusal};
use super::effects::{Effect, Effects};
use super::entrances::{Entrances, HeldChannels};
use super::state::{Phase, Session, Terms};
use super::tokens::not_connected;
use crate::limits::REFUSED_CLOSE_DELAY;
use crate::protocol::{
    Connect, ConnectResult, DisconnectCode, ErrorCode, Push, Reply, StreamNames,
};

impl Session {
    pub(super) fn connect(
        &mut self,
        id: u32,
        request: &Connect<'_>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<Outcome, Refusal> {
        self.set_emulated_headers(terms.rules.hooks.emulated(&request.headers));
        let mut claimed = Vec::new();
        if !request.token.is_empty() {
            let token = self.connection_token(&request.token, terms).map_err(not_connected)?;
            if token.user.is_empty() && terms.rules.disallow_anonymous_connection_tokens {
                return Err(DisconnectCode::PermissionDenied.into());
            }
            if token.expires.is_some_and(|end| end <= terms.now) {
                return Err(ErrorCode::Expired.into());
            }
            self.rest_on(&token, effects);
            claimed = token.subscriptions;
        } else if self.user().is_empty()
            && let Some(proxy) = &terms.rules.hooks.connect
        {
            self.ask_who(id, request, proxy, terms, effects);
            return Ok(Outcome::Nothing);
        } else if self.user().is_empty() && !terms.rules.admits_anonymous() {
            return Err(DisconnectCode::BadRequest.into());
        }
        let held = HeldChannels::of(request);
        let entrances = self.plan_entrances(claimed, &held, &terms.rules)?;
        self.begin_with(id, entrances, terms, effects);
        Ok(Outcome::Nothing)
    }

    /// It is known who the client is, and which channels it is put into.
    pub(super) fn begin_with(
        &mut self,
        id: u32,
        entrances: Entrances,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        effects.push(Effect::Identified);
        let limit = terms.rules.user_connection_limit;
        if limit > 0 && !self.user().is_empty() {
            self.begin_sign_in(id, limit, entrances, effects);
        } else {
            self.be_let_in(id, entrances, terms, effects);
        }
    }

    /// The client is let in, and in all channels that it is put into: tells it so.
    pub(super) fn be_connected(
        &mut self,
        id: u32,
        entrances: &Entrances,
        terms: &Terms,
        effects: &mut Effects,
    ) {
        self.phase = Phase::Connected;
        effects.push(Effect::Connected);
        self.await_expiry(terms, effects);
        let names = self.transport().is_emulated().then(|| {
            let node = terms.lineage.to_string();
            (self.secret_name(terms), node)
        });
        let pings = self.has_message_pings && terms.rules.ping_interval_s > 0;
        // Where a back end is asked, the client need not bring anything.
        let ttl_s = self.ttl_s(terms).filter(|_| terms.rules.hooks.refresh.is_none());
        let result = ConnectResult {
            client: self.client_id(terms),
            version: &terms.rules.version,
            ttl_s,
            ping_s: if pings { terms.rules.ping_interval_s } else { 0 },
            pong: pings,
            data: &entrances.data,
            subs: &entrances.results(),
            stream: names.as_ref().map(|(session, node)| StreamNames { session, node }),
        };
        effects.outbox.reply(id, &Reply::Connect(result));
        for message in entrances.messages() {
            effects.outbox.push("", &Push::Message(message));
        }
    }

    /// The client has been told why it cannot connect: it is to leave by itself.
    pub(super) fn be_refused(&mut self, effects: &mut Effects) {
        self.phase = Phase::Refused;
        effects.push(Effect::Alarm { after: Some(REFUSED_CLOSE_DELAY) });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rig::{KEY, Rig, signed, signed_with};
    use super::super::{ChannelOptions, Rules};
    use super::*;
    use crate::limits::CONNECTION_LIFE_MAX;
    use crate::protocol::Format;
    use crate::token::{HmacKey, TokenRules};

    const NOW: Duration = Duration::from_secs(1_000_000);
    const DELAY: Duration = Duration::from_secs(25);

    fn rules() -> Rules {
        let without_namespace =
            ChannelOptions { allow_publish_for_client: true, ..ChannelOptions::default() };
        let token = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
        Rules { token, without_namespace, ..Rules::default() }
    }

    fn rig(rules: Rules) -> Rig {
        let mut rig = Rig::new(rules);
        rig.terms.now = NOW;
        rig
    }

    fn connect(rig: &mut Rig, claims: &str) -> Vec<String> {
        rig.frame(&format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, signed(claims)));
        rig.lines()
    }

    fn refresh(rig: &mut Rig, token: &str) -> Vec<String> {
        rig.frame(&format!(r#"{{"id":2,"refresh":{{"token":"{token}"}}}}"#));
        rig.lines()
    }

    fn code(rig: &Rig) -> Option<u16> {
        rig.closed.map(|why| why.code.code())
    }

    /// Ann's connection, which expires in a minute.
    fn ann() -> Rig {
        let mut rig = rig(rules());
        let lines = connect(&mut rig, r#"{"sub":"ann","exp":1000060,"info":{"n":1}}"#);
        assert!(lines[0].contains(r#""expires":true,"ttl":60"#), "{lines:?}");
        rig
    }

    #[test]
    fn a_token_names_the_user_and_what_others_are_shown_of_it() {
        let mut rig = ann();
        assert_eq!(rig.session.user(), "ann");
        rig.frame(r#"{"id":2,"publish":{"channel":"a","data":7}}"#);
        assert_eq!(rig.lines(), [r#"{"id":2,"publish":{}}"#]);
        let (_, message) = &rig.published[0];
        assert!(message.contains(r#""info":{"user":"ann""#), "{message}");
        assert!(message.contains(r#""conn_info":{"n":1}"#), "{message}");
    }

    #[test]
    fn who_brings_no_new_token_is_closed_when_the_delay_is_over_too() {
        let mut rig = ann();
        assert_eq!(rig.alarm, Some(Duration::from_mins(1) + DELAY));
        rig.terms.now += Duration::from_mins(1) + DELAY;
        rig.session.late(&rig.terms, &mut rig.effects);
        let close = Effect::Close(DisconnectCode::Expired.into());
        assert_eq!(rig.effects.take(), Some(close));
    }

    #[test]
    fn a_connection_without_an_end_has_no_alarm() {
        for claims in [r#"{"sub":"ann"}"#, r#"{"sub":"ann","exp":1000060,"expire_at":0}"#] {
            let mut rig = rig(rules());
            rig.alarm = Some(DELAY);
            let lines = connect(&mut rig, claims);
            assert!(!lines[0].contains("expires") && !lines[0].contains("ttl"), "{lines:?}");
            assert_eq!(rig.alarm, None);
            rig.session.late(&rig.terms, &mut rig.effects);
            assert_eq!(rig.effects.take(), None);
        }
        let mut insecure = rig(Rules { insecure: true, ..rules() });
        let lines = connect(&mut insecure, r#"{"sub":"ann","exp":1000060}"#);
        assert!(!lines[0].contains("expires"), "{lines:?}");
        assert_eq!(insecure.alarm, None);
    }

    #[test]
    fn the_end_is_a_year_ahead_at_most() {
        for end in ["1e300", "99999999999"] {
            let mut rig = rig(rules());
            let lines = connect(&mut rig, &format!(r#"{{"sub":"ann","exp":{end}}}"#));
            assert!(lines[0].contains(r#""ttl":31536000"#), "{lines:?}");
            assert_eq!(rig.alarm, Some(CONNECTION_LIFE_MAX + DELAY));
        }
    }

    #[test]
    fn a_new_token_moves_the_end() {
        let mut rig = ann();
        rig.terms.now += Duration::from_secs(59);
        refresh(&mut rig, &signed(r#"{"sub":"ann","exp":1000060,"info":{"n":1}}"#));
        assert_eq!(rig.shown_anew, 0, "it says the same of her");
        let lines = refresh(&mut rig, &signed(r#"{"sub":"ann","exp":1000159,"info":2}"#));
        assert_eq!(lines, [r#"{"id":2,"refresh":{"expires":true,"ttl":100}}"#]);
        assert_eq!(rig.shown_anew, 1);
        assert_eq!(rig.alarm, Some(Duration::from_secs(100) + DELAY));
        rig.frame(r#"{"id":3,"publish":{"channel":"a","data":7}}"#);
        assert!(rig.published[0].1.contains(r#""conn_info":2"#), "{:?}", rig.published);
        assert_eq!(rig.lines().len(), 1);
        let lines = refresh(&mut rig, &signed(r#"{"sub":"ann"}"#));
        assert_eq!((&*lines[0], rig.alarm), (r#"{"id":2,"refresh":{}}"#, None));
    }

    #[test]
    fn a_new_token_that_will_not_do_ends_the_connection() {
        let cases = [
            (String::new(), 3501),
            (signed(r#"{"sub":"bob"}"#), 3500),
            (signed("{}"), 3500),
            (signed_with(b"other", r#"{"alg":"HS256"}"#, r#"{"sub":"ann"}"#), 3500),
            (signed(r#"{"sub":"ann","exp":1000000}"#), 3005),
            (signed(r#"{"sub":"ann","expire_at":1000000}"#), 3005),
            (signed(r#"{"sub":"ann","channels":["a"]}"#), 3010),
        ];
        for (token, expected) in cases {
            let mut rig = ann();
            assert_eq!(refresh(&mut rig, &token), [""; 0]);
            assert_eq!(code(&rig), Some(expected), "{token}");
        }
        let mut nobody = Rig::open();
        refresh(&mut nobody, &signed(r#"{"sub":"ann"}"#));
        assert_eq!(code(&nobody), Some(3500), "without a key");
    }

    #[test]
    fn who_is_too_late_is_told_so_heard_no_more_and_closed_if_it_stays() {
        for (claims, error) in [
            (r#"{"sub":"ann","exp":999999}"#, r#""code":109,"message":"token expired""#),
            (r#"{"sub":"ann","nbf":1000001}"#, r#""code":109,"message":"token expired""#),
            (r#"{"sub":"ann","expire_at":999999}"#, r#""code":110,"message":"expired""#),
        ] {
            let mut rig = rig(rules());
            let lines = connect(&mut rig, claims);
            assert_eq!(lines, [format!(r#"{{"id":1,"error":{{{error}}}}}"#)]);
            assert_eq!((rig.has_connected, rig.session.user(), rig.closed), (false, "", None));
            let lines = connect(&mut rig, r#"{"sub":"ann"}"#);
            assert_eq!(lines, [""; 0], "it has had its answer");
            assert_eq!(rig.alarm, Some(REFUSED_CLOSE_DELAY));
            rig.session.late(&rig.terms, &mut rig.effects);
            let close = Effect::Close(DisconnectCode::Expired.into());
            assert_eq!(rig.effects.take(), Some(close));
        }
    }

    #[test]
    fn a_token_without_a_user_is_nobodys_and_may_be_turned_away() {
        let mut nobody = rig(rules());
        assert_eq!(connect(&mut nobody, "{}").len(), 1);
        assert!(nobody.has_connected && nobody.session.user().is_empty());
        let strict = Rules { disallow_anonymous_connection_tokens: true, ..rules() };
        let mut refused = rig(strict.clone());
        connect(&mut refused, "{}");
        assert_eq!(code(&refused), Some(3507));
        assert_eq!(connect(&mut rig(strict), r#"{"sub":"ann"}"#).len(), 1);
    }

    #[test]
    fn a_proxy_and_a_token_name_one_user_or_nobody_is_let_in() {
        for (user, expected) in [("ann", None), ("bob", Some(3500))] {
            let mut rig = rig(rules());
            rig.session = Session::new(0, true, Format::Json).of_user("ann");
            connect(&mut rig, &format!(r#"{{"sub":"{user}"}}"#));
            assert_eq!(code(&rig), expected, "{user}");
        }
    }

    #[test]
    fn the_user_of_the_token_is_counted() {
        let mut rig = rig(Rules { user_connection_limit: 3, ..rules() });
        connect(&mut rig, r#"{"sub":"ann","exp":1000060}"#);
        assert_eq!((rig.signing_in, rig.session.user()), (Some(3), "ann"));
        rig.terms.now += Duration::from_secs(10);
        rig.signed_in(Ok(()));
        let lines = rig.lines();
        assert!(lines[0].contains(r#""ttl":50"#), "what is left by then: {lines:?}");
        assert!(rig.session.is_signed_in());
    }

    #[test]
    fn what_is_no_json_is_shown_to_no_json_client() {
        let claims = r#"{"sub":"ann","b64info":"/w=="}"#;
        let mut json = rig(rules());
        connect(&mut json, claims);
        assert_eq!(code(&json), Some(3500));
        let mut protobuf = Session::new(0, true, Format::Protobuf);
        let token =
            protobuf.connection_token(&signed(claims), &json.terms).expect("bytes are bytes");
        assert_eq!(token.info, [0xff]);
    }

    #[test]
    fn an_end_survives_a_command_that_was_under_way() {
        let mut rig = rig(Rules { insecure: false, ..rules() });
        rig.terms.rules.without_namespace = ChannelOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            ..ChannelOptions::default()
        };
        connect(&mut rig, r#"{"exp":1000060}"#);
        rig.frame(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        rig.joined(Ok(()));
        assert_eq!(rig.session.expires(), Some(Duration::from_secs(1_000_060)));
    }
}
