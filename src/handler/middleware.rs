//! Steps around connections: one before the upgrade, one after the close.

use std::ops::ControlFlow;

use super::{Closed, Refuse, Request};

/// One link of a chain. Each shard has its own instance; it needs no lock and no `Send`.
///
/// The steps before run from the outermost to the innermost (global ones first), the steps after
/// the other way round. A refused request sees no step after.
///
/// Steps are not told when a connection goes on in another shard, or in another process
/// ([`Handler::taken_over`](super::Handler::taken_over)): the step after is that of the shard which
/// the connection is in when it ends, whose instance may never have seen its request. What a chain
/// keeps for each connection between the two steps belongs into what all its instances share.
pub trait Middleware: 'static {
    /// Before the handler's `upgrade`; breaking refuses the request.
    fn before_upgrade(&mut self, _request: &Request<'_>) -> ControlFlow<Refuse> {
        ControlFlow::Continue(())
    }

    /// After the handler's `close`.
    fn after_close(&mut self, _connection: &ClosedConnection<'_>) {}
}

/// What is known of a connection when it is over.
#[derive(Clone, Copy, Debug)]
pub struct ClosedConnection<'a> {
    /// The pattern of its route.
    pub route: &'a str,
    /// How it ended.
    pub closed: &'a Closed,
}
