//! What stands between a socket and hyper: lets whole, unambiguous requests through, in time.
//!
//! ```text
//!   socket ─▶ inbox ─▶ head: parsed as on a shard ─▶ framing ─▶ judged ─▶ hyper
//!                │                  └── fault ─▶ end of input, then one refusal
//!                └─▶ body: followed to its end, so that the next head is known
//! ```
//!
//! Invariants: hyper sees a head only when it is whole and has been judged; after a fault it sees
//! the end of the input, answers what came before, and the refusal is written behind that; the
//! inbox holds one read, or one unfinished head and one read.

mod chunks;
mod framing;

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::control::crowd::Guest;
use crate::limits::{
    HTTP_IDLE_TIMEOUT, HTTP_LINGER_BYTES_MAX, HTTP_READ_BYTES, HTTP_WRITE_TIMEOUT,
    LINGER_PERIOD_MAX,
};
use crate::ws::handshake::HeadScanner;
use chunks::Chunks;
pub(super) use framing::Fault;
use framing::Framing;

/// What the next byte of the input belongs to.
#[derive(Debug)]
enum Phase {
    Head(HeadScanner),
    /// A body of which so many bytes are to come.
    Body(u64),
    Chunks(Chunks),
    /// Nothing more is let through.
    Ended,
}

/// What is waited for, which says for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Nothing.
    No,
    /// The first byte of a request.
    Idle,
    /// The rest of a head.
    Head,
}

/// A socket that gives out judged input only.
#[derive(Debug)]
pub(super) struct Gate<S> {
    socket: S,
    inbox: Vec<u8>,
    /// Bytes of the inbox that were given out; `taken <= judged <= inbox.len()`.
    taken: usize,
    /// Bytes of the inbox that may be given out.
    judged: usize,
    phase: Phase,
    /// No head has been let through yet.
    first: bool,
    fault: Option<Fault>,
    waiting: Waiting,
    /// Who is told whether a request is waited for.
    guest: Guest,
    head_timeout: Duration,
    deadline: Pin<Box<Sleep>>,
    /// When a write that is stuck fails.
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    /// A gate before `socket`, from which `bytes` were read already.
    pub(super) fn new(socket: S, bytes: Vec<u8>, guest: Guest, head_timeout: Duration) -> Self {
        Self {
            socket,
            inbox: bytes,
            taken: 0,
            judged: 0,
            phase: Phase::Head(HeadScanner::default()),
            first: true,
            fault: None,
            waiting: Waiting::No,
            guest,
            head_timeout,
            deadline: Box::pin(sleep(HTTP_IDLE_TIMEOUT)),
            write_deadline: None,
        }
    }

    /// What ended the input, if it was a fault that is still to be told.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Tells the fault, if there is one, and closes so that the peer can read what it was sent:
    /// a socket closed over unread input would reset the connection.
    pub(super) async fn close(mut self) {
        let answer = self.fault.map(refusal).unwrap_or_default();
        let closing = async {
            self.socket.write_all(&answer).await?;
            self.socket.shutdown().await?;
            // What is waited for now is the client's to do, and not worth a seat.
            self.guest.idle();
            let mut rest = (&mut self.socket).take(HTTP_LINGER_BYTES_MAX);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        // A peer that is gone, or sends for ever, has had its chance.
        let _ended = timeout(LINGER_PERIOD_MAX, closing).await;
    }

    /// Judges what has arrived, as far as it goes.
    fn judge(&mut self) {
        while !matches!(self.phase, Phase::Ended) && self.judged < self.inbox.len() {
            let fresh = &self.inbox[self.judged..];
            let (bytes, next) = match &mut self.phase {
                Phase::Head(scanner) => match scanner.scan(fresh) {
                    Ok(None) => return,
                    Ok(Some(end)) => match Framing::judge(&fresh[..end], self.first) {
                        Ok(framing) => (end, Some(behind(framing))),
                        Err(fault) => return self.end(Some(fault)),
                    },
                    Err(error) => return self.end(Some(Fault::Head(error))),
                },
                Phase::Body(left) => {
                    let ahead = (fresh.len() as u64).min(*left);
                    *left -= ahead;
                    let bytes = usize::try_from(ahead).expect("not more than is there");
                    (bytes, (*left == 0).then(Phase::head))
                }
                // The handler that reads this body sees it end early, and says so.
                Phase::Chunks(chunks) => match chunks.follow(fresh) {
                    Ok((bytes, ended)) => (bytes, ended.then(Phase::head)),
                    Err(chunks::BadChunks) => return self.end(None),
                },
                Phase::Ended => unreachable!("asked above"),
            };
            self.judged += bytes;
            if let Some(next) = next {
                self.first = false;
                self.waiting = Waiting::No;
                self.guest.work();
                self.phase = next;
            }
        }
    }

    fn end(&mut self, fault: Option<Fault>) {
        self.fault = fault;
        self.phase = Phase::Ended;
    }

    /// Reads into the inbox; true if something came, false at the end of the input.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.inbox.drain(..self.taken);
        self.judged -= self.taken;
        self.taken = 0;
        self.inbox.reserve(HTTP_READ_BYTES);
        let read = pin!(self.socket.read_buf(&mut self.inbox)).poll(cx);
        if let Poll::Ready(read) = read {
            return Poll::Ready(read.map(|bytes| bytes > 0));
        }
        if self.poll_deadline(cx).is_ready() {
            let fault = (self.waiting == Waiting::Head).then_some(Fault::HeadTimeout);
            self.end(fault);
            return Poll::Ready(Ok(false));
        }
        Poll::Pending
    }

    /// Whether the client has left while its answer is a stream: it has ended its half, or breaks
    /// the connection. One that talks on, and more than a little, does not go by HTTP.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.inbox.len() - self.taken < HTTP_READ_BYTES {
            self.inbox.reserve(HTTP_READ_BYTES);
            match ready!(pin!(self.socket.read_buf(&mut self.inbox)).poll(cx)) {
                Ok(bytes) if bytes > 0 => {}
                Ok(_) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }

    /// Whether what is waited for has taken too long. Bodies are the handlers' to wait for.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = match self.phase {
            Phase::Head(_) if self.judged == self.inbox.len() => Waiting::Idle,
            Phase::Head(_) => Waiting::Head,
            _ => return Poll::Pending,
        };
        if self.waiting != waiting {
            if self.waiting == Waiting::No {
                self.guest.idle();
            }
            self.waiting = waiting;
            let period = match waiting {
                Waiting::No | Waiting::Idle => HTTP_IDLE_TIMEOUT,
                Waiting::Head => self.head_timeout,
            };
            self.deadline.as_mut().reset(Instant::now() + period);
        }
        self.deadline.as_mut().poll(cx)
    }
}

impl Phase {
    fn head() -> Self {
        Self::Head(HeadScanner::default())
    }
}

/// What follows a head.
fn behind(framing: Framing) -> Phase {
    match framing {
        Framing::Length(0) => Phase::head(),
        Framing::Length(bytes) => Phase::Body(bytes),
        Framing::Chunked => Phase::Chunks(Chunks::new()),
    }
}

fn refusal(fault: Fault) -> Vec<u8> {
    let (status, phrase) = fault.status();
    let text = format!("{fault}\n");
    format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.judge();
            let (taken, judged) = (self.taken, self.judged);
            if taken < judged {
                let bytes = (judged - taken).min(out.remaining());
                out.put_slice(&self.inbox[taken..taken + bytes]);
                self.taken += bytes;
                return Poll::Ready(Ok(()));
            }
            if matches!(self.phase, Phase::Ended) || !ready!(self.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(cx, bytes) {
            self.write_deadline = None;
            return Poll::Ready(written);
        }
        let stuck = || Box::pin(sleep(HTTP_WRITE_TIMEOUT));
        let deadline = self.write_deadline.get_or_insert_with(stuck);
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Hyper reads nothing while it answers, but flushes after all that it does.
        if self.guest.is_stream() && self.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Hyper has said all it had to say. The socket stays open for what [`Gate::close`] says.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
