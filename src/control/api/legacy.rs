//! The API as it was before each method had a path: `POST /api`, commands behind each other in
//! one body, each with its method and parameters, and a reply to each on a line.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::{ApiError, Code, Failure};
use super::{Command, carry_out};
use crate::control::routes::Context;
use crate::limits::BATCH_COMMANDS_MAX;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Legacy<'a> {
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// All replies.
pub(super) async fn replies(context: &Context, body: &[u8]) -> Result<String, Failure> {
    let commands = serde_json::Deserializer::from_slice(body).into_iter::<Legacy<'_>>();
    let commands: Vec<Legacy<'_>> = commands.collect::<Result<_, _>>()?;
    if commands.is_empty() {
        return Err(Failure::NoCommand("nothing".to_owned()));
    }
    if commands.len() > BATCH_COMMANDS_MAX {
        let about = format!("more than {BATCH_COMMANDS_MAX} commands");
        return Err(ApiError::new(Code::BadRequest, &about).into());
    }
    let mut replies = Vec::with_capacity(commands.len());
    for command in &commands {
        replies.push(reply(context, command).await);
    }
    Ok(replies.join("\n"))
}

async fn reply(context: &Context, command: &Legacy<'_>) -> String {
    let Some((_, known)) = Command::named(&command.method) else {
        return ApiError::new(Code::NotFound, "no such method").reply();
    };
    let params = command.params.map_or("{}", RawValue::get);
    match carry_out(context, known, params.as_bytes()).await {
        // The replies of a batch stand in no result, here as elsewhere.
        Ok(replies) if known == Command::Batch => replies,
        Ok(result) => format!(r#"{{"result":{result}}}"#),
        Err(failure) => failure.into_error().reply(),
    }
}
