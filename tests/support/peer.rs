//! Both ends of a test through the real ring: a server whose handler does what it is told and
//! keeps a record, and a client of std's `TcpStream` and longwire's own `ws` in the client role.
//!
//! A text message that begins with `!` is an order to the handler, anything else is echoed:
//! `!flood COUNT BYTES` sends binary messages, `!join CHANNEL` and `!publish CHANNEL NUMBER BYTES` do what
//! they say and are answered `joined`, or not at all, `!enter CHANNEL POLICY` joins a channel in which
//! a slow reader may miss the `oldest`, or all but the `latest`, `!leave CHANNEL` leaves one, `!stall MILLISECONDS` holds the loop, and
//! `!close CODE REASON` closes.

#![allow(dead_code, reason = "each test uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use longwire::ws::encode::encode_masked_close;
use longwire::ws::handshake::{
    HeadScanner, ResponseHead, check_response, client_key, write_request,
};
use longwire::ws::{
    Assembler, Event, MessageKind, MessageLimits, OpCode, Role, encode_header, mask,
};
use longwire::{
    Asked, Cause, Closed, Config, Entered, Entry, Handler, Limits, Message, Overflow, Peer,
    Request, Route, Routes, Running, Server, Shard, Snapshot, Upgrade,
};
use socket2::{Domain, SockRef, Socket, Type};

/// What nothing here takes unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The key of all frames. That it should not be guessed protects proxies, of which there are none.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What the handlers of one server have seen.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) opened: u64,
    /// Kind and length of each message that was handed on.
    pub(crate) messages: Vec<(MessageKind, usize)>,
    /// Sends that were refused.
    pub(crate) sends_refused: u64,
    /// Each end that was told, with the number of its connection in the order of opening.
    pub(crate) closed: Vec<(u64, Closed)>,
}

/// A handler that echoes, obeys and keeps a record.
pub(crate) struct Actor {
    record: Arc<Mutex<Record>>,
    routes: fn() -> Routes,
}

impl Handler for Actor {
    type Connection = u64;

    fn routes(&mut self) -> Routes {
        (self.routes)()
    }

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<u64> {
        Upgrade::accept(0)
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        let mut record = self.record.lock().unwrap();
        record.opened += 1;
        *peer.state().expect("it is open") = record.opened;
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        self.record.lock().unwrap().messages.push((message.kind(), message.payload().len()));
        match message.as_text().and_then(|text| text.strip_prefix('!')) {
            Some(order) => self.obey(peer, order),
            None => self.send(peer, message),
        }
    }

    fn close(&mut self, _shard: &mut Shard<'_, Self>, number: u64, closed: &Closed) {
        self.record.lock().unwrap().closed.push((number, closed.clone()));
    }
}

impl Actor {
    fn send(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        if peer.send(message).is_err() {
            self.record.lock().unwrap().sends_refused += 1;
        }
    }

    fn obey(&mut self, peer: &mut Peer<'_, Self>, order: &str) {
        let words: Vec<_> = order.split(' ').collect();
        match words[..] {
            ["flood", count, bytes] => {
                for number in 0..count.parse().unwrap() {
                    let payload = payload(number, bytes.parse().unwrap());
                    self.send(peer, Message::binary(&payload));
                }
            }
            ["join", channel] => {
                peer.join(channel).unwrap();
                self.send(peer, Message::text("joined"));
            }
            ["enter", channel, policy] => {
                let overflow = match policy {
                    "latest" => Overflow::Latest,
                    "oldest" => Overflow::DropOldest,
                    _ => panic!("no such policy: {policy}"),
                };
                let entered = peer.enter(channel, Entry { overflow, ..Entry::default() });
                assert_eq!(entered, Ok(Asked::Done(Entered::default())), "a shard alone is home");
                self.send(peer, Message::text("joined"));
            }
            ["leave", channel] => {
                assert!(peer.leave(channel));
                self.send(peer, Message::text("left"));
            }
            ["publish", channel, number, bytes] => {
                let payload = payload(number.parse().unwrap(), bytes.parse().unwrap());
                peer.publish(channel, Message::binary(&payload)).unwrap();
            }
            ["stall", milliseconds] => {
                std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap()));
            }
            ["close", code, ref reason @ ..] => {
                peer.close(code.parse().unwrap(), &reason.join(" "));
            }
            _ => panic!("no such order: {order}"),
        }
    }
}

/// Bytes that say whose they are and in which place: another message's, or the same ones shifted
/// by a few bytes, are not equal. They are also text, and no order.
pub(crate) fn payload(number: usize, bytes: usize) -> Vec<u8> {
    const PERIOD: usize = 89 * 7 + 3;
    let pattern: Vec<u8> = (0..PERIOD)
        .map(|place| b'#' + u8::try_from((place * 7 + place / 89 + number) % 89).unwrap())
        .collect();
    let mut payload = pattern.repeat(bytes / PERIOD + 1);
    payload.truncate(bytes);
    payload
}

/// A server and what its handlers have seen.
pub(crate) struct Scene {
    pub(crate) server: Running,
    record: Arc<Mutex<Record>>,
}

/// One shard, room for a hundred, no heartbeat that would stand between what a test sends.
pub(crate) fn config() -> Config {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap());
    config.shards = Some(1);
    config.max_connections = Some(100);
    config.ping_interval = None;
    // Busy machines are slow: only who is meant to time out does.
    config.handshake_timeout = PATIENCE;
    config.write_timeout = PATIENCE;
    config.close_timeout = PATIENCE;
    config
}

/// One route for all paths, with room for messages of up to a mebibyte.
pub(crate) fn roomy() -> Routes {
    let limits = Limits { message_bytes_max: 1 << 20, ..Limits::default() };
    Routes::new().route(Route::new("/*").limits(limits))
}

impl Scene {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_routes(config, roomy)
    }

    pub(crate) fn with_routes(config: Config, routes: fn() -> Routes) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let shared = Arc::clone(&record);
        let make = move |_shard| Actor { record: Arc::clone(&shared), routes };
        Self { server: Server::start(config, make).unwrap(), record }
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.server.snapshot().expect("it runs")
    }

    /// Looks at the server until it is in this state.
    pub(crate) fn wait_until(&self, mut reached: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let snapshot = self.snapshot();
            if reached(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "never reached: {snapshot:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until every connection is gone, and checks that nothing of them is left.
    pub(crate) fn wait_until_empty(&self) -> Snapshot {
        let last = self.wait_until(|now| now.connections == 0);
        assert_eq!(last.counters.released, last.counters.accepted, "a slot for every socket");
        assert_eq!((last.open, last.backlog_bytes, last.partial_bytes), (0, 0, 0));
        let record = self.record();
        let mut numbers: Vec<_> = record.closed.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let opened: Vec<_> = (1..=record.opened).collect();
        assert_eq!(numbers, opened, "`close` is called once for every `open`");
        assert_eq!(last.counters.handler_panics, 0);
        last
    }

    /// The end of the connection that was closed last.
    pub(crate) fn last_end(&self) -> (Cause, u16, String) {
        let record = self.record();
        let (_, closed) = record.closed.last().expect("one was closed");
        (closed.cause, closed.code, closed.reason.to_string())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        set_up(&stream);
        stream
    }

    /// A connection whose socket buffers are as small as this.
    pub(crate) fn connect_small(&self, buffer_bytes: usize) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(buffer_bytes).unwrap();
        socket.set_send_buffer_size(buffer_bytes).unwrap();
        socket.connect(&self.address().into()).unwrap();
        let stream = socket.into();
        set_up(&stream);
        stream
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(self.connect(), "/")
    }

    pub(crate) fn small_client(&self, buffer_bytes: usize) -> Client {
        Client::open(self.connect_small(buffer_bytes), "/")
    }
}

fn set_up(stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// What a client hears from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    /// The server's FIN.
    End,
    /// A reset.
    Reset,
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message { kind: MessageKind::Text, payload } => {
                Self::Text(String::from_utf8(payload.to_vec()).unwrap())
            }
            Event::Message { kind: MessageKind::Binary, payload } => Self::Binary(payload.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(reason) => {
                Self::Close(reason.map(|reason| (reason.code, reason.reason.to_owned())))
            }
        }
    }
}

/// One open WebSocket, in the client role.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    assembler: Assembler,
    bytes: Box<[u8]>,
    unread: std::ops::Range<usize>,
}

/// An opening handshake for `path`, as it should be.
pub(crate) fn request(path: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write_request(&mut request, "127.0.0.1", path, &client_key([7; 16]), &[], []).unwrap();
    request
}

impl Client {
    /// Asks for a WebSocket and waits for the 101.
    pub(crate) fn open(mut stream: TcpStream, path: &str) -> Self {
        stream.write_all(&request(path)).unwrap();
        Self::asked(stream)
    }

    /// The same for a stream on which the request was written already.
    pub(crate) fn asked(mut stream: TcpStream) -> Self {
        let mut bytes = vec![0; 64 * 1024].into_boxed_slice();
        let mut filled = 0;
        let mut scanner = HeadScanner::default();
        let end = loop {
            let count = read(&mut stream, &mut bytes[filled..]).unwrap();
            assert_ne!(count, 0, "closed before the 101: {}", bytes[..filled].escape_ascii());
            filled += count;
            if let Some(end) = scanner.scan(&bytes[..filled]).unwrap() {
                break end;
            }
        };
        let head = ResponseHead::parse(&bytes[..end]).unwrap();
        check_response(&head, &client_key([7; 16]), &[]).unwrap();
        Self { stream, assembler: Assembler::new(), bytes, unread: end..filled }
    }

    /// Writes these bytes; false if the server is gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn text(&mut self, text: &str) {
        assert!(self.write(&frame(true, OpCode::Text, text.as_bytes())));
    }

    pub(crate) fn binary(&mut self, payload: &[u8]) {
        assert!(self.write(&frame(true, OpCode::Binary, payload)));
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let mut frame = Vec::new();
        encode_masked_close(&mut frame, code, reason, KEY);
        assert!(self.write(&frame));
    }

    /// The next of what the server says.
    pub(crate) fn next(&mut self) -> Heard {
        let limits = MessageLimits::for_message_bytes(1 << 24);
        loop {
            let unread = &mut self.bytes[self.unread.clone()];
            let step = self.assembler.next(Role::Client, &limits, unread).unwrap();
            self.unread.start += step.consumed;
            if let Some(event) = step.event {
                return event.into();
            }
            match read(&mut self.stream, &mut self.bytes) {
                Ok(0) => return Heard::End,
                Ok(count) => self.unread = 0..count,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Heard::Reset,
                Err(error) => panic!("nothing was heard: {error}"),
            }
        }
    }

    /// Ends our half: FIN, behind all that was written.
    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Vanishes with a reset.
    pub(crate) fn reset(self) {
        reset(self.stream);
    }
}

/// Reads on where a signal interrupted it: the kernel does not, for a socket with a timeout.
fn read(stream: &mut TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Closes a socket so that the server gets a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// One masked frame.
pub(crate) fn frame(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut frame = encode_header(fin, opcode, payload.len(), Some(KEY)).to_vec();
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask(&mut frame[start..], KEY, 0);
    frame
}

/// A message in fragments of at most `fragment_bytes`; an empty one in a single frame.
pub(crate) fn fragments(opcode: OpCode, payload: &[u8], fragment_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = payload;
    let mut opcode = opcode;
    loop {
        let (fragment, behind) = rest.split_at(rest.len().min(fragment_bytes));
        bytes.extend(frame(behind.is_empty(), opcode, fragment));
        if behind.is_empty() {
            return bytes;
        }
        (rest, opcode) = (behind, OpCode::Continuation);
    }
}
