//! fastwebsockets 0.10 as an echo server at its fastest settings: the yardstick of the field.
//!
//! One thread (tokio, current thread, one task per connection outside tokio's budget), the codec
//! straight on the `TcpStream` (its own upgrade goes through hyper, which boxes the stream),
//! frames echoed as they come, no fragment collector (so UTF-8 is checked in whole messages only),
//! one write per frame.
//!
//! `cargo run --release --example fastwebsockets_echo -- --listen 127.0.0.1:9200 --cpu 0`

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastwebsockets::{Frame, OpCode, Role, WebSocket, WebSocketError};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A request head longer than this is refused by closing.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Appended to the key before it is hashed (RFC 6455 §4.2.2).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const USAGE: &str =
    "usage: fastwebsockets_echo --listen ADDRESS:PORT [--cpu N] [--writev true|false]";

#[derive(Clone, Copy)]
struct Settings {
    listen: SocketAddr,
    cpu: Option<usize>,
    /// Header and payload by one `writev` instead of a copy into one buffer.
    writev: bool,
}

fn main() -> ExitCode {
    let settings = match arguments() {
        Ok(settings) => settings,
        Err(cause) => {
            eprintln!("fastwebsockets_echo: {cause}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(id) = settings.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        eprintln!("fastwebsockets_echo: core {id} is not ours to run on");
        return ExitCode::FAILURE;
    }
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .and_then(|runtime| runtime.block_on(serve(settings)));
    match outcome {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("fastwebsockets_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Settings, String> {
    let mut words = std::env::args().skip(1);
    let (mut listen, mut cpu, mut writev) = (None, None, false);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--listen" => listen = Some(value.parse().map_err(|e| format!("{value}: {e}"))?),
            "--cpu" => cpu = Some(value.parse().map_err(|e| format!("{value}: {e}"))?),
            "--writev" => writev = value.parse().map_err(|e| format!("{value}: {e}"))?,
            _ => return Err(format!("{word} is unknown")),
        }
    }
    let listen = listen.ok_or("--listen is missing")?;
    Ok(Settings { listen, cpu, writev })
}

async fn serve(settings: Settings) -> io::Result<std::convert::Infallible> {
    let listener = listen(settings.listen)?;
    println!("listening on {} pid {}", listener.local_addr()?, std::process::id());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(tokio::task::unconstrained(async move {
            // A connection that breaks ends only itself; the generator counts what is missing.
            if let Some(stream) = upgrade(stream).await {
                let _ = echo(stream, settings.writev).await;
            }
        }));
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Answers the opening handshake, or gives up on the connection.
async fn upgrade(mut stream: TcpStream) -> Option<TcpStream> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = std::str::from_utf8(&head).ok()?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value.trim())
    })?;
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(digest)
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(stream)
}

async fn echo(stream: TcpStream, writev: bool) -> Result<(), WebSocketError> {
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_writev(writev);
    socket.set_auto_apply_mask(true);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                // A frame remembers its key, and a server's frames are never masked (§5.1).
                let answer = Frame::new(frame.fin, frame.opcode, None, frame.payload);
                socket.write_frame(answer).await?;
            }
            OpCode::Ping | OpCode::Pong => {}
        }
    }
}
