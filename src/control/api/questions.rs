//! What back ends ask of channels: who is in them, and what they keep.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::channel;
use super::failure::{ApiError, Code, Failure};
use super::object;
use crate::control::ask::{Question, Told};
use crate::control::channels::{ChannelKind, Kept};
use crate::control::routes::Context;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Channel {
    channel: String,
}

#[derive(Serialize)]
pub(super) struct Presence {
    presence: Box<RawValue>,
}

#[derive(Serialize)]
pub(super) struct PresenceStats {
    num_clients: u32,
    num_users: u32,
}

#[derive(Serialize)]
pub(super) struct History {
    publications: Box<RawValue>,
    epoch: String,
    offset: u64,
}

#[derive(Serialize)]
pub(super) struct HistoryRemoved {}

/// Who is in a channel.
pub(super) async fn presence(context: &Context, body: &[u8]) -> Result<Presence, Failure> {
    let Channel { channel } = present_channel(context, body)?;
    match ask(context, channel, Question::Presence).await? {
        Told::Presence(clients) => Ok(Presence { presence: raw(clients) }),
        other => Err(unexpected(&other)),
    }
}

/// How many are in a channel.
pub(super) async fn presence_stats(
    context: &Context,
    body: &[u8],
) -> Result<PresenceStats, Failure> {
    let Channel { channel } = present_channel(context, body)?;
    match ask(context, channel, Question::PresenceStats).await? {
        Told::PresenceStats { clients, users } => {
            Ok(PresenceStats { num_clients: clients, num_users: users })
        }
        other => Err(unexpected(&other)),
    }
}

fn present_channel(context: &Context, body: &[u8]) -> Result<Channel, Failure> {
    let asked: Channel = object::read(body)?;
    if kind(context, &asked.channel)?.has_presence {
        return Ok(asked);
    }
    Err(ApiError::new(Code::NotAvailable, "presence is off for this channel").into())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HistoryOf {
    channel: String,
    limit: i64,
    since: Option<Since>,
    reverse: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Since {
    offset: u64,
    epoch: String,
}

/// What a channel keeps; as much of it as is asked for, and nothing but its end without a limit.
pub(super) async fn history(context: &Context, body: &[u8]) -> Result<History, Failure> {
    let HistoryOf { channel, limit, since, reverse } = object::read(body)?;
    let kept = kept(context, &channel)?;
    if reverse && since.as_ref().is_some_and(|since| since.offset == 0) {
        let about = "nothing is before offset 0";
        return Err(ApiError::new(Code::BadRequest, about).into());
    }
    let question = Question::History {
        since: since.map(|since| (since.offset, since.epoch)),
        // A negative one is all.
        publications_max: u32::try_from(limit).unwrap_or(u32::MAX),
        is_reverse: reverse,
        kept,
    };
    match ask(context, channel, question).await? {
        Told::History { publications, end } => {
            Ok(History { publications: raw(publications), epoch: end.epoch, offset: end.offset })
        }
        Told::Unrecoverable => Err(ApiError::new(Code::Unrecoverable, "this epoch is over").into()),
        Told::Unreadable => {
            let about = "a publication of this channel is not JSON";
            Err(ApiError::new(Code::NotAvailable, about).into())
        }
        other => Err(unexpected(&other)),
    }
}

/// Drops what a channel keeps.
pub(super) async fn history_remove(
    context: &Context,
    body: &[u8],
) -> Result<HistoryRemoved, Failure> {
    let Channel { channel } = object::read(body)?;
    kept(context, &channel)?;
    match ask(context, channel, Question::RemoveHistory).await? {
        Told::HistoryRemoved => Ok(HistoryRemoved {}),
        other => Err(unexpected(&other)),
    }
}

fn kind(context: &Context, name: &str) -> Result<ChannelKind, ApiError> {
    channel::check(name, &context.channels())
}

fn kept(context: &Context, name: &str) -> Result<Kept, ApiError> {
    let kept = kind(context, name)?.kept;
    kept.ok_or_else(|| ApiError::new(Code::NotAvailable, "this channel keeps no history"))
}

async fn ask(context: &Context, channel: String, question: Question) -> Result<Told, ApiError> {
    let told = context.asks.question(channel, question).await;
    told.map_err(|_busy| ApiError::new(Code::Internal, "the channel's home did not answer"))
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("it was put into words as JSON")
}

fn unexpected(told: &Told) -> Failure {
    unreachable!("{told:?} answers another question")
}
