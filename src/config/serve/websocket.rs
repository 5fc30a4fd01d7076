//! `websocket`: the endpoint of the client protocol.

use std::time::Duration;

use crate::config::key::Kind;
use crate::config::section::{DAY_MS, section};
use crate::config::setting::{Bytes, Setting};
use crate::config::value::Value;
use crate::limits::{CLOSE_TIMEOUT_DEFAULT, MESSAGE_BYTES_DEFAULT, WRITE_TIMEOUT_DEFAULT};

section! {
    /// The endpoint of the client protocol.
    pub struct WebSocket in "websocket." {
        /// Path of the endpoint.
        handler_prefix: UrlPath = UrlPath("/connection/websocket".to_owned());
        /// Bytes of one message from a client; a longer one ends its connection with code 1009.
        message_size_limit: Bytes = Bytes(MESSAGE_BYTES_DEFAULT), in 1024..=16 << 20;
        /// Time in which a client with unsent output must take some of it.
        write_timeout: Duration = WRITE_TIMEOUT_DEFAULT, in 1..=DAY_MS;
        /// Time for a client to finish the close handshake.
        close_timeout: Duration = CLOSE_TIMEOUT_DEFAULT, in 1..=DAY_MS;
    }
}

/// A path of the public port, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPath(String);

impl UrlPath {
    /// A path that is known to be one.
    pub(super) fn of(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for UrlPath {
    const KIND: Kind = Kind::Text("a path such as /connection/websocket");

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.text()?;
        let Some(path) = text.strip_prefix('/') else {
            return Err("a path begins with a slash".to_owned());
        };
        // `:` and `*` would be parameters of a route, and an empty segment is a slip.
        let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.split('/').any(str::is_empty) || !path.bytes().all(in_path) {
            return Err("a path is segments of letters, digits and -._~".to_owned());
        }
        Ok(Self(format!("/{path}")))
    }

    fn write(&self) -> Value {
        Value::Text(self.0.clone())
    }
}
