//! Commands for a user's clients, on whatever shards they are: answered when all shards have done
//! it, also where the user is not there.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::channel;
use super::failure::{ApiError, Code, Failure};
use super::object::{self, Given};
use crate::control::ask::{Audience, TellError};
use crate::control::routes::Context;
use crate::limits::{USER_COMMAND_BYTES_MAX, USER_ID_BYTES_MAX};
use crate::protocol::{
    DisconnectCode, OptionsForUser, Selection, UserAction, UserCommand, UserSubscription,
};

/// Nothing is said of what was done.
#[derive(Serialize)]
pub(super) struct Done {}

/// Whom a command is for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Whom {
    user: Option<String>,
    client: String,
    session: String,
}

impl Whom {
    /// Has all shards do it.
    async fn command(self, context: &Context, action: UserAction) -> Result<Done, Failure> {
        self.command_but(context, Vec::new(), action).await
    }

    /// The same, but to clients of these names.
    async fn command_but(
        self,
        context: &Context,
        spared: Vec<String>,
        action: UserAction,
    ) -> Result<Done, Failure> {
        // It may be empty, for clients of nobody, but not by mistake.
        let Some(user) = self.user else { return Err(bad("user is missing").into()) };
        if user.len() > USER_ID_BYTES_MAX {
            return Err(bad("user is longer than 255 bytes").into());
        }
        let clients = Selection { client: self.client, session: self.session, spared };
        let word = UserCommand { clients, action }.encode();
        if word.len() > USER_COMMAND_BYTES_MAX {
            return Err(bad("the command is longer than 64 KiB").into());
        }
        let told = context.asks.tell(Audience::User(user), word).await;
        told.map_err(untold)?;
        Ok(Done {})
    }
}

pub(super) fn bad(about: &str) -> ApiError {
    ApiError::new(Code::BadRequest, about)
}

/// It may have been done in part, and doing it again hurts nobody.
pub(super) fn untold(error: TellError) -> ApiError {
    let about = match error {
        TellError::Busy => "not all shards have answered",
        TellError::Unheard => "a shard has failed to take it in",
    };
    ApiError::new(Code::Internal, about)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Disconnect {
    whitelist: Vec<String>,
    #[serde(rename = "disconnect")]
    why: Option<Why>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Why {
    code: u32,
    reason: String,
}

/// Closes connections of a user.
pub(super) async fn disconnect(context: &Context, body: &[u8]) -> Result<Done, Failure> {
    let whom: Whom = object::read(body)?;
    let Disconnect { whitelist, why } = object::read(body)?;
    let action = why.map_or_else(|| Ok(UserAction::disconnect()), action)?;
    whom.command_but(context, whitelist, action).await
}

/// A disconnect with a code, and a reason that is never empty: some clients would come back.
fn action(why: Why) -> Result<UserAction, ApiError> {
    let codes = DISCONNECT_CODE_MIN..=DISCONNECT_CODE_MAX;
    let code = u16::try_from(why.code).ok().filter(|code| codes.contains(code));
    let code = code.ok_or_else(|| bad("disconnect.code is 3001 to 4999"))?;
    let known = || DisconnectCode::of(code).unwrap_or(DisconnectCode::ForceDisconnect);
    let reason = if why.reason.is_empty() { known().text().to_owned() } else { why.reason };
    Ok(UserAction::Disconnect { code, reason })
}

/// 3000 is that of a connection that was lost, and is never sent.
const DISCONNECT_CODE_MIN: u16 = 3001;
const DISCONNECT_CODE_MAX: u16 = 4999;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Unsubscribe {
    channel: String,
}

/// Puts clients of a user out of a channel.
pub(super) async fn unsubscribe(context: &Context, body: &[u8]) -> Result<Done, Failure> {
    let whom: Whom = object::read(body)?;
    let Unsubscribe { channel } = object::read(body)?;
    check_channel(context, &channel)?;
    whom.command(context, UserAction::Unsubscribe { channel }).await
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subscribe<'a> {
    channel: String,
    expire_at: i64,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow)]
    b64info: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    b64data: Option<Cow<'a, str>>,
    recover_since: Option<Place>,
    #[serde(rename = "override")]
    options: Option<Options>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    offset: u64,
    epoch: String,
}

/// Options of the channel that are others for the user, each in an object of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    presence: Option<Switch>,
    join_leave: Option<Switch>,
    force_push_join_leave: Option<Switch>,
    force_recovery: Option<Switch>,
    force_positioning: Option<Switch>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Switch {
    value: bool,
}

impl Options {
    fn for_user(&self) -> OptionsForUser {
        let set = |switch: Option<Switch>| switch.map(|switch| switch.value);
        OptionsForUser {
            presence: set(self.presence),
            join_leave: set(self.join_leave),
            force_push_join_leave: set(self.force_push_join_leave),
            force_recovery: set(self.force_recovery),
            force_positioning: set(self.force_positioning),
        }
    }
}

/// Puts clients of a user into a channel.
pub(super) async fn subscribe(context: &Context, body: &[u8]) -> Result<Done, Failure> {
    let whom: Whom = object::read(body)?;
    let asked: Subscribe<'_> = object::read(body)?;
    check_channel(context, &asked.channel)?;
    let expires_s = u64::try_from(asked.expire_at).map_err(|_| bad("expire_at is negative"))?;
    let given = |name, json, base64| Given { name, json, base64 };
    let info = given("b64info", asked.info, asked.b64info.as_deref()).owned()?;
    let data = given("b64data", asked.data, asked.b64data.as_deref()).owned()?;
    let subscription = UserSubscription {
        channel: asked.channel,
        info,
        data,
        since: asked.recover_since.map(|place| (place.offset, place.epoch)),
        expires_s,
        options: asked.options.unwrap_or_default().for_user(),
    };
    whom.command(context, UserAction::Subscribe(Box::new(subscription))).await
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refresh<'a> {
    expired: bool,
    expire_at: i64,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

/// Says anew when connections of a user end, and what others are shown of them.
pub(super) async fn refresh(context: &Context, body: &[u8]) -> Result<Done, Failure> {
    let whom: Whom = object::read(body)?;
    let Refresh { expired, expire_at, info } = object::read(body)?;
    let expires_s = u64::try_from(expire_at).map_err(|_| bad("expire_at is negative"))?;
    let info = Given { name: "info", json: info, base64: None }.owned()?;
    whom.command(context, UserAction::Refresh { expired, expires_s, info }).await
}

fn check_channel(context: &Context, channel: &str) -> Result<(), ApiError> {
    channel::check(channel, &context.channels()).map(drop)
}
