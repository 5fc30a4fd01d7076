//! The body of an answer that does not end: what a shard sends to a client, in its form.
//!
//! ```text
//!   shard ─▶ frames ─▶ Frames ─▶ Shaper ─▶ chunks of the answer
//!   /emulation ─▶ Known::frames ─▶ masked frames ─▶ shard
//! ```
//!
//! Invariant: it reads from the shard only when hyper asks for more, which it does while the
//! client takes what it is sent. So a client that does not read is unsent output at its shard, and
//! cut there at its bound, as one with a WebSocket is.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::UnixStream;

use super::form::{Form, Shaper};
use super::frames::{Frames, Piece};
use super::link::{Link, MASK};
use super::sessions::Known;
use crate::control::crossing::Crossing;
use crate::control::crowd::Streaming;
use crate::control::traffic::OpenStream;
use crate::limits::HTTP_READ_BYTES;
use crate::protocol::{DisconnectCode, Farewell};
use crate::ws::OpCode;
use crate::ws::close::code;
use crate::ws::encode::{encode_masked_close, encode_masked_message};

/// The body.
#[derive(Debug)]
pub(super) struct Stream {
    socket: UnixStream,
    frames: Frames,
    shaper: Shaper,
    known: Known,
    crossing: Crossing,
    /// What is to be sent to the client before anything is read.
    ready: Vec<u8>,
    /// A frame of the client's on its way to the shard, and how far it is.
    outgoing: Vec<u8>,
    written: usize,
    is_over: bool,
    /// What counts it as a stream, for as long as it is one.
    _counted: (Streaming, OpenStream),
}

impl Stream {
    pub(super) fn new(
        link: Link,
        form: Form,
        (known, crossing): (Known, Crossing),
        counted: (Streaming, OpenStream),
    ) -> Self {
        let mut stream = Self {
            socket: link.socket,
            frames: Frames::default(),
            shaper: Shaper::new(form),
            known,
            crossing,
            ready: form.preamble().to_vec(),
            outgoing: Vec::new(),
            written: 0,
            is_over: false,
            _counted: counted,
        };
        stream.take(&link.early);
        stream
    }

    /// Makes of what the shard has sent what the client is sent.
    fn take(&mut self, mut bytes: &[u8]) {
        while !self.is_over {
            match self.frames.next(&mut bytes) {
                Ok(Some(Piece::Part(part))) => self.shaper.part(&mut self.ready, part),
                Ok(Some(Piece::End)) => self.shaper.end(&mut self.ready),
                Ok(Some(Piece::Close(why))) => self.close(why),
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "a shard sends no frames to a stream");
                    self.is_over = true;
                }
            }
        }
    }

    /// Says good-bye to the client, and answers the shard's Close.
    fn close(&mut self, why: Option<(u16, String)>) {
        let (code, reason) = why.unwrap_or((code::NO_STATUS, String::new()));
        self.shaper.farewell(&mut self.ready, farewell(code, &reason));
        // Behind a frame that is written in part.
        self.outgoing.drain(..self.written);
        self.written = 0;
        encode_masked_close(&mut self.outgoing, code::NORMAL, "", MASK);
        self.is_over = true;
    }

    /// The shard has cut the client off without a word. If that is because another process has
    /// taken over, that is where the client is to come back to.
    fn cut_off(&mut self) {
        if self.crossing.is_over() {
            self.shaper.farewell(&mut self.ready, farewell(code::GOING_AWAY, ""));
        }
        self.is_over = true;
    }

    /// Passes on what the client has said, as far as the shard takes it.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            while self.written < self.outgoing.len() {
                let rest = &self.outgoing[self.written..];
                match ready!(Pin::new(&mut self.socket).poll_write(cx, rest)) {
                    Ok(count) => self.written += count,
                    // The shard is done with it, and what it has said last is still to be read.
                    Err(_) => self.written = self.outgoing.len(),
                }
            }
            if self.is_over {
                return Poll::Ready(());
            }
            let Some(frame) = ready!(self.known.frames.poll_recv(cx)) else {
                return Poll::Ready(());
            };
            self.outgoing.clear();
            self.written = 0;
            encode_masked_message(&mut self.outgoing, OpCode::Binary, &frame, MASK);
        }
    }

    /// Reads from the shard, until there is something for the client.
    fn poll_downstream(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; HTTP_READ_BYTES];
        while self.ready.is_empty() && !self.is_over {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.take(buffer.filled()),
                Ok(()) | Err(_) => self.cut_off(),
            }
        }
        Poll::Ready(())
    }
}

/// What a client over HTTP is told where one with a WebSocket sees this Close. The codes of RFC
/// 6455 mean nothing to it.
fn farewell(close: u16, reason: &str) -> Farewell<'_> {
    let known = match close {
        3000.. => return Farewell { code: close, reason },
        code::GOING_AWAY => DisconnectCode::Shutdown,
        code::MESSAGE_TOO_BIG | code::PROTOCOL_ERROR | code::INVALID_PAYLOAD => {
            DisconnectCode::BadRequest
        }
        code::POLICY_VIOLATION => DisconnectCode::Slow,
        _ => DisconnectCode::Internal,
    };
    Farewell { code: known.code(), reason: known.text() }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let stream = &mut *self;
        let _waits_or_over = stream.poll_upstream(cx);
        if stream.ready.is_empty() {
            ready!(stream.poll_downstream(cx));
            // The answer to a Close that was just read.
            let _waits_or_over = stream.poll_upstream(cx);
        }
        let ready = std::mem::take(&mut stream.ready);
        if ready.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(ready.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_websocket_become_codes_of_the_protocol() {
        let cases = [
            (3001, "shutdown", 3001, "shutdown"),
            (4007, "own words", 4007, "own words"),
            (1001, "", 3001, "shutdown"),
            (1009, "", 3501, "bad request"),
            (1011, "", 3004, "internal server error"),
            (1005, "", 3004, "internal server error"),
        ];
        for (close, reason, code, expected) in cases {
            assert_eq!(farewell(close, reason), Farewell { code, reason: expected }, "{close}");
        }
    }
}
