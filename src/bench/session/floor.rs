//! The floor of a fan-out: the same frame to as many sockets, by a plain loop.
//!
//! ```text
//!   the first thread of the run ─ frame ─▶ each thread here ─ send(2), send(2), send(2) …
//! ```
//!
//! As many threads as the generator has, for one descriptor table holds no more of them, listen
//! on one port: the kernel deals the connections to them as it does to the shards of a server, so
//! these are the same sockets. All send at once. No handshake, no queue, no batch: what is left
//! is the kernel's own share of a delivery.

use std::io::{self, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use socket2::{Domain, SockRef, Socket, Type};

use crate::bench::BenchError;
use crate::bench::share::Share;
use crate::limits;
use crate::protocol::{ClientId, ClientInfo, Format, Lineage, Publication, Push};
use crate::sys::{clock, fdtable};
use crate::ws::{OpCode, encode_message};

/// The sending threads of one run.
pub(super) struct Floor<'a> {
    address: SocketAddr,
    threads: Vec<Sender<Arc<[u8]>>>,
    cpu_ns: &'a AtomicU64,
}

/// Does `work` beside threads that accept and serve the sockets of each share.
pub(super) fn with<T>(
    shares: &[Share],
    work: impl FnOnce(&Floor<'_>) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let cpu_ns = AtomicU64::new(0);
    let missing = AtomicUsize::new(shares.iter().map(|share| share.count as usize).sum());
    // The first thread finds a port for all.
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    scope(|scope| {
        let mut floor = Floor { address, threads: Vec::new(), cpu_ns: &cpu_ns };
        for share in shares {
            let (frames, waiting) = bounded(limits::BENCH_FLOOR_FRAMES_MAX);
            let (told, listening) = bounded(1);
            let thread = Loop { frames: waiting, missing: &missing, cpu_ns: &cpu_ns };
            let address = floor.address;
            Builder::new()
                .name(format!("bare-{}", share.number))
                .stack_size(limits::BENCH_STACK_BYTES)
                .spawn_scoped(scope, move || thread.run(address, &told))?;
            floor.address = listening.recv().expect("a thread tells before it ends")?;
            floor.threads.push(frames);
        }
        // The threads end when the floor goes, and nobody can send them anything any more.
        work(&floor)
    })
}

impl Floor<'_> {
    /// Where all connections go.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has all threads send what a server would deliver of this publication. Where one is so far
    /// behind that it has no room, its receivers find a copy missing.
    pub(super) fn publish(&self, format: Format, user: &str, channel: &str, data: &str) {
        let frame: Arc<[u8]> = frame(format, user, channel, data).into();
        for thread in &self.threads {
            let _full = thread.try_send(Arc::clone(&frame));
        }
    }

    /// CPU time of all sending so far.
    pub(super) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }
}

/// The frame that a server sends to each member: the publisher is named in it, too.
fn frame(format: Format, user: &str, channel: &str, data: &str) -> Vec<u8> {
    let client = ClientId { random: u64::MAX, lineage: Lineage::new(u64::MAX) };
    let info = Some(ClientInfo::of(user, client));
    let publication = Publication { data: data.as_bytes(), info, ..Publication::default() };
    let mut payload = Vec::new();
    format.write_push(&mut payload, channel, &Push::Publication(publication));
    let mut frame = Vec::new();
    let opcode = match format {
        Format::Json => OpCode::Text,
        Format::Protobuf => OpCode::Binary,
    };
    encode_message(&mut frame, opcode, &payload);
    frame
}

/// One thread.
struct Loop<'a> {
    frames: Receiver<Arc<[u8]>>,
    /// Connections of the run that no thread has accepted yet.
    missing: &'a AtomicUsize,
    cpu_ns: &'a AtomicU64,
}

impl Loop<'_> {
    fn run(&self, address: SocketAddr, told: &Sender<io::Result<SocketAddr>>) {
        let listening = fdtable::unshare().and_then(|()| listen(address));
        let (listener, address) = match listening {
            Ok((listener, address)) => (Some(listener), Ok(address)),
            Err(error) => (None, Err(error)),
        };
        // Who asked waits for it, or has failed and needs it no more.
        let _gone = told.send(address);
        if let Some(listener) = listener {
            self.serve(&listener);
        }
    }

    fn serve(&self, listener: &TcpListener) {
        let mut streams = Vec::new();
        let Some(first) = self.accept_all(listener, &mut streams) else { return };
        self.send(&first, &streams);
        for frame in &self.frames {
            self.send(&frame, &streams);
        }
    }

    /// Accepts what the kernel deals to this thread until all connections of the run are somewhere,
    /// or the first frame comes. `None`: the run is over.
    fn accept_all(
        &self,
        listener: &TcpListener,
        streams: &mut Vec<TcpStream>,
    ) -> Option<Arc<[u8]>> {
        while self.missing.load(Ordering::Relaxed) > 0 {
            match self.frames.try_recv() {
                Ok(frame) => return Some(frame),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    streams.push(stream);
                    self.missing.fetch_sub(1, Ordering::Relaxed);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // Those that cannot be accepted will miss what is sent, and are counted there.
                Err(_) => break,
            }
        }
        self.frames.recv().ok()
    }

    fn send(&self, frame: &[u8], streams: &[TcpStream]) {
        let before = clock::thread_cpu_time();
        for mut stream in streams {
            // Whoever is gone, or has not read for long, is counted where the copy is missing.
            let _missing = stream.write_all(frame);
        }
        let taken = clock::thread_cpu_time().saturating_sub(before);
        let taken_ns = u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_ns.fetch_add(taken_ns, Ordering::Relaxed);
    }
}

/// A listener whose sockets are as those of a server: they send at once, and do not wait for ever.
fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    // All three are handed down to what is accepted.
    socket.set_tcp_nodelay(true)?;
    socket.set_write_timeout(Some(limits::BENCH_FLOOR_STALL))?;
    SockRef::from(&socket).set_read_timeout(Some(limits::BENCH_WATCH_INTERVAL))?;
    socket.listen(limits::BENCH_OPENING_RATED_MAX.cast_signed())?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::super::parcel::Parcel;
    use super::super::words::{Told, Words};
    use super::*;
    use crate::ws::{Assembler, Event, MessageLimits, Role};

    #[test]
    fn the_frame_is_one_that_a_member_reads() {
        let data = Parcel { number: 3, at: Duration::from_secs(1) }.write(64);
        for format in [Format::Json, Format::Protobuf] {
            let mut frame = frame(format, "ann", "bench-0", &data);
            let limits = MessageLimits::for_message_bytes(1024);
            let mut assembler = Assembler::default();
            let step = assembler.next(Role::Client, &limits, &mut frame).unwrap();
            let Some(Event::Message { payload, .. }) = step.event else { panic!("a message") };
            // As a server names the publisher, in as many bytes.
            assert!(payload.windows(3).any(|part| part == b"ann"), "{payload:?}");
            let told: Vec<Told<'_>> = Words::new(format, payload).collect();
            let [Told::Publication(publication)] = told[..] else { panic!("{told:?}") };
            assert_eq!(publication.data, data.as_bytes());
        }
    }
}
