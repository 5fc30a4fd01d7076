//! How a peer is asked whether it is still there.

/// What a connection is asked with, chosen at its upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Heartbeat {
    /// A Ping frame, every `Config::ping_interval` (RFC 6455 §5.5.2). Anything the peer sends is an
    /// answer; browsers answer by themselves.
    #[default]
    Ping,
    /// This text message, every `Config::message_ping_interval`. The application says when its
    /// answer came: [`Peer::answer_heartbeat`](super::Peer::answer_heartbeat).
    Text(&'static str),
    /// The same with a binary message.
    Binary(&'static [u8]),
}
