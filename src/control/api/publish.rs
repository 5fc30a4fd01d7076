//! `publish` and `broadcast`: a JSON command to the messages that the members of its channels
//! are sent, and those to the shards.
//!
//! Invariant: data is embedded as it came; it is never parsed into a tree and built again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::channel;
use super::failure::{ApiError, Code, Failure};
use super::object::{self, Given};
use crate::control::ask::Publication;
use crate::control::channels::{ChannelKind, Channels};
use crate::control::routes::Context;
use crate::limits::{
    ASK_TIMEOUT, BROADCAST_BYTES_MAX, BROADCAST_CHANNELS_MAX, BROADCAST_SLICE_BYTES,
    CHANNEL_NAME_BYTES_MAX,
};
use crate::protocol::{self, Push, json};

/// A command of either kind. An option that only means something to what is not there yet,
/// `version`, is passed over, as the reference does in channels without a history.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Command<'a> {
    channel: Option<String>,
    channels: Option<Vec<String>>,
    /// `null` is data too.
    #[serde(borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    b64data: Option<Cow<'a, str>>,
    tags: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
    /// It is not to be kept, whatever the channel's options say.
    skip_history: bool,
    /// Those who take deltas are sent what it differs by from the one before.
    delta: bool,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// A publication is answered when it is on its way to its home, before it has a place there.
#[derive(Serialize)]
pub(super) struct Published {}

/// One answer per channel, in the order of the request.
#[derive(Serialize)]
pub(super) struct Broadcasted {
    responses: Vec<Response>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Response {
    Result(Published),
    Error(ApiError),
}

/// One publication to one channel.
pub(super) async fn publish(context: &Context, body: &[u8]) -> Result<Published, Failure> {
    let channels = context.channels();
    let publication = single(body, &channels)?;
    let deadline = Instant::now() + ASK_TIMEOUT;
    match context.asks.publish(vec![publication], deadline).await[..] {
        [Ok(())] => Ok(Published {}),
        _ => Err(busy().into()),
    }
}

fn single(body: &[u8], channels: &Channels) -> Result<(String, Publication), Failure> {
    let command: Command<'_> = object::read(body)?;
    let payload = Payload::of(&command)?;
    let channel = valid(command.channel.as_deref().unwrap_or_default(), channels)?;
    Ok((channel.0.to_owned(), payload.publication(channel)))
}

/// The same publication to many channels.
pub(super) async fn broadcast(context: &Context, body: &[u8]) -> Result<Broadcasted, Failure> {
    let command: Command<'_> = object::read(body)?;
    let payload = Payload::of(&command)?;
    let names = command.channels.as_deref().unwrap_or_default();
    check_extent(names.len(), payload.bytes_max())?;
    let channels = context.channels();
    let deadline = Instant::now() + ASK_TIMEOUT;
    let mut responses = Vec::with_capacity(names.len());
    // In slices, so that many broadcasts at a time do not hold all their messages at a time.
    for slice in names.chunks(BROADCAST_SLICE_BYTES.div_ceil(payload.bytes_max())) {
        let verdicts: Vec<_> = slice.iter().map(|name| valid(name, &channels)).collect();
        let valid = verdicts.iter().flatten();
        let publications = valid.map(|&one| (one.0.to_owned(), payload.publication(one)));
        let published = context.asks.publish(publications.collect(), deadline).await;
        let mut published = published.into_iter();
        for verdict in verdicts {
            let queued = verdict.and_then(|_| match published.next() {
                Some(Ok(())) => Ok(Published {}),
                _ => Err(busy()),
            });
            responses.push(queued.map_or_else(Response::Error, Response::Result));
        }
    }
    Ok(Broadcasted { responses })
}

fn check_extent(channel_count: usize, message_bytes: usize) -> Result<(), ApiError> {
    let refused = |about: &str| Err(ApiError::new(Code::BadRequest, about));
    if channel_count == 0 {
        return refused("channels is empty");
    }
    let bytes = channel_count.saturating_mul(message_bytes);
    if channel_count > BROADCAST_CHANNELS_MAX || bytes > BROADCAST_BYTES_MAX {
        return refused("too many channels for one broadcast of this size");
    }
    Ok(())
}

fn busy() -> ApiError {
    ApiError::new(Code::Internal, "the channel's queue is full, try again")
}

/// A channel that can be published to, and of what kind it is.
type Valid<'n> = (&'n str, ChannelKind);

fn valid<'n>(name: &'n str, channels: &Channels) -> Result<Valid<'n>, ApiError> {
    Ok((name, channel::check(name, channels)?))
}

/// What is published, whatever the channel.
struct Payload<'a> {
    /// One JSON value.
    data: Cow<'a, [u8]>,
    tags: Vec<(&'a str, &'a str)>,
    skips_history: bool,
    makes_delta: bool,
}

impl<'a> Payload<'a> {
    fn of(command: &'a Command<'_>) -> Result<Self, ApiError> {
        let refused = |about| ApiError::new(Code::BadRequest, about);
        if command.idempotency_key.as_deref().is_some_and(|key| !key.is_empty()) {
            let about = "idempotency_key is not in this version of longwire yet";
            return Err(ApiError::new(Code::NotAvailable, about));
        }
        let base64 = command.b64data.as_deref();
        let given = Given { name: "b64data", json: command.data, base64 };
        let data = given.value()?.ok_or_else(|| refused("data is missing"))?;
        let tags = command.tags.iter().flatten();
        let tags = tags.map(|(key, value)| (&**key, &**value)).collect();
        let (skips_history, makes_delta) = (command.skip_history, command.delta);
        Ok(Self { data, tags, skips_history, makes_delta })
    }

    /// Bytes that the message has at most: a byte of a name may become an escape of six.
    fn bytes_max(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len() + 6);
        let text = CHANNEL_NAME_BYTES_MAX + tags.sum::<usize>();
        self.data.len() + 6 * text + ENVELOPE_BYTES
    }

    /// The message for the members of `channel`.
    fn publication(&self, (channel, kind): Valid<'_>) -> Publication {
        let tags = self.tags.as_slice();
        let publication =
            protocol::Publication { data: &self.data, tags, ..protocol::Publication::default() };
        let mut text = Vec::with_capacity(self.data.len() + channel.len() + ENVELOPE_BYTES);
        json::write_push(&mut text, channel, &Push::Publication(publication));
        let kept = kind.kept.filter(|_| !self.skips_history);
        Publication { text, kept, makes_delta: self.makes_delta || kind.makes_deltas }
    }
}

/// Room for what a message says beside the names, the data and the tags.
const ENVELOPE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Kept;

    #[test]
    fn a_publication_is_kept_as_its_channel_says_unless_the_back_end_says_no() {
        let kept = Some(Kept { publications_max: 1, ttl_s: 2, meta_ttl_s: 3 });
        let keeping = ChannelKind { kept, ..ChannelKind::default() };
        let channels =
            Channels { namespaces: [("ns".to_owned(), keeping)].into(), ..Channels::default() };
        for (body, expected) in [
            (r#"{"channel":"ns:a","data":1}"#, kept),
            (r#"{"channel":"ns:a","data":1,"skip_history":false}"#, kept),
            (r#"{"channel":"ns:a","data":1,"skip_history":true}"#, None),
            (r#"{"channel":"a","data":1}"#, None),
        ] {
            let published = single(body.as_bytes(), &channels);
            let Ok((_, publication)) = published else { panic!("{body} is refused") };
            assert_eq!(publication.kept, expected, "{body}");
        }
    }
}
