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
use super::together::together;
use crate::control::ask::{Placed, Publication};
use crate::control::channels::{ChannelKind, Channels};
use crate::control::routes::Context;
use crate::limits::{
    ASK_TIMEOUT, BROADCAST_BYTES_MAX, BROADCAST_CHANNELS_MAX, BROADCAST_SLICE_BYTES,
    CHANNEL_NAME_BYTES_MAX, VERSION_EPOCH_BYTES_MAX,
};
use crate::protocol::{self, Format, Push};

/// A command of either kind.
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
    /// Which state of something it is; 0 for none.
    version: u64,
    #[serde(borrow)]
    version_epoch: Option<Cow<'a, str>>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Where a publication is kept; nothing is said of one that is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Published {
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) offset: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) epoch: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

impl From<Option<Placed>> for Published {
    fn from(placed: Option<Placed>) -> Self {
        placed.map(|Placed { offset, epoch }| Self { offset, epoch }).unwrap_or_default()
    }
}

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
    let command: Command<'_> = object::read(body)?;
    let payload = Payload::of(&command)?;
    let name = command.channel.as_deref().unwrap_or_default();
    let deadline = Instant::now() + ASK_TIMEOUT;
    Ok(payload.publish_to(name, context, &context.channels(), deadline).await?)
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
        let publishing =
            slice.iter().map(|name| payload.publish_to(name, context, &channels, deadline));
        let published = together(publishing).await.into_iter();
        responses.extend(published.map(|one| one.map_or_else(Response::Error, Response::Result)));
    }
    Ok(Broadcasted { responses })
}

fn check_extent(channel_count: usize, message_bytes: usize) -> Result<(), ApiError> {
    if channel_count == 0 {
        return Err(bad("channels is empty"));
    }
    let bytes = channel_count.saturating_mul(message_bytes);
    if channel_count > BROADCAST_CHANNELS_MAX || bytes > BROADCAST_BYTES_MAX {
        return Err(bad("too many channels for one broadcast of this size"));
    }
    Ok(())
}

fn bad(about: &str) -> ApiError {
    ApiError::new(Code::BadRequest, about)
}

/// It was not published in time, or perhaps was and nobody says so.
pub(super) fn busy() -> ApiError {
    ApiError::new(Code::Internal, "the channel's queue is full, try again")
}

/// What is published, whatever the channel.
struct Payload<'a> {
    data: Cow<'a, [u8]>,
    is_json: bool,
    tags: Vec<(&'a str, &'a str)>,
    skips_history: bool,
    makes_delta: bool,
    key: &'a str,
    version: Option<(u64, &'a str)>,
}

impl<'a> Payload<'a> {
    fn of(command: &'a Command<'_>) -> Result<Self, ApiError> {
        let base64 = command.b64data.as_deref();
        let given = Given { name: "b64data", json: command.data, base64 };
        let value = given.value()?.ok_or_else(|| bad("data is missing"))?;
        let tags = command.tags.iter().flatten();
        let tags = tags.map(|(key, value)| (&**key, &**value)).collect();
        let epoch = command.version_epoch.as_deref().unwrap_or_default();
        if epoch.len() > VERSION_EPOCH_BYTES_MAX {
            return Err(bad("version_epoch is longer than 64 bytes"));
        }
        Ok(Self {
            data: value.bytes,
            is_json: value.is_json,
            tags,
            skips_history: command.skip_history,
            makes_delta: command.delta,
            key: command.idempotency_key.as_deref().unwrap_or_default(),
            version: (command.version > 0).then_some((command.version, epoch)),
        })
    }

    /// Bytes that the message has at most: a byte of a name may become an escape of six.
    fn bytes_max(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len() + 6);
        let text = CHANNEL_NAME_BYTES_MAX + tags.sum::<usize>();
        self.data.len() + 6 * text + ENVELOPE_BYTES
    }

    /// Publishes to a channel, once for its key if it has one.
    async fn publish_to(
        &self,
        name: &str,
        context: &Context,
        channels: &Channels,
        deadline: Instant,
    ) -> Result<Published, ApiError> {
        let kind = channel::check(name, channels)?;
        let publication = self.publication(name, kind)?;
        let publishing = async {
            let placed = context.asks.publish(name.to_owned(), publication, deadline).await;
            placed.map(Published::from).map_err(|_busy| busy())
        };
        if self.key.is_empty() {
            return publishing.await;
        }
        context.repeats.once((name, self.key), &context.traffic, publishing).await
    }

    /// The message for the members of a channel.
    fn publication(&self, channel: &str, kind: ChannelKind) -> Result<Publication, ApiError> {
        if !kind.data_format.admits(&self.data) {
            return Err(bad("data is not what publication_data_format of its channel says"));
        }
        let tags = self.tags.as_slice();
        let publication =
            protocol::Publication { data: &self.data, tags, ..protocol::Publication::default() };
        let mut message = Vec::with_capacity(self.data.len() + channel.len() + ENVELOPE_BYTES);
        let format = if self.is_json { Format::Json } else { Format::Protobuf };
        format.write_push(&mut message, channel, &Push::Publication(publication));
        let kept = kind.kept.filter(|_| !self.skips_history);
        let version = self.version.map(|(number, epoch)| (number, epoch.to_owned()));
        let makes_delta = self.makes_delta || kind.makes_deltas;
        Ok(Publication { message, is_binary: !self.is_json, kept, makes_delta, version })
    }
}

/// Room for what a message says beside the names, the data and the tags.
const ENVELOPE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Kept;
    use crate::protocol::DataFormat;

    #[test]
    fn a_publication_is_kept_as_its_channel_says_unless_the_back_end_says_no() {
        let kept = Some(Kept { publications_max: 1, ttl_s: 2, meta_ttl_s: 3 });
        let keeping = ChannelKind { kept, ..ChannelKind::default() };
        for (body, kind, expected) in [
            (r#"{"data":1}"#, keeping, kept),
            (r#"{"data":1,"skip_history":false}"#, keeping, kept),
            (r#"{"data":1,"skip_history":true}"#, keeping, None),
            (r#"{"data":1}"#, ChannelKind::default(), None),
        ] {
            let command: Command<'_> = object::read(body.as_bytes()).unwrap();
            let publication = Payload::of(&command).unwrap().publication("a", kind);
            assert_eq!(publication.unwrap().kept, expected, "{body}");
        }
    }

    #[test]
    fn data_is_what_the_channel_says_it_is() {
        use DataFormat::{Binary, Json, JsonObject, NotEmpty};
        // "text", {} and no JSON at all, in base64.
        for (data, formats, is_binary) in [
            (r#""data":[1]"#, &[NotEmpty, Json, Binary][..], false),
            (r#""data":{}"#, &[NotEmpty, Json, JsonObject, Binary], false),
            (r#""b64data":"e30=""#, &[NotEmpty, Json, JsonObject, Binary], false),
            (r#""b64data":"AAEC""#, &[NotEmpty, Binary], true),
        ] {
            for data_format in [NotEmpty, Json, JsonObject, Binary] {
                let body = format!("{{{data}}}");
                let command: Command<'_> = object::read(body.as_bytes()).unwrap();
                let kind = ChannelKind { data_format, ..ChannelKind::default() };
                let publication = Payload::of(&command).unwrap().publication("a", kind);
                let is_taken = formats.contains(&data_format);
                let got = publication.map(|publication| publication.is_binary).ok();
                assert_eq!(got, is_taken.then_some(is_binary), "{data} {data_format:?}");
            }
        }
    }
}
