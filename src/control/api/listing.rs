//! `channels`: which channels have members, on all shards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::failure::{ApiError, Code, Failure};
use super::object;
use crate::control::ask::ListError;
use crate::control::routes::Context;
use crate::limits::PATTERN_BYTES_MAX;
use crate::protocol::Glob;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pattern {
    pattern: String,
}

#[derive(Serialize)]
pub(super) struct Listed {
    channels: BTreeMap<String, Members>,
}

#[derive(Serialize)]
struct Members {
    num_clients: u32,
}

/// The channels whose names are of a pattern; all, without one.
pub(super) async fn channels(context: &Context, body: &[u8]) -> Result<Listed, Failure> {
    let Pattern { pattern } = object::read(body)?;
    if pattern.len() > PATTERN_BYTES_MAX || Glob::new(&pattern).is_none() {
        let about = "pattern is too long, or has no meaning";
        return Err(ApiError::new(Code::BadRequest, about).into());
    }
    let listed = context.asks.channels(pattern).await.map_err(|error| match error {
        ListError::Busy => ApiError::new(Code::Internal, "not all shards have answered"),
        ListError::TooMany => {
            ApiError::new(Code::BadRequest, "too many channels for one list: use a pattern")
        }
    })?;
    let members = |(name, num_clients)| (name, Members { num_clients });
    Ok(Listed { channels: listed.into_iter().map(members).collect() })
}
