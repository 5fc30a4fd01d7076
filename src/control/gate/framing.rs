//! A request head to the framing of its body, or to the refusal that ends the connection.
//!
//! Invariant: a head that two readers could frame differently has no framing (RFC 9112 §6.3,
//! §11.2); it is refused before the routes, or a proxy in between, can disagree about it.

use std::fmt;

use crate::limits::HTTP_BODY_BYTES_MAX;
use crate::ws::handshake::fields::Fields;
use crate::ws::handshake::request::HttpVersion;
use crate::ws::handshake::{HeadError, RequestHead};

/// How the bytes behind a head are divided into its body and the next head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes, often none.
    Length(u64),
    /// Chunks, to the last one and its trailers.
    Chunked,
}

/// Why a connection gets one answer more and then ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Fault {
    /// The head is not HTTP/1.1, or is over a limit.
    Head(HeadError),
    /// HTTP/1.1 asks for one Host header, and not two.
    Host,
    /// `Content-Length` that is no number, or stands twice.
    ContentLength,
    /// `Content-Length` beside `Transfer-Encoding`: the body would have two ends.
    TwoLengths,
    /// A `Transfer-Encoding` that is not `chunked` alone, or is one of HTTP/1.0.
    TransferEncoding,
    /// A body of more than [`HTTP_BODY_BYTES_MAX`] bytes.
    BodyTooLong,
    /// A WebSocket is asked for where none is.
    NoWebSocket,
    /// A WebSocket is asked for on a connection that has served other requests: only a shard can
    /// upgrade, so the client is sent back for a new connection (RFC 9110 §15.5.20).
    Misdirected,
    /// The head did not arrive in time.
    HeadTimeout,
}

impl Fault {
    /// The status of the answer, with its phrase.
    pub(in crate::control) fn status(self) -> (u16, &'static str) {
        match self {
            Self::Head(error) => match error.status() {
                431 => (431, "Request Header Fields Too Large"),
                505 => (505, "HTTP Version Not Supported"),
                _ => (400, "Bad Request"),
            },
            Self::Host | Self::ContentLength | Self::TwoLengths | Self::TransferEncoding => {
                (400, "Bad Request")
            }
            Self::NoWebSocket => (404, "Not Found"),
            Self::HeadTimeout => (408, "Request Timeout"),
            Self::BodyTooLong => (413, "Content Too Large"),
            Self::Misdirected => (421, "Misdirected Request"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(out),
            Self::Host => out.write_str("exactly one Host header is needed"),
            Self::ContentLength => out.write_str("Content-Length is no number, or stands twice"),
            Self::TwoLengths => out.write_str("Content-Length beside Transfer-Encoding"),
            Self::TransferEncoding => out.write_str("Transfer-Encoding other than chunked"),
            Self::BodyTooLong => write!(out, "the body is over {HTTP_BODY_BYTES_MAX} bytes"),
            Self::NoWebSocket => out.write_str("no WebSocket at this path"),
            Self::Misdirected => out.write_str("open a WebSocket on a new connection"),
            Self::HeadTimeout => out.write_str("the request head did not arrive in time"),
        }
    }
}

impl Framing {
    /// Judges a whole head. `first`: no other request came before it on this connection.
    pub(super) fn judge(head: &[u8], first: bool) -> Result<Self, Fault> {
        let head = RequestHead::parse(head).map_err(Fault::Head)?;
        let fields = head.fields();
        match (head.version(), fields.sole("host")) {
            (_, Err(_)) | (HttpVersion::Http11, Ok(None)) => return Err(Fault::Host),
            _ => {}
        }
        let framing = Self::of(head.version(), fields)?;
        if head.version() == HttpVersion::Http11 && head.wants_upgrade() {
            return Err(if first { Fault::NoWebSocket } else { Fault::Misdirected });
        }
        Ok(framing)
    }

    fn of(version: HttpVersion, fields: &Fields<'_>) -> Result<Self, Fault> {
        let length = fields.sole("content-length").map_err(|_| Fault::ContentLength)?;
        let mut codings = fields.all("transfer-encoding");
        let Some(coding) = codings.next() else {
            return length.map_or(Ok(Self::Length(0)), content_length);
        };
        if length.is_some() {
            return Err(Fault::TwoLengths);
        }
        let alone = codings.next().is_none() && coding.eq_ignore_ascii_case(b"chunked");
        if !alone || version == HttpVersion::Http10 {
            return Err(Fault::TransferEncoding);
        }
        Ok(Self::Chunked)
    }
}

/// Digits and nothing else: no sign, no list, no second spelling of the same number.
fn content_length(value: &[u8]) -> Result<Framing, Fault> {
    let plain = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
    let digits = std::str::from_utf8(value).ok().filter(|_| plain).ok_or(Fault::ContentLength)?;
    // More digits than a u64 has are a length all the same, and too long.
    match digits.parse() {
        Ok(length) if length <= HTTP_BODY_BYTES_MAX as u64 => Ok(Framing::Length(length)),
        _ => Err(Fault::BodyTooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &str) -> Result<Framing, Fault> {
        let head = format!("POST /api/publish HTTP/1.1\r\n{lines}\r\n");
        Framing::judge(head.as_bytes(), true)
    }

    /// Hazard 16. Each line is one that some server or proxy has read differently than another.
    #[test]
    fn what_two_readers_could_frame_differently_is_refused() {
        for (lines, fault) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Fault::TwoLengths),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Fault::TwoLengths),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Fault::TwoLengths),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Fault::ContentLength),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Fault::ContentLength),
            ("Content-Length: 5, 5\r\n", Fault::ContentLength),
            ("Content-Length: +5\r\n", Fault::ContentLength),
            ("Content-Length: -5\r\n", Fault::ContentLength),
            ("Content-Length: 0x5\r\n", Fault::ContentLength),
            ("Content-Length: 5 5\r\n", Fault::ContentLength),
            ("Content-Length:\r\n", Fault::ContentLength),
            ("Transfer-Encoding: identity\r\n", Fault::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked, chunked\r\n", Fault::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", Fault::TransferEncoding),
            ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", Fault::TransferEncoding),
            ("Transfer-Encoding: \"chunked\"\r\n", Fault::TransferEncoding),
            ("Transfer-Encoding:\r\n", Fault::TransferEncoding),
        ] {
            let judged = judge(&format!("Host: a\r\n{lines}"));
            assert_eq!(judged, Err(fault), "{lines}");
            assert_eq!(fault.status().0, 400, "{lines}");
        }
    }

    #[test]
    fn one_framing_is_one_framing() {
        for (lines, framing) in [
            ("Host: a\r\n", Framing::Length(0)),
            ("Host: a\r\nContent-Length: 0\r\n", Framing::Length(0)),
            ("Host: a\r\ncontent-LENGTH: \t007 \r\n", Framing::Length(7)),
            ("Host: a\r\nTransfer-Encoding: Chunked\r\n", Framing::Chunked),
        ] {
            assert_eq!(judge(lines), Ok(framing), "{lines}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(Framing::judge(old, true), Err(Fault::TransferEncoding));
        let old = b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(Framing::judge(old, true), Ok(Framing::Length(3)));
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_its_length() {
        let judged = |length| judge(&format!("Host: a\r\nContent-Length: {length}\r\n"));
        let most = HTTP_BODY_BYTES_MAX as u64;
        assert_eq!(judged(most.to_string()), Ok(Framing::Length(most)));
        for length in [(most + 1).to_string(), u64::MAX.to_string(), "9".repeat(40)] {
            assert_eq!(judged(length), Err(Fault::BodyTooLong));
        }
    }

    #[test]
    fn a_host_is_needed_and_only_one() {
        assert_eq!(judge(""), Err(Fault::Host));
        assert_eq!(judge("Host: a\r\nhost: b\r\n"), Err(Fault::Host));
        assert_eq!(Framing::judge(b"GET / HTTP/1.0\r\n\r\n", true), Ok(Framing::Length(0)));
    }

    #[test]
    fn no_upgrade_reaches_the_routes() {
        let head = b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\n\r\n";
        assert_eq!(Framing::judge(head, true), Err(Fault::NoWebSocket));
        assert_eq!(Framing::judge(head, false), Err(Fault::Misdirected));
        assert_eq!(Fault::Misdirected.status().0, 421);
        let other = b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n";
        assert_eq!(Framing::judge(other, false), Ok(Framing::Length(0)));
    }
}
