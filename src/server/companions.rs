//! What serves beside the main task of the control thread: the site, its door, and those who
//! accept on Unix sockets.
//!
//! Invariant: each of them goes on as long as the server does, so an end before that is a fault,
//! and [`Companions::ended`] tells of it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::control::Control;
use super::dealer::Dealer;
use super::door::Door;
use super::start::StartError;
use super::unix::UnixPlace;
use crate::control::{Ask, Site};
use crate::limits::{CONTROL_DESCRIPTORS_RESERVED, INTRODUCTIONS_MAX};
use crate::sys::rlimit;

/// The tasks, and what they are told by.
#[derive(Default)]
pub(super) struct Companions {
    tasks: JoinSet<()>,
    /// Tells the site that the server stops.
    stop: Option<watch::Sender<bool>>,
    /// Tells the door that nobody hands anything over any more.
    shards_gone: Option<oneshot::Sender<()>>,
    dealers: Vec<AbortHandle>,
    /// Those who say until the end why there is no upgrade.
    attendants: Vec<AbortHandle>,
}

impl Companions {
    /// Starts one more, within the runtime.
    pub(super) fn add(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn(task)
    }

    /// Starts the site and its door.
    pub(super) fn add_site(
        &mut self,
        mut site: Site,
        control: &mut Control,
        asks: mpsc::Sender<Ask>,
    ) -> Result<(), StartError> {
        let (stop, stopped) = watch::channel(false);
        let (shards_gone, gone) = oneshot::channel();
        // Room for every seat; none at all without a door, and the site serves its internal port.
        let door = control.door.take();
        let seat_count = door.as_ref().map_or(1, |door| door.seats.max().max(1) as usize);
        let (arrivals_in, arrivals) = mpsc::channel(seat_count);
        let door = door.map(|door| Door::new(door, arrivals_in.clone()));
        let door = door.transpose().map_err(StartError::Descriptor)?;
        site.limit_streams(streams_max(rlimit::nofile().soft, seat_count));
        let (shards, introduced) = mpsc::channel(INTRODUCTIONS_MAX);
        self.add(site.deliver());
        self.add(site.serve(arrivals, seat_count, asks, shards, stopped));
        let dealer = self.add(Dealer::new(control.pass.clone()).introduce(introduced));
        self.dealers.push(dealer);
        self.add(async move {
            match door {
                Some(door) => door.serve(gone).await,
                None => drop(gone.await),
            }
            drop(arrivals_in); // the site's sign that nobody comes any more
        });
        (self.stop, self.shards_gone) = (Some(stop), Some(shards_gone));
        Ok(())
    }

    /// Starts one that is there until the shards have ended.
    pub(super) fn add_attendant(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let attendant = self.add(task);
        self.attendants.push(attendant);
    }

    /// Starts to accept on a Unix socket.
    pub(super) fn add_dealer(&mut self, place: UnixPlace, shards: Vec<Arc<OwnedFd>>) {
        let dealer = self.add(place.deal(Dealer::new(shards)));
        self.dealers.push(dealer);
    }

    /// Tells them that the server stops: nothing is accepted any more, and the site finishes.
    pub(super) fn stop(&mut self) {
        // Their drop closes the sockets, and removes the files of those that were listened on.
        self.dealers.drain(..).for_each(|dealer| dealer.abort());
        if let Some(stop) = &self.stop {
            stop.send_replace(true);
        }
    }

    /// Tells them that the shards have ended.
    pub(super) fn shards_ended(&mut self) {
        self.shards_gone = None; // its drop says so
        self.attendants.drain(..).for_each(|attendant| attendant.abort());
    }

    /// All have ended.
    pub(super) fn is_over(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next end of one of them, by itself, by a panic or as it was told; `None` without any.
    pub(super) async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        self.tasks.join_next().await
    }
}

/// Streams for which there are descriptors of this thread beside the requests' seats: each has the
/// client's socket, and one that leads to its shard.
fn streams_max(nofile: Option<u64>, seat_count: usize) -> usize {
    let nofile = nofile.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    nofile.saturating_sub(seat_count + CONTROL_DESCRIPTORS_RESERVED) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_get_the_descriptors_that_are_left() {
        let all = CONTROL_DESCRIPTORS_RESERVED + 100 + 2 * 7;
        assert_eq!(streams_max(Some(all as u64), 100), 7);
        assert_eq!(streams_max(Some(all as u64 - 1), 100), 6);
        assert_eq!(streams_max(Some(3), 100), 0);
        assert!(streams_max(None, 100) > 1_000_000);
    }
}
