//! A connection that is read by answers of HTTP or by frames of a WebSocket.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use longwire::ws::{OpCode, Role, decode_header, encode_header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes that an answer, or a burst of frames, may have unread.
const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A socket and what was read ahead.
pub(crate) struct Wire {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// One answer of HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    #[allow(dead_code)] // one of two programs looks
    pub(crate) body: Vec<u8>,
}

fn broken(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, unread: Vec::new() })
    }

    /// Connects, and asks for a WebSocket.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> io::Result<Self> {
        let mut wire = Self::connect(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        wire.write(request.as_bytes()).await?;
        if wire.answer().await?.status != 101 {
            return Err(broken("no WebSocket"));
        }
        Ok(wire)
    }

    /// Connects, asks for a WebSocket, and begins a session on it.
    pub(crate) async fn session(address: SocketAddr) -> io::Result<Self> {
        let mut wire = Self::open(address, "/connection/websocket").await?;
        let reply = wire.ask(r#"{"id":1,"connect":{}}"#).await?;
        if !reply.starts_with(br#"{"id":1,"connect":{"#) {
            return Err(broken("no session"));
        }
        Ok(wire)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Sends one message and returns the next that comes.
    pub(crate) async fn ask(&mut self, text: &str) -> io::Result<Vec<u8>> {
        self.say(text).await?;
        self.message().await
    }

    /// Sends one message.
    pub(crate) async fn say(&mut self, text: &str) -> io::Result<()> {
        // A key of zeros masks nothing, and saves the generator the work.
        let header = encode_header(true, OpCode::Text, text.len(), Some([0; 4]));
        self.write(&[&*header, text.as_bytes()].concat()).await
    }

    /// The payload of the next frame, which is a text message.
    pub(crate) async fn message(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let header = decode_header(&self.unread, Role::Client);
            if let Some(header) = header.map_err(|_| broken("no frame"))? {
                let payload_bytes = usize::try_from(header.payload_bytes).expect("of 64 bits");
                let end = header.header_bytes + payload_bytes;
                if self.unread.len() >= end {
                    if header.opcode != OpCode::Text || !header.fin {
                        return Err(broken("not a text message"));
                    }
                    let payload = self.unread[header.header_bytes..end].to_vec();
                    self.unread.drain(..end);
                    return Ok(payload);
                }
            }
            self.read().await?;
        }
    }

    /// The next answer, whole.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, end)) = parse(&self.unread)? {
                self.unread.drain(..end);
                return Ok(answer);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.unread.len() > UNREAD_BYTES_MAX {
            return Err(broken("too much at a time"));
        }
        match self.socket.read_buf(&mut self.unread).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The answer at the start of `bytes`, and where it ends, if it is there.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(head_bytes) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..head_bytes]).map_err(|_| broken("no head"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| broken("no status"))?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    let start = head_bytes + 4;
    let end = start + length.unwrap_or(0);
    let body = bytes.get(start..end).map(<[u8]>::to_vec);
    Ok(body.map(|body| (Answer { status, body }, end)))
}
