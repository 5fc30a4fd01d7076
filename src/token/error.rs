//! What can be wrong with a token.

use serde::{Deserialize, Serialize};

/// Why a token does not let its bearer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TokenError {
    /// It is longer than any is.
    TooLong,
    /// The server has no key.
    NoKey,
    /// It is no JWT.
    Malformed,
    /// It is signed in a way that is not served, or not at all.
    Algorithm,
    /// It asks for an extension of JWS, of which there is none here.
    Critical,
    /// No key of the server's has signed it.
    Signature,
    /// It names a key that nobody has.
    UnknownKey,
    /// It cannot be checked now: the place where the keys are cannot be reached, or too many
    /// others wait.
    Unavailable,
    /// It was revoked.
    Revoked,
    /// A claim is of another type than it should be, or they are no JSON object.
    Claims,
    /// It is a subscription token.
    Channel,
    /// It is for other servers.
    Audience,
    /// It is from somebody else.
    Issuer,
    /// The user's id is too long.
    UserTooLong,
    /// Its own name is too long.
    IdTooLong,
    /// What it says of the connection is too long.
    InfoTooLong,
    /// What it says of the connection cannot be said to others in the client's format.
    InfoNotJson,
    /// It is of another user than this connection.
    OtherUser,
    /// It is of another client than this one.
    OtherClient,
    /// It is of another channel than the one that is asked for.
    OtherChannel,
    /// It names a channel that there cannot be, or none where it has to.
    ChannelName,
    /// Its channels are others than those of the token that the client has connected with.
    OtherChannels,
    /// It is not valid any more, or not yet.
    Expired,
}

impl TokenError {
    /// The same in words, as the client is told.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoKey => "invalid token: this server has no key to verify tokens with",
            Self::TooLong => "invalid token: it is too long",
            Self::Malformed => "invalid token: it is no JWT",
            Self::Algorithm => "invalid token: there is no key of its algorithm here",
            Self::Critical => "invalid token: this server knows no critical header",
            Self::Signature => "invalid token: the signature is wrong",
            Self::UnknownKey => "invalid token: nobody knows its key",
            Self::Unavailable => "internal server error: the token cannot be checked now",
            Self::Revoked => "invalid token: it was revoked",
            Self::Claims => "invalid token: a claim is not of its type",
            Self::Channel => "invalid token: it is for a subscription",
            Self::Audience => "invalid token: the audience is another",
            Self::Issuer => "invalid token: the issuer is another",
            Self::UserTooLong => "invalid token: the user id is too long",
            Self::IdTooLong => "invalid token: its id is too long",
            Self::InfoTooLong => "invalid token: the info is too long",
            Self::InfoNotJson => "invalid token: b64info or b64data is no JSON",
            Self::OtherUser => "invalid token: the user is another",
            Self::OtherClient => "invalid token: the client is another",
            Self::OtherChannel => "invalid token: the channel is another",
            Self::ChannelName => "invalid token: a channel's name has 1 to 255 bytes",
            Self::OtherChannels => "insufficient state: the token is for other channels",
            Self::Expired => "connection expired",
        }
    }
}
