//! The control thread's work as one future: takes connections in, and ends when it is told to.

use std::fmt;
use std::hash::Hash;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;

use socket2::{Domain, SockRef};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::api::{KnownKey, Press, Repeats};
use super::ask::{Ask, Asks};
use super::connection;
use super::consult::{Calls, Desk, TokenKeys, Verifiers};
use super::crossing::Crossing;
use super::crowd::{Crowd, Guest};
use super::events::{Courier, Mailbox};
use super::routes::Routes;
use super::settings::{HttpApi, Settings};
use super::streaming::{Introduced, StreamTerms};
use super::traffic::Traffic;
use crate::address::{OtherEnd, SocketPeer};
use crate::backend::Proxies;
use crate::limits::{
    ACCEPT_BACKOFF, HTTP_LEAVE_TIMEOUT, HTTP_STOP_TIMEOUT, INTERNAL_CONNECTIONS_MAX,
};

/// A connection that a shard hands over, because its request is for no WebSocket.
pub struct Arrival {
    /// TCP or Unix, with nothing written to it yet.
    pub socket: OwnedFd,
    /// Who is there, as far as the socket tells; its requests tell the rest.
    pub other_end: OtherEnd,
    /// What was read from it: the first request's head, and perhaps more.
    pub bytes: Vec<u8>,
    /// Its place among the connections that the site may have; dropped with the connection.
    pub seat: Box<dyn Send>,
}

impl fmt::Debug for Arrival {
    /// Without the bytes, which may hold a key.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Arrival").field("other_end", &self.other_end).finish_non_exhaustive()
    }
}

/// Everything that is needed to answer HTTP.
pub struct Site {
    settings: Settings,
    api: watch::Sender<HttpApi>,
    terms: watch::Sender<StreamTerms>,
    proxies: watch::Sender<Arc<Proxies>>,
    verifiers: watch::Sender<Arc<Verifiers>>,
    calls: Arc<Calls>,
    mailbox: Mailbox,
    repeats: Repeats,
    traffic: Traffic,
    crossing: Crossing,
    internal: Option<TcpListener>,
}

impl fmt::Debug for Site {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Site").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a serving [`Site`] knows that the next process needs.
#[derive(Clone)]
pub struct Memory {
    repeats: Repeats,
    traffic: Traffic,
}

impl fmt::Debug for Memory {
    /// Without the keys, which are others'.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// Keys under which back ends have published, the first to be forgotten first.
    pub fn keys(&self) -> Vec<KnownKey> {
        self.repeats.known()
    }

    /// Knows those of the process before.
    pub fn inherit_keys(&self, keys: Vec<KnownKey>) {
        self.repeats.inherit(keys, &self.traffic);
    }
}

/// Changes what a serving [`Site`] may be changed in.
#[derive(Clone)]
pub struct Live {
    api: watch::Sender<HttpApi>,
    terms: watch::Sender<StreamTerms>,
    proxies: watch::Sender<Arc<Proxies>>,
    verifiers: watch::Sender<Arc<Verifiers>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Live").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

impl Live {
    /// Exchanges key and modes of the HTTP API, from the next request on.
    pub fn set_http_api(&self, api: HttpApi) {
        self.api.send_replace(api);
    }

    /// Exchanges what streams are served by, from the next request on.
    pub fn set_stream_terms(&self, terms: StreamTerms) {
        self.terms.send_replace(terms);
    }

    /// Exchanges which tokens are taken, from the next one on. What is known of the old ones is
    /// forgotten, unless nothing has changed.
    pub fn set_tokens(&self, tokens: TokenKeys) {
        self.verifiers.send_if_modified(|verifiers| {
            let is_new = !verifiers.are_of(&tokens);
            if is_new {
                *verifiers = Arc::new(Verifiers::new(tokens));
            }
            is_new
        });
    }

    /// Exchanges the back ends, from the next call on.
    pub fn set_proxies(&self, proxies: Proxies) {
        self.proxies.send_replace(Arc::new(proxies));
    }
}

/// A site cannot serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum SiteError {
    /// The internal port cannot be listened on.
    Internal {
        /// Which address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for SiteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internal { address, error } => {
                write!(out, "cannot listen on the internal address {address}: {error}")
            }
        }
    }
}

impl std::error::Error for SiteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Internal { error, .. } => Some(error),
        }
    }
}

impl Site {
    /// Takes the internal port, if there is to be one, so that a busy one is known at the start.
    pub fn new(settings: Settings) -> Result<Self, SiteError> {
        Self::after(None, settings)
    }

    /// The same with the internal port of the process that this one takes over from, if it is the
    /// one that is wanted.
    pub fn after(internal: Option<TcpListener>, settings: Settings) -> Result<Self, SiteError> {
        let internal = internal.filter(|listener| {
            let theirs = listener.local_addr().ok();
            theirs.is_some_and(|theirs| {
                settings.internal_listen.is_some_and(|ours| {
                    ours.ip() == theirs.ip() && [0, theirs.port()].contains(&ours.port())
                })
            })
        });
        let listen = |address| {
            let failed = |error| SiteError::Internal { address, error };
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(listener)
        };
        let internal = match internal {
            Some(internal) => Some(internal),
            None => settings.internal_listen.map(listen).transpose()?,
        };
        let api = watch::Sender::new(settings.http_api.clone());
        let terms = watch::Sender::new(settings.streaming.terms.clone());
        let proxies = watch::Sender::new(Arc::new(settings.proxies.clone()));
        let calls = Arc::new(Calls::new(proxies.subscribe()));
        let verifiers = Arc::new(Verifiers::new(settings.tokens.clone()));
        let verifiers = watch::Sender::new(verifiers);
        let mailbox = Mailbox::new(seed());
        let (repeats, traffic) = (Repeats::default(), Traffic::new());
        Ok(Self {
            settings,
            api,
            terms,
            proxies,
            verifiers,
            calls,
            mailbox,
            repeats,
            traffic,
            crossing: Crossing::default(),
            internal,
        })
    }

    /// Has no more streams than so many, whatever its settings say: the descriptors that are left
    /// for them.
    pub fn limit_streams(&mut self, streams_max: usize) {
        let streaming = &mut self.settings.streaming;
        let is_on = streaming.http_stream.is_some() || streaming.sse.is_some();
        if is_on && streaming.streams_max > streams_max {
            let wanted = streaming.streams_max;
            tracing::warn!(wanted, streams_max, "the limit of descriptors leaves fewer streams");
        }
        streaming.streams_max = streaming.streams_max.min(streams_max);
    }

    /// What can be changed while the site serves.
    pub fn live(&self) -> Live {
        Live {
            api: self.api.clone(),
            terms: self.terms.clone(),
            proxies: self.proxies.clone(),
            verifiers: self.verifiers.clone(),
        }
    }

    /// What it knows that the next process needs.
    pub fn memory(&self) -> Memory {
        Memory { repeats: self.repeats.clone(), traffic: self.traffic.clone() }
    }

    /// Where sessions ask what is beyond them.
    pub fn desk<K: Copy + Eq + Hash>(&self, asks: mpsc::Sender<Ask>) -> Desk<K> {
        let (repeats, traffic) = (self.repeats.clone(), self.traffic.clone());
        let press = Press::new(Asks::new(asks), repeats, traffic);
        Desk::new((Arc::clone(&self.calls), press), self.verifiers.subscribe())
    }

    /// Where events for a back end come in.
    pub fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }

    /// On which side requests of the API are, while another process takes over.
    pub fn crossing(&self) -> Crossing {
        self.crossing.clone()
    }

    /// Delivers them, within a runtime of tokio. Ends after the mailbox was closed, or at the
    /// deadline of its stop.
    pub fn deliver(&self) -> impl Future<Output = ()> + Send + use<> {
        Courier::new(self.mailbox.clone(), Arc::clone(&self.calls)).run()
    }

    /// Where the internal port is, with the number that the kernel chose for port 0.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Another descriptor of the internal port's listener, for the process that takes over.
    pub fn internal_listener(&self) -> Option<OwnedFd> {
        let again = self.internal.as_ref()?.try_clone();
        match again {
            Ok(again) => Some(again.into()),
            Err(error) => {
                tracing::warn!(%error, "the internal port cannot be handed over");
                None
            }
        }
    }

    /// Serves, within a runtime of tokio that has I/O and time.
    ///
    /// `seats` is how many public connections there may be at a time; when it comes near, those
    /// that idle make room. `shards` takes the connections that are made for clients over HTTP.
    ///
    /// Once `stop` says true, connections end after the request they are at, and readiness says
    /// so. Ends when `arrivals` has been closed as well, and what is under way is answered or
    /// [`HTTP_STOP_TIMEOUT`] has passed; [`HTTP_LEAVE_TIMEOUT`] if another process has taken over.
    pub async fn serve(
        self,
        mut arrivals: mpsc::Receiver<Arrival>,
        seats: usize,
        asks: mpsc::Sender<Ask>,
        shards: mpsc::Sender<Introduced>,
        stop: watch::Receiver<bool>,
    ) {
        let internal = self.internal.and_then(|listener| {
            let listener = tokio::net::TcpListener::from_std(listener);
            listener.inspect_err(|error| tracing::error!(%error, "no internal port")).ok()
        });
        let seeds = [seed(), seed()];
        let api = self.api.subscribe();
        let live = (api, self.terms.subscribe());
        let asks = (Asks::new(asks), shards);
        let back_ends = (self.calls, self.mailbox);
        let counts = (self.repeats, self.traffic);
        let crossing = self.crossing;
        let ends = (stop, crossing.clone());
        let routes = Routes::new(self.settings, live, asks, back_ends, counts, ends, seeds);
        let mut connections = JoinSet::new();
        let mut crowd = Crowd::new(seats);
        // Operators' connections wait for their place and keep it.
        let operators = Crowd::new(usize::MAX);
        let mut internal_connections = JoinSet::new();
        let mut rest = Rest::default();
        loop {
            let room = internal_connections.len() < INTERNAL_CONNECTIONS_MAX;
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => {
                        let guest = crowd.guest();
                        let task = admit(&mut connections, arrival, &routes, guest.clone());
                        crowd.enter(task, guest);
                    }
                    None => break,
                },
                (socket, peer) = accept(internal.as_ref(), &mut rest), if room => {
                    let other_end = OtherEnd::itself(SocketPeer::Internet(peer));
                    let service = routes.internal(other_end, operators.guest());
                    let stop = routes.stop();
                    internal_connections
                        .spawn(connection::serve(socket, Vec::new(), service, stop));
                }
                Some(ended) = connections.join_next_with_id() => {
                    crowd.leave(match &ended {
                        Ok((task, ())) => *task,
                        Err(error) => error.id(),
                    });
                    note(ended.map(drop));
                }
                Some(ended) = internal_connections.join_next() => note(ended),
            }
        }
        let ended = async {
            while connections.join_next().await.is_some() {}
            while internal_connections.join_next().await.is_some() {}
        };
        let is_over = crossing.is_over();
        let patience = if is_over { HTTP_LEAVE_TIMEOUT } else { HTTP_STOP_TIMEOUT };
        if timeout(patience, ended).await.is_err() {
            let count = connections.len() + internal_connections.len();
            tracing::warn!(count, "HTTP requests were cut short by the end of the server");
            crossing.lose(if is_over { count } else { 0 });
        }
    }
}

/// A panic costs its connection, and is told.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an HTTP connection ended by a panic");
    }
}

/// A number that nobody else has. Without one from the kernel, ids repeat after a restart, which
/// confuses logs and nothing else.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// The next connection to the internal port; never, if there is none.
async fn accept(
    listener: Option<&tokio::net::TcpListener>,
    rest: &mut Rest,
) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else { return std::future::pending().await };
    rest.between(|| listener.accept()).await
}

/// The rest between a failed accept and the next one. It outlives the future that waits for a
/// connection, which is dropped whenever something else happens.
#[derive(Default)]
struct Rest {
    until: Option<Instant>,
}

impl Rest {
    /// Asks until there is an answer that is no error, with a rest after each that is one.
    async fn between<T, F>(&mut self, mut accept: impl FnMut() -> F) -> T
    where
        F: Future<Output = io::Result<T>>,
    {
        loop {
            if let Some(until) = self.until {
                sleep_until(until).await;
                self.until = None;
            }
            match accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    // Out of descriptors or memory: both come back, and asking at once is no help.
                    tracing::warn!(%error, "the internal port cannot accept");
                    self.until = Some(Instant::now() + ACCEPT_BACKOFF);
                }
            }
        }
    }
}

fn admit(
    connections: &mut JoinSet<()>,
    arrival: Arrival,
    routes: &Routes,
    guest: Guest,
) -> tokio::task::Id {
    let Arrival { socket, other_end, bytes, seat } = arrival;
    let (service, stop) = (routes.public(other_end, guest.clone()), routes.stop());
    let (streaming, serving) = (guest, async move {
        match Socket::adopt(socket) {
            Ok(Socket::Tcp(socket)) => connection::serve(socket, bytes, service, stop).await,
            Ok(Socket::Unix(socket)) => connection::serve(socket, bytes, service, stop).await,
            Err(error) => tracing::warn!(%error, "a socket that cannot be served"),
        }
    });
    let seated = async move {
        let mut serving = pin!(serving);
        tokio::select! {
            () = &mut serving => return,
            // A stream has a place of its own, and others may sit here.
            () = streaming.became_stream() => drop(seat),
        }
        serving.await;
    };
    connections.spawn(seated).id()
}

/// What a shard's listener accepts.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let handle = SockRef::from(&socket);
        handle.set_nonblocking(true)?;
        if handle.domain()? == Domain::UNIX {
            return UnixStream::from_std(socket.into()).map(Self::Unix);
        }
        TcpStream::from_std(socket.into()).map(Self::Tcp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time is stopped, and jumps to the next deadline when nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn a_failed_accept_rests_although_its_future_is_dropped() {
        let (mut rest, mut tries) = (Rest::default(), 0);
        let mut fail = || {
            tries += 1;
            std::future::ready(Err::<(), io::Error>(io::ErrorKind::OutOfMemory.into()))
        };
        let since = Instant::now();
        for _ in 0..50 {
            // Something else happens ten times within each rest.
            timeout(ACCEPT_BACKOFF / 10, rest.between(&mut fail)).await.unwrap_err();
        }
        assert!(since.elapsed() >= 5 * ACCEPT_BACKOFF);
        assert!((2..=6).contains(&tries), "{tries} tries in five rests");
    }
}
