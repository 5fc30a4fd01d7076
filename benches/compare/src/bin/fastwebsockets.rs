//! fastwebsockets, its codec straight on the stream: upgrading through hyper boxes it, and costs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use compare::Mode;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request head longer than this is refused by closing.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Appended to the key before it is hashed (RFC 6455 §4.2.2).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An opcode and a payload, shared by all who get it.
type Shared = (OpCode, std::sync::Arc<[u8]>);

fn main() {
    compare::run(|listener, mode: Mode<Shared>| async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let mode = mode.clone();
            tokio::spawn(async move {
                if let Some(stream) = upgrade(stream).await {
                    let _ended = connection(stream, mode).await;
                }
            });
        }
    });
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

async fn connection(stream: TcpStream, mode: Mode<Shared>) -> Result<(), WebSocketError> {
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    let sender = match mode {
        Mode::Echo => {
            loop {
                let frame = socket.read_frame().await?;
                match frame.opcode {
                    OpCode::Close => return Ok(()),
                    OpCode::Text | OpCode::Binary => {
                        // A frame remembers its key, and a server's are never masked.
                        let answer = Frame::new(frame.fin, frame.opcode, None, frame.payload);
                        socket.write_frame(answer).await?;
                    }
                    _ => {}
                }
            }
        }
        Mode::Broadcast(sender) => sender,
    };
    let mut others = sender.subscribe();
    let (mut reader, mut writer) = socket.split(tokio::io::split);
    let writing = async move {
        while let Ok((opcode, payload)) = others.recv().await {
            let frame = Frame::new(true, opcode, None, Payload::Borrowed(&payload));
            writer.write_frame(frame).await?;
        }
        Ok::<_, WebSocketError>(())
    };
    let reading = async move {
        loop {
            // Nobody pings here, so there is nothing to answer.
            let frame = reader
                .read_frame::<_, WebSocketError>(&mut |_| std::future::ready(Ok(())))
                .await?;
            match frame.opcode {
                OpCode::Close => return Ok::<_, WebSocketError>(()),
                OpCode::Text | OpCode::Binary => {
                    let _members = sender.send((frame.opcode, frame.payload.to_vec().into()));
                }
                _ => {}
            }
        }
    };
    // Whichever ends first ends both: a read that is given up is never gone on with.
    tokio::select! {
        ended = writing => ended,
        ended = reading => ended,
    }
}
