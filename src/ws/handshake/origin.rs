//! Which pages may connect: the Origin header against a list (RFC 6455 §10.2, RFC 6454).
//!
//! A browser sends cookies with every WebSocket request, from any page; only the Origin tells
//! ours from an attacker's. Matching is exact: no prefixes, no patterns, no sub-domains.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

/// What a request without an Origin gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingOrigin {
    /// Let in: browsers always send one, and a program's user cannot be tricked by a page.
    Allow,
    /// Kept out: for routes that only browsers use.
    Refuse,
}

/// The origins that a route accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigins {
    listed: Listed,
    missing: MissingOrigin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Listed {
    Any,
    /// Valid origins, or `null`, without default ports.
    These(Vec<Box<str>>),
}

/// An entry that is not `*`, `null` or `scheme://host[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadOrigin {
    /// Which entry, from 0.
    pub index: usize,
}

impl fmt::Display for BadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "origin {} is not `*`, `null` or `scheme://host[:port]`", self.index)
    }
}

impl std::error::Error for BadOrigin {}

impl AllowedOrigins {
    /// Every origin: for services that do not go by cookies.
    pub const ANY: Self = Self { listed: Listed::Any, missing: MissingOrigin::Allow };

    /// Reads a list of `scheme://host[:port]`, `null` (sandboxed pages, files) or `*`.
    pub fn new<'a>(
        entries: impl IntoIterator<Item = &'a str>,
        missing: MissingOrigin,
    ) -> Result<Self, BadOrigin> {
        let mut listed = Listed::These(Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            if entry != "*" && entry != "null" && !is_origin(entry) {
                return Err(BadOrigin { index });
            }
            match &mut listed {
                _ if entry == "*" => listed = Listed::Any,
                Listed::These(origins) => origins.push(without_default_port(entry).into()),
                Listed::Any => {}
            }
        }
        Ok(Self { listed, missing })
    }

    /// Whether a request with this Origin header, or none, may connect.
    pub fn allows(&self, origin: Option<&[u8]>) -> bool {
        let Some(origin) = origin else {
            return self.missing == MissingOrigin::Allow;
        };
        match &self.listed {
            Listed::Any => true,
            Listed::These(origins) => std::str::from_utf8(origin).is_ok_and(|origin| {
                // Scheme and host are case-insensitive, and an origin is nothing else.
                let origin = without_default_port(origin);
                origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
            }),
        }
    }
}

/// Whether a page of this origin came from the host, and port, that the request is sent to.
pub fn is_of_host(origin: &[u8], host: Option<&[u8]>) -> bool {
    let authority = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    authority.zip(host).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

/// The same, for a host that nobody can have a name of the own point to: an address, or
/// `localhost`, which browsers do not ask a name server for (RFC 6761 §6.3).
pub fn is_of_nameless_host(origin: &[u8], host: Option<&[u8]>) -> bool {
    is_of_host(origin, host) && host.is_some_and(is_nameless)
}

fn is_nameless(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else { return false };
    let (host, _port) = split_port(authority);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok()
        || bare.is_some_and(|bare| bare.parse::<Ipv6Addr>().is_ok())
}

/// Whether `text` is `scheme://host[:port]`, without a path, a user name or white space.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let (host, port) = split_port(authority);
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(in_scheme)
        && !host.is_empty()
        && host.bytes().all(in_host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Splits `host:port`; the colons of an IPv6 address stand inside brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Browsers leave the default port out (RFC 6454 §6.2); people who write lists may not.
fn without_default_port(origin: &str) -> &str {
    let default = match origin.split_once("://") {
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => ":443",
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => ":80",
        _ => return origin,
    };
    origin.strip_suffix(default).unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(listed: &[&str], origin: &str) -> bool {
        let origins = AllowedOrigins::new(listed.iter().copied(), MissingOrigin::Refuse).unwrap();
        origins.allows(Some(origin.as_bytes()))
    }

    /// Hazard 17: nothing but the whole origin matches.
    #[test]
    fn an_origin_matches_as_a_whole_or_not_at_all() {
        let listed = ["https://example.com", "http://localhost:3000"];
        for origin in ["https://example.com", "HTTPS://EXAMPLE.com", "http://localhost:3000"] {
            assert!(allows(&listed, origin), "{origin}");
        }
        for origin in [
            "http://example.com",
            "https://example.com.evil.org",
            "https://evil-example.com",
            "https://sub.example.com",
            "https://example.com:8443",
            "https://example.com/",
            "http://localhost",
            "http://localhost:30001",
            "null",
            "",
            "https://example.com https://evil.org",
        ] {
            assert!(!allows(&listed, origin), "{origin}");
        }
        let origins = AllowedOrigins::new(listed, MissingOrigin::Refuse).unwrap();
        assert!(!origins.allows(Some(b"https://example.com\xFF")));
    }

    #[test]
    fn a_default_port_is_no_difference() {
        for (listed, origin) in [
            ("https://a.b:443", "https://a.b"),
            ("https://a.b", "https://a.b:443"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert!(allows(&[listed], origin), "{listed} {origin}");
        }
        assert!(!allows(&["http://a.b:443"], "http://a.b"));
    }

    #[test]
    fn null_any_and_none_are_said_and_not_guessed() {
        assert!(allows(&["null"], "null"));
        assert!(allows(&["https://a.b", "*"], "https://evil.org"));
        assert!(!allows(&[], "https://a.b"));
        let missing = |missing| AllowedOrigins::new(["*"], missing).unwrap().allows(None);
        assert!(missing(MissingOrigin::Allow));
        assert!(!missing(MissingOrigin::Refuse));
        assert!(AllowedOrigins::ANY.allows(None) && AllowedOrigins::ANY.allows(Some(b"null")));
    }

    #[test]
    fn an_entry_that_could_never_match_is_refused() {
        for entry in [
            "example.com",
            "https://",
            "https://a/",
            "https://u@a",
            "https://a b",
            "https://*.a",
            "https://a:",
            "https://a:x",
            "https://a:65536",
            "1http://a",
            "",
        ] {
            let list = AllowedOrigins::new(["https://ok.example", entry], MissingOrigin::Allow);
            assert_eq!(list, Err(BadOrigin { index: 1 }), "{entry}");
        }
    }

    #[test]
    fn a_name_that_somebody_may_have_point_here_is_told_apart() {
        for (host, nameless) in [
            ("localhost", true),
            ("LocalHost:8000", true),
            ("127.0.0.1:8000", true),
            ("192.0.2.7", true),
            ("[::1]:8000", true),
            ("[2001:db8::1]", true),
            ("evil.example:8000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:8000", false),
            ("127.1", false),
            ("[evil.example]:80", false),
            ("", false),
        ] {
            let origin = format!("http://{host}");
            let host = Some(host.as_bytes());
            assert!(is_of_host(origin.as_bytes(), host));
            assert_eq!(is_of_nameless_host(origin.as_bytes(), host), nameless, "{origin}");
            assert!(!is_of_nameless_host(b"http://localhost:1", host), "of another host");
        }
    }
}
