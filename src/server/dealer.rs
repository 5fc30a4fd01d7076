//! Sockets of the control thread, dealt to the shards in turn.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::control::Introduced;
use crate::limits::DEAL_PAUSE;
use crate::shard::Passing;
use crate::sys::fdpass;

/// Knows the ways to the shards, and whose turn it is.
#[derive(Debug)]
pub(super) struct Dealer {
    shards: Vec<Arc<OwnedFd>>,
    turn: usize,
}

impl Dealer {
    pub(super) fn new(shards: Vec<Arc<OwnedFd>>) -> Self {
        Self { shards, turn: 0 }
    }

    /// Gives one socket, with what is said of it, to the next shard that takes it; waits while
    /// none does.
    pub(super) async fn deal(&mut self, socket: &OwnedFd, message: &[u8]) {
        loop {
            for _ in 0..self.shards.len() {
                let shard = &self.shards[self.turn % self.shards.len()];
                self.turn += 1;
                match fdpass::send(&**shard, message, &[socket.as_fd()]) {
                    Ok(()) => return,
                    Err(fdpass::SendError::Full | fdpass::SendError::TooManyInFlight) => {}
                    Err(error) => tracing::error!(?error, "a shard takes no sockets any more"),
                }
            }
            tokio::time::sleep(DEAL_PAUSE).await;
        }
    }

    /// Deals the connections that are made for clients over HTTP, until nobody makes any.
    pub(super) async fn introduce(mut self, mut introduced: mpsc::Receiver<Introduced>) {
        while let Some(Introduced { socket, introduction }) = introduced.recv().await {
            self.deal(&socket, &Passing::introducing(&introduction)).await;
        }
    }
}
