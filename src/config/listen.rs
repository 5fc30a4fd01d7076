//! Where a server listens: `HOST:PORT`, `unix:PATH`, and what is known of the peers there.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::setting::Item;

/// One address that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// Address and port; port 0 takes a free one.
        address: SocketAddr,
        /// Whether every connection begins with a header of the PROXY protocol, v1 or v2.
        proxy_protocol: bool,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// The permissions of its file: who may connect.
        mode: u32,
    },
}

/// Permissions of a Unix socket by default: the owner and the group, which a proxy can be in.
pub const UNIX_MODE_DEFAULT: u32 = 0o660;

/// Bytes of a Unix socket's path (`sun_path` without its end, `unix(7)`).
const UNIX_PATH_BYTES_MAX: usize = 107;

impl Listen {
    /// TCP without the PROXY protocol.
    pub fn tcp(address: SocketAddr) -> Self {
        Self::Tcp { address, proxy_protocol: false }
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp { address, .. } => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

/// A text that is not such an address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// Neither `HOST:PORT` nor `unix:PATH`. A host is a number: names are not looked up.
    Address,
    /// The path is empty, relative or too long.
    Path,
    /// Something else behind the question mark.
    Option {
        /// What stands there.
        option: String,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => write!(
                out,
                "not an address and port such as 0.0.0.0:8000 or [::1]:8000, nor unix:/PATH"
            ),
            Self::Path => write!(
                out,
                "the path of a Unix socket begins with a slash and has at most \
                 {UNIX_PATH_BYTES_MAX} bytes"
            ),
            Self::Option { option } => write!(
                out,
                "{option:?} is not an option here: TCP takes ?proxy_protocol, a Unix socket \
                 ?mode=0660"
            ),
        }
    }
}

impl std::error::Error for ListenError {}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let (place, option) = match text.split_once('?') {
            Some((place, option)) => (place, Some(option)),
            None => (text, None),
        };
        let wrong = |option: &str| ListenError::Option { option: option.to_owned() };
        if let Some(path) = place.strip_prefix("unix:") {
            if !path.starts_with('/') || path.len() > UNIX_PATH_BYTES_MAX {
                return Err(ListenError::Path);
            }
            let mode = match option {
                None => UNIX_MODE_DEFAULT,
                Some(option) => mode(option).ok_or_else(|| wrong(option))?,
            };
            return Ok(Self::Unix { path: path.into(), mode });
        }
        let address = place.parse().map_err(|_| ListenError::Address)?;
        match option {
            None => Ok(Self::tcp(address)),
            Some("proxy_protocol") => Ok(Self::Tcp { address, proxy_protocol: true }),
            Some(option) => Err(wrong(option)),
        }
    }
}

fn mode(option: &str) -> Option<u32> {
    let digits = option.strip_prefix("mode=")?;
    let is_octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777);
    mode.filter(|_| is_octal)
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, proxy_protocol: false } => address.fmt(out),
            Self::Tcp { address, proxy_protocol: true } => write!(out, "{address}?proxy_protocol"),
            Self::Unix { path, mode: UNIX_MODE_DEFAULT } => write!(out, "unix:{}", path.display()),
            Self::Unix { path, mode } => write!(out, "unix:{}?mode={mode:04o}", path.display()),
        }
    }
}

impl Item for Listen {
    const WHAT: &str =
        "addresses: HOST:PORT, HOST:PORT?proxy_protocol, unix:/PATH or unix:/PATH?mode=0660";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: ListenError| error.to_string())
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str, proxy_protocol: bool) -> Listen {
        Listen::Tcp { address: address.parse().unwrap(), proxy_protocol }
    }

    #[test]
    fn each_form_reads_and_writes() {
        for (text, expected) in [
            ("127.0.0.1:8000", tcp("127.0.0.1:8000", false)),
            ("[::1]:8000?proxy_protocol", tcp("[::1]:8000", true)),
            ("unix:/run/l.sock", Listen::Unix { path: "/run/l.sock".into(), mode: 0o660 }),
            (
                "unix:/run/l.sock?mode=0600",
                Listen::Unix { path: "/run/l.sock".into(), mode: 0o600 },
            ),
        ] {
            assert_eq!(text.parse::<Listen>().as_ref(), Ok(&expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in
            ["", "8000", ":8000", "localhost:8000", "127.0.0.1", "::1:8000", "1.2.3.4:65536"]
        {
            assert_eq!(text.parse::<Listen>(), Err(ListenError::Address), "{text}");
        }
        for text in ["unix:", "unix:relative", &format!("unix:/{}", "x".repeat(107))] {
            assert_eq!(text.parse::<Listen>(), Err(ListenError::Path), "{text}");
        }
        for text in [
            "127.0.0.1:1?",
            "127.0.0.1:1?proxy",
            "127.0.0.1:1?mode=0600",
            "unix:/x?mode=9",
            "unix:/x?mode=1777",
            "unix:/x?mode=+60",
            "unix:/x?proxy_protocol",
        ] {
            let error = text.parse::<Listen>();
            assert!(matches!(error, Err(ListenError::Option { .. })), "{text}");
        }
    }

    #[test]
    fn local_is_what_no_other_machine_reaches() {
        for (text, expected) in [
            ("127.0.0.2:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/x", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().is_local(), expected, "{text}");
        }
    }
}
