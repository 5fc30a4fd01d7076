//! The client's side of the opening handshake: the request, and the check of the answer (§4.1).
//!
//! Invariant: [`check_response`] lets a connection open only when the server proved by the accept
//! key that it read this request, and chose nothing that was not offered.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{WriteError, write_extra_headers, write_header};
use super::fields::{Fields, is_token};
use super::request::is_authority;
use super::scan::HeadError;
use super::{KEY_BYTES, VERSION, accept_key};

/// Headers that only [`write_request`] writes.
const RESERVED: [&str; 9] = [
    "host",
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
    "transfer-encoding",
];

/// The `Sec-WebSocket-Key` of 16 random bytes, drawn anew for each connection.
pub fn client_key(nonce: [u8; 16]) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let written = STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 in base64");
    debug_assert_eq!(written, KEY_BYTES);
    key
}

/// Appends the request that asks for a WebSocket.
pub fn write_request<'h>(
    out: &mut Vec<u8>,
    host: &str,
    target: &str,
    key: &[u8; KEY_BYTES],
    protocols: &[&str],
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Result<(), WriteError> {
    let graphic = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !graphic || !target.starts_with('/') {
        return Err(WriteError::InvalidTarget);
    }
    if !is_authority(host.as_bytes()) {
        return Err(WriteError::InvalidHost);
    }
    if !protocols.iter().all(|protocol| is_token(protocol.as_bytes())) {
        return Err(WriteError::InvalidProtocol);
    }
    let start = out.len();
    for part in ["GET ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    write_header(out, "Host", host);
    write_header(out, "Upgrade", "websocket");
    write_header(out, "Connection", "Upgrade");
    write_header(out, "Sec-WebSocket-Version", VERSION);
    out.extend_from_slice(b"Sec-WebSocket-Key: ");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\r\n");
    for (index, protocol) in protocols.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"Sec-WebSocket-Protocol: " } else { b", " });
        out.extend_from_slice(protocol.as_bytes());
    }
    if !protocols.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    write_extra_headers(out, start, headers, &RESERVED)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The head of the server's answer.
#[derive(Clone, Debug)]
pub struct ResponseHead<'a> {
    status: u16,
    fields: Fields<'a>,
}

impl<'a> ResponseHead<'a> {
    /// Reads the head that [`HeadScanner`](super::HeadScanner) found the end of.
    pub fn parse(head: &'a [u8]) -> Result<Self, HeadError> {
        let (first_line, fields) = Fields::parse(head)?;
        let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', code @ ..] = first_line
        else {
            return Err(HeadError::BadStatusLine);
        };
        let (digits, phrase) = code.split_at_checked(3).ok_or(HeadError::BadStatusLine)?;
        let phrase_parted = phrase.first().is_none_or(|&byte| byte == b' ');
        if !phrase_parted || !digits.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::BadStatusLine);
        }
        let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        Ok(Self { status, fields })
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of the first header called `name`, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.all(name).next()
    }

    /// All headers, in the order they came in.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a, '_> {
        self.fields.iter()
    }
}

/// Why an answer does not open a WebSocket (§4.1, after the request).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFault {
    /// The server refused, or sends elsewhere.
    Status(u16),
    /// `Upgrade` does not list `websocket`.
    NotWebSocket,
    /// `Connection` does not list `upgrade`.
    NotUpgrade,
    /// There is no accept key, or more than one.
    NoSoleAccept,
    /// The accept key is not the one of our key.
    WrongAccept,
    /// The server chose a sub-protocol that was not offered, or several.
    ProtocolNotOffered,
    /// The server chose an extension; none is offered.
    ExtensionNotOffered,
}

impl fmt::Display for ResponseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "server answered {status}"),
            Self::NotWebSocket => f.write_str("Upgrade does not list websocket"),
            Self::NotUpgrade => f.write_str("Connection does not list upgrade"),
            Self::NoSoleAccept => f.write_str("not exactly one Sec-WebSocket-Accept"),
            Self::WrongAccept => f.write_str("Sec-WebSocket-Accept is not of our key"),
            Self::ProtocolNotOffered => f.write_str("sub-protocol was not offered"),
            Self::ExtensionNotOffered => f.write_str("extension was not offered"),
        }
    }
}

impl std::error::Error for ResponseFault {}

/// Checks the answer to a request with `key` and `offered`; the sub-protocol that was chosen.
pub fn check_response<'p>(
    head: &ResponseHead<'_>,
    key: &[u8; KEY_BYTES],
    offered: &[&'p str],
) -> Result<Option<&'p str>, ResponseFault> {
    if head.status != 101 {
        return Err(ResponseFault::Status(head.status));
    }
    if !head.fields.lists("upgrade", "websocket") {
        return Err(ResponseFault::NotWebSocket);
    }
    if !head.fields.lists("connection", "upgrade") {
        return Err(ResponseFault::NotUpgrade);
    }
    let Ok(Some(accept)) = head.fields.sole("sec-websocket-accept") else {
        return Err(ResponseFault::NoSoleAccept);
    };
    if accept != accept_key(key) {
        return Err(ResponseFault::WrongAccept);
    }
    if head.header("sec-websocket-extensions").is_some() {
        return Err(ResponseFault::ExtensionNotOffered);
    }
    match head.fields.sole("sec-websocket-protocol") {
        Ok(None) => Ok(None),
        Ok(Some(chosen)) => {
            let offered = offered.iter().copied().find(|offered| offered.as_bytes() == chosen);
            offered.map(Some).ok_or(ResponseFault::ProtocolNotOffered)
        }
        Err(_) => Err(ResponseFault::ProtocolNotOffered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::handshake::{RequestHead, check_upgrade};

    const NONCE: [u8; 16] = *b"the sample nonce";

    fn check(head: &str, offered: &[&'static str]) -> Result<Option<&'static str>, ResponseFault> {
        let head = ResponseHead::parse(head.as_bytes()).expect(head);
        check_response(&head, &client_key(NONCE), offered)
    }

    #[test]
    fn our_server_and_our_client_shake_hands() {
        let key = client_key(NONCE);
        assert_eq!(&key, b"dGhlIHNhbXBsZSBub25jZQ==");
        for offered in [&[][..], &["one"], &["one", "two"]] {
            let mut request = Vec::new();
            let headers = [("Origin", "http://a.b"), ("X-Trace", "1")];
            write_request(&mut request, "a.b:80", "/x?y=z", &key, offered, headers).unwrap();
            let head = RequestHead::parse(&request).unwrap();
            assert_eq!((head.path(), head.query()), ("/x", Some("y=z")));
            assert_eq!(head.header("x-trace"), Some(&b"1"[..]));
            let upgrade = check_upgrade(&head).unwrap();
            assert_eq!(upgrade.protocols().collect::<Vec<_>>(), offered);
            let chosen = offered.last().copied();
            let mut response = Vec::new();
            upgrade.accept(&mut response, chosen, []).unwrap();
            let head = ResponseHead::parse(&response).unwrap();
            assert_eq!(check_response(&head, &key, offered), Ok(chosen));
        }
    }

    /// Every MUST of §4.1 on the server's answer, broken one at a time.
    #[test]
    fn every_rule_that_an_answer_breaks_is_named() {
        use ResponseFault as Fault;
        let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
                    Connection: upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(check(good, &[]), Ok(None));
        let swap = |from: &str, to: &str| good.replace(from, to);
        let plus = |line: &str| good.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
        let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        for (head, fault) in [
            (swap("101 Switching Protocols", "200 OK"), Fault::Status(200)),
            (swap("101 Switching Protocols", "302"), Fault::Status(302)),
            (swap("Upgrade: WebSocket\r\n", ""), Fault::NotWebSocket),
            (swap("Connection: upgrade", "Connection: close"), Fault::NotUpgrade),
            (swap(accept, "X: y"), Fault::NoSoleAccept),
            (plus(accept), Fault::NoSoleAccept),
            (swap("s3pP", "S3pP"), Fault::WrongAccept),
            (plus("Sec-WebSocket-Protocol: two"), Fault::ProtocolNotOffered),
            (plus("Sec-WebSocket-Protocol: one, one"), Fault::ProtocolNotOffered),
            (
                plus("Sec-WebSocket-Protocol: one\r\nSec-WebSocket-Protocol: one"),
                Fault::ProtocolNotOffered,
            ),
            (plus("Sec-WebSocket-Extensions: permessage-deflate"), Fault::ExtensionNotOffered),
        ] {
            assert_eq!(check(&head, &["one"]), Err(fault), "{head}");
        }
        assert_eq!(check(&plus("Sec-WebSocket-Protocol: one"), &["one"]), Ok(Some("one")));
    }

    #[test]
    fn a_malformed_status_line_is_refused() {
        for line in
            ["", "HTTP/1.1", "HTTP/1.1 10", "HTTP/1.1 1o1", "HTTP/2.0 101 x", "HTTP/1.1 1011"]
        {
            let head = format!("{line}\r\n\r\n");
            let error = ResponseHead::parse(head.as_bytes()).unwrap_err();
            assert_eq!(error, HeadError::BadStatusLine, "{line}");
        }
    }

    #[test]
    fn a_request_that_would_be_malformed_is_not_written() {
        let key = client_key(NONCE);
        let write = |host: &str, target: &str, protocol: &str, header: (&str, &str)| {
            let mut out = Vec::new();
            let verdict = write_request(&mut out, host, target, &key, &[protocol], [header]);
            assert_eq!(out.is_empty(), verdict.is_err());
            verdict
        };
        let good = ("X-Good", "good");
        assert_eq!(write("a", "/", "p", good), Ok(()));
        for target in ["", "x", "/ HTTP/1.1\r\n", "/#f", "/\u{e9}"] {
            assert_eq!(write("a", target, "p", good), Err(WriteError::InvalidTarget));
        }
        assert_eq!(write("a\r\n", "/", "p", good), Err(WriteError::InvalidHost));
        assert_eq!(write("a", "/", "p, q", good), Err(WriteError::InvalidProtocol));
        let value = WriteError::InvalidValue { index: 0 };
        assert_eq!(write("a", "/", "p", ("X", "\r\nY: z")), Err(value));
        let reserved = WriteError::ReservedName { index: 0 };
        assert_eq!(write("a", "/", "p", ("HOST", "b")), Err(reserved));
    }
}
