//! What a shard's members are sent and told: the outcome of their joins, then publications.

#![forbid(unsafe_code)]

use super::channels::{Channels, member};
use super::core::{Core, Turn};
use super::forms::{Readable, Sections};
use super::guard;
use super::message::Message;
use super::sections::Section;
use super::selections::Selected;
use super::set_aside::Behind;
use super::slab::Index;
use crate::handler::{ConnectionId, Handler, JoinError, MessageKind, Peer};
use crate::hub::{Announcement, ChannelId, Delivery, Runs, Wording};
use crate::limits::MISSED_SHARE;
use crate::mesh::Class;
use crate::ring::{Batch, Frame, Piece};

/// A delivery in the terms of the shard.
pub(super) struct Next {
    index: Index,
    id: ChannelId,
    missed: u64,
    /// Its name, if the member is to be told something of it.
    channel: Option<String>,
    pub(super) piece: Result<Option<Piece>, Unreadable>,
    count: usize,
    /// What `piece` is made of, if the member is behind.
    behind: Option<Behind>,
}

/// The member reads another kind of message, and there is no translation.
pub(super) struct Unreadable;

impl Channels {
    /// The next member that is to get something, in the kind of message that it `reads`, and
    /// whether it `is_behind`.
    pub(super) fn next(
        &mut self,
        batch: &mut Batch,
        reads: impl FnOnce(Index) -> Option<MessageKind>,
        is_behind: impl FnOnce(Index, &[Frame]) -> bool,
    ) -> Option<Next> {
        let Self { fanout, home, joined, selections, mesh, .. } = self;
        let delivery =
            fanout.next_of(if mesh.waits_for_core() { Runs::Short } else { Runs::All })?;
        let Delivery { channel, missed, frames, tells_joins, .. } = delivery;
        let index = Index::new(delivery.member.0);
        let (run, words) = ((delivery.chain, frames), home.words);
        let selected = match delivery.wording {
            Wording::Selected(filter) => Some(selections.select(run, filter, words)),
            _ => None,
        };
        let count = selected.map_or(frames.len(), Selected::count);
        let behind = (count > 0 && is_behind(index, frames)).then(|| Behind {
            channel,
            frames: selected.map_or_else(|| frames.to_vec(), |selected| selected.of(frames)),
            tells_joins,
        });
        let readable = match selected {
            _ if count == 0 => None,
            Some(selected) => {
                Some(selections.piece((selected, frames), reads(index), words, batch))
            }
            None => {
                let sections = sections(delivery.wording);
                Some(joined.of(run, reads(index), sections, words, batch))
            }
        };
        let (piece, is_new) = match readable {
            None => (Ok(None), false),
            Some((Readable::Here(piece), _)) => (Ok(Some(piece)), false),
            Some((Readable::Translated(piece), is_new)) => (Ok(Some(piece)), is_new),
            Some((Readable::No, _)) => (Err(Unreadable), false),
        };
        if is_new {
            self.translated += 1;
            self.ask_for_both_forms(channel);
        }
        let (id, told) = (channel, missed > 0 || piece.is_err());
        let channel = told.then(|| self.fanout.name(id).to_owned());
        Some(Next { index, id, missed, channel, piece, count, behind })
    }

    /// Asks the home to translate in future, once for all shards. For want of room the question is
    /// left for the next publication that has to be translated here.
    fn ask_for_both_forms(&mut self, channel: ChannelId) {
        let name = self.fanout.name(channel);
        let home = self.homes.home_of_channel(name);
        if home == self.here {
            self.home.order.needs_both_forms(name);
        } else {
            let message = Message::BothForms { channel: name.into() };
            let _or_later = self.mesh.send(member(home), message, Class::Delivery);
        }
    }
}

/// In which sections of its frames a member reads a run.
pub(super) fn sections(wording: Wording<'_>) -> Sections {
    match wording {
        Wording::Plain | Wording::Selected(_) => [Section::Plain; 2],
        Wording::FromWhole => [Section::Whole, Section::Deltas],
        Wording::FromDelta => [Section::Deltas; 2],
    }
}

impl<H: Handler> Turn<'_, H> {
    /// Tells at most `budget` members what became of their joins, or that others are in their
    /// place; returns how many it was.
    pub(crate) fn announce(&mut self, handler: &mut H, budget: usize) -> usize {
        let mut count = self.tell_replaced(handler, budget);
        while count < budget {
            let Some(next) = self.core.channels.fanout.next_announcement() else { break };
            count += 1;
            let Announcement { member, channel, is_member } = next;
            let index = Index::new(member.0);
            let id: ConnectionId = self.core.id(index);
            let Some(connection) = self.core.open(id) else { continue };
            connection.channel_count -= u16::from(!is_member);
            self.core.called = true;
            let result = if is_member { Ok(()) } else { Err(JoinError::HomeFull) };
            let peer = &mut Peer::new(self, id);
            if guard(|| handler.joined(peer, &channel, result)).is_none() {
                self.panicked(index);
            }
            self.tell_endings(handler);
        }
        count
    }

    /// Delivers to at most `budget` members; returns how many it was.
    pub(crate) fn fan_out(&mut self, handler: &mut H, budget: usize) -> usize {
        let (mut count, mut missed) = (0, 0);
        if self.core.channels.fanout.has_announcements() {
            return count; // whoever has not heard of its join gets nothing yet
        }
        count += self.relieve(budget);
        count += self.redeliver(budget.saturating_sub(count));
        while count < budget && missed < MISSED_SHARE {
            let Core { channels, connections, output, settings, .. } = &mut *self.core;
            let reads = |index| {
                let state = connections.get(index)?.state.as_ref()?;
                guard(|| H::reads(state)).flatten()
            };
            let bytes_max = settings.output_bytes_max;
            let is_behind = |index, frames: &[Frame]| {
                connections.get(index).is_some_and(|one| one.is_behind(output, frames, bytes_max))
            };
            let Some(next) = channels.next(self.batch, reads, is_behind) else { break };
            count += 1;
            missed += usize::from(next.missed > 0);
            if let Some(channel) = &next.channel
                && !self.tell(handler, &next, channel)
            {
                continue;
            }
            let Ok(Some(piece)) = next.piece else { continue };
            let open = self.core.connections.get(next.index).is_some_and(|one| one.phase.is_open());
            if open
                && !self.set_aside(next.index, next.behind)
                && self.hand_over(next.index, next.id, piece).is_ok()
            {
                self.core.counters.deliveries += next.count as u64;
                self.core.counters.deliveries_bytes += piece.len() as u64;
            }
            self.tell_endings(handler);
        }
        count
    }

    /// Tells a member what it missed, and that it cannot read what follows; false if it has left,
    /// or is gone, over that.
    fn tell(&mut self, handler: &mut H, next: &Next, channel: &str) -> bool {
        let id: ConnectionId = self.core.id(next.index);
        self.core.called = true;
        if next.missed > 0 {
            let peer = &mut Peer::new(self, id);
            if guard(|| handler.missed(peer, channel, next.missed)).is_none() {
                self.panicked(next.index);
            }
            self.tell_endings(handler);
            if !self.core.channels.is_member(next.index, channel) {
                return false;
            }
        }
        if next.piece.is_err() {
            self.core.counters.publications_unreadable += next.count as u64;
            let peer = &mut Peer::new(self, id);
            if guard(|| handler.unreadable(peer, channel)).is_none() {
                self.panicked(next.index);
            }
            self.tell_endings(handler);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::session_rig::{Client, SessionRig, open_settings};
    use super::super::session_settings::SessionSettings;
    use super::*;
    use crate::config::Config;
    use crate::limits::FANOUT_TURN_SHARE;
    use crate::session::{ChannelOptions, Retention, Rules};

    /// Each of them comes back at once for what it missed, and asks the same home.
    #[test]
    fn a_crowd_that_missed_something_is_told_a_few_at_a_time() {
        const CROWD: usize = MISSED_SHARE + MISSED_SHARE / 2;
        let history = Some(Retention { publications_max: 9, ttl_s: 60, meta_ttl_s: 600 });
        let options = ChannelOptions { history, force_recovery: true, ..ChannelOptions::default() };
        let open = open_settings();
        let rules = Rules { without_namespace: options, ..open.rules };
        let config = Config::new(([127, 0, 0, 1], 0).into());
        let mut rig = SessionRig::new(1, 16, config, &SessionSettings { rules, ..open });
        let crowd: Vec<Client> = (0..CROWD).map(|_| rig.connect(0, "")).collect();
        for client in &crowd {
            rig.frame(*client, r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        }
        let fanout = &mut rig.core(0).channels.fanout;
        let channel = fanout.find("a").expect("all are in it");
        fanout.miss(channel, 5);
        let told = [(); 3].map(|()| rig.fan_out(0, FANOUT_TURN_SHARE));
        assert_eq!(told, [MISSED_SHARE, CROWD - MISSED_SHARE, 0]);
        assert_eq!(rig.counters().unsubscribes_insufficient_state, CROWD as u64);
    }
}
