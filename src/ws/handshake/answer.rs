//! The server's answers to a request head, appended to the caller's output.
//!
//! Invariant: names are tokens and values have no line break before a byte of them is kept, so
//! text from outside cannot end a header early; on an error the output is as it was.

use std::fmt::{self, Write as _};

use super::accept_key;
use super::fields::{is_field_value, is_token};

/// Headers that only this module writes in a 101.
const RESERVED_IN_SWITCHING: [&str; 7] = [
    "upgrade",
    "connection",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
    "transfer-encoding",
];

/// Headers that only this module writes in a refusal.
const RESERVED_IN_REFUSAL: [&str; 4] =
    ["connection", "content-length", "content-type", "transfer-encoding"];

/// Text from outside that may not be written into a head.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// A header name that is no token.
    InvalidName {
        /// Which of the extra headers, from 0.
        index: usize,
    },
    /// A header value with a line break or another control character.
    InvalidValue {
        /// Which of the extra headers, from 0.
        index: usize,
    },
    /// A header that the answer already has, by its own rules.
    ReservedName {
        /// Which of the extra headers, from 0.
        index: usize,
    },
    /// A sub-protocol that is no token.
    InvalidProtocol,
    /// A sub-protocol that the client did not offer.
    ProtocolNotOffered,
    /// A request target that is no path.
    InvalidTarget,
    /// A host that is no authority.
    InvalidHost,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { index } => write!(f, "extra header {index}: malformed name"),
            Self::InvalidValue { index } => write!(f, "extra header {index}: malformed value"),
            Self::ReservedName { index } => write!(f, "extra header {index}: name is reserved"),
            Self::InvalidProtocol => f.write_str("sub-protocol is not a token"),
            Self::ProtocolNotOffered => f.write_str("sub-protocol was not offered"),
            Self::InvalidTarget => f.write_str("request target is not a path"),
            Self::InvalidHost => f.write_str("host is malformed"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Appends the answer that turns the connection into a WebSocket (§4.2.2).
pub fn write_switching_protocols<'h>(
    out: &mut Vec<u8>,
    key: &[u8],
    protocol: Option<&str>,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Result<(), WriteError> {
    if protocol.is_some_and(|protocol| !is_token(protocol.as_bytes())) {
        return Err(WriteError::InvalidProtocol);
    }
    let start = out.len();
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_key(key));
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        write_header(out, "Sec-WebSocket-Protocol", protocol);
    }
    write_extra_headers(out, start, headers, &RESERVED_IN_SWITCHING)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends a refusal with `text` as its body. It always says that the connection closes: bytes
/// behind a refused upgrade are never read as a second request.
///
/// `status` is 300 to 599, chosen by our own code.
pub fn write_refusal<'h>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    text: &str,
) -> Result<(), WriteError> {
    let start = out.len();
    write_status(out, status);
    write_extra_headers(out, start, headers, &RESERVED_IN_REFUSAL)?;
    write_body(out, &text);
    Ok(())
}

/// [`write_refusal`] with headers of our own, which need no check.
pub(super) fn write_answer(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl IntoIterator<Item = (&'static str, &'static str)>,
    text: &impl fmt::Display,
) {
    write_status(out, status);
    for (name, value) in headers {
        write_header(out, name, value);
    }
    write_body(out, text);
}

fn write_status(out: &mut Vec<u8>, status: u16) {
    assert!((300..600).contains(&status), "{status} is no refusal");
    let phrase = reason_phrase(status);
    append(out, format_args!("HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n"));
}

fn write_body(out: &mut Vec<u8>, text: &impl fmt::Display) {
    let mut counter = ByteCount(0);
    writeln!(counter, "{text}").expect("counting does not fail");
    append(
        out,
        format_args!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{text}\n",
            counter.0
        ),
    );
}

/// Appends headers from outside; `out` is cut back to `start` when one may not be written.
pub(super) fn write_extra_headers<'h>(
    out: &mut Vec<u8>,
    start: usize,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    reserved: &[&str],
) -> Result<(), WriteError> {
    for (index, (name, value)) in headers.into_iter().enumerate() {
        let fault = if !is_token(name.as_bytes()) {
            WriteError::InvalidName { index }
        } else if !is_field_value(value.as_bytes()) {
            WriteError::InvalidValue { index }
        } else if reserved.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            WriteError::ReservedName { index }
        } else {
            write_header(out, name, value);
            continue;
        };
        out.truncate(start);
        return Err(fault);
    }
    Ok(())
}

pub(super) fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn append(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    std::io::Write::write_fmt(out, text).expect("a Vec takes every byte");
}

/// Measures a body before it is written, so that none is built only to be measured.
struct ByteCount(usize);

impl fmt::Write for ByteCount {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// The phrase of RFC 9110 §15; clients ignore it, people read it.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // RFC 9112 §4 lets the phrase be empty.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"dGhlIHNhbXBsZSBub25jZQ==";

    /// Hazard 16: a value that ends its line would begin a header, or a second response.
    #[test]
    fn text_from_outside_cannot_end_a_header() {
        for value in ["a\r\nSet-Cookie: x", "a\nb", "a\r", "\0", "a\x7F"] {
            let mut out = b"before".to_vec();
            let headers = [("X-Good", "good"), ("X-Bad", value)];
            let error = Err(WriteError::InvalidValue { index: 1 });
            assert_eq!(write_switching_protocols(&mut out, KEY, None, headers), error);
            assert_eq!(write_refusal(&mut out, 401, headers, "no"), error);
            assert_eq!(out, b"before", "nothing of it is left in the output");
        }
        for name in ["", "X Bad", "X-Bad:", "X\r\nY", "X\u{e9}"] {
            let mut out = Vec::new();
            let error = Err(WriteError::InvalidName { index: 0 });
            assert_eq!(write_switching_protocols(&mut out, KEY, None, [(name, "v")]), error);
            assert_eq!(write_refusal(&mut out, 401, [(name, "v")], "no"), error);
            assert_eq!(out, b"");
        }
        let mut out = Vec::new();
        let verdict = write_switching_protocols(&mut out, KEY, Some("a\r\nb: c"), []);
        assert_eq!((verdict, out.len()), (Err(WriteError::InvalidProtocol), 0));
    }

    #[test]
    fn headers_that_decide_the_framing_cannot_be_added() {
        let error = Err(WriteError::ReservedName { index: 0 });
        for name in RESERVED_IN_SWITCHING {
            let headers = [(name, "x")];
            assert_eq!(write_switching_protocols(&mut Vec::new(), KEY, None, headers), error);
        }
        for name in RESERVED_IN_REFUSAL {
            let name = name.to_ascii_uppercase();
            assert_eq!(write_refusal(&mut Vec::new(), 400, [(name.as_str(), "x")], ""), error);
        }
    }

    #[test]
    fn a_refusal_of_the_caller_carries_its_headers() {
        let mut out = Vec::new();
        let headers = [("WWW-Authenticate", "Bearer")];
        write_refusal(&mut out, 401, headers, "token expired").unwrap();
        let expected = "HTTP/1.1 401 Unauthorized\r\n\
                        Connection: close\r\n\
                        WWW-Authenticate: Bearer\r\n\
                        Content-Type: text/plain; charset=utf-8\r\n\
                        Content-Length: 14\r\n\r\n\
                        token expired\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    #[should_panic(expected = "200 is no refusal")]
    fn a_refusal_with_the_status_of_a_success_is_our_bug() {
        let _ = write_refusal(&mut Vec::new(), 200, [], "");
    }
}
