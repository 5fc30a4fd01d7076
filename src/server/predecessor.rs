//! The newer process's side of a hand-over: what it hears from the process that has started it.
//!
//! ```text
//!   standard input ─▶ Offer ─▶ (shards are built) ─▶ Built ─▶ ways ─▶ (shards keep copies)
//!                       ─▶ Still ─▶ (shards take over) ─▶ Committed ─▶ serve
//! ```
//!
//! The socket is the standard input, so that nothing but one variable says that there is one.
//! Invariant: nothing of a client's is touched before `Committed` was sent, and it cannot be sent
//! once the other process has changed its mind.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::control;
use super::plan::Plan;
use super::start::{Place, StartError};
use crate::config::Config;
use crate::handover::{Bequest, Built, FormatError, Offer, Word};
use crate::limits::{BEQUEST_BYTES_MAX, HANDED_PAUSE, HANDED_WORD_BYTES_MAX, LISTENERS_MAX};
use crate::shard::{AdoptionError, Passing};
use crate::sys::bell::Bell;
use crate::sys::fdpass::{self, ReceiveError, SendError};
use crate::sys::step::Step;

/// Says that the standard input leads to the process that is to be taken over from.
pub(super) const VARIABLE: &str = "PREDECESSOR_OF_LONGWIRE";

/// Why nothing was taken over.
#[derive(Debug)]
#[non_exhaustive]
pub enum SuccessionError {
    /// It was a rehearsal, and all went well.
    Rehearsed,
    /// The other process has given it up, or is gone.
    GivenUp,
    /// What the other process says is not understood.
    Format(FormatError),
    /// It says what does not belong here.
    OutOfTurn,
    /// The addresses are others here than there.
    Addresses,
    /// There is no room for more descriptors.
    Descriptors,
    /// A shard could not take over what it was to.
    Shard(String),
    /// The socket between the processes is broken.
    Io(io::Error),
}

impl fmt::Display for SuccessionError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rehearsed => write!(out, "rehearsed only"),
            Self::GivenUp => write!(out, "the other process has given the upgrade up"),
            Self::Format(error) => error.fmt(out),
            Self::OutOfTurn => write!(out, "the other process says what does not belong here"),
            Self::Addresses => write!(
                out,
                "the new configuration listens on other addresses: an upgrade keeps them"
            ),
            Self::Descriptors => write!(
                out,
                "the control thread has no descriptor left: raise `ulimit -n`, or LimitNOFILE= \
                 in the unit"
            ),
            Self::Shard(reason) => out.write_str(reason),
            Self::Io(error) => write!(out, "the way to the other process is broken: {error}"),
        }
    }
}

impl std::error::Error for SuccessionError {}

impl From<AdoptionError> for SuccessionError {
    fn from(error: AdoptionError) -> Self {
        match error {
            AdoptionError::Ended => Self::GivenUp,
            error => Self::Shard(error.to_string()),
        }
    }
}

impl From<ReceiveError> for SuccessionError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Empty => unreachable!("waited for"),
            ReceiveError::Closed => Self::GivenUp,
            ReceiveError::Truncated => Self::Descriptors,
            ReceiveError::Io(error) => Self::Io(error),
        }
    }
}

/// The process that this one is to take over from.
#[derive(Debug)]
pub struct Predecessor {
    socket: OwnedFd,
    offer: Offer,
    /// By the paths of the offer.
    unix: Vec<OwnedFd>,
    internal: Option<OwnedFd>,
}

/// The way from one shard of the other process to one of this.
pub(super) struct Way {
    from: u16,
    to: u16,
    socket: OwnedFd,
}

impl Predecessor {
    /// The process that has started this one to be taken over from, if that is so.
    pub fn of_this_process() -> Result<Option<Self>, SuccessionError> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let socket = io::stdin().as_fd().try_clone_to_owned().map_err(SuccessionError::Io)?;
        let mut with = Vec::new();
        let heard = hear_with(&socket, LISTENERS_MAX + 1, &mut with).and_then(|word| match word {
            Word::Offer(offer) if with.len() < offer.unix.len() => Err(SuccessionError::OutOfTurn),
            Word::Offer(offer) => Ok(offer),
            _ => Err(SuccessionError::OutOfTurn),
        });
        let offer = match heard {
            Ok(offer) => offer,
            Err(error) => {
                // Before anything was built, or has moved.
                refuse(&socket, &error);
                return Err(error);
            }
        };
        tracing::info!(
            build = offer.build,
            shards = offer.shards,
            rehearsal = offer.is_check,
            "taking over from the process that has started this one"
        );
        Step::NewerHeardOffer.reached();
        let internal = with.drain(offer.unix.len()..).next();
        Ok(Some(Self { socket, offer, unix: with, internal }))
    }

    /// How this process would be laid out: its addresses are listened on already, by the other one.
    pub fn plan(&self, config: &Config) -> Result<Plan, StartError> {
        control::plan_at(config, false)
    }

    /// The listener of its internal port, if it has one: who accepts on it before the commit takes
    /// others' requests.
    pub fn take_internal_listener(&mut self) -> Option<TcpListener> {
        self.internal.take().map(TcpListener::from)
    }

    /// What this process inherits of the application there ([`Succession::heritage`]).
    ///
    /// [`Succession::heritage`]: super::Succession::heritage
    pub fn heritage(&self) -> &[u8] {
        &self.offer.heritage
    }

    /// Puts the addresses that are listened on there into those of the configuration.
    pub(super) fn settle(&self, places: &mut [Place]) -> Result<(), SuccessionError> {
        if places.len() != self.offer.places.len() {
            return Err(SuccessionError::Addresses);
        }
        for (place, theirs) in places.iter_mut().zip(&self.offer.places) {
            let is_same = place.address == theirs.address;
            let is_any_port =
                place.address.port() == 0 && place.address.ip() == theirs.address.ip();
            if !(is_same || is_any_port) || place.proxied != theirs.is_proxied {
                return Err(SuccessionError::Addresses);
            }
            place.address = theirs.address;
        }
        Ok(())
    }

    /// The listeners on Unix sockets there, by the paths that are listened on here: the same.
    pub(super) fn unix(&self, places: &[(PathBuf, u32)]) -> Result<Vec<OwnedFd>, SuccessionError> {
        if places.len() != self.offer.unix.len() {
            return Err(SuccessionError::Addresses);
        }
        let of = |path: &PathBuf| {
            let path = path.as_os_str().as_bytes();
            let number = self.offer.unix.iter().position(|theirs| theirs == path);
            let socket = &self.unix[number.ok_or(SuccessionError::Addresses)?];
            socket.try_clone().map_err(SuccessionError::Io)
        };
        places.iter().map(|(path, _)| of(path)).collect()
    }

    /// Shards of the other process.
    pub(super) fn shard_count(&self) -> usize {
        self.offer.shards.into()
    }

    /// Says that the shards are there, and waits for the ways to them.
    pub(super) fn built(&self, plan: &Plan) -> Result<Vec<Way>, SuccessionError> {
        let shards = u16::try_from(plan.shard_count).expect("SHARDS_MAX is below");
        Step::NewerReady.reached();
        self.say(&Word::Built(Built {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            shards,
            shard_connections_max: plan.shard_connections_max,
            connections_max: plan.connections_max,
            takes_bequest: true,
            takes_ahead: true,
        }))?;
        Step::NewerSaidBuilt.reached();
        let way_count = self.shard_count() * usize::from(shards);
        let mut ways = Vec::with_capacity(way_count);
        while ways.len() < way_count {
            let mut sockets = Vec::new();
            let heard = hear_with(&self.socket, 1, &mut sockets);
            let (from, to) = match heard {
                Ok(Word::Channel { from, to }) => (from, to),
                Ok(_) => return Err(SuccessionError::OutOfTurn),
                Err(SuccessionError::GivenUp) if self.offer.is_check => {
                    return Err(SuccessionError::Rehearsed);
                }
                Err(error) => return Err(error),
            };
            let socket = sockets.pop().ok_or(SuccessionError::OutOfTurn)?;
            if from >= self.offer.shards || to >= shards {
                return Err(SuccessionError::OutOfTurn);
            }
            ways.push(Way { from, to, socket });
        }
        Ok(ways)
    }

    /// Whether the shards there send copies ahead, before they stand still.
    pub(super) fn sends_ahead(&self) -> bool {
        self.offer.sends_ahead
    }

    /// Waits until the shards there stand still, or one of those here has failed, which rings the
    /// bell.
    pub(super) fn still(
        &self,
        bell: &Bell,
        mut has_failed: impl FnMut() -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        let given_up = |error| match error {
            SuccessionError::GivenUp if self.offer.is_check => SuccessionError::Rehearsed,
            error => error,
        };
        let failed = |error| StartError::Succession(given_up(error));
        loop {
            bell.quiet();
            match try_hear(&self.socket).map_err(failed)? {
                Some(Word::Still) => {
                    Step::NewerHeardStill.reached();
                    return Ok(());
                }
                Some(_) => return Err(failed(SuccessionError::OutOfTurn)),
                None => {}
            }
            has_failed().map_err(|error| match error {
                StartError::Succession(error) => failed(error),
                error => error,
            })?;
            let sockets = [self.socket.as_fd(), bell.as_fd()];
            fdpass::wait(&sockets).map_err(|error| failed(SuccessionError::Io(error)))?;
        }
    }

    /// Waits for what the control thread there leaves to the one here; nothing, if it knows of no
    /// such thing.
    pub(super) fn bequest(&self) -> Result<Bequest, SuccessionError> {
        if !self.offer.has_bequest {
            return Ok(Bequest::default());
        }
        let mut bytes = Vec::new();
        loop {
            match hear_with(&self.socket, 0, &mut Vec::new())? {
                Word::Bequest(part) if part.is_empty() => break,
                Word::Bequest(part) => bytes.extend(part),
                _ => return Err(SuccessionError::OutOfTurn),
            }
            if bytes.len() > BEQUEST_BYTES_MAX {
                let bytes = bytes.len() as u64;
                return Err(SuccessionError::Format(FormatError::TooLong { bytes }));
            }
        }
        Bequest::decode(&bytes).map_err(SuccessionError::Format)
    }

    /// Everything is here: from now on this process serves, unless this fails.
    pub(super) fn commit(&self, connections: u64) -> Result<(), SuccessionError> {
        Step::NewerTook.reached();
        self.say(&Word::Committed { connections })?;
        Step::NewerCommitted.reached();
        Ok(())
    }

    /// Says why it cannot be, if anybody still listens.
    pub fn refuse(&self, reason: &impl fmt::Display) {
        refuse(&self.socket, reason);
    }

    fn say(&self, word: &Word) -> Result<(), SuccessionError> {
        say(&self.socket, word)
    }
}

fn refuse(socket: &OwnedFd, reason: &impl fmt::Display) {
    // Whoever has asked is told in one line.
    let mut reason = reason.to_string().replace('\n', "; ");
    let mut end = reason.len().min(HANDED_WORD_BYTES_MAX / 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    if let Err(error) = say(socket, &Word::Refused(reason)) {
        tracing::debug!(%error, "the other process does not listen any more");
    }
}

fn say(socket: &OwnedFd, word: &Word) -> Result<(), SuccessionError> {
    match fdpass::send(socket, &word.encode(), &[]) {
        Ok(()) => Ok(()),
        // Three words at most are said, so a socket without room is one that nobody reads.
        Err(SendError::Closed | SendError::Full | SendError::TooManyInFlight) => {
            Err(SuccessionError::GivenUp)
        }
        Err(SendError::Io(error)) => Err(SuccessionError::Io(error)),
    }
}

/// Passes the ways on to the shards, which wait for them.
pub(super) fn deal(ways: Vec<Way>, shards: &[Arc<OwnedFd>]) -> Result<(), SuccessionError> {
    for Way { from, to, socket } in ways {
        let message = Passing::channel(from, 0);
        loop {
            match fdpass::send(&*shards[usize::from(to)], &message, &[socket.as_fd()]) {
                Ok(()) => break,
                Err(SendError::Full | SendError::TooManyInFlight) => {
                    std::thread::sleep(HANDED_PAUSE);
                }
                Err(SendError::Closed) => return Err(SuccessionError::GivenUp),
                Err(SendError::Io(error)) => return Err(SuccessionError::Io(error)),
            }
        }
    }
    Ok(())
}

/// The next word, if there is one.
fn try_hear(socket: &OwnedFd) -> Result<Option<Word>, SuccessionError> {
    let mut buffer = [0; HANDED_WORD_BYTES_MAX];
    match fdpass::receive(socket, &mut buffer, 0, &mut Vec::new()) {
        Ok(received) => {
            let word = Word::decode(&buffer[..received.payload_bytes]);
            word.map(Some).map_err(SuccessionError::Format)
        }
        Err(ReceiveError::Empty) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits for the next word, and for what comes with it, no more than so many.
fn hear_with(
    socket: &OwnedFd,
    with_max: usize,
    with: &mut Vec<OwnedFd>,
) -> Result<Word, SuccessionError> {
    let mut buffer = [0; HANDED_WORD_BYTES_MAX];
    loop {
        match fdpass::receive(socket, &mut buffer, with_max, with) {
            Ok(received) => {
                let word = Word::decode(&buffer[..received.payload_bytes]);
                return word.map_err(SuccessionError::Format);
            }
            Err(ReceiveError::Empty) => {
                fdpass::wait(&[socket.as_fd()]).map_err(SuccessionError::Io)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
