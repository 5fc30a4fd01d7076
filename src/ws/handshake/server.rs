//! The server's side of the opening handshake: a request head to an [`Upgrade`] or a [`Refusal`].
//!
//! Invariant: an [`Upgrade`] exists only when every MUST of RFC 6455 §4.2.1 holds and nothing in
//! the head lets a proxy in between see another request behind it (no body, no second framing).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::answer::{WriteError, write_answer, write_switching_protocols};
use super::fields::is_token;
use super::request::{HttpVersion, RequestHead, is_authority};
use super::scan::HeadError;
use super::{KEY_BYTES, VERSION};

/// A request that may be answered with a 101.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade<'a> {
    head: &'a RequestHead<'a>,
    key: &'a [u8; KEY_BYTES],
}

impl<'a> Upgrade<'a> {
    /// The `Sec-WebSocket-Key`, as sent.
    pub fn key(&self) -> &'a [u8; KEY_BYTES] {
        self.key
    }

    /// The sub-protocols that the client offers, the one it likes best first.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.head
            .fields()
            .list("sec-websocket-protocol")
            .map(|protocol| std::str::from_utf8(protocol).expect("checked: a token"))
    }

    /// The page that a browser connects from; programs rarely state one.
    pub fn origin(&self) -> Option<&'a [u8]> {
        self.head.header("origin")
    }

    /// Appends the 101, with `protocol` if one of those offered was chosen.
    pub fn accept<'h>(
        &self,
        out: &mut Vec<u8>,
        protocol: Option<&str>,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    ) -> Result<(), WriteError> {
        if protocol.is_some_and(|chosen| !self.protocols().any(|offered| offered == chosen)) {
            return Err(WriteError::ProtocolNotOffered);
        }
        write_switching_protocols(out, self.key, protocol, headers)
    }
}

/// Why a request gets no 101. The connection is closed behind the answer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head is not HTTP/1.1, or is over a limit.
    Head(HeadError),
    /// The method is not GET.
    Method,
    /// HTTP/1.0 has no upgrade.
    Http10,
    /// A header that must be there is not.
    Missing(&'static str),
    /// A header that may stand once stands twice.
    Repeated(&'static str),
    /// A header has a value that its definition does not allow.
    Invalid(&'static str),
    /// The target is absolute and names another host than the Host header.
    TargetNotHost,
    /// `Upgrade` does not list `websocket`.
    NotWebSocket,
    /// `Connection` does not list `upgrade`: a proxy may have taken it out.
    NotUpgrade,
    /// A version of the WebSocket protocol that is not 13.
    Version,
    /// The request has a body, or says it may: the bytes behind the head would be ambiguous.
    Body,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The page's origin is not on the route's list.
    Origin,
    /// No route has this path.
    Path,
    /// No room for another connection.
    Full,
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Head(error) => error.status(),
            Self::Http10
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Invalid(_)
            | Self::TargetNotHost
            | Self::NotUpgrade
            | Self::Body => 400,
            Self::Origin => 403,
            Self::Path => 404,
            Self::Method => 405,
            Self::HeadTimeout => 408,
            Self::NotWebSocket | Self::Version => 426,
            Self::Full => 503,
        }
    }

    /// The headers that the status calls for.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self.status() {
            405 => &[("Allow", "GET")],
            // RFC 9110 §15.5.22 and §7.8 ask for the first two, RFC 6455 §4.4 for the third.
            426 => &[
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", VERSION),
            ],
            _ => &[],
        }
    }

    /// Appends the answer, its body naming the fault.
    pub fn write(self, out: &mut Vec<u8>) {
        write_answer(out, self.status(), self.headers().iter().copied(), &self);
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Method => f.write_str("method is not GET"),
            Self::Http10 => f.write_str("HTTP/1.0 has no upgrade"),
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Repeated(name) => write!(f, "{name} is repeated"),
            Self::Invalid(name) => write!(f, "{name} is malformed"),
            Self::TargetNotHost => f.write_str("target and Host name different hosts"),
            Self::NotWebSocket => f.write_str("Upgrade does not list websocket"),
            Self::NotUpgrade => f.write_str("Connection does not list upgrade"),
            Self::Version => write!(f, "Sec-WebSocket-Version is not {VERSION}"),
            Self::Body => f.write_str("an upgrade has no body"),
            Self::HeadTimeout => f.write_str("request did not arrive in time"),
            Self::Origin => f.write_str("origin is not allowed"),
            Self::Path => f.write_str("nothing is served at this path"),
            Self::Full => f.write_str("no room for another connection"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Checks a request by RFC 6455 §4.2.1. Path, origin and capacity are the caller's to judge.
pub fn check_upgrade<'a>(head: &'a RequestHead<'a>) -> Result<Upgrade<'a>, Refusal> {
    if head.method() != "GET" {
        return Err(Refusal::Method);
    }
    if head.version() != HttpVersion::Http11 {
        return Err(Refusal::Http10);
    }
    let host = sole(head, "Host")?.ok_or(Refusal::Missing("Host"))?;
    if !is_authority(host) {
        return Err(Refusal::Invalid("Host"));
    }
    let authority = head.authority();
    if authority.is_some_and(|named| !named.as_bytes().eq_ignore_ascii_case(host)) {
        return Err(Refusal::TargetNotHost);
    }
    check_no_body(head)?;
    if !head.wants_upgrade() {
        return Err(Refusal::NotWebSocket);
    }
    if !head.fields().lists("connection", "upgrade") {
        return Err(Refusal::NotUpgrade);
    }
    let version =
        sole(head, "Sec-WebSocket-Version")?.ok_or(Refusal::Missing("Sec-WebSocket-Version"))?;
    if version != VERSION.as_bytes() {
        return Err(Refusal::Version);
    }
    let key = sole(head, "Sec-WebSocket-Key")?.ok_or(Refusal::Missing("Sec-WebSocket-Key"))?;
    let key = checked_key(key).ok_or(Refusal::Invalid("Sec-WebSocket-Key"))?;
    sole(head, "Origin")?;
    if !head.fields().list("sec-websocket-protocol").all(is_token) {
        return Err(Refusal::Invalid("Sec-WebSocket-Protocol"));
    }
    Ok(Upgrade { head, key })
}

fn sole<'a>(head: &RequestHead<'a>, name: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
    head.fields().sole(name).map_err(|_| Refusal::Repeated(name))
}

/// A body, or a framing that a proxy may read differently, hides a second request behind the
/// upgrade. `Content-Length: 0` says the same as nothing and is let through.
fn check_no_body(head: &RequestHead<'_>) -> Result<(), Refusal> {
    let transfer_encoding = head.header("transfer-encoding").is_some();
    let length = sole(head, "Content-Length")?;
    if transfer_encoding || length.is_some_and(|length| length != b"0") {
        return Err(Refusal::Body);
    }
    Ok(())
}

/// The key, if it is 16 bytes in base64 (§4.2.1, item 5).
fn checked_key(key: &[u8]) -> Option<&[u8; KEY_BYTES]> {
    let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
    // Room for what 24 characters without padding would decode to.
    let mut nonce = [0; 18];
    let len = STANDARD.decode_slice(key, &mut nonce).ok()?;
    (len == 16).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::handshake::{HeadScanner, ResponseHead};

    /// The request of RFC 6455 §1.3.
    const REQUEST: &str = "GET /chat HTTP/1.1\r\n\
                           Host: server.example.com\r\n\
                           Upgrade: websocket\r\n\
                           Connection: Upgrade\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                           Origin: http://example.com\r\n\
                           Sec-WebSocket-Protocol: chat, superchat\r\n\
                           Sec-WebSocket-Version: 13\r\n\r\n";

    fn verdict(head: &str) -> Result<(), Refusal> {
        let head = RequestHead::parse(head.as_bytes())?;
        check_upgrade(&head).map(drop)
    }

    /// The request with one line replaced; none when `line` is empty.
    fn with(name: &str, line: &str) -> String {
        let start = REQUEST.find(name).expect(name);
        let end = start + REQUEST[start..].find("\r\n").unwrap() + 2;
        let line = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
        [&REQUEST[..start], &line, &REQUEST[end..]].concat()
    }

    /// The request with lines added.
    fn plus(lines: &str) -> String {
        with("Origin", &format!("Origin: http://example.com\r\n{lines}"))
    }

    #[test]
    fn the_request_of_the_rfc_gets_the_answer_of_the_rfc() {
        let head = RequestHead::parse(REQUEST.as_bytes()).unwrap();
        assert!(head.wants_upgrade());
        let upgrade = check_upgrade(&head).unwrap();
        assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);
        assert_eq!(upgrade.origin(), Some(&b"http://example.com"[..]));
        let mut out = Vec::new();
        upgrade.accept(&mut out, Some("chat"), [("X-Node", "7")]).unwrap();
        let expected = "HTTP/1.1 101 Switching Protocols\r\n\
                        Upgrade: websocket\r\n\
                        Connection: Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                        Sec-WebSocket-Protocol: chat\r\n\
                        X-Node: 7\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_the_rfc_allows_is_accepted() {
        for head in [
            with("Upgrade", "UPGRADE: h2c, WebSocket"),
            with("Connection", "connection: keep-alive,\tUPGRADE"),
            with("Connection", "Connection: keep-alive\r\nConnection: Upgrade"),
            with("Host", "hOST: [::1]:8000"),
            with("Origin", ""),
            with("Sec-WebSocket-Protocol", ""),
            with(
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b",
            ),
            with("GET", "GET http://Server.Example.COM/chat HTTP/1.1"),
            plus("Content-Length: 0"),
            plus("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        ] {
            assert_eq!(verdict(&head), Ok(()), "{head}");
        }
    }

    fn assert_refused<const N: usize>(status: u16, cases: [(String, Refusal); N]) {
        for (head, refusal) in cases {
            assert_eq!(verdict(&head), Err(refusal), "{head}");
            assert_eq!(refusal.status(), status);
        }
    }

    /// The MUSTs of §4.2.1 on the request itself, items 1 and 2, broken one at a time.
    #[test]
    fn a_request_that_names_no_resource_of_ours_is_refused() {
        use Refusal::{Invalid, Missing, Repeated};
        assert_refused(
            405,
            [
                (with("GET", "POST /chat HTTP/1.1"), Refusal::Method),
                (with("GET", "get /chat HTTP/1.1"), Refusal::Method),
            ],
        );
        assert_refused(
            400,
            [
                (with("GET", "GET /chat HTTP/1.0"), Refusal::Http10),
                (with("Host", ""), Missing("Host")),
                (with("Host", "Host:"), Invalid("Host")),
                (with("Host", "Host: a b"), Invalid("Host")),
                (with("Host", "Host: u@a"), Invalid("Host")),
                (with("Host", "Host: a\r\nHost: a"), Repeated("Host")),
                (with("GET", "GET http://other/chat HTTP/1.1"), Refusal::TargetNotHost),
                (plus("Origin: http://evil.example"), Repeated("Origin")),
            ],
        );
    }

    /// The MUSTs of §4.2.1 on the headers of the WebSocket, items 3 to 6, broken one at a time.
    #[test]
    fn a_request_that_asks_for_no_websocket_of_ours_is_refused() {
        use Refusal::{Invalid, Missing, Repeated};
        let version =
            |value: &str| with("Sec-WebSocket-V", &format!("Sec-WebSocket-Version: {value}"));
        assert_refused(
            426,
            [
                (with("Upgrade", ""), Refusal::NotWebSocket),
                (with("Upgrade", "Upgrade: websockets"), Refusal::NotWebSocket),
                (with("Upgrade", "Upgrade: web socket"), Refusal::NotWebSocket),
                (version("12"), Refusal::Version),
                (version("013"), Refusal::Version),
                (version("13, 8"), Refusal::Version),
            ],
        );
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let protocol = "Sec-WebSocket-Protocol";
        assert_refused(
            400,
            [
                (with("Connection", ""), Refusal::NotUpgrade),
                (with("Connection", "Connection: keep-alive"), Refusal::NotUpgrade),
                (with("Sec-WebSocket-V", ""), Missing("Sec-WebSocket-Version")),
                (plus("Sec-WebSocket-Version: 13"), Repeated("Sec-WebSocket-Version")),
                (with("Sec-WebSocket-Key", ""), Missing("Sec-WebSocket-Key")),
                (plus(key), Repeated("Sec-WebSocket-Key")),
                (with(protocol, "Sec-WebSocket-Protocol: a b"), Invalid(protocol)),
            ],
        );
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZSE=",
            "dGhlIHNhbXBsZSBub25jZSEh",
            "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25j!Q==",
        ] {
            let head = with("Sec-WebSocket-Key", &format!("Sec-WebSocket-Key: {key}"));
            assert_refused(400, [(head, Invalid("Sec-WebSocket-Key"))]);
        }
    }

    /// Hazard 16, RUSTSEC-2021-0078: nothing that could be a request hides behind an upgrade.
    #[test]
    fn a_request_with_a_body_is_refused() {
        assert_refused(
            400,
            [
                (plus("Content-Length: 1"), Refusal::Body),
                (plus("Content-Length: +0"), Refusal::Body),
                (
                    plus("Content-Length: 0\r\nContent-Length: 5"),
                    Refusal::Repeated("Content-Length"),
                ),
                (plus("Transfer-Encoding: chunked"), Refusal::Body),
                (plus("transfer-encoding: identity"), Refusal::Body),
                (plus(" folded: chunked"), Refusal::Head(HeadError::FoldedLine { index: 5 })),
            ],
        );
    }

    /// Hazard 6, CVE-2021-32640: a line of nothing but separators is a list of nothing, and one
    /// of blanks in between is one element that is no token.
    #[test]
    fn separators_by_the_thousand_are_no_elements() {
        for (filler, expected) in [
            (",", Ok(2)),
            (", ,", Ok(2)),
            ("\t,", Ok(2)),
            (" ", Err(Refusal::Invalid("Sec-WebSocket-Protocol"))),
            ("\t", Err(Refusal::Invalid("Sec-WebSocket-Protocol"))),
        ] {
            let fill = filler.repeat(1200 / filler.len());
            let line = format!("Sec-WebSocket-Protocol:{fill}x{fill}y{fill}");
            let head = with("Sec-WebSocket-Protocol", &line);
            let head = RequestHead::parse(head.as_bytes()).unwrap();
            let offered = check_upgrade(&head).map(|upgrade| upgrade.protocols().count());
            assert_eq!(offered, expected, "{filler:?}");
        }
    }

    /// Hazard 16: no keep-alive behind a refusal, whatever refused it.
    #[test]
    fn every_refusal_closes_and_measures_its_body() {
        for refusal in [
            Refusal::Head(HeadError::HeadTooLong),
            Refusal::Head(HeadError::UnknownVersion),
            Refusal::Missing("Host"),
            Refusal::Origin,
            Refusal::Path,
            Refusal::Method,
            Refusal::HeadTimeout,
            Refusal::NotWebSocket,
            Refusal::Version,
            Refusal::Full,
        ] {
            let mut out = Vec::new();
            refusal.write(&mut out);
            let end = HeadScanner::default().scan(&out).unwrap().unwrap();
            let (head, body) = out.split_at(end);
            let head = ResponseHead::parse(head).unwrap();
            assert_eq!(head.status(), refusal.status());
            assert_eq!(head.header("connection"), Some(&b"close"[..]));
            assert_eq!(head.header("content-length"), Some(body.len().to_string().as_bytes()));
            assert_eq!(body, format!("{refusal}\n").as_bytes());
            let version = head.header("sec-websocket-version");
            assert_eq!(version.is_some_and(|version| version == b"13"), refusal.status() == 426);
            assert_eq!(head.header("allow").is_some(), refusal.status() == 405);
        }
    }

    #[test]
    fn every_split_of_a_request_gets_the_same_verdict() {
        let requests = [REQUEST.to_owned(), with("Host", ""), plus("a : b"), plus("x: \ny: z")];
        for request in requests {
            let verdict_of = |cuts: &[usize]| {
                let mut scanner = HeadScanner::default();
                for &cut in cuts {
                    if let Some(end) = scanner.scan(&request.as_bytes()[..cut])? {
                        return verdict(&request[..end]).map(|()| end);
                    }
                }
                unreachable!("the last cut is the end of the request")
            };
            let whole = verdict_of(&[request.len()]);
            for cut in 0..=request.len() {
                assert_eq!(verdict_of(&[cut, request.len()]), whole, "{cut} in {request}");
            }
            let single: Vec<usize> = (0..=request.len()).collect();
            assert_eq!(verdict_of(&single), whole);
        }
    }

    #[test]
    fn only_an_offered_protocol_is_accepted() {
        let head = RequestHead::parse(REQUEST.as_bytes()).unwrap();
        let upgrade = check_upgrade(&head).unwrap();
        for protocol in ["Chat", "cha", "chat, superchat", ""] {
            let mut out = Vec::new();
            let verdict = upgrade.accept(&mut out, Some(protocol), []);
            assert_eq!((verdict, out.len()), (Err(WriteError::ProtocolNotOffered), 0));
        }
    }
}
