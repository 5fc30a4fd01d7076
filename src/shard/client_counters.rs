//! Which counter each code of the client protocol has, and each transport.

use crate::metrics::Counters;
use crate::protocol::{DisconnectCode, ErrorCode, Transport};

/// A client has connected.
pub(super) fn connected(counters: &mut Counters, transport: Transport) {
    counters.client_connects += 1;
    match transport {
        Transport::WebSocket => {}
        Transport::HttpStream => counters.client_connects_http_stream += 1,
        Transport::Sse => counters.client_connects_sse += 1,
    }
}

/// A client that had connected is gone.
pub(super) fn ended(counters: &mut Counters, transport: Transport) {
    counters.client_ends += 1;
    match transport {
        Transport::WebSocket => {}
        Transport::HttpStream => counters.client_ends_http_stream += 1,
        Transport::Sse => counters.client_ends_sse += 1,
    }
}

/// The counter of an error reply.
pub(super) fn of_error(counters: &mut Counters, code: ErrorCode) -> &mut u64 {
    match code {
        ErrorCode::Internal => &mut counters.errors_internal,
        ErrorCode::UnknownChannel => &mut counters.errors_unknown_channel,
        ErrorCode::PermissionDenied => &mut counters.errors_permission_denied,
        ErrorCode::AlreadySubscribed => &mut counters.errors_already_subscribed,
        ErrorCode::LimitExceeded => &mut counters.errors_limit_exceeded,
        ErrorCode::BadRequest => &mut counters.errors_bad_request,
        ErrorCode::NotAvailable => &mut counters.errors_not_available,
        ErrorCode::TokenExpired => &mut counters.errors_token_expired,
        ErrorCode::Expired => &mut counters.errors_expired,
        ErrorCode::TooManyRequests => &mut counters.errors_too_many_requests,
        _ => &mut counters.errors_other,
    }
}

/// The counter of a disconnect.
pub(super) fn of_disconnect(counters: &mut Counters, code: DisconnectCode) -> &mut u64 {
    match code {
        DisconnectCode::Shutdown => &mut counters.disconnects_shutdown,
        DisconnectCode::Expired => &mut counters.disconnects_expired,
        DisconnectCode::Slow => &mut counters.disconnects_slow,
        DisconnectCode::NoPong => &mut counters.disconnects_no_pong,
        DisconnectCode::TooManyRequests => &mut counters.disconnects_too_many_requests,
        DisconnectCode::InvalidToken => &mut counters.disconnects_invalid_token,
        DisconnectCode::BadRequest => &mut counters.disconnects_bad_request,
        DisconnectCode::Stale => &mut counters.disconnects_stale,
        DisconnectCode::InappropriateProtocol => &mut counters.disconnects_inappropriate_protocol,
        DisconnectCode::ConnectionLimit => &mut counters.disconnects_connection_limit,
        DisconnectCode::PermissionDenied => &mut counters.disconnects_permission_denied,
        DisconnectCode::NotAvailable => &mut counters.disconnects_not_available,
        _ => &mut counters.disconnects_other,
    }
}
