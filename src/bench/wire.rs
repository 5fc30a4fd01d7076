//! Many client sockets on one ring: slots to connect, write, read and close.
//!
//! ```text
//!   open ─▶ connecting ─▶ standing ─▶ closing ─▶ free, with the next generation
//!                 ╰──── failed ────────────────▶ free
//! ```
//!
//! Invariants: a socket has at most one send in a batch, because a short one followed by another
//! would tear the stream; what the kernel did not take is kept, in order, and sent before
//! anything else; a slot is free only after the poll of its socket has ended.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::limits;
use crate::ring::{
    Completion, Operation, Piece, Received, Ring, RingError, RingSize, Token, receive,
};
use crate::sys::{dial, socket};

/// Poll results after which no new edge comes.
const ENDED: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

/// What has become of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The connection stands.
    Connected(u32),
    /// It does not; the errno says why. The slot is free.
    Failed(u32, i32),
    /// There is something to receive. With `ended` the peer has finished or is gone, and no other
    /// turn says so again: whoever receives goes on until there is an end.
    Readable {
        /// The slot.
        slot: u32,
        /// Whether the end is behind what can be received.
        ended: bool,
    },
    /// `close` is complete: the slot is free.
    Closed(u32),
}

/// One slot.
#[derive(Default)]
struct Slot {
    socket: Option<OwnedFd>,
    /// Which life of the slot this is; tokens of earlier lives are stale.
    generation: u32,
    /// The batch of the last send.
    batch: u32,
    state: State,
    /// What the kernel did not take, while there is such.
    #[allow(clippy::box_collection)] // A slot without backlog pays one word for it.
    backlog: Option<Box<Vec<u8>>>,
}

const _: () = assert!(size_of::<Slot>() <= 32);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Connecting,
    Standing,
    Closing,
}

/// The sockets of one generator.
pub(super) struct Wire {
    ring: Ring,
    target: SocketAddr,
    slots: Vec<Slot>,
    /// Taken from the ring and not yet looked at.
    completions: Vec<Completion>,
    /// The sends of the present batch, for the case that one comes back short.
    sends: Vec<(u32, Piece)>,
    /// Sockets found full in the present batch.
    full: Vec<u32>,
    /// The last of the sends, not submitted yet: more bytes for the same slot may join it.
    growing: Option<(u32, Piece)>,
    /// Number of the present batch; wraps after months.
    batch: u32,
}

impl Wire {
    /// `slot_count` free slots towards `target`.
    pub(super) fn new(target: SocketAddr, slot_count: u32) -> Result<Self, RingError> {
        let size = RingSize {
            submissions: limits::BENCH_RING_SUBMISSIONS,
            completions: slot_count
                .checked_next_power_of_two()
                .unwrap_or(limits::BENCH_RING_COMPLETIONS_MAX)
                .clamp(limits::BENCH_RING_COMPLETIONS_MIN, limits::BENCH_RING_COMPLETIONS_MAX),
        };
        Ok(Self {
            ring: Ring::new(size, limits::BENCH_ARENA_BYTES)?,
            target,
            slots: (0..slot_count).map(|_| Slot::default()).collect(),
            completions: Vec::new(),
            sends: Vec::new(),
            full: Vec::new(),
            growing: None,
            batch: 1,
        })
    }

    /// Which life of the slot this is.
    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.slots[slot as usize].generation
    }

    /// Starts to connect a free slot.
    pub(super) fn open(&mut self, slot: u32, source: Option<Ipv4Addr>) -> io::Result<()> {
        let token = self.token(Operation::Connect, slot);
        let entry = &mut self.slots[slot as usize];
        assert_eq!(entry.state, State::Free, "only a free slot is opened");
        let socket = dial::socket(self.target, source)?;
        self.ring.connect(socket.as_raw_fd(), self.target, token);
        entry.socket = Some(socket);
        entry.state = State::Connecting;
        Ok(())
    }

    /// Ends a connection, or the attempt at one. `Turn::Closed` says when the slot is free.
    pub(super) fn close(&mut self, slot: u32) -> io::Result<()> {
        let operation = match self.slots[slot as usize].state {
            State::Free | State::Closing => return Ok(()),
            State::Connecting => Operation::Connect,
            State::Standing => Operation::Readable,
        };
        if self.slots[slot as usize].batch == self.batch {
            // What was written before stands before the FIN.
            self.flush()?;
        }
        let target = self.token(operation, slot);
        let entry = &mut self.slots[slot as usize];
        if let Some(connection) = &entry.socket {
            // A connection that the server has reset is as good as shut down.
            let _ = socket::shutdown(connection, Shutdown::Both);
        }
        entry.state = State::Closing;
        entry.backlog = None;
        self.ring.cancel(target);
        Ok(())
    }

    /// Reads what is there.
    pub(super) fn receive(&self, slot: u32, buffer: &mut [u8]) -> Received {
        match &self.slots[slot as usize] {
            Slot { socket: Some(socket), state: State::Standing, .. } => {
                receive(socket.as_raw_fd(), buffer)
            }
            _ => Received::Nothing,
        }
    }

    /// Queues `bytes` behind everything queued before for this slot.
    pub(super) fn send(&mut self, slot: u32, bytes: &[u8]) -> io::Result<()> {
        let entry = &mut self.slots[slot as usize];
        if entry.state != State::Standing {
            return Ok(());
        }
        if let Some(backlog) = &mut entry.backlog {
            backlog.extend_from_slice(bytes);
            return Ok(());
        }
        if let Some((open, piece)) = self.growing
            && open == slot
            && let Some(more) = self.ring.batch().copy(&[bytes])
        {
            let whole = piece.extended_by(more).expect("copied one behind the other");
            self.growing = Some((slot, whole));
            return Ok(());
        }
        self.start(slot, bytes)
    }

    /// A new send, in a batch that has none of this slot.
    fn start(&mut self, slot: u32, bytes: &[u8]) -> io::Result<()> {
        self.submit_growing();
        if self.slots[slot as usize].batch == self.batch {
            self.flush()?;
            // The flush may have found that the kernel did not take all of the last send.
            if let Some(backlog) = &mut self.slots[slot as usize].backlog {
                backlog.extend_from_slice(bytes);
                return Ok(());
            }
        }
        let piece = if let Some(piece) = self.ring.batch().copy(&[bytes]) {
            piece
        } else {
            self.flush()?;
            self.ring.batch().copy(&[bytes]).expect("an empty arena holds the largest frame")
        };
        self.slots[slot as usize].batch = self.batch;
        self.growing = Some((slot, piece));
        Ok(())
    }

    fn submit_growing(&mut self) {
        let Some((slot, piece)) = self.growing.take() else { return };
        let token = self.token(Operation::Send, slot);
        if let Some(socket) = &self.slots[slot as usize].socket {
            self.ring.send(socket.as_raw_fd(), piece, token);
            self.sends.push((slot, piece));
        }
    }

    /// Hands all sends to the kernel and starts a new batch.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.submit_growing();
        self.enter(None)
    }

    /// From now on a wait lets more sockets come to be read together. Where the kernel cannot, each
    /// ends it, as before.
    pub(super) fn gather(&mut self) {
        let _can = self.ring.gather(limits::BENCH_GATHER_COUNT, limits::BENCH_GATHER_PERIOD);
    }

    /// Hands all sends to the kernel, waits for something to happen, `wait` at most, and appends
    /// what did to `turns`.
    pub(super) fn turn(&mut self, wait: Option<Duration>, turns: &mut Vec<Turn>) -> io::Result<()> {
        self.submit_growing();
        self.enter(wait.filter(|_| self.completions.is_empty()))?;
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.complete(&completion, turns)?;
        }
        // Sending a backlog may have collected more meanwhile.
        completions.append(&mut self.completions);
        self.completions = completions;
        Ok(())
    }

    /// One enter; then the batch's failures are read while its bytes still stand, and it goes.
    fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.ring.enter(wait)?;
        let known = self.completions.len();
        self.ring.drain(&mut self.completions)?;
        for index in known..self.completions.len() {
            let Completion { token, result, .. } = self.completions[index];
            if token.operation() == Operation::Send && self.is_present(token) {
                self.keep_unsent(token.index(), result);
            }
        }
        self.ring.recycle();
        self.sends.clear();
        self.batch = self.batch.wrapping_add(1);
        // Only now: a batch goes with an empty submission queue.
        while let Some(slot) = self.full.pop() {
            self.ask_for_room(slot);
        }
        Ok(())
    }

    /// A send came back short, or not at all: the rest waits for room.
    fn keep_unsent(&mut self, slot: u32, result: i32) {
        let sent = match result {
            ..0 if result != -libc::EAGAIN && result != -libc::ENOBUFS => {
                // The connection is broken, which its poll reports.
                return;
            }
            _ => usize::try_from(result).unwrap_or(0),
        };
        let Some(&(_, piece)) = self.sends.iter().find(|(of, _)| *of == slot) else { return };
        let rest = &self.ring.batch().bytes(piece)[sent..];
        let mut unsent = rest.to_vec();
        // What was taken from an older backlog stands before what is left of it.
        if let Some(older) = self.slots[slot as usize].backlog.take() {
            unsent.extend_from_slice(&older);
        }
        self.slots[slot as usize].backlog = Some(Box::new(unsent));
        self.full.push(slot);
    }

    fn ask_for_room(&mut self, slot: u32) {
        let token = self.token(Operation::Writable, slot);
        if let Some(socket) = &self.slots[slot as usize].socket {
            self.ring.poll_writable(socket.as_raw_fd(), token);
        }
    }

    fn complete(&mut self, completion: &Completion, turns: &mut Vec<Turn>) -> io::Result<()> {
        let &Completion { token, result, more } = completion;
        if !self.is_present(token) {
            return Ok(());
        }
        let slot = token.index();
        let state = self.slots[slot as usize].state;
        match (token.operation(), state) {
            (Operation::Connect, State::Connecting) if result < 0 => {
                self.free(slot);
                turns.push(Turn::Failed(slot, -result));
            }
            (Operation::Connect, State::Connecting) => {
                self.slots[slot as usize].state = State::Standing;
                self.poll(slot);
                turns.push(Turn::Connected(slot));
            }
            (Operation::Connect, State::Closing) => {
                self.free(slot);
                turns.push(Turn::Closed(slot));
            }
            (Operation::Readable, State::Standing) => {
                if !more {
                    self.poll(slot);
                }
                turns.push(Turn::Readable { slot, ended: result < 0 || result & ENDED != 0 });
            }
            (Operation::Readable, State::Closing) if !more => {
                self.free(slot);
                turns.push(Turn::Closed(slot));
            }
            (Operation::Writable, State::Standing) => self.send_backlog(slot)?,
            _ => {}
        }
        Ok(())
    }

    fn poll(&mut self, slot: u32) {
        let token = self.token(Operation::Readable, slot);
        if let Some(socket) = &self.slots[slot as usize].socket {
            self.ring.poll_readable(socket.as_raw_fd(), token);
        }
    }

    /// There is room: sends the start of the backlog, and asks again while there is more.
    fn send_backlog(&mut self, slot: u32) -> io::Result<()> {
        let Some(mut backlog) = self.slots[slot as usize].backlog.take() else { return Ok(()) };
        let rest = backlog.split_off(backlog.len().min(limits::BENCH_PAYLOAD_BYTES_MAX));
        self.start(slot, &backlog)?;
        if !rest.is_empty() {
            // Not joined by later bytes: those go behind the rest.
            self.submit_growing();
            let entry = &mut self.slots[slot as usize];
            match &mut entry.backlog {
                Some(unsent) => unsent.extend_from_slice(&rest),
                None => entry.backlog = Some(Box::new(rest)),
            }
            self.ask_for_room(slot);
        }
        Ok(())
    }

    fn free(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let generation = entry.generation.wrapping_add(1) & Token::GENERATION_MASK;
        *entry = Slot { generation, ..Slot::default() };
    }

    fn token(&self, operation: Operation, slot: u32) -> Token {
        Token::new(operation, self.slots[slot as usize].generation, slot)
    }

    fn is_present(&self, token: Token) -> bool {
        self.slots
            .get(token.index() as usize)
            .is_some_and(|slot| slot.generation == token.generation())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const WAIT: Option<Duration> = Some(Duration::from_millis(100));

    /// A wire with slot 0 connected, and the other end.
    fn connected() -> (Wire, TcpStream) {
        let (wire, mut peers) = all_connected(1);
        (wire, peers.remove(0))
    }

    /// A wire with `count` slots connected, and their other ends.
    fn all_connected(count: u32) -> (Wire, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut wire = Wire::new(listener.local_addr().unwrap(), count).unwrap();
        let connect = |slot| {
            wire.open(slot, None).unwrap();
            until(&mut wire, |turn| *turn == Turn::Connected(slot));
            // The poll that was queued meanwhile reaches the kernel.
            wire.flush().unwrap();
            listener.accept().unwrap().0
        };
        let peers = (0..count).map(connect).collect();
        (wire, peers)
    }

    /// Makes sends of `slot` come back short all the time.
    fn narrow(wire: &Wire, slot: usize) {
        let socket = wire.slots[slot].socket.as_ref().unwrap();
        socket::set_send_buffer(socket, 4096).unwrap();
    }

    const WORDS: u32 = 8 * 1024;

    /// The numbers of one chunk of a stream that counts.
    fn chunk_of(number: u32) -> Vec<u8> {
        (number * WORDS..(number + 1) * WORDS).flat_map(u32::to_le_bytes).collect()
    }

    /// Reads a stream that counts, but only when the sender has long filled both buffers.
    fn slow_reader(peer: TcpStream, chunks: u32) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            let mut word = [0; 4];
            let mut peer = io::BufReader::new(peer);
            for expected in 0..chunks * WORDS {
                peer.read_exact(&mut word).unwrap();
                assert_eq!(u32::from_le_bytes(word), expected);
            }
        })
    }

    fn serve(wire: &mut Wire, reader: std::thread::JoinHandle<()>) {
        let mut turns = Vec::new();
        while !reader.is_finished() {
            wire.turn(Some(Duration::from_millis(10)), &mut turns).unwrap();
        }
        reader.join().unwrap();
    }

    fn until(wire: &mut Wire, wanted: impl Fn(&Turn) -> bool) -> Turn {
        let mut turns = Vec::new();
        for _ in 0..50 {
            wire.turn(WAIT, &mut turns).unwrap();
            if let Some(turn) = turns.iter().copied().find(&wanted) {
                return turn;
            }
        }
        panic!("not among {turns:?}");
    }

    fn is_readable(turn: &Turn) -> bool {
        matches!(turn, Turn::Readable { .. })
    }

    #[test]
    fn an_end_behind_bytes_is_told_with_them() {
        let (mut wire, peer) = connected();
        let cork = socket2::SockRef::from(&peer);
        cork.set_tcp_cork(true).unwrap();
        (&peer).write_all(b"bye").unwrap();
        peer.shutdown(Shutdown::Both).unwrap();
        assert_eq!(until(&mut wire, is_readable), Turn::Readable { slot: 0, ended: true });
        let mut buffer = [0; 8];
        assert_eq!(wire.receive(0, &mut buffer), Received::Bytes(3));
        assert_eq!(wire.receive(0, &mut buffer), Received::End);
    }

    #[test]
    fn sends_of_one_turn_and_of_many_arrive_in_order() {
        let (mut wire, mut peer) = connected();
        for round in 0..50u8 {
            for part in 0..4 {
                wire.send(0, &[round, part]).unwrap();
            }
            if round % 3 == 0 {
                wire.flush().unwrap();
            }
        }
        wire.flush().unwrap();
        let mut got = [0; 400];
        peer.read_exact(&mut got).unwrap();
        let expected: Vec<u8> =
            (0..50).flat_map(|round| (0..4).flat_map(move |part| [round, part])).collect();
        assert_eq!(got.as_slice(), expected);
    }

    #[test]
    fn what_a_full_socket_does_not_take_follows_in_order() {
        const CHUNKS: u32 = 100;
        let (mut wire, peer) = connected();
        narrow(&wire, 0);
        let reader = slow_reader(peer, CHUNKS);
        let mut turns = Vec::new();
        for number in 0..CHUNKS {
            wire.send(0, &chunk_of(number)).unwrap();
            if number % 7 == 0 {
                wire.turn(Some(Duration::ZERO), &mut turns).unwrap();
            }
        }
        serve(&mut wire, reader);
    }

    #[test]
    fn a_socket_has_one_send_in_a_batch() {
        const CHUNKS: u32 = 100;
        let (mut wire, mut peers) = all_connected(2);
        narrow(&wire, 0);
        let reader = slow_reader(peers.remove(0), CHUNKS);
        for number in 0..CHUNKS {
            wire.send(0, &chunk_of(number)).unwrap();
            // Another socket in between: the next send cannot join the last.
            wire.send(1, b"x").unwrap();
        }
        serve(&mut wire, reader);
        let mut others = [0; CHUNKS as usize];
        peers[0].read_exact(&mut others).unwrap();
    }

    #[test]
    fn a_closed_slot_is_free_for_another_life() {
        let (mut wire, mut peer) = connected();
        let generation = wire.generation(0);
        wire.send(0, b"last words").unwrap();
        wire.close(0).unwrap();
        until(&mut wire, |turn| *turn == Turn::Closed(0));
        assert_ne!(wire.generation(0), generation);
        let mut words = String::new();
        peer.read_to_string(&mut words).unwrap();
        assert_eq!(words, "last words");
        wire.open(0, None).unwrap();
        until(&mut wire, |turn| matches!(turn, Turn::Connected(0) | Turn::Failed(0, _)));
    }
}
