//! What only some sessions have: a user, what a token says, and commands that are under way.

use std::time::Duration;

use super::state::Session;
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
    /// It is counted among its user's connections.
    is_signed_in: bool,
    under_way: Option<Box<UnderWay>>,
}

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
    pub(super) fn set_token(&mut self, user: &str, info: &[u8], expires: Option<Duration>) {
        let expires = expires.map_or(0, |time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
        if self.extra.is_none() && user.is_empty() && info.is_empty() && expires == 0 {
            return;
        }
        let extra = self.extra.get_or_insert_default();
        if *extra.user != *user {
            extra.user = user.into();
        }
        extra.info = (!info.is_empty()).then(|| info.into());
        extra.expires_s = expires;
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

    /// Whether it is counted among its user's connections: they are to be told when it is gone.
    pub fn is_signed_in(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.is_signed_in)
    }

    pub(super) fn set_signed_in(&mut self) {
        self.extra.as_mut().expect("it is a user's").is_signed_in = true;
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
        let says_nothing = extra.user.is_empty() && extra.info.is_none() && extra.expires_s == 0;
        if says_nothing && extra.under_way.is_none() {
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
