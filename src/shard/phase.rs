//! Where a connection stands between its accept and the reuse of its slot.
//!
//! ```text
//!  Handshake ──▶ Open ──▶ Closing ──▶ Discarding ──▶ Lingering ──▶ Retiring ──▶ (free)
//!      │           │          │  peer's   ▲     flushed,     EOF or      polls ended,
//!      │ refused   │ peer's   │  Close    │     FIN sent     deadline    batch recycled
//!      └───────────┴──────────┴───────────┘
//!      any state ── reset, vanished, cut, deadline ──▶ Retiring
//! ```
//!
//! Close is a sequence. `Closing`: our Close frame seals the output; what the peer still sends is
//! parsed only to find its Close. `Discarding`: both sides are done talking (or the peer talks
//! nonsense); the backlog goes out, input is thrown away. `Lingering`: our FIN is sent; reading on
//! until the peer's keeps the kernel from answering unread input with a reset, which would take
//! the Close frame with it. `Retiring`: shut down both ways, polls cancelled; the slot and the
//! descriptor stay taken until no operation can name them.

/// The phase of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The request head is arriving.
    Handshake,
    /// Messages flow.
    Open,
    /// Our Close is queued; the peer's is awaited.
    Closing,
    /// Output is sealed and leaving; input is thrown away.
    Discarding,
    /// Our side is shut; the peer's end is awaited.
    Lingering,
    /// Shut down; the kernel still holds operations on it.
    Retiring,
}

/// What moves a connection from one phase to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The 101 is queued.
    Upgraded,
    /// A refusal is queued, or a Close after which the peer's input cannot be parsed or is over.
    Sealed,
    /// Our Close is queued first.
    CloseSent,
    /// The peer's Close arrived after ours.
    PeerClosed,
    /// Everything queued has left, and our FIN with it.
    Flushed,
    /// Nothing more can or will be exchanged: reset, end of input, cut, deadline.
    Over,
}

impl Phase {
    pub(crate) fn on(self, event: Event) -> Self {
        match (self, event) {
            (Self::Handshake, Event::Upgraded) => Self::Open,
            (Self::Open, Event::CloseSent) => Self::Closing,
            (Self::Handshake | Self::Open, Event::Sealed) | (Self::Closing, Event::PeerClosed) => {
                Self::Discarding
            }
            (Self::Discarding, Event::Flushed) => Self::Lingering,
            (_, Event::Over) => Self::Retiring,
            (phase, event) => unreachable!("{event:?} in {phase:?}: callers look at the phase"),
        }
    }

    /// Whether the application may send, join and be called.
    pub(crate) fn is_open(self) -> bool {
        self == Self::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 6] = [
        Phase::Handshake,
        Phase::Open,
        Phase::Closing,
        Phase::Discarding,
        Phase::Lingering,
        Phase::Retiring,
    ];

    #[test]
    fn every_phase_can_end_at_once_and_none_comes_back_to_open() {
        for phase in PHASES {
            assert_eq!(phase.on(Event::Over), Phase::Retiring);
        }
        let into_open = PHASES.into_iter().filter(|phase| {
            std::panic::catch_unwind(|| phase.on(Event::Upgraded)).is_ok_and(Phase::is_open)
        });
        assert_eq!(into_open.collect::<Vec<_>>(), [Phase::Handshake]);
    }

    #[test]
    fn each_event_moves_forward_only() {
        let events = [
            Event::Upgraded,
            Event::Sealed,
            Event::CloseSent,
            Event::PeerClosed,
            Event::Flushed,
            Event::Over,
        ];
        for phase in PHASES {
            for event in events {
                if let Ok(next) = std::panic::catch_unwind(|| phase.on(event)) {
                    assert!(next as u8 >= phase as u8, "{phase:?} on {event:?} gave {next:?}");
                }
            }
        }
    }
}
