//! Requests that are for no WebSocket, on their way to the control thread.
//!
//! ```text
//!   whole head, no route ─▶ seat? ─no─▶ 503
//!                             └─yes─▶ queue ─▶ door (SCM_RIGHTS) ─▶ slot released, no shutdown
//! ```
//!
//! A message is what a PROXY header said and all bytes that were read behind it, so that nothing
//! of the request is lost. Invariants: a connection in the queue is not read from, and stands in
//! its slot with the handshake's deadline; a seat is taken before the queue and goes with the
//! message.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use super::connection::Flags;
use super::core::{Core, Effect, Turn};
use super::phase::Phase;
use super::seats::reserve;
use super::slab::Index;
use crate::handler::Handler;
use crate::limits::{HANDOVER_BYTES_MAX, HANDOVER_HEAD_BYTES};
use crate::ws::handshake::Refusal;

/// Connections that the control thread may have, counted where they come from.
#[derive(Debug)]
pub(crate) struct DoorSeats {
    taken: AtomicU32,
    max: u32,
}

impl DoorSeats {
    pub(crate) fn new(max: u32) -> Self {
        Self { taken: AtomicU32::new(0), max }
    }

    pub(crate) fn max(&self) -> u32 {
        self.max
    }

    fn reserve(&self) -> bool {
        reserve(&self.taken, self.max)
    }

    pub(crate) fn release(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a seat is given back once");
    }
}

/// One request: what stood in front of it, and what has been read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handed {
    /// The client that a PROXY header has named.
    pub(crate) proxied: Option<SocketAddr>,
    /// The head, and what came with it.
    pub(crate) bytes: Vec<u8>,
}

impl Handed {
    /// Its serial form: whether there is an address, the address, the port, the bytes.
    pub(crate) fn encode(proxied: Option<SocketAddr>, parts: &[&[u8]]) -> Vec<u8> {
        let ip = proxied.map_or(Ipv6Addr::UNSPECIFIED, |client| match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        });
        let port = proxied.map_or(0, |client| client.port());
        let mut message = vec![u8::from(proxied.is_some())];
        message.extend_from_slice(&ip.octets());
        message.extend_from_slice(&port.to_be_bytes());
        for part in parts {
            message.extend_from_slice(part);
        }
        message
    }

    /// Reads the serial form; `None` if it is none.
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let (&known, rest) = message.split_first()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let (port, bytes) = rest.split_first_chunk::<2>()?;
        let client = SocketAddr::new(
            IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical(),
            u16::from_be_bytes(*port),
        );
        Some(Self { proxied: (known == 1).then_some(client), bytes: bytes.to_vec() })
    }
}

const _: () = assert!(HANDOVER_HEAD_BYTES == 1 + 16 + 2);

/// A connection that waits to be handed over.
#[derive(Debug)]
pub(crate) struct Leaver {
    pub(crate) index: Index,
    serial: u32,
    /// In its serial form.
    pub(crate) message: Vec<u8>,
}

/// What the loop is told when it has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It is on its way.
    Gone,
    /// The control thread is behind: the next turn tries again.
    Full,
    /// The way is broken.
    Broken,
}

impl<H: Handler> Core<H> {
    /// Whether connections wait to be handed over.
    pub(crate) fn has_leavers(&self) -> bool {
        !self.leavers.is_empty()
    }

    /// The first connection that waits and still lives.
    pub(crate) fn next_leaver(&mut self) -> Option<Leaver> {
        while let Some(leaver) = self.leavers.pop_front() {
            self.partial_bytes -= leaver.message.len();
            let waits = self.living(leaver.index, leaver.serial);
            if waits.is_some_and(|one| one.phase == Phase::Handshake) {
                return Some(leaver);
            }
            self.give_back_seat();
        }
        None
    }

    fn give_back_seat(&self) {
        self.settings.door.as_ref().expect("a seat was taken there").release();
    }
}

impl<H: Handler> Turn<'_, H> {
    /// A whole request that is for no WebSocket: it waits to be handed over, or hears 503.
    pub(super) fn leave(&mut self, index: Index, proxied: Option<SocketAddr>, parts: &[&[u8]]) {
        let core = &mut *self.core;
        let seats = core.settings.door.as_ref().expect("only with a door");
        let bytes = HANDOVER_HEAD_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
        let has_room = core.partial_bytes + bytes <= core.settings.partial_bytes_max;
        if bytes > HANDOVER_BYTES_MAX || !has_room || !seats.reserve() {
            core.counters.http_refused_full += 1;
            return self.refuse_with(index, Refusal::Full);
        }
        let connection = core.connections.get_mut(index).expect("being read");
        connection.flags.set(Flags::LEAVING);
        let message = Handed::encode(proxied, parts);
        let leaver = Leaver { index, serial: connection.serial, message };
        core.partial_bytes += leaver.message.len();
        core.leavers.push_back(leaver);
    }

    /// What became of a connection that was to be handed over.
    pub(crate) fn left(&mut self, leaver: Leaver, passed: Passed) {
        let index = leaver.index;
        match passed {
            Passed::Gone => {
                self.core.counters.http_handed_over += 1;
                self.detach(index);
            }
            Passed::Full => {
                self.core.partial_bytes += leaver.message.len();
                self.core.leavers.push_front(leaver);
            }
            Passed::Broken => {
                self.core.counters.http_refused_full += 1;
                self.core.give_back_seat();
                self.refuse_with(index, Refusal::Full);
            }
        }
    }

    /// The socket is somebody else's now: gives up the slot and leaves the connection as it is.
    fn detach(&mut self, index: Index) {
        self.retire_with(index, Effect::Detach(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_back() {
        for proxied in [None, Some("192.0.2.7:80"), Some("[2001:db8::1]:65535"), Some("0.0.0.0:0")]
        {
            let proxied = proxied.map(|client| client.parse().unwrap());
            for parts in [&[&b""[..]][..], &[b"GET / HTTP/1.1\r\n\r\n", b"body"]] {
                let message = Handed::encode(proxied, parts);
                let expected = Handed { proxied, bytes: parts.concat() };
                assert_eq!(Handed::decode(&message), Some(expected));
                for cut in 0..HANDOVER_HEAD_BYTES {
                    assert_eq!(Handed::decode(&message[..cut]), None);
                }
            }
        }
    }

    #[test]
    fn seats_are_bounded_and_come_back() {
        let seats = DoorSeats::new(2);
        assert_eq!([seats.reserve(), seats.reserve(), seats.reserve()], [true, true, false]);
        seats.release();
        assert_eq!([seats.reserve(), seats.reserve()], [true, false]);
    }
}
