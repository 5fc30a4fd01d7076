//! The numbers that tell a client what happened: errors (7), ends of subscriptions (8) and ends
//! of connections (9).
//!
//! A client decides by the number whether it comes back: errors by their `temporary`, ends of
//! subscriptions from 2500 on, ends of connections unless they lie in 3500…3999 or 4500…4999.

use std::fmt;

macro_rules! codes {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $text:literal;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum $name {
            $($(#[doc = $doc])+ $variant = $code,)+
        }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The one with this number.
            pub fn of(code: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.code() == code)
            }

            /// The number on the wire.
            pub fn code(self) -> u16 {
                self as u16
            }

            /// The words that go with it: never empty, plain ASCII, no JSON.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{} {}", self.code(), self.text())
            }
        }
    };
}

codes! {
    /// Why a command failed (7). Numbers from 400 to 1999 are the application's.
    ErrorCode {
        /// The server could not do it now.
        Internal = 100, "internal server error";
        /// The connection must be authorised first.
        Unauthorized = 101, "unauthorized";
        /// The channel's namespace is not configured.
        UnknownChannel = 102, "unknown channel";
        /// The client may not do this.
        PermissionDenied = 103, "permission denied";
        /// No such method.
        MethodNotFound = 104, "method not found";
        /// The client is in the channel, or about to be.
        AlreadySubscribed = 105, "already subscribed";
        /// A limit of the connection is reached.
        LimitExceeded = 106, "limit exceeded";
        /// The command makes no sense.
        BadRequest = 107, "bad request";
        /// The feature is switched off for this channel.
        NotAvailable = 108, "not available";
        /// The token has expired; the client may bring a new one.
        TokenExpired = 109, "token expired";
        /// The connection or subscription has expired.
        Expired = 110, "expired";
        /// Too much at once: again later.
        TooManyRequests = 111, "too many requests";
        /// What was missed cannot be recovered from this position.
        UnrecoverablePosition = 112, "unrecoverable position";
        /// The pages changed while they were read.
        ConcurrentPagination = 113, "concurrent pagination";
    }
}

codes! {
    /// Why the server ended a subscription (8). From 2500 on, the client subscribes again.
    UnsubscribeCode {
        /// The server's API did it.
        Server = 2000, "server unsubscribe";
        /// Publications were lost on the way to this client.
        InsufficientState = 2500, "insufficient state";
        /// The subscription has expired.
        Expired = 2501, "subscription expired";
        /// What the client holds of the channel is not valid any more.
        StateInvalidated = 2502, "state invalidated";
    }
}

codes! {
    /// Why the server ended a connection (9): the code of the Close frame.
    DisconnectCode {
        /// The server stops.
        Shutdown = 3001, "shutdown";
        /// The server has a fault.
        Internal = 3004, "internal server error";
        /// The connection has expired.
        Expired = 3005, "connection expired";
        /// A server-side subscription has expired.
        SubscriptionExpired = 3006, "subscription expired";
        /// The client does not read as fast as it is sent to.
        Slow = 3008, "slow";
        /// The client could not be written to.
        WriteError = 3009, "write error";
        /// Publications were lost on the way to this client.
        InsufficientState = 3010, "insufficient state";
        /// The server wants the client to connect again.
        ForceReconnect = 3011, "force reconnect";
        /// A ping was not answered.
        NoPong = 3012, "no pong";
        /// Too much at once.
        TooManyRequests = 3013, "too many requests";
        /// What the client holds of the connection is not valid any more.
        StateInvalidated = 3014, "state invalidated";
        /// The token is not valid, or cannot be verified.
        InvalidToken = 3500, "invalid token";
        /// The client breaks the protocol.
        BadRequest = 3501, "bad request";
        /// The client did not connect in time.
        Stale = 3502, "stale";
        /// The server's API did it.
        ForceDisconnect = 3503, "force disconnect";
        /// The user has as many connections as one may have.
        ConnectionLimit = 3504, "connection limit";
        /// The connection has as many server-side subscriptions as one may have.
        ChannelLimit = 3505, "channel limit";
        /// A publication cannot be said in the format of this connection.
        InappropriateProtocol = 3506, "inappropriate protocol";
        /// The client may not connect.
        PermissionDenied = 3507, "permission denied";
        /// The command is not served here.
        NotAvailable = 3508, "not available";
        /// The client makes too many errors.
        TooManyErrors = 3509, "too many errors";
    }
}

impl ErrorCode {
    /// Whether the same command may succeed later.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests | Self::ConcurrentPagination)
    }
}

impl DisconnectCode {
    /// Whether a client connects again by itself (the rule of every SDK).
    pub fn is_terminal(self) -> bool {
        is_terminal(self.code())
    }
}

/// Whether a client that is told this code stays away, applications' codes included.
pub(super) fn is_terminal(code: u16) -> bool {
    matches!(code, 3500..4000 | 4500..5000)
}

/// An error as it stands in a reply: the code, and words that may say more than its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyError {
    /// What the client goes by.
    pub code: ErrorCode,
    /// What a person goes by.
    pub message: &'static str,
}

impl From<ErrorCode> for ReplyError {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: code.text() }
    }
}

/// The end of a connection: the code, and a reason that may say more than its own words.
///
/// The reason is ASCII and not empty: some clients connect again whatever the code if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// What the client goes by.
    pub code: DisconnectCode,
    /// What a person goes by: at most 123 bytes.
    pub reason: &'static str,
}

impl From<DisconnectCode> for Disconnect {
    fn from(code: DisconnectCode) -> Self {
        Self { code, reason: code.text() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_a_reason(text: &str) -> bool {
        !text.is_empty() && text.len() <= 123 && text.is_ascii() && !text.starts_with('{')
    }

    #[test]
    fn every_code_has_words_that_a_close_frame_can_carry() {
        for &code in DisconnectCode::ALL {
            assert_eq!(DisconnectCode::of(code.code()), Some(code));
            assert!(is_a_reason(code.text()), "{code}");
            assert!((3001..5000).contains(&code.code()), "{code}: 3000 is never on the wire");
        }
        for code in UnsubscribeCode::ALL {
            assert!(is_a_reason(code.text()), "{code}");
            assert!((2000..3000).contains(&code.code()), "{code}");
        }
        for code in ErrorCode::ALL {
            assert!(is_a_reason(code.text()), "{code}");
            assert!((100..400).contains(&code.code()), "{code}");
        }
    }

    #[test]
    fn the_codes_that_a_client_comes_back_from_are_those_of_the_reference() {
        let temporary = ErrorCode::ALL.iter().filter(|code| code.is_temporary());
        assert_eq!(temporary.map(|code| code.code()).collect::<Vec<_>>(), [100, 111, 113]);
        let back = DisconnectCode::ALL.iter().filter(|code| !code.is_terminal());
        let back: Vec<u16> = back.map(|code| code.code()).collect();
        assert_eq!(back, [3001, 3004, 3005, 3006, 3008, 3009, 3010, 3011, 3012, 3013, 3014]);
    }
}
