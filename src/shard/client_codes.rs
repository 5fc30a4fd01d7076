//! What a client of the protocol is told of what its shard could not do.

use crate::handler::{AskError, Cause, Closed, JoinError, PublishError, SignInError};
use crate::protocol::{DisconnectCode, ErrorCode};

/// The code by which the server has ended a connection, if it was the server.
pub(super) fn of_closed(closed: &Closed) -> Option<DisconnectCode> {
    match closed.cause {
        Cause::Peer | Cause::Vanished => None,
        _ => DisconnectCode::of(closed.code),
    }
}

/// A join was refused.
pub(super) fn of_join(error: JoinError) -> ErrorCode {
    match error {
        JoinError::ConnectionChannels => ErrorCode::LimitExceeded,
        JoinError::Name => ErrorCode::BadRequest,
        JoinError::Member => ErrorCode::AlreadySubscribed,
        // The server is full, for now: the client tries again.
        _ => ErrorCode::Internal,
    }
}

/// A question was not answered.
pub(super) fn of_ask(error: AskError) -> ErrorCode {
    match error {
        AskError::Busy => ErrorCode::TooManyRequests,
        AskError::Name => ErrorCode::BadRequest,
        // The server is full, for now: the client tries again.
        _ => ErrorCode::Internal,
    }
}

/// A publish was refused.
pub(super) fn of_publish(error: PublishError) -> ErrorCode {
    match error {
        PublishError::Full => ErrorCode::TooManyRequests,
        PublishError::Name | PublishError::TooLong => ErrorCode::BadRequest,
    }
}

/// A user's connection was not let in.
pub(super) fn of_sign_in(error: SignInError) -> DisconnectCode {
    match error {
        SignInError::Limit => DisconnectCode::ConnectionLimit,
        SignInError::User => DisconnectCode::BadRequest,
        // The server is full, for now: the client comes back.
        _ => DisconnectCode::TooManyRequests,
    }
}
