//! Sockets that come to a shard and leave it: from the accept queue, from and to other shards, and
//! to the control thread where the request is for no WebSocket.

use std::os::fd::AsFd;

use super::admission::{Admission, Passing};
use super::event_loop::{Loop, Service};
use super::handover::Passed;
use super::listeners::Newcomer;
use super::moves::Mode;
use super::way::NewWay;
use crate::address::Introduction;
use crate::handler::Handler;
use crate::limits::{ACCEPT_SHARE, HANDOVER_PAUSE, MOVE_LOOKS_SHARE, MOVE_OFFER_BYTES_MAX};
use crate::sys::{clock, fdpass};

impl<H: Handler> Loop<H> {
    /// Takes sockets out of the accept queue.
    pub(super) fn admit(&mut self) -> bool {
        self.listeners.rearm(&mut self.ring, self.core.now);
        let mut count = 0;
        while count < ACCEPT_SHARE {
            let Some(newcomer) = self.listeners.next() else { break };
            count += 1;
            if !matches!(self.service, Service::Running) {
                continue; // accepted in the race with the stop: closed by its drop
            }
            self.admit_one(newcomer);
        }
        count > 0
    }

    fn admit_one(&mut self, newcomer: Newcomer) {
        if let Admission::Pass(shard, newcomer) = self.core.admit(newcomer) {
            self.pass(shard, newcomer);
        }
    }

    /// Passes a socket to a shard where a seat is reserved for it.
    fn pass(&mut self, shard: usize, newcomer: Newcomer) {
        let (message, socket) = (Passing::message(&newcomer), newcomer.socket.as_fd());
        let sent = fdpass::send(&*self.links.pass[shard], &message, &[socket]);
        if let Err(error) = sent {
            tracing::debug!(?error, shard, "a connection could not be passed on");
            self.core.pass_failed(shard, newcomer);
        }
    }

    pub(super) fn take_passed(&mut self) -> bool {
        if !std::mem::take(&mut self.passed_ready) {
            return false;
        }
        let (mut payload, mut sockets) = ([0; MOVE_OFFER_BYTES_MAX], Vec::new());
        for _ in 0..ACCEPT_SHARE {
            let received = fdpass::receive(&self.links.passed, &mut payload, 1, &mut sockets);
            let length = match received {
                Ok(received) => received.payload_bytes,
                Err(fdpass::ReceiveError::Empty) => return true,
                Err(fdpass::ReceiveError::Truncated) => {
                    if Passing::of(payload[0]) == Passing::Moving {
                        // It is only a copy.
                        self.core.take_offer(Passing::moving_said(&payload), None, Vec::new());
                        continue;
                    }
                    // This shard's table is full: the socket is lost, its seat is not.
                    tracing::error!("a passed connection was lost: no descriptor left");
                    self.core.passed_lost(Passing::of(payload[0]));
                    continue;
                }
                Err(error) => {
                    tracing::error!(?error, "connections cannot be passed here any more");
                    self.core.counters().pass_failures += 1;
                    return true;
                }
            };
            let kind = Passing::of(payload[0]);
            if kind == Passing::Moving {
                let channels = Passing::moving_channels(&payload[..length]);
                self.core.take_offer(Passing::moving_said(&payload), sockets.pop(), channels);
                continue;
            }
            if kind == Passing::Channel {
                let (number, attempt) = Passing::channel_said(&payload[..length]);
                let way = |socket| NewWay::new(number, attempt, socket);
                self.channels.extend(sockets.drain(..).map(way));
                continue;
            }
            let introduction = Introduction::decode(&payload[1..length]);
            for socket in sockets.drain(..) {
                let proxied = kind == Passing::SeatedProxied;
                let newcomer = Newcomer { socket, proxied, introduction };
                match self.service {
                    Service::Draining { .. } | Service::Left => self.core.passed_lost(kind),
                    Service::Running if kind.has_seat() => self.core.take_passed(newcomer),
                    Service::Running => self.admit_one(newcomer),
                }
            }
        }
        self.passed_ready = true;
        true
    }

    /// Offers connections to a shard that has fewer.
    pub(super) fn offer_moves(&mut self) {
        let mut looks = MOVE_LOOKS_SHARE;
        while let Some(offer) = self.core.next_offer(&mut looks) {
            let socket = self.core.socket_ref(offer.index).expect("it was just found");
            let way = &*self.links.pass[offer.to];
            if let Err(error) = fdpass::send(way, &offer.message, &[socket]) {
                tracing::debug!(?error, to = offer.to, "a connection could not be offered");
                self.core.refused(offer.number);
                return;
            }
        }
    }

    /// Whether connections may move in this turn; and, once in a while, how busy this shard was.
    pub(super) fn allow_moves(&mut self) {
        if self.core.is_heat_due() {
            self.core.note_heat(clock::thread_cpu_time());
        }
        self.core.moves.mode = match self.service {
            Service::Running if self.unwatched.is_none() && !self.is_still() => Mode::On,
            Service::Running => Mode::Off,
            Service::Draining { .. } | Service::Left => Mode::Stopping,
        };
    }

    /// Hands requests that are for no WebSocket to the control thread.
    pub(super) fn hand_over(&mut self) {
        if !self.core.has_leavers() || self.hand_over_at.is_some_and(|at| at > self.core.now) {
            return;
        }
        self.hand_over_at = None;
        while let Some(leaver) = self.core.next_leaver() {
            let socket = self.core.socket_ref(leaver.index).expect("it lives");
            let door = self.links.door.as_ref().expect("it leaves by a door");
            let passed = match fdpass::send(&**door, &leaver.message, &[socket]) {
                Ok(()) => Passed::Gone,
                Err(fdpass::SendError::Full | fdpass::SendError::TooManyInFlight) => Passed::Full,
                Err(error) => {
                    tracing::error!(?error, "requests cannot be handed over");
                    Passed::Broken
                }
            };
            self.turn_parts().0.left(leaver, passed);
            if passed == Passed::Full {
                self.hand_over_at = Some(self.core.now + HANDOVER_PAUSE);
                return;
            }
        }
    }
}
