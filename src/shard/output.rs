//! The output of one turn: for each connection a chain of pieces, joined at the flush.
//!
//! ```text
//!   send, fan-out, ping, Close ─▶ chain of connection 7: [arena 0..22] [shared frame] [Close]
//!   flush: one piece  ─▶ one send of that piece
//!          several    ─▶ copied together once, one send
//! ```
//!
//! Invariant: a connection has at most one chain, and so at most one send, between two flushes.

use crate::ring::{Batch, Piece};

/// No chain, no next link.
pub(super) const NONE: u32 = u32::MAX;

/// One connection's output of this turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// The connection's slot.
    pub(super) index: u32,
    /// Bytes in all its pieces.
    pub(super) bytes: usize,
    /// What was submitted for it.
    pub(super) sent: Sent,
    first: u32,
    last: u32,
}

/// What the flush did with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Not flushed yet, or everything went into the backlog.
    Nothing,
    /// This piece is on its way, straight from the turn.
    Chain(Piece),
    /// This piece is on its way: a copy of the backlog's head.
    Backlog(Piece),
    /// The kernel said that the send failed or came short; it has been dealt with.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    piece: Piece,
    next: u32,
}

/// All chains of a turn. The vectors keep their room from turn to turn.
#[derive(Default)]
pub struct Output {
    chains: Vec<Chain>,
    links: Vec<Link>,
}

/// Room that is kept between turns; a turn may need more, and gives it back.
const CHAINS_KEPT: usize = 2048;

impl Output {
    /// Starts an empty chain for the connection at `index`.
    pub fn begin(&mut self, index: u32) -> u32 {
        let number = count(self.chains.len());
        self.chains.push(Chain { index, bytes: 0, sent: Sent::Nothing, first: NONE, last: NONE });
        number
    }

    /// Appends `piece` to chain `number`.
    pub fn push(&mut self, number: u32, piece: Piece) {
        let chain = &mut self.chains[number as usize];
        chain.bytes += piece.len();
        if chain.last != NONE {
            let last = &mut self.links[chain.last as usize];
            if let Some(longer) = last.piece.extended_by(piece) {
                last.piece = longer;
                return;
            }
        }
        let link = count(self.links.len());
        self.links.push(Link { piece, next: NONE });
        let chain = &mut self.chains[number as usize];
        if chain.last == NONE {
            chain.first = link;
        } else {
            self.links[chain.last as usize].next = link;
        }
        chain.last = link;
    }

    /// How many connections have output.
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    pub(super) fn chain(&self, number: u32) -> &Chain {
        &self.chains[number as usize]
    }

    pub(super) fn chain_mut(&mut self, number: u32) -> &mut Chain {
        &mut self.chains[number as usize]
    }

    /// The pieces of chain `number` in their order.
    pub(super) fn pieces(&self, number: u32) -> impl Iterator<Item = Piece> + Clone {
        let first = self.chains[number as usize].first;
        let follow = |link: u32| (link != NONE).then(|| self.links[link as usize]);
        std::iter::successors(follow(first), move |link| follow(link.next)).map(|link| link.piece)
    }

    /// The one piece that a chain's bytes can be sent as; several are copied together.
    pub fn joined(&self, number: u32, batch: &mut Batch) -> Option<Piece> {
        let chain = self.chain(number);
        if chain.first == NONE {
            return None;
        }
        if chain.first == chain.last {
            return Some(self.links[chain.first as usize].piece);
        }
        batch.join(self.pieces(number)).or_else(|| {
            let mut whole = Vec::with_capacity(self.chain(number).bytes);
            for piece in self.pieces(number) {
                whole.extend_from_slice(batch.bytes(piece));
            }
            Some(batch.share(whole.into()))
        })
    }

    /// Frees the room that chains have left, if there are none.
    pub(super) fn shrink(&mut self) {
        if self.chains.is_empty() {
            self.chains = Vec::new();
            self.links = Vec::new();
        }
    }

    /// Forgets all chains, after their sends are settled.
    pub fn clear(&mut self) {
        self.chains.clear();
        self.links.clear();
        self.chains.shrink_to(CHAINS_KEPT);
        self.links.shrink_to(2 * CHAINS_KEPT);
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("a turn is bounded")
}
