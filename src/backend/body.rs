//! A call as the JSON that is posted. What clients sent is embedded as it came, and is not parsed
//! into a tree and built again.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Call, Event};

/// What a client sent cannot stand in JSON, and the proxy takes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyError;

impl fmt::Display for BodyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the data is no JSON, and the proxy has no binary_encoding")
    }
}

impl std::error::Error for BodyError {}

#[derive(Default, Serialize)]
struct Body<'a> {
    client: &'a str,
    transport: &'a str,
    protocol: &'a str,
    encoding: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    channels: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "String::is_empty")]
    b64data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
}

impl Call {
    /// The body of its request. `is_binary`: what the client sent goes as base64. `has_meta`: the
    /// connection's meta stands in it, if it has one.
    pub fn body(&self, is_binary: bool, has_meta: bool) -> Result<Vec<u8>, BodyError> {
        let caller = &self.caller;
        let mut body = Body {
            client: &caller.client,
            transport: &caller.transport,
            protocol: &caller.protocol,
            encoding: if is_binary { "binary" } else { "json" },
            user: Some(&caller.user),
            ..Body::default()
        };
        if has_meta {
            // What is no JSON was refused where it came from.
            body.meta = serde_json::from_slice(&caller.meta).ok();
        }
        match &self.event {
            Event::Connect { data, name, version, channels } => {
                (body.user, body.name, body.version) = (None, name, version);
                body.channels = channels;
                body.embed(data, is_binary)?;
            }
            Event::Refresh => {}
            Event::SubRefresh { channel } => body.channel = channel,
            Event::Subscribe { channel, data } | Event::Publish { channel, data } => {
                body.channel = channel;
                body.embed(data, is_binary)?;
            }
            Event::Rpc { method, data } => {
                body.method = method;
                body.embed(data, is_binary)?;
            }
        }
        Ok(serde_json::to_vec(&body).expect("plain data"))
    }
}

impl<'a> Body<'a> {
    fn embed(&mut self, data: &'a [u8], is_binary: bool) -> Result<(), BodyError> {
        if data.is_empty() {
            return Ok(());
        }
        if is_binary {
            self.b64data = STANDARD.encode(data);
        } else {
            self.data = Some(serde_json::from_slice(data).map_err(|_| BodyError)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Caller;
    use super::*;

    fn rpc(data: &[u8]) -> Call {
        Call {
            proxy: String::new(),
            caller: Caller {
                client: "c1".to_owned(),
                user: "ann".to_owned(),
                transport: "websocket".to_owned(),
                protocol: "json".to_owned(),
                meta: b"{\"n\":1}".to_vec(),
                ..Caller::default()
            },
            event: Event::Rpc { method: "sum".to_owned(), data: data.to_vec() },
        }
    }

    #[test]
    fn a_call_says_who_and_what_and_data_as_it_came() {
        let body = rpc(b"{\"a\": 1.50}").body(false, false);
        let expected = concat!(
            r#"{"client":"c1","transport":"websocket","protocol":"json","encoding":"json","#,
            r#""user":"ann","method":"sum","data":{"a": 1.50}}"#
        );
        assert_eq!(body.as_deref(), Ok(expected.as_bytes()));
        let body = rpc(b"\xff\x00").body(true, true).expect("any bytes");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((&body["encoding"], &body["b64data"]), (&"binary".into(), &"/wA=".into()));
        assert!(body.get("data").is_none(), "{body}");
        assert_eq!(body["meta"]["n"], 1, "only who asks for it is told");
    }

    #[test]
    fn what_is_no_json_is_not_said_to_be() {
        for data in [&b"\xff"[..], b"{", b"1 2"] {
            assert_eq!(rpc(data).body(false, false), Err(BodyError), "{data:?}");
        }
    }
}
