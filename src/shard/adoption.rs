//! A new shard takes over what shards of another process send, before it serves.
//!
//! ```text
//!   ways from all shards of the other process ─▶ copies of descriptors, kept, while it serves
//!                                             ─▶ records ─▶ slots, listeners (nothing armed)
//!   commit ─▶ listeners armed, connections watched, a share of them in each turn
//! ```
//!
//! It waits as long as it takes: a way that ends before its last record is the other process's
//! word that nothing becomes of it. Invariant: until the commit no socket is read from, written
//! to, watched or shut down, and what was taken is only closed, which its owner does not notice.
//! There are never more copies and connections than slots.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::admission::{PASSING_BYTES_MAX, Passing};
use super::carried::Unfit;
use super::event_loop::Loop;
use super::guard;
use super::home::Home;
use crate::handler::{ConnectionId, Handler, Peer};
use crate::handover::{FormatError, Item, Source, Totals};
use crate::hub::Untakable;
use crate::limits::{HANDED_FDS_MAX, HANDED_MESSAGE_BYTES_MAX, WATCH_SHARE};
use crate::sys::clock;
use crate::sys::fdpass::{self, ReceiveError, SendError};
use crate::sys::step::Step;

/// Why a shard could not take everything over.
#[derive(Debug)]
pub(crate) enum AdoptionError {
    /// The other process has given it up, or is gone.
    Ended,
    /// This shard's table has no room for more descriptors.
    Descriptors,
    /// What was sent is not understood.
    Format(FormatError),
    /// A connection does not fit here.
    Unfit(Unfit),
    /// A listener is of an address that this process does not have.
    Place(u16),
    /// A socket between the processes is broken.
    Io(io::Error),
}

impl std::fmt::Display for AdoptionError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended => write!(out, "the other process has given it up"),
            Self::Descriptors => write!(
                out,
                "a shard has no descriptor left: raise `ulimit -n`, or LimitNOFILE= in the unit"
            ),
            Self::Format(error) => error.fmt(out),
            Self::Unfit(why) => out.write_str(match why {
                Unfit::NoSeat => "there are too few seats: raise max_connections",
                Unfit::NoRoute => "a connection is of a route that is not known here",
                Unfit::State => "the state of a connection is not understood",
                Unfit::Channels => "there is no room for the channels of a connection",
                Unfit::Mailboxes => {
                    "there is no room for what users have not acknowledged: raise shards"
                }
                Unfit::Input => "what a client has sent in part breaks the rules of this process",
            }),
            Self::Place(number) => write!(out, "address {number} is not listened on here"),
            Self::Io(error) => write!(out, "the way between the processes is broken: {error}"),
        }
    }
}

impl From<ReceiveError> for AdoptionError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Empty => unreachable!("callers look for it"),
            ReceiveError::Closed => Self::Ended,
            ReceiveError::Truncated => Self::Descriptors,
            ReceiveError::Io(error) => Self::Io(error),
        }
    }
}

/// Says that the way has got here (see `NewWay::is_open`), or that all copies have up to the mark.
fn answer(socket: &OwnedFd) -> Result<(), AdoptionError> {
    match fdpass::send(socket, &[1], &[]) {
        Ok(()) => Ok(()),
        // Two bytes are all that is sent in this direction.
        Err(SendError::Closed | SendError::Full | SendError::TooManyInFlight) => {
            Err(AdoptionError::Ended)
        }
        Err(SendError::Io(error)) => Err(AdoptionError::Io(error)),
    }
}

/// The ways from the shards of another process. They stay open until its control thread has heard
/// why nothing became of it: a way that ends before that says only that this process is gone.
#[derive(Default)]
pub(crate) struct Ways(Vec<Way>);

/// A way from one shard of the other process.
struct Way {
    socket: OwnedFd,
    source: Source<OwnedFd>,
    /// The channel of the last stream that came on it.
    stream: String,
    is_over: bool,
}

impl<H: Handler> Loop<H> {
    /// Takes over everything from so many shards of another process; returns how much that was.
    /// `proxied` says of each address whether its connections begin with a PROXY header.
    pub(crate) fn take_over(
        &mut self,
        Ways(ways): &mut Ways,
        shard_count: usize,
        proxied: &[bool],
    ) -> Result<u64, AdoptionError> {
        self.listeners.hold();
        self.take_ways(ways, shard_count)?;
        Step::NewerTaking.reached();
        let mut buffer = vec![0; HANDED_MESSAGE_BYTES_MAX].into_boxed_slice();
        let mut connections = 0;
        while ways.iter().any(|way| !way.is_over) {
            let open = ways.iter().filter(|way| !way.is_over);
            let sockets: Vec<_> = open.map(|way| way.socket.as_fd()).collect();
            fdpass::wait(&sockets).map_err(AdoptionError::Io)?;
            self.core.set_now_of_taking_over(clock::now());
            for number in 0..ways.len() {
                let others: usize = ways.iter().map(|way| way.source.copy_count()).sum();
                let way = &mut ways[number];
                if !way.is_over {
                    let others = others - way.source.copy_count();
                    connections += self.take_messages_of(way, others, proxied, &mut buffer)?;
                }
            }
        }
        Ok(connections)
    }

    /// The ways themselves, which the control thread sends.
    fn take_ways(&self, ways: &mut Vec<Way>, shard_count: usize) -> Result<(), AdoptionError> {
        let (mut payload, mut sockets) = ([0; PASSING_BYTES_MAX], Vec::new());
        while ways.len() < shard_count {
            let passed = &self.links.passed;
            match fdpass::receive(passed, &mut payload, 1, &mut sockets) {
                Ok(_) => {}
                Err(ReceiveError::Empty) => {
                    fdpass::wait(&[passed.as_fd()]).map_err(AdoptionError::Io)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            assert_eq!(Passing::of(payload[0]), Passing::Channel, "nothing else comes so early");
            for socket in sockets.drain(..) {
                ways.push(Way {
                    socket,
                    source: Source::default(),
                    stream: String::new(),
                    is_over: false,
                });
            }
        }
        // Only now: what is sent in answer is taken out once all ways are there, and until then
        // would keep the descriptors of other ways from their way here.
        ways.iter().try_for_each(|way| answer(&way.socket))
    }

    /// Takes what waits on one way; returns how many connections that was. `other_copies`: those
    /// that other ways have brought.
    fn take_messages_of(
        &mut self,
        way: &mut Way,
        other_copies: usize,
        proxied: &[bool],
        buffer: &mut [u8],
    ) -> Result<u64, AdoptionError> {
        let (mut descriptors, mut connections) = (Vec::new(), 0);
        loop {
            match fdpass::receive(&way.socket, buffer, HANDED_FDS_MAX, &mut descriptors) {
                Ok(received) => {
                    way.source.feed(&buffer[..received.payload_bytes], descriptors.drain(..));
                }
                Err(ReceiveError::Empty) => return Ok(connections),
                Err(error) => return Err(error.into()),
            }
            while let Some(item) = way.source.next_item().map_err(AdoptionError::Format)? {
                match item {
                    Item::Listener(place, socket) => {
                        let known = proxied.get(usize::from(place));
                        let is_proxied = *known.ok_or(AdoptionError::Place(place))?;
                        self.listeners.keep(socket, is_proxied, place, self.core.now);
                    }
                    Item::Connection(connection, socket) => {
                        // Before, there was nobody for whom it would have.
                        self.core.stand_still(true);
                        let taken = self.core.take_over(&mut self.handler, *connection, socket);
                        self.tell_taken_over(taken.map_err(AdoptionError::Unfit)?)?;
                        connections += 1;
                    }
                    Item::Mark => {
                        Step::NewerCopied.reached();
                        answer(&way.socket)?;
                    }
                    Item::Legacy(legacy) => {
                        let inherited = guard(|| self.handler.inherit(&legacy));
                        if inherited != Some(true) {
                            return Err(AdoptionError::Unfit(Unfit::State));
                        }
                    }
                    Item::End(Totals { .. }) => {
                        way.is_over = true;
                        return Ok(connections);
                    }
                    heirloom => {
                        take_heirloom(&mut self.core.channels.home, &mut way.stream, heirloom)
                            .map_err(AdoptionError::Unfit)?;
                    }
                }
            }
            let taken = self.core.connection_count() as usize;
            let copies = other_copies + way.source.copy_count();
            if taken + copies > self.core.entries_max() as usize {
                return Err(AdoptionError::Unfit(Unfit::NoSeat));
            }
        }
    }

    /// The application hears of it, if it is open.
    fn tell_taken_over(&mut self, id: ConnectionId) -> Result<(), AdoptionError> {
        let (mut turn, handler) = self.turn_parts();
        if turn.core.open(id).is_none() {
            return Ok(());
        }
        let peer = &mut Peer::new(&mut turn, id);
        let told = guard(|| handler.taken_over(peer));
        told.ok_or(AdoptionError::Unfit(Unfit::State))
    }

    /// Tells the homes of channels and users, in other shards and here, of all that was taken over,
    /// and hears what the others have to tell. No client is served by that.
    pub(crate) fn settle_in(&mut self) {
        self.is_settling_in = true;
        self.core.settle_in();
        while !self.core.channels.has_settled_in() {
            // It breaks off only where it is told to stop: nothing comes of it then, anyway.
            if self.turn().is_break() {
                return;
            }
        }
        self.is_settling_in = false;
    }

    pub(super) fn work_settling_in(&mut self) -> bool {
        let worked = self.take_messages();
        self.core.settle_in();
        worked
    }

    /// All of it is this process's now: accepts and watches from the next turn on.
    pub(crate) fn serve_adopted(&mut self) {
        self.core.channels.home.settle_inheritance();
        self.listeners.resume();
        self.unwatched = Some(0);
    }

    /// Whether a listener of this address was taken over.
    pub(crate) fn has_listener(&self, place: u16) -> bool {
        self.listeners.has_place(place)
    }

    /// Watches some of the connections that were taken over.
    pub(super) fn watch_adopted(&mut self) -> bool {
        let Some(cursor) = self.unwatched else { return false };
        self.unwatched = self.core.watch_from(cursor, WATCH_SHARE);
        if self.unwatched.is_none() {
            self.core.stand_still(self.is_still());
        }
        true
    }
}

/// Takes what another home has left to this one. `last_stream`: the channel of the last stream that
/// came before it.
pub(super) fn take_heirloom<T>(
    home: &mut Home,
    last_stream: &mut String,
    heirloom: Item<T>,
) -> Result<(), Unfit> {
    let is_taken = match heirloom {
        Item::Stream(stream) => {
            last_stream.clone_from(&stream.channel);
            home.inherit_stream(*stream)
        }
        Item::Publication(frame) => home.inherit_publication(last_stream, frame),
        Item::Present(present) => home.inherit_present(*present),
        Item::Owed(owed) => return home.inherit_owed(*owed).map_err(Unfit::from),
        Item::Mailbox(mailbox) => return home.inherit_mailbox(*mailbox).map_err(Unfit::from),
        Item::Lost(lost) => {
            home.inherit_loss(&lost);
            true
        }
        Item::Listener(..) | Item::Connection(..) | Item::Mark | Item::Legacy(_) | Item::End(_) => {
            unreachable!("they belong to no home")
        }
    };
    if is_taken { Ok(()) } else { Err(Unfit::Channels) }
}

impl From<Untakable> for Unfit {
    fn from(why: Untakable) -> Self {
        match why {
            Untakable::Full => Self::Mailboxes,
            Untakable::Broken => Self::State,
        }
    }
}
