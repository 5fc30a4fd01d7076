//! Many commands in one request.
//!
//! ```text
//!   {"commands":[{"publish":{…}},{"disconnect":{…}}]} ─▶ {"replies":[{"publish":{}},{"error":…}]}
//! ```
//!
//! They are carried out in their order, each after the one before it, or side by side if that is
//! asked for. Publications that follow each other are under way together in any case: they reach
//! their channels in their order, and a batch does not pay a round trip for each.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::{ApiError, Code, Failure};
use super::together::together;
use super::{Command, carry_out, object};
use crate::control::routes::Context;
use crate::limits::BATCH_COMMANDS_MAX;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Batch<'a> {
    /// Each is an object of one field: the name of the command, and what it says.
    #[serde(borrow)]
    commands: Vec<BTreeMap<String, &'a RawValue>>,
    parallel: bool,
}

/// One command of a batch, or what is wrong with it.
type Part<'a> = Result<(&'static str, Command, &'a [u8]), ApiError>;

/// The replies to all commands, as the object that they stand in.
pub(super) async fn batch(context: &Context, body: &[u8]) -> Result<String, Failure> {
    let Batch { commands, parallel } = object::read(body)?;
    if commands.len() > BATCH_COMMANDS_MAX {
        let about = format!("more than {BATCH_COMMANDS_MAX} commands");
        return Err(ApiError::new(Code::BadRequest, &about).into());
    }
    let parts: Vec<Part<'_>> = commands.iter().map(part).collect();
    let mut replies = Vec::with_capacity(parts.len());
    for run in parts.chunk_by(|one, next| parallel || (is_publish(one) && is_publish(next))) {
        replies.extend(together(run.iter().map(|part| reply(context, part))).await);
    }
    Ok(format!(r#"{{"replies":[{}]}}"#, replies.join(",")))
}

fn is_publish(part: &Part<'_>) -> bool {
    matches!(part, Ok((_, Command::Publish | Command::Broadcast, _)))
}

fn part<'a>(fields: &BTreeMap<String, &'a RawValue>) -> Part<'a> {
    let refused = |code, about: &str| Err(ApiError::new(code, about));
    let mut fields = fields.iter();
    let (Some((name, body)), None) = (fields.next(), fields.next()) else {
        return refused(Code::BadRequest, "a command of a batch is an object of one field");
    };
    match Command::named(name) {
        Some((_, Command::Batch)) => refused(Code::BadRequest, "a batch has no batches"),
        Some((name, command)) => Ok((name, command, body.get().as_bytes())),
        None => refused(Code::NotFound, "no such method"),
    }
}

async fn reply(context: &Context, part: &Part<'_>) -> String {
    let done = match part {
        Ok((name, command, body)) => {
            let done = carry_out(context, *command, body).await;
            done.map(|result| format!(r#"{{"{name}":{result}}}"#)).map_err(Failure::into_error)
        }
        Err(error) => Err(error.clone()),
    };
    done.unwrap_or_else(ApiError::reply)
}
