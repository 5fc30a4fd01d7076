//! `publish` and `broadcast`: a JSON command to the messages that the members of its channels
//! are sent, and those to the shards.
//!
//! Invariant: data is embedded as it came; it is never parsed into a tree and built again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::failure::{ApiError, Code, Failure};
use crate::control::ask::Publication;
use crate::control::routes::Context;
use crate::limits::{BROADCAST_BYTES_MAX, BROADCAST_CHANNELS_MAX, CHANNEL_NAME_BYTES_MAX};
use crate::protocol::{self, Push, channel, json};

/// A command of either kind. Options that only mean something to a history, `skip_history`,
/// `delta` and `version`, are passed over, as the reference does in channels without one.
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
}

impl<'a> Command<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Failure> {
        // A list of its fields would be a command too, to the derived reader.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Failure::NoCommand("not an object".to_owned()));
        }
        Ok(serde_json::from_slice(body)?)
    }
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// What a publication that is in no history is answered with.
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
    let publication = single(body, &context.namespaces)?;
    match context.asks.publish(vec![publication]).await[..] {
        [Ok(())] => Ok(Published {}),
        _ => Err(busy().into()),
    }
}

fn single(body: &[u8], namespaces: &BTreeSet<String>) -> Result<(String, Publication), Failure> {
    let command = Command::read(body)?;
    let content = Content::of(&command)?;
    let channel = valid(command.channel.as_deref().unwrap_or_default(), namespaces)?;
    Ok((channel.to_owned(), content.publication(channel)))
}

/// The same publication to many channels.
pub(super) async fn broadcast(context: &Context, body: &[u8]) -> Result<Broadcasted, Failure> {
    let (verdicts, publications) = many(body, &context.namespaces)?;
    let mut published = context.asks.publish(publications).await.into_iter();
    let responses = verdicts.into_iter().map(|verdict| {
        let queued = verdict.and_then(|()| match published.next() {
            Some(Ok(())) => Ok(()),
            _ => Err(busy()),
        });
        queued.map_or_else(Response::Error, |()| Response::Result(Published {}))
    });
    Ok(Broadcasted { responses: responses.collect() })
}

/// A verdict on every channel, and the publications to those that can be published to.
type Many = (Vec<Result<(), ApiError>>, Vec<(String, Publication)>);

fn many(body: &[u8], namespaces: &BTreeSet<String>) -> Result<Many, Failure> {
    let command = Command::read(body)?;
    let content = Content::of(&command)?;
    let channels = command.channels.as_deref().unwrap_or_default();
    let refused = |about: &str| Err(ApiError::new(Code::BadRequest, about).into());
    if channels.is_empty() {
        return refused("channels is empty");
    }
    let bytes_max = channels.len().saturating_mul(content.bytes_max());
    if channels.len() > BROADCAST_CHANNELS_MAX || bytes_max > BROADCAST_BYTES_MAX {
        return refused("too many channels for one broadcast of this size");
    }
    let verdicts: Vec<_> = channels.iter().map(|name| valid(name, namespaces)).collect();
    let valid = verdicts.iter().flatten();
    let publications = valid.map(|&name| (name.to_owned(), content.publication(name))).collect();
    Ok((verdicts.into_iter().map(|verdict| verdict.map(|_| ())).collect(), publications))
}

fn busy() -> ApiError {
    ApiError::new(Code::Internal, "the channel's queue is full, try again")
}

/// A channel that can be published to.
fn valid<'n>(name: &'n str, namespaces: &BTreeSet<String>) -> Result<&'n str, ApiError> {
    let refused = |about| Err(ApiError::new(Code::BadRequest, about));
    if name.is_empty() {
        return refused("channel is empty");
    }
    if name.len() > CHANNEL_NAME_BYTES_MAX {
        return refused("channel is longer than 255 bytes");
    }
    if !channel::is_well_formed(name) {
        return refused("channel is not ASCII");
    }
    if channel::namespace(name).is_some_and(|namespace| !namespaces.contains(namespace)) {
        return Err(ApiError::new(Code::UnknownChannel, "its namespace is not configured"));
    }
    Ok(name)
}

/// What is published, whatever the channel.
struct Content<'a> {
    /// One JSON value.
    data: Cow<'a, [u8]>,
    tags: Vec<(&'a str, &'a str)>,
}

impl<'a> Content<'a> {
    fn of(command: &'a Command<'_>) -> Result<Self, ApiError> {
        let refused = |about| Err(ApiError::new(Code::BadRequest, about));
        if command.idempotency_key.as_deref().is_some_and(|key| !key.is_empty()) {
            let about = "idempotency_key is not in this version of longwire yet";
            return Err(ApiError::new(Code::NotAvailable, about));
        }
        let encoded = command.b64data.as_deref().filter(|encoded| !encoded.is_empty());
        let data = match (encoded, command.data) {
            (Some(encoded), _) => match STANDARD.decode(encoded) {
                Ok(bytes) => Cow::Owned(bytes),
                Err(_) => return refused("b64data is not base64"),
            },
            (None, Some(data)) => Cow::Borrowed(data.get().as_bytes()),
            (None, None) => return refused("data is missing"),
        };
        // Clients are sent JSON, and what is embedded in it has to be some.
        if encoded.is_some() && serde_json::from_slice::<&RawValue>(&data).is_err() {
            return refused("b64data is not JSON");
        }
        let tags = command.tags.iter().flatten();
        Ok(Self { data, tags: tags.map(|(key, value)| (&**key, &**value)).collect() })
    }

    /// Bytes that the message has at most: a byte of a name may become an escape of six.
    fn bytes_max(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len() + 6);
        let text = CHANNEL_NAME_BYTES_MAX + tags.sum::<usize>();
        self.data.len() + 6 * text + ENVELOPE_BYTES
    }

    /// The message for the members of `channel`.
    fn publication(&self, channel: &str) -> Publication {
        let tags = self.tags.as_slice();
        let publication =
            protocol::Publication { data: &self.data, tags, ..protocol::Publication::default() };
        let mut text = Vec::with_capacity(self.data.len() + channel.len() + ENVELOPE_BYTES);
        json::write_push(&mut text, channel, &Push::Publication(publication));
        Publication { text }
    }
}

/// Room for what a message says beside the names, the data and the tags.
const ENVELOPE_BYTES: usize = 64;
