//! Commands for a user's clients, on whatever shards they are: answered when all shards have done
//! it, also where the user is not there.

use serde::{Deserialize, Serialize};

use super::failure::{ApiError, Code, Failure};
use super::object;
use crate::control::routes::Context;
use crate::limits::USER_ID_BYTES_MAX;
use crate::protocol::{DisconnectCode, Selection, UserAction, UserCommand};

/// Nothing is said of what was done.
#[derive(Serialize)]
pub(super) struct Done {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Disconnect {
    user: Option<String>,
    client: String,
    session: String,
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
    let Disconnect { user, client, session, whitelist, why } = object::read(body)?;
    let action = why.map_or_else(|| Ok(UserAction::disconnect()), action)?;
    let clients = Selection { client, session, spared: whitelist };
    command(context, user, &UserCommand { clients, action }).await
}

/// A disconnect with a code, and a reason that is never empty: some clients would come back.
fn action(why: Why) -> Result<UserAction, ApiError> {
    let codes = DISCONNECT_CODE_MIN..=DISCONNECT_CODE_MAX;
    let code = u16::try_from(why.code).ok().filter(|code| codes.contains(code));
    let about = "disconnect.code is 3001 to 4999";
    let code = code.ok_or_else(|| ApiError::new(Code::BadRequest, about))?;
    let known = || DisconnectCode::of(code).unwrap_or(DisconnectCode::ForceDisconnect);
    let reason = if why.reason.is_empty() { known().text().to_owned() } else { why.reason };
    Ok(UserAction::Disconnect { code, reason })
}

/// 3000 is that of a connection that was lost, and is never sent.
const DISCONNECT_CODE_MIN: u16 = 3001;
const DISCONNECT_CODE_MAX: u16 = 4999;

async fn command(
    context: &Context,
    user: Option<String>,
    command: &UserCommand,
) -> Result<Done, Failure> {
    let refused = |about| Err(ApiError::new(Code::BadRequest, about).into());
    // It may be empty, for clients of nobody, but not by mistake.
    let Some(user) = user else { return refused("user is missing") };
    if user.len() > USER_ID_BYTES_MAX {
        return refused("user is longer than 255 bytes");
    }
    let told = context.asks.tell(user, command.encode()).await;
    told.map_err(|_busy| ApiError::new(Code::Internal, "not all shards have answered"))?;
    Ok(Done {})
}
