//! Tokens that are not to be believed any more: one by its name, or all of a user that were issued
//! before some time. Methods and fields are those of the reference's paid tier.
//!
//! The list of this thread says whether there is room for one more; every shard has the same list,
//! and closes the connections of those whose tokens are on it. It lives as long as the process.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};

use super::failure::{ApiError, Code, Failure};
use super::object;
use super::users::{Done, bad, untold};
use crate::control::ask::Audience;
use crate::control::routes::Context;
use crate::limits::{REVOCATIONS_MAX, TOKEN_ID_BYTES_MAX, USER_ID_BYTES_MAX};
use crate::protocol::{Selection, Term, UserAction, UserCommand};
use crate::sys::clock;
use crate::token::{RevocationsFull, Revoked};

/// What is revoked.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Revocations(Arc<Mutex<List>>);

#[derive(Debug, Default)]
struct List {
    revoked: Revoked,
    /// When something was last revoked, in seconds since the Unix epoch. A clock that is set back
    /// does not set this back: shards forget what has ended by these times.
    latest_s: u64,
}

impl Revocations {
    fn list(&self) -> MutexGuard<'_, List> {
        self.0.try_lock().expect("one thread, and no wait while it is locked")
    }

    /// From now until `expire_at`, or for ever if it is 0.
    fn term(&self, expire_at: i64) -> Result<Term, ApiError> {
        let mut list = self.list();
        list.latest_s = list.latest_s.max(clock::since_epoch().as_secs());
        let since_s = list.latest_s;
        match u64::try_from(expire_at) {
            Ok(until_s) if until_s == 0 || until_s > since_s => Ok(Term { since_s, until_s }),
            _ => Err(bad("expire_at has passed: nothing would be revoked")),
        }
    }

    /// Notes one, if there is room.
    fn note(
        &self,
        context: &Context,
        note: impl FnOnce(&mut Revoked) -> Result<(), RevocationsFull>,
    ) -> Result<(), ApiError> {
        let revoked = &mut self.list().revoked;
        let noted = note(revoked);
        context.traffic.revoked(revoked.len());
        noted.map_err(|RevocationsFull| {
            context.traffic.revocation_refused();
            let about = format!("{REVOCATIONS_MAX} revocations hold: give them an expire_at");
            ApiError::new(Code::Internal, &about)
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RevokeToken {
    uid: String,
    expire_at: i64,
}

/// Revokes the token with this `jti`.
pub(super) async fn revoke_token(context: &Context, body: &[u8]) -> Result<Done, Failure> {
    let RevokeToken { uid, expire_at } = object::read(body)?;
    if uid.is_empty() || uid.len() > TOKEN_ID_BYTES_MAX {
        return Err(bad("uid is missing, or longer than a token's may be").into());
    }
    let term = context.revocations.term(expire_at)?;
    let (until, since) = times(term);
    context.revocations.note(context, |revoked| revoked.revoke(&uid, until, since))?;
    let action = UserAction::RevokeToken { id: uid.clone(), term };
    tell(context, Audience::Bearers(uid), action).await
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InvalidateUserTokens {
    user: Option<String>,
    channel: String,
    issued_before: i64,
    expire_at: i64,
}

/// Revokes the tokens of a user that were issued before some time, or before now.
pub(super) async fn invalidate_user_tokens(
    context: &Context,
    body: &[u8],
) -> Result<Done, Failure> {
    let InvalidateUserTokens { user, channel, issued_before, expire_at } = object::read(body)?;
    // It may be empty, for tokens of nobody, but not by mistake.
    let Some(user) = user else { return Err(bad("user is missing").into()) };
    if user.len() > USER_ID_BYTES_MAX {
        return Err(bad("user is longer than 255 bytes").into());
    }
    if !channel.is_empty() {
        super::channel::check(&channel, &context.channels())?;
    }
    let term = context.revocations.term(expire_at)?;
    let issued_before_s = match u64::try_from(issued_before) {
        Ok(0) => term.since_s,
        Ok(seconds) => seconds,
        Err(_) => return Err(bad("issued_before is negative").into()),
    };
    let (until, since) = times(term);
    context.revocations.note(context, |revoked| {
        let issued_before = Duration::from_secs(issued_before_s);
        revoked.revoke_before((&user, &channel), issued_before, until, since)
    })?;
    let action = UserAction::RevokeTokens { channel, issued_before_s, term };
    tell(context, Audience::User(user), action).await
}

/// The end of a term, and its beginning.
fn times(Term { since_s, until_s }: Term) -> (Duration, Duration) {
    let until = if until_s == 0 { Revoked::FOR_EVER } else { Duration::from_secs(until_s) };
    (until, Duration::from_secs(since_s))
}

/// Has all shards note it, and close whom it concerns.
async fn tell(context: &Context, whom: Audience, action: UserAction) -> Result<Done, Failure> {
    let word = UserCommand { clients: Selection::default(), action }.encode();
    context.asks.tell(whom, word).await.map_err(untold)?;
    Ok(Done {})
}
