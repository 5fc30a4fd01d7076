//! What a client over HTTP says beside its stream: which session it means, and a frame (23).

use std::borrow::Cow;

use serde::Deserialize;

use super::text::Text;
use super::{Format, Malformed, protobuf};

/// One request beside a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmulationRequest<'a> {
    /// The node that the client is connected to, as its connect reply named it.
    pub node: Text<'a>,
    /// Its session there.
    pub session: Text<'a>,
    /// A frame.
    pub frame: Cow<'a, [u8]>,
}

/// The same in JSON, where the frame is the text of commands, in a string.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Lines<'a> {
    #[serde(borrow)]
    node: Text<'a>,
    #[serde(borrow)]
    session: Text<'a>,
    #[serde(borrow)]
    data: Text<'a>,
}

impl<'a> EmulationRequest<'a> {
    /// Reads the body of a request in this format.
    pub fn decode(format: Format, body: &'a [u8]) -> Result<Self, Malformed> {
        match format {
            Format::Json => {
                let lines: Lines<'a> = serde_json::from_slice(body)
                    .map_err(|error| Malformed::Syntax { column: error.column() })?;
                let Lines { node, session, data } = lines;
                Ok(Self { node, session, frame: data.into_bytes() })
            }
            Format::Protobuf => protobuf::read_emulation(body).map_err(Malformed::Protobuf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let json = br#"{"session":"s","node":"n","data":"{}\n{\"id\":1}","more":7}"#;
        let request = EmulationRequest::decode(Format::Json, json).unwrap();
        assert_eq!((&*request.node, &*request.session), ("n", "s"));
        assert_eq!(&*request.frame, b"{}\n{\"id\":1}");
        let protobuf = b"\x0a\x01n\x12\x01s\x1a\x02\x01\x08";
        let request = EmulationRequest::decode(Format::Protobuf, protobuf).unwrap();
        assert_eq!((&*request.node, &*request.session), ("n", "s"));
        assert_eq!(&*request.frame, b"\x01\x08");
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for json in [&b""[..], b"{", br#"{"data":{}}"#, br#"{"node":1}"#, b"\xff"] {
            EmulationRequest::decode(Format::Json, json).unwrap_err();
        }
        for protobuf in [&b"\x0a\x05n"[..], b"\x0a", b"\x08\x01", b"\x0a\x01\xff"] {
            EmulationRequest::decode(Format::Protobuf, protobuf).unwrap_err();
        }
        let empty = EmulationRequest::decode(Format::Protobuf, b"").unwrap();
        assert_eq!(empty, EmulationRequest::default());
    }
}
