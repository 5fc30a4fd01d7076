//! What filters leave of the run that is being delivered.
//!
//! The tags of each publication are read once for the run, each different filter is asked once,
//! and those that leave the same publications share what is put together of them.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::forms::{Readable, Words, of_frames};
use super::sections::Section;
use crate::filter::{Filter, Tags};
use crate::handler::{Form, Message, MessageKind};
use crate::hub::Chain;
use crate::limits::{RUN_FRAMES_MAX, SELECTIONS_KEPT_MAX};
use crate::ring::{Batch, Frame};

/// Which frames of a run: one bit each, the first one lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selected(u64);

const _: () = assert!(RUN_FRAMES_MAX <= u64::BITS as usize);

impl Selected {
    /// The frames that are meant.
    pub(super) fn of(self, frames: &[Frame]) -> Vec<Frame> {
        let is_meant = |place: &usize| self.0 >> place & 1 == 1;
        (0..frames.len()).filter(is_meant).map(|place| Frame::clone(&frames[place])).collect()
    }

    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// The run that was read by filters last.
#[derive(Default)]
pub(super) struct Selections {
    chain: Option<Chain>,
    tags: Vec<Tags>,
    /// By the address of the filter, which is kept with it.
    selected: BTreeMap<usize, (Arc<Filter>, Selected)>,
    pieces: Vec<(Selected, Option<MessageKind>, Readable)>,
}

impl Selections {
    /// What a filter leaves of a run.
    pub(super) fn select(
        &mut self,
        (chain, frames): (Chain, &[Frame]),
        filter: &Arc<Filter>,
        words: Words,
    ) -> Selected {
        if self.chain != Some(chain) {
            *self = Self { chain: Some(chain), ..Self::default() };
            self.tags.extend(frames.iter().map(|frame| tags(frame, words)));
        }
        let address = Arc::as_ptr(filter) as usize;
        if let Some((_, selected)) = self.selected.get(&address) {
            return *selected;
        }
        let bits = self.tags.iter().enumerate();
        let bits = bits.map(|(place, tags)| u64::from(filter.admits(tags)) << place);
        let selected = Selected(bits.fold(0, |all, bit| all | bit));
        if self.selected.len() < SELECTIONS_KEPT_MAX {
            self.selected.insert(address, (Arc::clone(filter), selected));
        }
        selected
    }

    /// What was selected of the run as one piece, and whether it was made now.
    pub(super) fn piece(
        &mut self,
        (selected, frames): (Selected, &[Frame]),
        kind: Option<MessageKind>,
        words: Words,
        batch: &mut Batch,
    ) -> (Readable, bool) {
        let is_it = |(known, of, _): &&(Selected, _, _)| (*known, *of) == (selected, kind);
        if let Some((_, _, readable)) = self.pieces.iter().find(is_it) {
            return (*readable, false);
        }
        let readable = of_frames(&selected.of(frames), kind, [Section::Plain; 2], words, batch);
        if self.pieces.len() < SELECTIONS_KEPT_MAX {
            self.pieces.push((selected, kind, readable));
        }
        (readable, true)
    }
}

/// What a frame's first message says of itself.
pub(super) fn tags(frame: &Frame, words: Words) -> Tags {
    let form = Form::at(frame, 0);
    form.map(|form| (words.tags)(Message::validated(form.kind, &frame[form.payload])))
        .unwrap_or_default()
}
