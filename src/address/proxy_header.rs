//! The header of the PROXY protocol, v1 (text) and v2 (binary): bytes in, a client's address out.
//!
//! Strict where the specification leaves no choice, so that nothing else passes for a header. The
//! parser looks at all bytes again when more have come: a header is short, and arrives whole.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;

use crate::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it is long.
    pub length: usize,
    /// The client that the proxy speaks for; `None` if it speaks for itself, or does not know.
    pub client: Option<SocketAddr>,
}

/// What is not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// It begins like neither version.
    NoSignature,
    /// A line of v1 without an end, or not of the form that v1 has.
    Line,
    /// Not version 2, or neither LOCAL nor PROXY.
    VersionOrCommand {
        /// The byte that says both.
        byte: u8,
    },
    /// An address family or transport that no stream socket has.
    Family {
        /// The byte that says both.
        byte: u8,
    },
    /// Shorter than the addresses it says it has.
    Short {
        /// Bytes behind the fixed part.
        bytes: usize,
    },
    /// Longer than [`PROXY_HEADER_BYTES_MAX`].
    Long {
        /// Bytes in all.
        bytes: usize,
    },
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature => out.write_str("no header of the PROXY protocol"),
            Self::Line => out.write_str("malformed line of the PROXY protocol v1"),
            Self::VersionOrCommand { byte } => {
                write!(out, "version or command {byte:#04x} of the PROXY protocol")
            }
            Self::Family { byte } => write!(out, "family {byte:#04x} of the PROXY protocol"),
            Self::Short { bytes } => {
                write!(out, "header of the PROXY protocol with {bytes} bytes of addresses")
            }
            Self::Long { bytes } => write!(
                out,
                "header of the PROXY protocol of {bytes} bytes, {PROXY_HEADER_BYTES_MAX} at most"
            ),
        }
    }
}

impl std::error::Error for ProxyHeaderError {}

/// What every header of v2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of v1 begins with.
const WORD: &[u8; 6] = b"PROXY ";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

impl ProxyHeader {
    /// Reads the header that `bytes` begin with; `None` while it may become one.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        if begins_alike(bytes, SIGNATURE) {
            return Self::parse_binary(bytes);
        }
        if begins_alike(bytes, WORD) {
            return Self::parse_line(bytes);
        }
        Err(ProxyHeaderError::NoSignature)
    }

    fn parse_binary(bytes: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        // Each byte is judged when it is there: a wrong one does not wait for the others.
        let byte = |index: usize| bytes.get(SIGNATURE.len() + index).copied();
        let is_local = match byte(0) {
            None => return Ok(None),
            Some(0x20) => true,
            Some(0x21) => false,
            Some(byte) => return Err(ProxyHeaderError::VersionOrCommand { byte }),
        };
        let address_bytes = match byte(1) {
            None => return Ok(None),
            // What a proxy says of itself is skipped, whatever it is.
            Some(_) if is_local => 0,
            Some(0x00) => 0,
            Some(0x11) => 12,
            Some(0x21) => 36,
            Some(0x31) => 216,
            Some(byte) => return Err(ProxyHeaderError::Family { byte }),
        };
        let (Some(high), Some(low)) = (byte(2), byte(3)) else { return Ok(None) };
        let rest_bytes = usize::from(u16::from_be_bytes([high, low]));
        let length = FIXED_BYTES + rest_bytes;
        if rest_bytes < address_bytes {
            return Err(ProxyHeaderError::Short { bytes: rest_bytes });
        }
        if length > PROXY_HEADER_BYTES_MAX {
            return Err(ProxyHeaderError::Long { bytes: length });
        }
        let Some(rest) = bytes.get(FIXED_BYTES..length) else { return Ok(None) };
        let client = match address_bytes {
            12 => source(rest, 8, |ip: [u8; 4]| Ipv4Addr::from(ip).into()),
            36 => source(rest, 32, |ip: [u8; 16]| Ipv6Addr::from(ip).to_canonical()),
            _ => None,
        };
        Ok(Some(Self { length, client }))
    }

    fn parse_line(bytes: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        let window = &bytes[..bytes.len().min(PROXY_LINE_BYTES_MAX)];
        let Some(feed) = memchr::memchr(b'\n', window) else {
            let is_cut = window.len() == PROXY_LINE_BYTES_MAX;
            return if is_cut { Err(ProxyHeaderError::Line) } else { Ok(None) };
        };
        let line = window[..feed].strip_suffix(b"\r").ok_or(ProxyHeaderError::Line)?;
        let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Line)?;
        let mut words = line.split(' ').skip(1);
        let mut next = || words.next().ok_or(ProxyHeaderError::Line);
        let client = match next()? {
            // Whatever follows is to be ignored, up to the end of the line.
            "UNKNOWN" => return Ok(Some(Self { length: feed + 1, client: None })),
            family @ ("TCP4" | "TCP6") => {
                let (source, _target) = (address(next()?, family)?, address(next()?, family)?);
                let (source_port, _target_port) = (port(next()?)?, port(next()?)?);
                SocketAddr::new(source, source_port)
            }
            _ => return Err(ProxyHeaderError::Line),
        };
        if words.next().is_some() {
            return Err(ProxyHeaderError::Line);
        }
        Ok(Some(Self { length: feed + 1, client: Some(client) }))
    }
}

fn begins_alike(bytes: &[u8], signature: &[u8]) -> bool {
    let count = bytes.len().min(signature.len());
    bytes[..count] == signature[..count]
}

/// The address at the front, and the port behind the addresses of both sides.
fn source<const N: usize>(
    bytes: &[u8],
    port_at: usize,
    ip: impl FnOnce([u8; N]) -> IpAddr,
) -> Option<SocketAddr> {
    let address = bytes.first_chunk::<N>()?;
    let port = bytes.get(port_at..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(ip(*address), u16::from_be_bytes(*port)))
}

fn address(word: &str, family: &str) -> Result<IpAddr, ProxyHeaderError> {
    let parsed: IpAddr = match family {
        "TCP4" => word.parse::<Ipv4Addr>().map(IpAddr::from),
        _ => word.parse::<Ipv6Addr>().map(IpAddr::from),
    }
    .map_err(|_| ProxyHeaderError::Line)?;
    Ok(parsed.to_canonical())
}

fn port(word: &str) -> Result<u16, ProxyHeaderError> {
    let is_plain =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_plain).ok_or(ProxyHeaderError::Line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of v2 with these bytes behind the length.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn tcp4(tail: &[u8]) -> Vec<u8> {
        binary(0x21, 0x11, &[&[192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80], tail].concat())
    }

    fn tcp6() -> Vec<u8> {
        let source = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        binary(0x21, 0x21, &[&source[..], &[0; 16], &[0x1f, 0x90, 0, 80]].concat())
    }

    fn headers() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
        let long = line(&format!("UNKNOWN {}", "f".repeat(PROXY_LINE_BYTES_MAX - 16)));
        assert_eq!(long.len(), PROXY_LINE_BYTES_MAX);
        vec![
            (line("TCP4 192.0.2.7 10.0.0.1 8080 80"), Some("192.0.2.7:8080")),
            (line("TCP6 2001:db8::7 ::1 8080 80"), Some("[2001:db8::7]:8080")),
            (line("TCP6 ::ffff:192.0.2.7 ::1 0 65535"), Some("192.0.2.7:0")),
            (line("UNKNOWN"), None),
            (line("UNKNOWN what ever 1 2 3 4"), None),
            (long, None),
            (tcp4(&[]), Some("192.0.2.7:8080")),
            (tcp4(&[0x04, 0, 1, 0]), Some("192.0.2.7:8080")),
            (tcp6(), Some("[2001:db8::7]:8080")),
            (binary(0x21, 0x31, &[b'/'; 216]), None),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &[1; 12]), None),
            (tcp4(&vec![0; PROXY_HEADER_BYTES_MAX - 28]), Some("192.0.2.7:8080")),
        ]
    }

    #[test]
    fn a_header_cut_anywhere_is_awaited_and_whole_it_is_the_same_whatever_follows() {
        for (header, client) in headers() {
            let client = client.map(|client| client.parse().unwrap());
            for cut in 0..header.len() {
                assert_eq!(ProxyHeader::parse(&header[..cut]), Ok(None), "{header:?} at {cut}");
            }
            let expected = ProxyHeader { length: header.len(), client };
            for tail in [&b""[..], b"G", b"GET / HTTP/1.1\r\n\r\n", &SIGNATURE[..], b"\xff\n"] {
                let bytes = [&header, tail].concat();
                assert_eq!(ProxyHeader::parse(&bytes), Ok(Some(expected)), "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_the_byte_that_says_so() {
        let long = format!("PROXY UNKNOWN {}", "f".repeat(PROXY_LINE_BYTES_MAX));
        let mut cases: Vec<(Vec<u8>, ProxyHeaderError)> = vec![
            (b"G".to_vec(), ProxyHeaderError::NoSignature),
            (b"PROXYX".to_vec(), ProxyHeaderError::NoSignature),
            (b"p".to_vec(), ProxyHeaderError::NoSignature),
            (b"\r\n\r\n\r".to_vec(), ProxyHeaderError::NoSignature),
            (long.into_bytes()[..PROXY_LINE_BYTES_MAX].to_vec(), ProxyHeaderError::Line),
        ];
        let [version, command, family, dgram] =
            [(0x11, 0x11), (0x22, 0x11), (0x21, 0x41), (0x21, 0x12)]
                .map(|(command, family)| binary(command, family, &[0; 12]));
        let first = |header: &[u8], count: usize| header[..SIGNATURE.len() + count].to_vec();
        cases.push((first(&version, 1), ProxyHeaderError::VersionOrCommand { byte: 0x11 }));
        cases.push((first(&command, 1), ProxyHeaderError::VersionOrCommand { byte: 0x22 }));
        cases.push((first(&family, 2), ProxyHeaderError::Family { byte: 0x41 }));
        cases.push((first(&dgram, 2), ProxyHeaderError::Family { byte: 0x12 }));
        let short = binary(0x21, 0x11, &[0; 11]);
        cases.push((first(&short, 4), ProxyHeaderError::Short { bytes: 11 }));
        let long = tcp4(&vec![0; PROXY_HEADER_BYTES_MAX - 27]);
        let bytes = PROXY_HEADER_BYTES_MAX + 1;
        cases.push((first(&long, 4), ProxyHeaderError::Long { bytes }));
        for (bytes, error) in cases {
            assert_eq!(ProxyHeader::parse(&bytes), Err(error), "{bytes:?}");
            let before = &bytes[..bytes.len() - 1];
            assert_eq!(ProxyHeader::parse(before), Ok(None), "one byte earlier: {before:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_the_form_of_v1_is_refused() {
        for line in [
            "",
            " TCP4 192.0.2.7 10.0.0.1 8080 80",
            "TCP4  192.0.2.7 10.0.0.1 8080 80",
            "TCP4 192.0.2.7 10.0.0.1 8080 80 ",
            "TCP4 192.0.2.7 10.0.0.1 8080",
            "TCP4 192.0.2.7 10.0.0.1 8080 80 1",
            "TCP4 192.0.2.7 ::1 8080 80",
            "TCP4 ::1 10.0.0.1 8080 80",
            "TCP6 192.0.2.7 10.0.0.1 8080 80",
            "TCP4 192.0.2.007 10.0.0.1 8080 80",
            "TCP4 192.0.2.7 10.0.0.1 +8080 80",
            "TCP4 192.0.2.7 10.0.0.1 08080 80",
            "TCP4 192.0.2.7 10.0.0.1 65536 80",
            "TCP4 192.0.2.7 10.0.0.1  80",
            "UDP4 192.0.2.7 10.0.0.1 8080 80",
            "unknown",
        ] {
            let header = format!("PROXY {line}\r\n");
            let parsed = ProxyHeader::parse(header.as_bytes());
            assert_eq!(parsed, Err(ProxyHeaderError::Line), "{header:?}");
        }
        assert_eq!(ProxyHeader::parse(b"PROXY UNKNOWN\n"), Err(ProxyHeaderError::Line));
    }
}
