//! A request head: bytes to method, target and headers, strictly by RFC 9112. No allocation.
//!
//! Strict means that what two readers could read differently is refused: bare line feeds, folded
//! lines, white space before a colon, control characters, more than one space in the first line.

use super::fields::{Fields, is_token, table};
use super::scan::HeadError;

/// The head of one request. Its parts are lent from the bytes it was parsed from.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    method: &'a str,
    target: &'a str,
    /// The authority of an absolute target; no other form has one.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    version: HttpVersion,
    fields: Fields<'a>,
}

/// The version of HTTP that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// Has no upgrade: RFC 9110 §7.8 has servers ignore the header.
    Http10,
    /// The version of the opening handshake.
    Http11,
}

impl<'a> RequestHead<'a> {
    /// Reads the head that [`HeadScanner`](super::HeadScanner) found the end of.
    pub fn parse(head: &'a [u8]) -> Result<Self, HeadError> {
        let (first_line, fields) = Fields::parse(head)?;
        let mut parts = first_line.split(|&byte| byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError::BadRequestLine);
        };
        if !is_token(method) {
            return Err(HeadError::BadRequestLine);
        }
        let version = match version {
            b"HTTP/1.1" => HttpVersion::Http11,
            b"HTTP/1.0" => HttpVersion::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(HeadError::UnknownVersion);
            }
            _ => return Err(HeadError::BadRequestLine),
        };
        if !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(HeadError::BadTarget);
        }
        let method = std::str::from_utf8(method).expect("a token is ASCII");
        let target = std::str::from_utf8(target).expect("graphic bytes are ASCII");
        let (authority, path_and_query) = split_target(method, target)?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        // An absolute URI may leave the path out; the root is meant (RFC 9110 §4.2.3).
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { method, target, authority, path, query, version, fields })
    }

    /// The method, as sent: methods are case-sensitive.
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The request target, as sent.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The host and port of an absolute target.
    pub fn authority(&self) -> Option<&'a str> {
        self.authority
    }

    /// The target's path, percent-encoded as sent.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// What follows the target's first question mark.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The version of HTTP.
    pub fn version(&self) -> HttpVersion {
        self.version
    }

    /// The value of the first header called `name`, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.all(name).next()
    }

    /// All headers, in the order they came in.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a, '_> {
        self.fields.iter()
    }

    /// The headers with their rules for lists and repetition.
    pub fn fields(&self) -> &Fields<'a> {
        &self.fields
    }

    /// Whether the request asks for a WebSocket, however badly: then
    /// [`check_upgrade`](super::check_upgrade) answers it, else it is plain HTTP.
    pub fn wants_upgrade(&self) -> bool {
        self.fields.lists("upgrade", "websocket")
    }
}

/// The authority and the rest of a target in origin-form, absolute-form or asterisk-form
/// (RFC 9112 §3.2). The authority-form belongs to CONNECT, which we are not a proxy for.
fn split_target<'a>(
    method: &str,
    target: &'a str,
) -> Result<(Option<&'a str>, &'a str), HeadError> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(HeadError::BadTarget)?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(HeadError::BadTarget);
    }
    let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if !is_authority(authority.as_bytes()) {
        return Err(HeadError::BadTarget);
    }
    Ok((Some(authority), path_and_query))
}

/// Which bytes an authority without a user name is made of (RFC 3986 §3.2.2 and §3.2.3).
const AUTHORITY_BYTES: [bool; 256] = table(b"-._~!$&'()*+,;=%:[]");

/// Whether `bytes` can name a host and port: the bytes of RFC 3986 for both, and no user name.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| AUTHORITY_BYTES[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{HEAD_BYTES_MAX, HEAD_LINES_MAX};

    fn fault(head: &str) -> HeadError {
        RequestHead::parse(head.as_bytes()).expect_err(head)
    }

    #[test]
    fn a_head_is_taken_apart() {
        let head = "GET /chat/42?token=a%20b&x=?y HTTP/1.1\r\n\
                    Host: example.com:8000\r\n\
                    X-Empty:\r\n\
                    x-LIST: \t a , b\t \r\n\
                    X-List:,,c,\r\n\
                    Cookie: name=\u{e9}\r\n\r\n";
        let head = RequestHead::parse(head.as_bytes()).unwrap();
        assert_eq!(head.method(), "GET");
        assert_eq!(head.target(), "/chat/42?token=a%20b&x=?y");
        assert_eq!((head.path(), head.query()), ("/chat/42", Some("token=a%20b&x=?y")));
        assert_eq!((head.authority(), head.version()), (None, HttpVersion::Http11));
        assert_eq!(head.header("HOST"), Some(&b"example.com:8000"[..]));
        assert_eq!(head.header("x-empty"), Some(&b""[..]));
        assert_eq!(head.header("cookie"), Some("name=\u{e9}".as_bytes()));
        assert_eq!(head.header("origin"), None);
        let names: Vec<&str> = head.headers().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "X-Empty", "x-LIST", "X-List", "Cookie"]);
        let list: Vec<&[u8]> = head.fields().list("X-List").collect();
        assert_eq!(list, [b"a", b"b", b"c"]);
        assert!(head.fields().sole("x-list").is_err(), "repeated");
    }

    #[test]
    fn an_absolute_target_has_an_authority_and_a_path() {
        for (target, authority, path, query) in [
            ("http://a.b/c?d", Some("a.b"), "/c", Some("d")),
            ("HTTPS://a.b:443", Some("a.b:443"), "/", None),
            ("http://[::1]:80?q", Some("[::1]:80"), "/", Some("q")),
            ("//double", None, "//double", None),
            ("/a://b", None, "/a://b", None),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n\r\n");
            let head = RequestHead::parse(head.as_bytes()).unwrap();
            let parts = (head.authority(), head.path(), head.query());
            assert_eq!(parts, (authority, path, query), "{target}");
        }
        assert!(RequestHead::parse(b"OPTIONS * HTTP/1.1\r\n\r\n").is_ok());
    }

    #[test]
    fn a_malformed_first_line_is_refused() {
        for line in [
            "",
            "GET",
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET / x HTTP/1.1",
            "GET\t/\tHTTP/1.1",
            "G(T / HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/11",
            "GET / HTTP/1.x",
        ] {
            assert_eq!(fault(&format!("{line}\r\n\r\n")), HeadError::BadRequestLine, "{line}");
        }
        for target in [
            "*",
            "a",
            "a.b:80",
            "/a#b",
            "/\u{e9}",
            "/\x7F",
            "ftp://a/",
            "http:///a",
            "http://u@a/",
            "http://a\\b/",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert_eq!(fault(&head), HeadError::BadTarget, "{target}");
        }
        for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2"] {
            let error = fault(&format!("GET / {version}\r\n\r\n"));
            assert_eq!((error, error.status()), (HeadError::UnknownVersion, 505));
        }
    }

    /// Hazard 16: what two readers of one head could read differently is refused.
    #[test]
    fn ambiguous_header_lines_are_refused() {
        let with = |line: &str| fault(&format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
        for folded in [" folded", "\tfolded", " "] {
            assert_eq!(with(folded), HeadError::FoldedLine { index: 1 });
        }
        for name in ["Name : v", ": v", "Na me: v", "no colon", "N\u{e9}: v", "Na\0me: v"] {
            assert_eq!(with(name), HeadError::BadHeaderName { index: 1 }, "{name:?}");
        }
        for value in ["a\0b", "a\rb", "\r", "a\x7Fb", "a\x0Bb"] {
            let error = with(&format!("Name: {value}"));
            assert_eq!(error, HeadError::BadHeaderValue { index: 1 }, "{value:?}");
            assert_eq!(error.status(), 400);
        }
        assert_eq!(with("Name: a\nb: c"), HeadError::BareLineFeed);
        assert_eq!(fault("GET / HTTP/1.1\r\nHost: a\r\n"), HeadError::Unfinished);
    }

    /// Hazards 4 and 5: the table of headers is bounded by itself, whoever calls.
    #[test]
    fn parsing_holds_the_limits_without_the_scanner() {
        let lines = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        let most = lines(HEAD_LINES_MAX);
        assert_eq!(RequestHead::parse(most.as_bytes()).unwrap().headers().count(), HEAD_LINES_MAX);
        assert_eq!(fault(&lines(HEAD_LINES_MAX + 1)), HeadError::TooManyHeaders);
        let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(HEAD_BYTES_MAX));
        assert_eq!(fault(&long), HeadError::HeadTooLong);
    }
}
