//! One slab entry: what an idle connection costs, and the box for what only a busy one needs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::core::Core;
use super::held_back::HeldBack;
use super::output::NONE;
use super::phase::Phase;
use super::ready::Rank;
use super::set_aside::SetAside;
use super::slab::Index;
use super::wheel::{Node, Tick};
use crate::address::{Introduction, SocketPeer};
use crate::handler::Handler;
use crate::limits::HEARTBEAT_MESSAGES_MAX;
use crate::ws::Assembler;
use crate::ws::handshake::HeadScanner;

/// How the core asks for the address of a peer.
pub(super) type AddressOf = fn(BorrowedFd<'_>) -> SocketPeer;

/// One socket of this shard.
pub(super) struct Connection<S> {
    /// Open as long as the entry lives.
    pub(super) socket: OwnedFd,
    /// Which life of the slot this is; with the index it makes the connection's id and tokens.
    pub(super) serial: u32,
    /// Its place in the wheel, at the earliest of its deadlines.
    pub(super) timer: Node,
    /// When bytes last arrived; idle and handshake deadlines follow from it.
    pub(super) heard: Tick,
    /// When the next ping is due; once closing, when the patience with the peer ends.
    pub(super) due: Tick,
    /// When the application is to be called, if it has asked for that.
    pub(super) alarm: Tick,
    /// Its chain in the output of this turn.
    pub(super) chain: u32,
    /// Its route.
    pub(super) route: u16,
    /// Channels it is a member of.
    pub(super) channel_count: u16,
    pub(super) phase: Phase,
    pub(super) flags: Flags,
    /// Polls in the kernel that have not reported their end.
    pub(super) polls: u8,
    /// Pings in a row after which nothing was heard; where it is asked by message, how often the
    /// patience with it was prolonged.
    pub(super) misses: u8,
    /// One more than the number of the way on which a copy of its descriptor was sent ahead, in
    /// this attempt or one before.
    pub(super) copy: u8,
    /// What only a busy connection needs.
    pub(super) busy: Option<Box<Busy>>,
    /// The application's state, from the upgrade to the close.
    pub(super) state: Option<S>,
}

/// The idle entry is a contract: with the slab's own tag it must leave room under 96 bytes for
/// the wheel's slots and the allocator.
const _: () = assert!(size_of::<Connection<()>>() <= 64);

impl<S> AsMut<Node> for Connection<S> {
    fn as_mut(&mut self) -> &mut Node {
        &mut self.timer
    }
}

impl<S> Connection<S> {
    pub(super) fn new(socket: OwnedFd, serial: u32, now: Tick) -> Self {
        Self {
            socket,
            serial,
            timer: Node::default(),
            heard: now,
            due: now,
            alarm: now,
            chain: NONE,
            route: 0,
            channel_count: 0,
            phase: Phase::Handshake,
            flags: Flags::default(),
            polls: 0,
            misses: 0,
            copy: 0,
            busy: None,
            state: None,
        }
    }

    pub(super) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// Gives the box back when nothing in it is needed any more.
    pub(super) fn calm(&mut self) {
        if self.busy.as_ref().is_some_and(|busy| busy.is_empty()) {
            self.busy = None;
        }
    }

    pub(super) fn backlog_bytes(&self) -> usize {
        self.busy.as_ref().map_or(0, |busy| busy.backlog.len())
    }

    /// Whether it has come in: with its request answered, and its session begun where there is a
    /// heartbeat that waits for that.
    pub(super) fn rank(&self) -> Rank {
        let is_coming = self.phase == Phase::Handshake || self.flags.has(Flags::SILENT);
        if is_coming { Rank::New } else { Rank::Known }
    }
}

/// Independent facts about a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u16);

impl Flags {
    /// It stands on the ready list.
    pub(super) const READY: Self = Self(1);
    /// The peer has sent FIN: read until `recv` says so.
    pub(super) const HALF_CLOSED: Self = Self(1 << 1);
    /// Input waits until output has left; on resuming it goes on the ready list.
    pub(super) const PAUSED: Self = Self(1 << 2);
    /// A poll for room is armed.
    pub(super) const WRITE_WATCHED: Self = Self(1 << 3);
    /// The peer has sent its Close: after ours, nothing of use can come any more.
    pub(super) const PEER_CLOSED: Self = Self(1 << 4);
    /// Jobs of it are with the pool.
    pub(super) const JOBS: Self = Self(1 << 5);
    /// It was taken beyond the capacity only to be told 503.
    pub(super) const SURPLUS: Self = Self(1 << 6);
    /// The readable poll is armed.
    pub(super) const READ_WATCHED: Self = Self(1 << 7);
    /// `recv` has said that the peer's stream is over.
    pub(super) const ENDED: Self = Self(1 << 8);
    /// The peer was asked with the application's heartbeat, and has not answered.
    pub(super) const ASKED: Self = Self(1 << 9);
    /// The application has set an alarm.
    pub(super) const ALARM: Self = Self(1 << 10);
    /// Its request is for no WebSocket: it waits to be handed over, and is not read from.
    pub(super) const LEAVING: Self = Self(1 << 11);
    /// A header of the PROXY protocol is to come before its request.
    pub(super) const PROXIED: Self = Self(1 << 12);
    /// Its heartbeat has not begun. The bit of `PROXIED`, which ends with the request.
    pub(super) const SILENT: Self = Self(1 << 12);
    /// Any of those that an idle connection, which may move to another shard, does not have.
    pub(super) const STIRRED: Self = Self(
        Self::READY.0
            | Self::HALF_CLOSED.0
            | Self::PAUSED.0
            | Self::WRITE_WATCHED.0
            | Self::PEER_CLOSED.0
            | Self::JOBS.0
            | Self::SURPLUS.0
            | Self::ENDED.0
            | Self::ASKED.0
            | Self::LEAVING.0
            | Self::SILENT.0,
    );
    /// Where the number of its heartbeat stands, in three bits.
    const HEARTBEAT_SHIFT: u32 = 13;

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub(super) fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    /// The number of its heartbeat; 0 is the Ping frame.
    pub(super) fn heartbeat(self) -> u8 {
        (self.0 >> Self::HEARTBEAT_SHIFT).to_le_bytes()[0]
    }

    pub(super) fn set_heartbeat(&mut self, number: u8) {
        assert!(usize::from(number) <= HEARTBEAT_MESSAGES_MAX, "three bits");
        let others = (1 << Self::HEARTBEAT_SHIFT) - 1;
        self.0 = self.0 & others | u16::from(number) << Self::HEARTBEAT_SHIFT;
    }
}

/// State that an idle connection does not have.
#[derive(Default)]
pub(super) struct Busy {
    /// A message, or a frame, that has arrived in part.
    pub(super) assembler: Assembler,
    /// A request head that has arrived in part.
    pub(super) head: Option<Box<PartialHead>>,
    /// Output that the socket did not take.
    pub(super) backlog: Backlog,
    /// When the backlog last grew shorter.
    pub(super) moved: Tick,
    /// Deliveries that are kept back, while the application has it so.
    pub(super) held_back: Option<Box<HeldBack>>,
    /// Deliveries that wait because it is slow, of channels in which it may miss some.
    pub(super) set_aside: Option<Box<SetAside>>,
    /// Bytes of the peer's that the application keeps, as it has said.
    pub(super) held_bytes: usize,
}

impl Busy {
    /// Bytes kept for what has not arrived whole, or cannot be looked at yet.
    pub(super) fn partial_bytes(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |head| head.bytes.len());
        self.assembler.buffered_bytes() + head + self.held_bytes
    }

    fn is_empty(&self) -> bool {
        self.assembler.is_idle()
            && self.head.is_none()
            && self.backlog.is_empty()
            && self.held_back.is_none()
            && self.set_aside.is_none()
            && self.held_bytes == 0
    }
}

/// A request head that arrives in several parts, at most `HEAD_BYTES_MAX` of it.
#[derive(Default)]
pub(super) struct PartialHead {
    pub(super) scanner: HeadScanner,
    pub(super) bytes: Vec<u8>,
    /// The client that a PROXY header before it has named.
    pub(super) proxied: Option<SocketAddr>,
    /// What the control thread has said of the client, if it has brought it.
    pub(super) introduction: Option<Introduction>,
}

/// Unsent output of one connection, in order. Its bound is checked by whoever appends.
#[derive(Default)]
pub(super) struct Backlog(VecDeque<u8>);

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.0.iter().copied().collect()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// The first bytes, as far as they stand together.
    pub(super) fn head(&self) -> &[u8] {
        self.0.as_slices().0
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.0.drain(..count);
        // A peer that was slow once does not keep the memory for ever.
        if self.0.capacity() > 4 * self.0.len() + 4096 {
            self.0.shrink_to(2 * self.0.len());
        }
    }
}

impl<H: Handler> Core<H> {
    /// The socket at `index`, if there is a connection there.
    pub(crate) fn socket(&self, index: Index) -> Option<RawFd> {
        self.connections.get(index).map(|connection| connection.socket.as_raw_fd())
    }

    /// The socket at `index`, for calls that are not the ring's.
    pub(super) fn socket_ref(&self, index: Index) -> Option<BorrowedFd<'_>> {
        self.connections.get(index).map(|connection| connection.socket.as_fd())
    }
}
