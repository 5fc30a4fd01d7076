//! What a session wants done: a queue that its shard empties and reuses.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::Outbox;
use super::entry::Entry;
use super::options::Keep;
use super::questions::Question;
use super::under_way::SlotId;
use crate::backend;
use crate::protocol::{Disconnect, Format, Publication, Push, UnsubscribeCode};

/// Bytes in the text of the effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span(Range<usize>);

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is known whose client it is: enter it among those of its user.
    Identified,
    /// It can be told something under this name from now on.
    Mark {
        /// That of a token.
        name: Span,
    },
    /// It cannot any more.
    Unmark {
        /// The same.
        name: Span,
    },
    /// The client has connected.
    Connected,
    /// Call `Session::late` after this time, or not at all, whatever was said before.
    Alarm {
        /// The time, if there is one.
        after: Option<Duration>,
    },
    /// Count it for its user; the answer goes to `Session::signed_in`.
    SignIn {
        /// The user's connections at most.
        limit: u32,
    },
    /// Make it a member; the answer goes to `Session::entered`.
    Enter {
        /// The channel.
        channel: Span,
        /// What the channel's home is asked for.
        entry: Entry,
    },
    /// Ask a channel's home; the answer goes to `Session::answered`.
    Ask {
        /// Whose answer it is.
        slot: SlotId,
        /// The channel.
        channel: Span,
        /// What is asked.
        question: Question,
    },
    /// Show it, wherever it is present, as `Session::shown` does now.
    ShowAnew,
    /// Show it in this channel, as `Session::shown_in` does now.
    ShowAnewIn {
        /// The channel.
        channel: Span,
    },
    /// Ask the control thread; the answer goes to `Session::consulted`.
    Consult {
        /// Whose answer it is.
        slot: SlotId,
        /// What is asked.
        question: Box<backend::Question>,
    },
    /// Keep what its channels have for it, because replies that it must read before are not
    /// written yet.
    HoldDeliveries,
    /// Send what is in the outbox, and then what was kept.
    ReleaseDeliveries,
    /// End its membership.
    Leave {
        /// The channel.
        channel: Span,
        /// Why, if the client knew that it was in it.
        why: Option<Unsubscribed>,
    },
    /// Publish this message, encoded in the client's format, and tell `Session::published` how it
    /// went.
    Publish {
        /// The command, which awaits its reply.
        id: u32,
        /// Its slot, if a back end was asked before.
        slot: Option<SlotId>,
        /// The channel.
        channel: Span,
        /// A whole message.
        message: Span,
        /// How it is kept, if it is.
        keep: Option<Keep>,
    },
    /// The client has answered a ping; if none was sent, tell `Session::unasked_pong`.
    Pong,
    /// Close, after what is in the outbox. The last effect of a session.
    Close(Disconnect),
    /// The same in the words of a back end.
    CloseAs {
        /// What the client goes by.
        code: u16,
        /// What a person goes by.
        reason: Span,
    },
}

/// The first of the codes with which SDKs subscribe again by themselves (8).
const UNSUBSCRIBED_TO_RETURN_MIN: u16 = 2500;

/// Why a subscription has ended before its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// The client wanted it so.
    ByClient,
    /// The server did, and has told the client.
    ByServer(UnsubscribeCode),
}

impl Unsubscribed {
    /// What programs go by: 0 for the client (8).
    pub fn code(self) -> u16 {
        match self {
            Self::ByClient => 0,
            Self::ByServer(code) => code.code(),
        }
    }

    /// Whether the client is not expected back, as it is where it is to recover, or to bring
    /// another token.
    pub fn is_for_good(self) -> bool {
        self.code() < UNSUBSCRIBED_TO_RETURN_MIN
    }

    /// What people go by.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ByClient => "client unsubscribed",
            Self::ByServer(code) => code.text(),
        }
    }
}

/// The effects of one step, and what is to be sent. Their buffers are kept from step to step.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    queue: VecDeque<Effect>,
    text: Vec<u8>,
    /// What the client is sent.
    pub outbox: Outbox,
}

/// Bytes of text for which room is kept between steps.
const TEXT_BYTES_KEPT: usize = 64 * 1024;

impl Effects {
    /// The next thing to do.
    pub fn take(&mut self) -> Option<Effect> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.text.clear();
            self.text.shrink_to(TEXT_BYTES_KEPT);
        }
        next
    }

    /// Begins a step for a client of this format. What an earlier step has left, because it was
    /// cut short, was for another client, and is forgotten.
    pub fn begin(&mut self, format: Format) {
        self.queue.clear();
        self.text.clear();
        self.outbox.begin(format);
    }

    /// The bytes of a span, until [`take`](Self::take) has said that there is nothing left.
    pub fn bytes(&self, span: &Span) -> &[u8] {
        &self.text[span.0.clone()]
    }

    /// The same for a channel's name.
    pub fn name(&self, span: &Span) -> &str {
        std::str::from_utf8(self.bytes(span)).expect("names are written from strings")
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.queue.push_back(effect);
    }

    pub(super) fn push_entry(&mut self, channel: &str, entry: Entry) {
        let channel = self.text(channel.as_bytes());
        self.push(Effect::Enter { channel, entry });
    }

    pub(super) fn leave(&mut self, channel: &str, why: Option<Unsubscribed>) {
        let channel = self.text(channel.as_bytes());
        self.push(Effect::Leave { channel, why });
    }

    pub(super) fn mark(&mut self, name: &str) {
        let name = self.text(name.as_bytes());
        self.push(Effect::Mark { name });
    }

    pub(super) fn unmark(&mut self, name: &str) {
        let name = self.text(name.as_bytes());
        self.push(Effect::Unmark { name });
    }

    pub(super) fn show_anew_in(&mut self, channel: &str) {
        let channel = self.text(channel.as_bytes());
        self.push(Effect::ShowAnewIn { channel });
    }

    pub(super) fn publish(
        &mut self,
        (id, slot): (u32, Option<SlotId>),
        name: &str,
        publication: Publication<'_>,
        keep: Option<Keep>,
    ) {
        let channel = self.text(name.as_bytes());
        let start = self.text.len();
        let format = self.outbox.format();
        format.write_push(&mut self.text, name, &Push::Publication(publication));
        let message = Span(start..self.text.len());
        self.push(Effect::Publish { id, slot, channel, message, keep });
    }

    pub(super) fn text(&mut self, text: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Span(start..self.text.len())
    }
}
