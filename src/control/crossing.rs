//! Requests of the API while another process takes over.
//!
//! ```text
//!   Here ──freeze──▶ Still ──commit──▶ There: sent on to whoever serves the address now
//!    ▲                 │
//!    └──────thaw───────┘
//! ```
//!
//! A command that has begun before the freeze is carried out here, and the freeze waits for it,
//! within a bound; one that comes later waits for the end of it. Invariants: a command is begun in
//! one process only, and never where nothing is served; who waits is bounded in number by the
//! seats, in bytes by the budget of bodies, and in time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::limits::HTTP_HELD_TIMEOUT;

/// Where requests are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// In this process.
    Here,
    /// Nowhere: everything stands still, and goes on here or in another process.
    Still,
    /// In the process that listens here now.
    There(Address),
}

/// Where the process is reached that has taken over: one of the places that this one has listened
/// on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port, and whether connections to it begin with a header of the PROXY protocol.
    Tcp(SocketAddr, bool),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What became of requests of the API that came while everything stood still, or later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrossingCounts {
    /// They waited.
    pub held: u64,
    /// They were answered by the process that has taken over.
    pub sent_on: u64,
    /// Nobody has answered them in time.
    pub lost: u64,
}

/// The side that requests are on. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Crossing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    side: watch::Sender<Side>,
    under_way: AtomicUsize,
    held: AtomicU64,
    sent_on: AtomicU64,
    lost: AtomicU64,
}

/// A request that is being carried out here, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Crossing);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Passage {
    /// It is carried out here.
    Here(UnderWay),
    /// The process there has the answer.
    There(Address),
    /// Everything has stood still for too long.
    Nowhere,
}

impl Default for Crossing {
    fn default() -> Self {
        Self(Arc::new(Shared {
            side: watch::Sender::new(Side::Here),
            under_way: AtomicUsize::new(0),
            held: AtomicU64::new(0),
            sent_on: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }))
    }
}

impl Crossing {
    /// Says where requests are carried out that begin from now on.
    pub fn set(&self, side: Side) {
        self.0.side.send_if_modified(|old| {
            let is_new = *old != side;
            if is_new {
                *old = side;
            }
            is_new
        });
    }

    /// Whether none is being carried out here.
    pub fn is_quiet(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) == 0
    }

    /// What was counted.
    pub fn counts(&self) -> CrossingCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { held, sent_on, lost, .. } = &*self.0;
        CrossingCounts { held: of(held), sent_on: of(sent_on), lost: of(lost) }
    }

    /// Whether nothing is served.
    pub(super) fn is_still(&self) -> bool {
        *self.0.side.borrow() == Side::Still
    }

    /// Whether another process serves.
    pub(super) fn is_over(&self) -> bool {
        matches!(*self.0.side.borrow(), Side::There(_))
    }

    /// Where a request goes that has come whole. Waits as long as nothing is served.
    pub(super) async fn enter(&self) -> Passage {
        if self.is_still() {
            self.0.held.fetch_add(1, Ordering::Relaxed);
            let mut sides = self.0.side.subscribe();
            let moved = sides.wait_for(|side| *side != Side::Still);
            if timeout(HTTP_HELD_TIMEOUT, moved).await.is_err() {
                self.lose(1);
                return Passage::Nowhere;
            }
        }
        // One thread serves all requests, and gives the word to stand still: nothing is between
        // the look above and the count here but what that thread does itself.
        match &*self.0.side.borrow() {
            Side::Here => {
                self.0.under_way.fetch_add(1, Ordering::Relaxed);
                Passage::Here(UnderWay(self.clone()))
            }
            Side::There(address) => Passage::There(address.clone()),
            Side::Still => Passage::Nowhere,
        }
    }

    /// One was answered by the process that has taken over.
    pub(super) fn sent_on(&self) {
        self.0.sent_on.fetch_add(1, Ordering::Relaxed);
    }

    /// So many were not answered.
    pub fn lose(&self, count: usize) {
        self.0.lost.fetch_add(count as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn there() -> Address {
        Address::Unix("/run/longwire".into())
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_nothing_is_served_goes_where_it_is_served_afterwards() {
        for (side, is_here) in [(Side::Here, true), (Side::There(there()), false)] {
            let crossing = Crossing::default();
            let Passage::Here(early) = crossing.enter().await else { panic!("it serves") };
            crossing.set(Side::Still);
            assert!(!crossing.is_quiet(), "one is being carried out");
            drop(early);
            assert!(crossing.is_quiet());
            let mut late = Box::pin(crossing.enter());
            assert!(timeout(HTTP_HELD_TIMEOUT / 2, &mut late).await.is_err(), "it waits");
            assert!(crossing.is_quiet(), "who waits has not begun");
            crossing.set(side);
            match late.await {
                Passage::Here(_under_way) => assert!(is_here && !crossing.is_quiet()),
                Passage::There(address) => assert!(!is_here && address == there()),
                Passage::Nowhere => panic!("it was in time"),
            }
            let counts = CrossingCounts { held: 1, sent_on: 0, lost: 0 };
            assert_eq!(crossing.counts(), counts);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let crossing = Crossing::default();
        crossing.set(Side::Still);
        assert!(matches!(crossing.enter().await, Passage::Nowhere));
        assert_eq!(crossing.counts(), CrossingCounts { held: 1, sent_on: 0, lost: 1 });
    }
}
