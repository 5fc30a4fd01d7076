//! A session as the next process needs it, and one of the process before as one of this.
//!
//! Invariant: a session that waits for something is not carried: whoever stands still lets it come
//! to its end first.

use super::extra::Headers;
use super::lifetimes::Expiring;
use super::state::{Phase, Session};
use crate::handover::{self, SessionStage};
use crate::limits::USER_ID_BYTES_MAX;
use crate::protocol::Format;

impl Session {
    /// It for another process; `None` if it cannot go on there now: something is under way for it,
    /// it is carried by a stream of this process, or it is over.
    pub fn carried(&self) -> Option<handover::Session> {
        if self.under_way().is_some() || self.transport().is_emulated() {
            return None;
        }
        let stage = match self.phase {
            Phase::Waiting => SessionStage::Waiting,
            Phase::Connected => SessionStage::Connected,
            Phase::Refused => SessionStage::Refused,
            Phase::SigningIn | Phase::Entering | Phase::Closed { .. } => return None,
        };
        let mut carried = handover::Session {
            stage,
            random: self.random,
            is_binary: self.format() == Format::Protobuf,
            has_message_pings: self.has_message_pings,
            is_signed_in: self.is_signed_in(),
            user: self.user().to_owned(),
            info: self.info().to_vec(),
            channel_count: self.channel_count,
            ..handover::Session::default()
        };
        self.carry_extra(&mut carried);
        Some(carried)
    }

    /// The session of another process; `None` if it can be none of this one's.
    pub fn taken_over(carried: handover::Session) -> Option<Self> {
        if carried.user.len() > USER_ID_BYTES_MAX {
            return None;
        }
        let format = if carried.is_binary { Format::Protobuf } else { Format::Json };
        let mut session = Self::new(carried.random, carried.has_message_pings, format);
        session.phase = match carried.stage {
            SessionStage::Waiting => Phase::Waiting,
            SessionStage::Connected => Phase::Connected,
            SessionStage::Refused => Phase::Refused,
        };
        session.is_signed_in = carried.is_signed_in;
        session.channel_count = carried.channel_count;
        if !carried.user.is_empty() || !carried.info.is_empty() {
            session.show(&carried.user, &carried.info);
        }
        session.take_over_extra(carried)?;
        Some(session)
    }

    /// The names under which its shard is to find it: of its token, and of its subscriptions'.
    pub fn marks(&self) -> Vec<Box<str>> {
        let names = self.token_names().map(|(_, name)| name);
        let mut marks: Vec<Box<str>> = names.map(Into::into).collect();
        marks.extend((!self.token_id().is_empty()).then(|| self.token_id().into()));
        marks.sort_unstable();
        marks.dedup();
        marks
    }
}

impl Headers {
    pub(super) fn carried(list: &[(String, String)]) -> Vec<(String, Vec<u8>)> {
        list.iter().map(|(name, value)| (name.clone(), value.as_bytes().to_vec())).collect()
    }

    /// `None` if they are no texts.
    pub(super) fn taken_over(list: Vec<(String, Vec<u8>)>) -> Option<Vec<(String, String)>> {
        let header = |(name, value)| Some((name, String::from_utf8(value).ok()?));
        list.into_iter().map(header).collect()
    }
}

impl Expiring {
    /// A question whether it goes on is asked again when its end has come: an answer to one that is
    /// open is nobody's in another process.
    pub(super) fn carried(&self) -> handover::Expiring {
        handover::Expiring {
            channel: self.channel.to_string(),
            expires_s: self.expires_s,
            is_server_side: self.is_server_side,
        }
    }

    pub(super) fn taken_over(one: handover::Expiring) -> Self {
        let handover::Expiring { channel, expires_s, is_server_side } = one;
        Self { channel: channel.into(), expires_s, asked: 0, is_server_side }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::rig::Rig;
    use super::*;

    #[test]
    fn a_session_goes_on_elsewhere_as_it_was() {
        let mut rig = Rig::open();
        rig.session.show("ann", b"{\"a\":1}");
        rig.session.set_expiry(Some(std::time::Duration::from_secs(77)));
        rig.session.set_meta(b"m");
        rig.session.set_channel_info("news", b"[]");
        let carried = rig.session.carried().expect("it waits for nothing");
        let bytes = carried.encode();
        let carried = handover::Session::decode(&bytes).expect("it was encoded here");
        let session = Session::taken_over(carried.clone()).expect("it is one of this version");
        assert!(session.is_connected() && session.is_known());
        assert_eq!((session.user(), session.info()), ("ann", &b"{\"a\":1}"[..]));
        assert_eq!((session.meta(), session.channel_info("news")), (&b"m"[..], &b"[]"[..]));
        assert_eq!(session.client_id(&rig.terms), rig.session.client_id(&rig.terms));
        assert_eq!(session.carried(), Some(carried), "nothing is lost on the way");
    }

    #[test]
    fn one_that_waits_for_something_stays_until_that_has_come() {
        let mut rig = Rig::new(Rules { insecure: true, ..Rules::default() });
        assert!(rig.session.carried().is_some(), "for its client only");
        rig.frame("{\"connect\":{},\"id\":1}\n{\"subscribe\":{\"channel\":\"a\"},\"id\":2}\n");
        assert_eq!(rig.session.carried(), None, "its subscription waits for its home");
        rig.joined(Ok(()));
        assert!(rig.session.carried().is_some());
    }
}
