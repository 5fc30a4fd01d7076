//! What only some sessions have: a user, what a token says, and commands that are under way.

use std::sync::Arc;
use std::time::Duration;

use super::lifetimes::Expiring;
use super::state::{Session, Terms};
use super::token_names::SubscriptionTokens;
use super::under_way::UnderWay;
use crate::handover;
use crate::limits::USER_ID_BYTES_MAX;
use crate::protocol::ClientInfo;
use crate::token::{Claimed, ConnectionToken};

/// The box of a session that is somebody's, or waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// What others are shown of it, one behind the other: its user, and what its token says.
    texts: Option<Arc<[u8]>>,
    /// When it expires, in seconds since the Unix epoch; 0 is never.
    expires_s: u32,
    /// When its token was issued, in the same way; 0 if it has none.
    issued_s: u32,
    more: Option<Box<More>>,
}

/// What few have, or for a moment.
#[derive(Debug, Default)]
pub(super) struct More {
    under_way: Option<Box<UnderWay>>,
    /// Which channels its token has put it into, as a fingerprint; 0 for none.
    channels: u32,
    /// The name of its token; empty if it has none.
    token_id: Box<str>,
    /// Those of its subscriptions' tokens that have one.
    pub(super) subscription_tokens: Option<Box<SubscriptionTokens>>,
    /// What back ends are told of it, and nobody else; empty for nothing.
    meta: Box<[u8]>,
    /// Headers that back ends are told of; none where nobody asks for any.
    headers: Option<Box<Headers>>,
    /// Its subscriptions that end unless they are prolonged.
    pub(super) expiring: Vec<Expiring>,
    /// How many questions whether one of them goes on were asked.
    pub(super) stays_asked: u32,
    /// What others are shown of it in some channels, by their names.
    channel_infos: Vec<(Box<str>, Box<[u8]>)>,
}

/// Headers by lower-case name.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// Of the upgrade request.
    pub(super) http: Vec<(String, String)>,
    /// Of the connect command.
    pub(super) emulated: Vec<(String, String)>,
}

impl Extra {
    fn memory_bytes(&self) -> usize {
        let texts = self.texts.as_ref().map_or(0, |texts| ARC_BYTES + texts.len());
        size_of::<Self>() + texts + self.more.as_ref().map_or(0, |more| more.memory_bytes())
    }
}

/// The two counts before what is shared.
const ARC_BYTES: usize = 2 * size_of::<usize>();

impl More {
    fn memory_bytes(&self) -> usize {
        let headers = self.headers.as_ref().map_or(0, |headers| headers.memory_bytes());
        let infos = self.channel_infos.iter().map(|(name, info)| name.len() + info.len());
        size_of::<Self>()
            + self.under_way.as_ref().map_or(0, |_| size_of::<UnderWay>())
            + self.token_id.len()
            + self.meta.len()
            + headers
            + self.expiring.capacity() * size_of::<Expiring>()
            + self.channel_infos.capacity() * size_of::<(Box<str>, Box<[u8]>)>()
            + infos.sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.under_way.is_none()
            && self.channels == 0
            && self.token_id.is_empty()
            && self.subscription_tokens.is_none()
            && self.meta.is_empty()
            && self.headers.is_none()
            && self.expiring.is_empty()
            && self.channel_infos.is_empty()
    }
}

impl Headers {
    fn memory_bytes(&self) -> usize {
        let lists = [&self.http, &self.emulated];
        let texts = lists.into_iter().flatten().map(|(name, value)| name.len() + value.len());
        let entries: usize = lists.iter().map(|list| list.capacity()).sum();
        size_of::<Self>() + entries * size_of::<(String, String)>() + texts.sum::<usize>()
    }
}

/// Most sessions have one: it is to stay in the allocator's class of 32 bytes.
const _: () = assert!(size_of::<Extra>() <= 32);
const _: () = assert!(USER_ID_BYTES_MAX <= u8::MAX as usize); // `Session::user_bytes`

impl Session {
    /// The session as that of a user; an empty name is that of nobody.
    ///
    /// Panics if the name is longer than `USER_ID_BYTES_MAX`.
    #[must_use]
    pub fn of_user(mut self, user: &str) -> Self {
        if !user.is_empty() {
            self.show(user, b"");
        }
        self
    }

    /// The user, empty if the client is nobody's.
    pub fn user(&self) -> &str {
        let (user, _) = self.shown_texts();
        std::str::from_utf8(user).expect("it was text when it came")
    }

    /// The user, and behind it what others are shown of the connection: shared, not copied.
    pub fn texts(&self) -> Arc<[u8]> {
        self.extra.as_ref().and_then(|extra| extra.texts.clone()).unwrap_or_default()
    }

    /// The user, and what others are shown of the connection.
    fn shown_texts(&self) -> (&[u8], &[u8]) {
        let texts = self.extra.as_ref().and_then(|extra| extra.texts.as_deref());
        texts.unwrap_or_default().split_at(self.user_bytes.into())
    }

    /// Bytes that it has beside itself. What is shown of it may be shared with those who show it.
    pub fn memory_bytes(&self) -> usize {
        self.extra.as_ref().map_or(0, |extra| extra.memory_bytes())
    }

    /// From now on others are shown this of it.
    pub(super) fn show(&mut self, user: &str, info: &[u8]) {
        self.user_bytes = u8::try_from(user.len()).expect("users are checked where they come from");
        let texts = [user.as_bytes(), info].concat();
        let extra = self.extra.get_or_insert_default();
        extra.texts = (!texts.is_empty()).then(|| texts.into());
    }

    /// Takes over what its token says; the user must be the one it has, if it has one. Returns
    /// whether others are shown something else now.
    pub(super) fn set_token(&mut self, token: &ConnectionToken) -> bool {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let expires_s = token.expires.map_or(0, seconds);
        let issued_s = token.issued.map_or(0, seconds);
        let is_shown_anew = self.shown_texts() != (token.user.as_bytes(), &token.info);
        if is_shown_anew {
            self.show(&token.user, &token.info);
        }
        let extra = self.extra.get_or_insert_default();
        (extra.expires_s, extra.issued_s) = (expires_s, issued_s);
        let more = self.more();
        more.channels = fingerprint(&token.subscriptions);
        more.token_id = token.id.as_str().into();
        more.meta = token.meta.as_slice().into();
        self.finish();
        is_shown_anew
    }

    /// What only some sessions have, for another process.
    pub(super) fn carry_extra(&self, carried: &mut handover::Session) {
        let Some(extra) = &self.extra else { return };
        (carried.expires_s, carried.issued_s) = (extra.expires_s, extra.issued_s);
        let Some(more) = &extra.more else { return };
        carried.channels = more.channels;
        carried.token_id = more.token_id.to_string();
        carried.meta = more.meta.to_vec();
        if let Some(headers) = &more.headers {
            carried.http_headers = Headers::carried(&headers.http);
            carried.emulated_headers = Headers::carried(&headers.emulated);
        }
        let names = self.token_names();
        carried.token_names =
            names.map(|(channel, name)| (channel.to_owned(), name.as_bytes().to_vec())).collect();
        let infos = more.channel_infos.iter();
        carried.channel_infos =
            infos.map(|(name, info)| (name.to_string(), info.to_vec())).collect();
        carried.expiring = more.expiring.iter().map(Expiring::carried).collect();
    }

    /// The same of another process; `None` if it can be none of this one's.
    pub(super) fn take_over_extra(&mut self, carried: handover::Session) -> Option<()> {
        let extra = self.extra.get_or_insert_default();
        (extra.expires_s, extra.issued_s) = (carried.expires_s, carried.issued_s);
        let http = Headers::taken_over(carried.http_headers)?;
        let emulated = Headers::taken_over(carried.emulated_headers)?;
        let has_headers = !http.is_empty() || !emulated.is_empty();
        let subscription_tokens = SubscriptionTokens::taken_over(carried.token_names)?;
        let infos = carried.channel_infos.into_iter();
        let more = self.more();
        *more = More {
            channels: carried.channels,
            token_id: carried.token_id.into(),
            meta: carried.meta.into(),
            headers: has_headers.then(|| Box::new(Headers { http, emulated })),
            subscription_tokens: Some(Box::new(subscription_tokens)),
            channel_infos: infos.map(|(name, info)| (name.into(), info.into())).collect(),
            expiring: carried.expiring.into_iter().map(Expiring::taken_over).collect(),
            ..More::default()
        };
        self.finish();
        Some(())
    }

    /// It expires at another time since the Unix epoch, or never.
    pub(super) fn set_expiry(&mut self, expires: Option<Duration>) {
        let seconds = expires.map_or(0, |end| u32::try_from(end.as_secs()).unwrap_or(u32::MAX));
        self.extra.get_or_insert_default().expires_s = seconds;
    }

    /// Whether it was put into the channels of this token, and no others.
    pub(super) fn is_put_into(&self, token: &ConnectionToken) -> bool {
        let channels = self.more_ref().map_or(0, |more| more.channels);
        channels == fingerprint(&token.subscriptions)
    }

    /// What others are shown of it beside its user; empty for nothing.
    pub(super) fn info(&self) -> &[u8] {
        self.shown_texts().1
    }

    /// When it expires, since the Unix epoch.
    pub(super) fn expires(&self) -> Option<Duration> {
        let seconds = self.extra.as_ref().map_or(0, |extra| extra.expires_s);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// When its token was issued, since the Unix epoch, if it has one.
    pub fn issued(&self) -> Option<Duration> {
        let seconds = self.extra.as_ref().map_or(0, |extra| extra.issued_s);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// The name of its token; empty if it has none.
    pub fn token_id(&self) -> &str {
        self.more_ref().map_or("", |more| &more.token_id)
    }

    /// What back ends are told of it, and nobody else; empty for nothing.
    pub fn meta(&self) -> &[u8] {
        self.more_ref().map_or(&[], |more| &more.meta)
    }

    pub(super) fn set_meta(&mut self, meta: &[u8]) {
        self.more().meta = meta.into();
    }

    /// The session with headers of its upgrade request that back ends are told of.
    #[must_use]
    pub fn with_headers(mut self, http: Vec<(String, String)>) -> Self {
        if !http.is_empty() {
            self.more().headers.get_or_insert_default().http = http;
        }
        self
    }

    /// The same for those of its connect command.
    pub(super) fn set_emulated_headers(&mut self, emulated: Vec<(String, String)>) {
        if !emulated.is_empty() {
            self.more().headers.get_or_insert_default().emulated = emulated;
        }
    }

    /// The headers that back ends are told of.
    pub(super) fn headers(&self) -> Option<&Headers> {
        self.more_ref()?.headers.as_deref()
    }

    /// Its subscriptions that end unless they are prolonged.
    pub(super) fn expiring(&self) -> &[Expiring] {
        self.more_ref().map_or(&[], |more| &more.expiring)
    }

    /// What others are shown of it in this channel only; empty for nothing.
    pub(super) fn channel_info(&self, channel: &str) -> &[u8] {
        let all = self.more_ref().map_or(&[][..], |more| &more.channel_infos);
        all.iter().find(|(name, _)| **name == *channel).map_or(&[], |(_, info)| info)
    }

    /// In this channel others are shown this of it, too, as long as it is there.
    pub(super) fn set_channel_info(&mut self, channel: &str, info: &[u8]) {
        if info.is_empty() && self.channel_info(channel).is_empty() {
            return;
        }
        let all = &mut self.more().channel_infos;
        all.retain(|(name, _)| **name != *channel);
        if !info.is_empty() {
            all.push((channel.into(), info.into()));
        }
        self.finish();
    }

    /// The client as others are shown it in this channel.
    pub fn shown_in(&self, channel: &str, terms: &Terms) -> ClientInfo<'_> {
        ClientInfo { channel_info: self.channel_info(channel), ..self.shown(terms) }
    }

    pub(super) fn more_ref(&self) -> Option<&More> {
        self.extra.as_ref()?.more.as_deref()
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.extra.get_or_insert_default().more.get_or_insert_default()
    }

    pub(super) fn under_way(&self) -> Option<&UnderWay> {
        self.more_ref()?.under_way.as_deref()
    }

    pub(super) fn under_way_mut(&mut self) -> Option<&mut UnderWay> {
        self.extra.as_mut()?.more.as_mut()?.under_way.as_deref_mut()
    }

    /// The same, where an answer was not awaited until now.
    pub(super) fn begin(&mut self) -> &mut UnderWay {
        self.more().under_way.get_or_insert_default()
    }

    /// Gives back the memory of what is over.
    pub(super) fn finish(&mut self) {
        let Some(extra) = &mut self.extra else { return };
        if let Some(more) = &mut extra.more {
            more.under_way.take_if(|under_way| under_way.is_over());
            more.subscription_tokens.take_if(|all| all.is_empty());
        }
        extra.more.take_if(|more| more.is_empty());
        let is_dated = extra.expires_s != 0 || extra.issued_s != 0;
        if extra.texts.is_none() && !is_dated && extra.more.is_none() {
            self.extra = None;
        }
    }
}

/// FNV-1a, 32 bits: sessions keep it over an upgrade, so it is the same in every build.
const FNV_BASIS: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// By what a session remembers which channels its token has put it into: a hash, 0 for none. It is
/// compared with those of the same user's next token only.
fn fingerprint(claimed: &[Claimed]) -> u32 {
    if claimed.is_empty() {
        return 0;
    }
    let names = claimed.iter().map(|one| one.channel.as_bytes());
    let bytes = names.flat_map(|name| name.iter().copied().chain([0xff])); // in no text
    let hash = bytes.fold(FNV_BASIS, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME));
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::Rules;
    use super::super::rig::{CLIENT, Rig};
    use super::{Claimed, fingerprint};
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
        rig.session.late(&rig.terms, &mut rig.effects);
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

    #[test]
    fn a_fingerprint_tells_channels_apart_and_not_what_is_said_of_them() {
        let of = |names: &[&str]| {
            let claimed = names.iter().map(|name| Claimed::plain((*name).to_owned()));
            fingerprint(&claimed.collect::<Vec<_>>())
        };
        let said = Claimed { info: b"1".to_vec(), ..Claimed::plain("a".to_owned()) };
        assert_eq!((of(&[]), of(&["a"])), (0, fingerprint(&[said])));
        assert_ne!(of(&["a", "b"]), of(&["a"]));
        assert_ne!(of(&["ab"]), of(&["a", "b"]));
        assert_eq!(of(&["a", "b"]), 0xe7b6_67aa, "another build knows it, too");
    }
}
