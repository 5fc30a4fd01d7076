//! Upgrades among what the control thread's main task does.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{TryRecvError, bounded};

use super::asked::{self, Asker, Wish};
use super::control::Control;
use super::notify::{self, News};
use super::rounds::Asker as Counter;
use super::serving::Serving;
use super::survey::Counts;
use super::upgrade::{Hands, Upgrade};
use crate::control::{KnownKey, Memory};
use crate::handover::{self, Bequest};
use crate::limits::HTTP_LEAVE_TIMEOUT;
use crate::metrics::Totals;
use crate::shard::{HandOver, Message};
use crate::sys::step::Step;

impl Serving {
    /// All serve: says so to the supervisor, and listens for whoever wants an upgrade.
    pub(super) fn begin_succession(&mut self) {
        if let Some(pid_file) = self.control.pid_file.take() {
            pid_file.place();
        }
        let path = self.upgrade.succession().and_then(|succession| succession.socket.clone());
        if let Some(path) = path {
            self.listen_for_wishes(&path);
        }
        if let Some(still) = self.control.stood_still {
            self.counters.handovers_committed += 1;
            let still_ms = u64::try_from(still.as_millis()).unwrap_or(u64::MAX);
            self.counters.handovers_still_ms += still_ms;
            notify::tell(News::ReadyInstead);
        } else {
            notify::tell(News::Ready);
        }
        Step::NewerServing.reached();
    }

    fn listen_for_wishes(&mut self, path: &Path) {
        match asked::listen(path, self.control.stood_still.is_some()) {
            Ok(listener) => {
                let wishes = self.wishes_in.clone();
                self.companions.add_attendant(asked::serve(listener, wishes));
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "no upgrade can be asked for");
            }
        }
    }

    pub(super) fn ask_upgrade(&mut self, Wish { is_check, asker }: Wish) {
        if self.is_stopping() {
            self.counters.handovers_declined += 1;
            return refuse(asker, "failed: the server is stopping");
        }
        let (upgrade, mut hands) = self.upgrade_parts();
        upgrade.ask(&mut hands, is_check, asker);
    }

    pub(super) fn copied(&mut self, attempt: u8, copies: Option<u64>) {
        let (upgrade, mut hands) = self.upgrade_parts();
        upgrade.copied(&mut hands, attempt, copies);
    }

    pub(super) fn moved(&mut self, connections: Option<u64>, copied: u64) {
        let (upgrade, mut hands) = self.upgrade_parts();
        upgrade.moved(&mut hands, connections, copied);
    }

    pub(super) fn surveyed(&mut self, round: u32, counts: Counts, is_idle: bool) {
        let own_is_idle = self.is_idle();
        let (upgrade, hands) = self.upgrade_parts();
        upgrade.surveyed(&hands, round, (counts, is_idle), own_is_idle);
    }

    /// The server is to stop: what is under way has to come to its end first.
    pub(super) fn give_up_upgrade(&mut self) {
        self.stops_soon = true;
        let (upgrade, mut hands) = self.upgrade_parts();
        upgrade.give_up(&mut hands);
    }

    /// Does what can be done now; and what waits for the end of an upgrade, if it has come.
    pub(super) fn advance_upgrade(&mut self) {
        if self.is_stopping() {
            return;
        }
        self.bequeath();
        let (upgrade, mut hands) = self.upgrade_parts();
        upgrade.advance(&mut hands);
        let (places, unix) = (&self.control.places, &self.control.unix_shares);
        self.crossing.set(self.upgrade.side(places, unix));
        if self.upgrade.has_left() {
            if std::mem::take(&mut self.stops_soon) {
                self.upgrade.pass_on_stop();
            }
            self.companions.stop();
            self.drop_asks();
            self.end_with(Message::HandOver(HandOver::Leave), HTTP_LEAVE_TIMEOUT);
        } else if self.stops_soon && !self.upgrade.is_under_way() && !self.upgrade.has_waiting() {
            self.stop();
        }
    }

    /// Leaves what this thread knows to that of the new process, once nothing changes it any more.
    /// A last round of the shards has what they have counted; and whoever was told of a publication
    /// before it began has noted that by its end.
    fn bequeath(&mut self) {
        if !self.upgrade.wants_bequest() {
            self.last_counts = None;
            if !self.upgrade.holds_shards() {
                self.last_said = None;
            }
            return;
        }
        let Some(counts) = &self.last_counts else {
            let (answer, counts) = bounded(1);
            self.rounds.ask(Counter::Program(answer), &mut self.counters);
            self.last_counts = Some(counts);
            return self.rounds.advance(&mut self.control.mesh);
        };
        match counts.try_recv() {
            Ok(last) => {
                let totals = Totals::new(last.counters.clone(), last.details.clone());
                self.last_said = Some(last);
                let keys = self.memory.as_ref().map(Memory::keys).unwrap_or_default();
                let keys = keys.into_iter().map(known_key).collect();
                self.upgrade.bequeath(&Bequest { keys, counts: totals.named().collect() });
            }
            Err(TryRecvError::Empty) => self.rounds.advance(&mut self.control.mesh),
            // It took too long: once more, until the upgrade itself is given up.
            Err(TryRecvError::Disconnected) => self.last_counts = None,
        }
    }

    /// Takes what the process before has left.
    pub(super) fn inherit(&mut self) {
        self.control.unix_shares.iter().for_each(|share| share.set_ours(true));
        let Bequest { keys, counts } = std::mem::take(&mut self.control.bequest);
        self.rounds.inherited = Totals::of_named(counts);
        self.rounds.inherited.end_streams();
        if let Some(memory) = &self.memory {
            memory.inherit_keys(keys.into_iter().map(inherited_key).collect());
        }
    }

    /// An upgrade, and what it works with.
    fn upgrade_parts(&mut self) -> (&mut Upgrade, Hands<'_>) {
        let Control { mesh, pass, places, is_portable, internal, unix_shares: unix, seats, .. } =
            &mut self.control;
        let internal = internal.as_ref().map(AsFd::as_fd);
        let (is_portable, counters) = (*is_portable, &mut self.counters);
        let connections = seats.taken_by_all();
        (
            &mut self.upgrade,
            Hands { mesh, pass, places, unix, internal, is_portable, connections, counters },
        )
    }
}

fn known_key(key: KnownKey) -> handover::KnownKey {
    let KnownKey { channel, key, offset, epoch, left } = key;
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    handover::KnownKey { channel, key, offset, epoch, left_ms }
}

fn inherited_key(key: handover::KnownKey) -> KnownKey {
    let handover::KnownKey { channel, key, offset, epoch, left_ms } = key;
    KnownKey { channel, key, offset, epoch, left: Duration::from_millis(left_ms) }
}

fn refuse(asker: Option<Asker>, words: &str) {
    tracing::warn!("upgrade {words}");
    if let Some(mut asker) = asker {
        asker.tell(words);
    }
}
