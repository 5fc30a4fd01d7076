//! What only some sessions have: a user, what a token says, and commands that are under way.

use std::time::Duration;

use super::claims::ConnectionToken;
use super::state::Session;
use super::subscriptions::fingerprint;
use super::under_way::UnderWay;

/// The box of a session that is somebody's, or waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// Empty if it is nobody's.
    user: Box<str>,
    /// What others are shown of it, if its token says anything.
    info: Option<Box<[u8]>>,
    /// When it expires, in seconds since the Unix epoch; 0 is never.
    expires_s: u32,
    /// Which channels its token has put it into, as a fingerprint; 0 for none.
    channels: u32,
    under_way: Option<Box<UnderWay>>,
}

/// Most sessions have one: it is to stay in the allocator's class of 48 bytes.
const _: () = assert!(size_of::<Extra>() <= 48);

impl Session {
    /// The session as that of a user; an empty name is that of nobody.
    #[must_use]
    pub fn of_user(mut self, user: &str) -> Self {
        if !user.is_empty() {
            self.extra.get_or_insert_default().user = user.into();
        }
        self
    }

    /// The user, empty if the client is nobody's.
    pub fn user(&self) -> &str {
        self.extra.as_ref().map_or("", |extra| &extra.user)
    }

    /// Takes over what its token says; the user must be the one it has, if it has one.
    pub(super) fn set_token(&mut self, token: &ConnectionToken) {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let expires_s = token.expires.map_or(0, seconds);
        let channels = fingerprint(&token.subscriptions);
        let extra = self.extra.get_or_insert_default();
        if *extra.user != *token.user {
            extra.user = token.user.as_str().into();
        }
        extra.info = (!token.info.is_empty()).then(|| token.info.as_slice().into());
        (extra.expires_s, extra.channels) = (expires_s, channels);
        self.finish();
    }

    /// Whether it was put into the channels of this token, and no others.
    pub(super) fn is_put_into(&self, token: &ConnectionToken) -> bool {
        let channels = self.extra.as_ref().map_or(0, |extra| extra.channels);
        channels == fingerprint(&token.subscriptions)
    }

    /// What others are shown of it beside its user; empty for nothing.
    pub(super) fn info(&self) -> &[u8] {
        self.extra.as_ref().and_then(|extra| extra.info.as_deref()).unwrap_or_default()
    }

    /// When it expires, since the Unix epoch.
    pub(super) fn expires(&self) -> Option<Duration> {
        let seconds = self.extra.as_ref().map_or(0, |extra| extra.expires_s);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    pub(super) fn under_way(&self) -> Option<&UnderWay> {
        self.extra.as_ref()?.under_way.as_deref()
    }

    pub(super) fn under_way_mut(&mut self) -> Option<&mut UnderWay> {
        self.extra.as_mut()?.under_way.as_deref_mut()
    }

    /// The same, where an answer was not awaited until now.
    pub(super) fn begin(&mut self) -> &mut UnderWay {
        self.extra.get_or_insert_default().under_way.get_or_insert_default()
    }

    /// Gives back the memory of what is over.
    pub(super) fn finish(&mut self) {
        let Some(extra) = &mut self.extra else { return };
        extra.under_way.take_if(|under_way| under_way.is_over());
        let is_somebodys = !extra.user.is_empty() || extra.info.is_some();
        let is_bound = extra.expires_s != 0 || extra.channels != 0;
        if !is_somebodys && !is_bound && extra.under_way.is_none() {
            self.extra = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::rig::{CLIENT, Rig};
    use crate::protocol::{DisconnectCode, Format};

    /// A client of a user, where users may have three connections.
    fn rig() -> Rig {
        let without_namespace = super::super::ChannelOptions {
            allow_subscribe_for_client: true,
            allow_publish_for_client: true,
            ..Default::default()
        };
        let rules = Rules { user_connection_limit: 3, without_namespace, ..Rules::default() };
        let mut rig = Rig::new(rules);
        rig.session = super::Session::new(0, true, Format::Json).of_user("ann");
        rig
    }

    const CONNECT_AND_ON: &str = "{\"id\":1,\"connect\":{}}\n\
                                  {\"id\":2,\"publish\":{\"channel\":\"a\",\"data\":7}}";

    #[test]
    fn a_user_is_let_in_by_its_home_and_named_to_others() {
        let mut rig = rig();
        rig.frame(CONNECT_AND_ON);
        rig.frame(r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        assert_eq!((rig.signing_in, rig.has_connected, rig.lines()), (Some(3), false, vec![]));
        assert!(rig.is_identified, "also who is not let in yet");
        rig.signed_in(Ok(()));
        let lines = rig.lines();
        assert!(lines[0].starts_with(r#"{"id":1,"connect":{"client":"#), "{lines:?}");
        assert_eq!(lines[1..], [r#"{"id":2,"publish":{}}"#]);
        assert!(rig.session.is_signed_in());
        let (_, message) = &rig.published[0];
        let info = format!(r#""info":{{"user":"ann","client":"{CLIENT}"}}"#);
        assert!(message.contains(&info), "{message}");
        rig.joined(Ok(()));
        assert_eq!(rig.lines(), [r#"{"id":3,"subscribe":{}}"#], "no anonymous client may do so");
    }

    #[test]
    fn who_is_not_let_in_is_told_so_and_is_not_counted() {
        for code in [DisconnectCode::ConnectionLimit, DisconnectCode::TooManyRequests] {
            let mut rig = rig();
            rig.frame(CONNECT_AND_ON);
            rig.signed_in(Err(code));
            assert_eq!(rig.closed, Some(code.into()));
            assert_eq!((rig.lines(), rig.published.len()), (vec![], 0));
            assert!(!rig.session.is_signed_in() && !rig.has_connected);
        }
    }

    #[test]
    fn a_client_whose_home_is_too_slow_may_come_again() {
        let mut rig = rig();
        rig.frame(CONNECT_AND_ON);
        rig.session.late(&mut rig.effects);
        let close = super::super::Effect::Close(DisconnectCode::Internal.into());
        assert_eq!(rig.effects.take(), Some(close));
    }

    #[test]
    fn without_a_limit_or_a_user_nobody_is_asked() {
        let mut unlimited = rig();
        unlimited.terms.rules.user_connection_limit = 0;
        let mut nobody = rig();
        nobody.session = super::Session::new(0, true, Format::Json).of_user("");
        nobody.terms.rules.allow_anonymous_connect_without_token = true;
        for mut rig in [unlimited, nobody] {
            rig.frame(r#"{"id":1,"connect":{}}"#);
            assert_eq!((rig.signing_in, rig.has_connected), (None, true));
            assert!(!rig.session.is_signed_in());
        }
    }
}
