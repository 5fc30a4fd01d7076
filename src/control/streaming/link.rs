//! A WebSocket to a shard, opened in a client's place.
//!
//! ```text
//!   pair ─▶ one end to a shard, with who the client is
//!      └──▶ the client's own headers in an upgrade, its first frame ─▶ 101 and the session's name
//! ```
//!
//! The shard judges origin, user and room as it does for every WebSocket, and a client that it
//! refuses is answered with the status that it refuses with.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::introduced::Introduced;
use crate::address::Introduction;
use crate::limits::HTTP_READ_BYTES;
use crate::protocol::{Format, Transport};
use crate::ws::OpCode;
use crate::ws::encode::encode_masked_message;
use crate::ws::handshake::{HeadScanner, ResponseHead, check_response, client_key, write_request};

/// A mask hides payloads from proxies, and between two threads there is none.
pub(super) const MASK: [u8; 4] = [0; 4];

/// Headers that are about the client's connection and its body, and not about the client. All
/// others are the shard's to see, as those of an upgrade are.
const OF_THE_CONNECTION: [HeaderName; 13] = [
    header::HOST,
    header::UPGRADE,
    header::CONNECTION,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::TE,
    header::EXPECT,
];

/// The control thread's end, open.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: UnixStream,
    /// The name of the session.
    pub(super) session: String,
    /// What the shard has said behind its answer.
    pub(super) early: Vec<u8>,
}

/// What the shard is told of a client.
pub(super) struct Client<'a> {
    pub(super) introduction: Introduction,
    pub(super) headers: &'a HeaderMap,
    pub(super) format: Format,
    pub(super) path: &'a str,
    /// Its first frame.
    pub(super) frame: &'a [u8],
}

impl Link {
    /// Opens one; otherwise says with which status the client is refused.
    pub(super) async fn open(
        shards: &mpsc::Sender<Introduced>,
        client: Client<'_>,
    ) -> Result<Self, StatusCode> {
        let full = StatusCode::SERVICE_UNAVAILABLE;
        let nonce = getrandom::u64().map_err(|_| full)?;
        let key = client_key(u128::from(nonce).to_le_bytes());
        let mut opening = client.upgrade(&key).ok_or(StatusCode::BAD_REQUEST)?;
        encode_masked_message(&mut opening, OpCode::Binary, client.frame, MASK);
        let (ours, theirs) = UnixStream::pair().map_err(|_| full)?;
        let theirs = theirs.into_std().map_err(|_| full)?;
        let introduced = Introduced { socket: theirs.into(), introduction: client.introduction };
        shards.send(introduced).await.map_err(|_| full)?;
        let mut opened = Self { socket: ours, session: String::new(), early: Vec::new() };
        // A shard that refuses may do so before it has read all.
        let written = opened.socket.write_all(&opening).await;
        let answer_bytes = opened.answer().await.ok_or(full)?;
        let head = ResponseHead::parse(&opened.early[..answer_bytes]).map_err(|_| full)?;
        if head.status() != 101 {
            return Err(StatusCode::from_u16(head.status()).unwrap_or(full));
        }
        written.map_err(|_| full)?;
        let session = head.header(Transport::SESSION_HEADER).map(<[u8]>::to_vec);
        let is_ours = check_response(&head, &key, &[client.format.subprotocol()]).is_ok();
        opened.early.drain(..answer_bytes);
        let session = session.and_then(|name| String::from_utf8(name).ok());
        opened.session = session.filter(|_| is_ours).ok_or(full)?;
        Ok(opened)
    }

    /// Reads until the head of the answer is whole, and returns its length.
    async fn answer(&mut self) -> Option<usize> {
        let mut scanner = HeadScanner::default();
        loop {
            if let Some(end) = scanner.scan(&self.early).ok()? {
                return Some(end);
            }
            self.early.reserve(HTTP_READ_BYTES);
            if self.socket.read_buf(&mut self.early).await.ok()? == 0 {
                return None;
            }
        }
    }
}

impl Client<'_> {
    /// The request for a WebSocket in its place; `None` if it cannot be written.
    fn upgrade(&self, key: &[u8; crate::ws::handshake::KEY_BYTES]) -> Option<Vec<u8>> {
        let host = self.headers.get(header::HOST)?.to_str().ok()?;
        let mut request = Vec::new();
        let headers = self.headers.iter().filter(|(name, _)| !OF_THE_CONNECTION.contains(name));
        // Bytes that are no text name nobody and nothing.
        let headers = headers.filter_map(|(name, value)| {
            Some((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?))
        });
        let protocols = [self.format.subprotocol()];
        write_request(&mut request, host, self.path, key, &protocols, headers).ok()?;
        Some(request)
    }
}
