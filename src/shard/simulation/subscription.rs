//! One channel as one client follows it: what it has heard there, and what it may hear next.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ledger::{Ledger, Position};
use super::scenario::{Promise, promise};

#[derive(Default)]
pub(super) struct Subscription {
    pub(super) is_wanted: bool,
    /// The server has put the client there.
    pub(super) is_by_server: bool,
    pub(super) phase: Phase,
    /// The last publication it has, where the channel has positions.
    pub(super) position: Option<Position>,
    pub(super) is_recoverable: bool,
    /// Per publisher, the last publication since the subscription began.
    heard: BTreeMap<u64, u64>,
    /// By the others' ids, whether they came or left last.
    others: BTreeMap<String, bool>,
    /// When it was asked for, and when that was answered.
    pub(super) asked_at: u64,
    pub(super) answered_at: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Out,
    Asked,
    In,
    /// An unsubscribe is under way: publications may still come.
    Leaving,
    /// The same, and behind it a subscribe.
    Returning,
}

/// Publications of one connection have numbers from its own times this on.
pub(super) const PUBLISHER: u64 = 1_000_000;

impl Subscription {
    /// It was asked for, anew.
    pub(super) fn ask(&mut self, asked_at: u64) {
        self.phase = Phase::Asked;
        self.heard.clear();
        self.others.clear();
        self.asked_at = asked_at;
    }

    /// From where it is to go on, if it is.
    pub(super) fn since(&self) -> Option<Position> {
        self.position.clone().filter(|_| self.is_recoverable)
    }

    /// The server's word on it.
    pub(super) fn begin(
        &mut self,
        channel: &str,
        since: Option<&Position>,
        result: &Value,
        ledger: &mut Ledger,
    ) {
        self.answered_at = ledger.tick();
        let position = result.get("positioned").map(|_| Position {
            epoch: result["epoch"].as_str().expect("a position has an epoch").to_owned(),
            offset: result.get("offset").map_or(0, |offset| offset.as_u64().expect("a number")),
        });
        self.is_recoverable = result.get("recoverable").is_some();
        if self.phase != Phase::Leaving {
            self.phase = Phase::In;
        }
        self.position = position;
        ledger.counts.recoveries += u64::from(since.is_some());
        let promised = promise(channel);
        let is_asked = result.get("was_recovering").is_some();
        // In the mode of a cache it may be made to without asking.
        let is_made_to = promised == Promise::Latest && since.is_none();
        assert!(is_asked == since.is_some() || is_made_to, "{channel}: {result}");
        if result.get("recovered").is_none() {
            assert!(result.get("publications").is_none(), "{channel}: {result}");
            ledger.counts.unrecovered += u64::from(since.is_some());
            return;
        }
        ledger.counts.recovered += 1;
        let missed = result.get("publications").and_then(Value::as_array);
        let missed = missed.map_or(&[][..], Vec::as_slice);
        if promised == Promise::Latest {
            self.jump(channel, missed, ledger);
            return;
        }
        let since = since.expect("recovered without having asked");
        assert_eq!(self.position.as_ref(), Some(since), "{channel}: {result}");
        for publication in missed {
            self.follow(channel, publication, ledger);
        }
    }

    /// The latest is all that is brought, wherever the client was.
    fn jump(&mut self, channel: &str, latest: &[Value], ledger: &mut Ledger) {
        assert!(latest.len() <= 1, "{channel}: {latest:?}");
        let [publication] = latest else { return };
        let position = self.position.as_mut().expect("what is recovered has a place");
        position.offset = publication["offset"].as_u64().expect("a place in the stream") - 1;
        self.follow(channel, publication, ledger);
    }

    /// The next publication: the one that follows, where nothing may be missing.
    pub(super) fn follow(&mut self, channel: &str, publication: &Value, ledger: &mut Ledger) {
        let number = publication["data"].as_u64().expect("publications are numbers");
        let last = self.heard.insert(number / PUBLISHER, number);
        assert!(last < Some(number), "{channel}: {number} after {last:?}");
        let Some(position) = &mut self.position else { return };
        let offset = publication["offset"].as_u64().expect("a place in the stream");
        if promise(channel) == Promise::Last {
            assert!(offset > position.offset, "{channel}: {publication} at {position:?}");
            ledger.counts.skipped += offset - position.offset - 1;
        } else {
            let expected = position.offset + 1;
            assert_eq!(offset, expected, "{channel}: a gap or a duplicate: {publication}");
        }
        position.offset = offset;
        ledger.agree(channel, position, number);
    }

    /// Another has come or left.
    pub(super) fn hear_other(
        &mut self,
        channel: &str,
        info: &Value,
        has_come: bool,
        ledger: &mut Ledger,
    ) {
        let id = info["client"].as_str().expect("everybody has an id").to_owned();
        ledger.counts.comings += u64::from(has_come);
        ledger.counts.goings += u64::from(!has_come);
        if self.others.get(&id) == Some(&has_come) {
            let what = if has_come { "came" } else { "left" };
            ledger.contradictions.push(format!("{channel}: {id} {what} twice"));
        }
        self.others.insert(id, has_come);
    }

    /// What it was told of another, in the end: whether it is there.
    pub(super) fn knows_of(&self, id: &str) -> Option<bool> {
        self.others.get(id).copied()
    }

    /// Those of whom it was told that they came, and not that they left.
    pub(super) fn known(&self) -> impl Iterator<Item = &str> {
        self.others.iter().filter(|(_, is_there)| **is_there).map(|(id, _)| &**id)
    }
}
