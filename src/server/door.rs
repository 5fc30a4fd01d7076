//! The control thread's end of the door through which shards hand requests over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::control::DoorEnd;
use crate::address::{OtherEnd, TrustedProxies};
use crate::control::Arrival;
use crate::limits::{ARRIVALS_SHARE, HANDOVER_BYTES_MAX};
use crate::shard::{DoorSeats, Handed, address_of};
use crate::sys::fdpass;
use crate::sys::watched::Watched;

/// One seat of the site, given back when its connection is over.
struct Seat(Arc<DoorSeats>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Takes requests from the shards to the site.
pub(super) struct Door {
    seats: Arc<DoorSeats>,
    socket: Watched<OwnedFd>,
    trusted: Arc<TrustedProxies>,
    /// Has room for every seat.
    site: mpsc::Sender<Arrival>,
}

impl Door {
    /// Within a runtime that has I/O.
    pub(super) fn new(end: DoorEnd, site: mpsc::Sender<Arrival>) -> io::Result<Self> {
        let DoorEnd { seats, socket, trusted } = end;
        Ok(Self { seats, socket: Watched::new(socket)?, trusted, site })
    }

    /// Serves until the shards are gone and the last of their requests was taken.
    pub(super) async fn serve(self, mut shards_gone: oneshot::Receiver<()>) {
        let mut buffer = vec![0; HANDOVER_BYTES_MAX].into_boxed_slice();
        loop {
            tokio::select! {
                ready = self.socket.readable() => {
                    if let Err(error) = ready {
                        return tracing::error!(%error, "the door cannot be watched");
                    }
                }
                _ = &mut shards_gone => break,
            }
            loop {
                match self.take_share(&mut buffer) {
                    Ok(true) => break,
                    Ok(false) => tokio::task::yield_now().await,
                    // Its end is the server's: companions do not end before it.
                    Err(error) => return tracing::error!(?error, "the door is broken"),
                }
            }
        }
        while self.take_share(&mut buffer).is_ok_and(|is_empty| !is_empty) {}
    }

    /// Takes some of those that wait; true if nobody does any more.
    fn take_share(&self, buffer: &mut [u8]) -> Result<bool, fdpass::ReceiveError> {
        let mut sockets = Vec::with_capacity(1);
        for _ in 0..ARRIVALS_SHARE {
            match fdpass::receive(self.socket.get(), buffer, 1, &mut sockets) {
                Ok(received) => {
                    let message = &buffer[..received.payload_bytes];
                    sockets.drain(..).for_each(|socket| self.take(socket, message));
                }
                Err(fdpass::ReceiveError::Empty | fdpass::ReceiveError::Closed) => return Ok(true),
                Err(fdpass::ReceiveError::Truncated) => {
                    // Its descriptor found no room in this thread's table: the client sees a close.
                    tracing::error!("a request was lost on its way to the control thread");
                    self.seats.release();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn take(&self, socket: OwnedFd, message: &[u8]) {
        let seat = Seat(Arc::clone(&self.seats));
        let Some(Handed { proxied, bytes }) = Handed::decode(message) else {
            unreachable!("shards send what they have encoded")
        };
        let peer = address_of(socket.as_fd());
        let other_end = OtherEnd::new(Arc::clone(&self.trusted), peer, proxied);
        let arrival = Arrival { socket, other_end, bytes, seat: Box::new(seat) };
        if self.site.try_send(arrival).is_err() {
            // There is room for every seat: the site has ended before the shards.
            tracing::debug!("a request came after the end of the site");
        }
    }
}
