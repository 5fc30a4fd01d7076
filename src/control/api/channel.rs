//! The channels that commands name.

use super::failure::{ApiError, Code};
use crate::control::channels::{ChannelKind, Channels, NoChannel};
use crate::limits::CHANNEL_NAME_BYTES_MAX;

/// What a channel is like, if there can be one of this name.
pub(super) fn check(name: &str, channels: &Channels) -> Result<ChannelKind, ApiError> {
    let refused = |about| Err(ApiError::new(Code::BadRequest, about));
    if name.is_empty() {
        return refused("channel is empty");
    }
    if name.len() > CHANNEL_NAME_BYTES_MAX {
        return refused("channel is longer than 255 bytes");
    }
    match channels.kind(name) {
        Ok(kind) => Ok(kind),
        Err(NoChannel::NotAscii) => refused("channel is not ASCII"),
        Err(NoChannel::UnknownNamespace) => {
            Err(ApiError::new(Code::UnknownChannel, "its namespace is not configured"))
        }
    }
}
