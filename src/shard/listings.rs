//! Lists of this shard's channels, which somebody outside has asked every shard for.
//!
//! Invariant: a list has a share of each turn, however many channels there are, and names at most
//! so many: who asks for more is told so, and nothing of them is kept.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use super::core::Turn;
use super::message::{ListChannels, Listed, Message};
use crate::handler::Handler;
use crate::hub::Page;
use crate::limits::CHANNELS_LISTED_MAX;
use crate::mesh::MemberId;
use crate::protocol::Glob;

/// The lists that are asked for; the first is being made.
#[derive(Default)]
pub(super) struct Listings {
    waiting: VecDeque<Listing>,
}

struct Listing {
    from: MemberId,
    ask: u64,
    glob: Glob,
    page: Page,
    found: Vec<Listed>,
}

impl Listings {
    pub(super) fn take(&mut self, from: MemberId, asked: &ListChannels) {
        let glob = Glob::new(&asked.pattern).expect("the control thread has looked at it");
        let (page, found) = (Page::default(), Vec::new());
        self.waiting.push_back(Listing { from, ask: asked.ask, glob, page, found });
    }

    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Looks at so many places of channels; true if a list is asked for.
    pub(crate) fn list_channels(&mut self, place_count: u32) -> bool {
        let Some(mut listing) = self.core.listings.waiting.pop_front() else { return false };
        let Listing { glob, found, page, .. } = &mut listing;
        let next = self.core.channels.fanout.list(*page, place_count, |name, members| {
            if found.len() <= CHANNELS_LISTED_MAX && glob.matches(name) {
                found.push(Listed { channel: name.into(), members });
            }
        });
        let is_too_many = listing.found.len() > CHANNELS_LISTED_MAX;
        if let Some(next) = next.filter(|_| !is_too_many) {
            listing.page = next;
            self.core.listings.waiting.push_front(listing);
        } else {
            let found = (!is_too_many).then_some(listing.found);
            let answer = Message::ChannelsListed { ask: listing.ask, found: found.map(Arc::new) };
            self.core.channels.mesh.answer(listing.from, answer);
        }
        true
    }
}
