//! Upgrades among what the control thread's main task does.

use std::os::fd::AsFd;
use std::path::Path;

use super::asked::{self, Asker, Wish};
use super::control::Control;
use super::notify::{self, News};
use super::serving::Serving;
use super::survey::Counts;
use super::upgrade::{Hands, Upgrade};
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

    pub(super) fn moved(&mut self, connections: Option<u64>) {
        let (upgrade, mut hands) = self.upgrade_parts();
        upgrade.moved(&mut hands, connections);
    }

    pub(super) fn surveyed(&mut self, round: u32, counts: Counts, is_idle: bool) {
        let (upgrade, hands) = self.upgrade_parts();
        upgrade.surveyed(&hands, round, counts, is_idle);
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
        let (upgrade, mut hands) = self.upgrade_parts();
        upgrade.advance(&mut hands);
        if self.upgrade.has_left() {
            if self.control.has_site {
                tracing::info!("keys of publications over the HTTP API are not known there");
            }
            self.companions.stop();
            self.drop_asks();
            self.end_with(Message::HandOver(HandOver::Leave));
        } else if self.stops_soon && !self.upgrade.is_under_way() && !self.upgrade.has_waiting() {
            self.stop();
        }
    }

    /// An upgrade, and what it works with.
    fn upgrade_parts(&mut self) -> (&mut Upgrade, Hands<'_>) {
        let Control { mesh, pass, places, is_portable, internal, .. } = &mut self.control;
        let internal = internal.as_ref().map(AsFd::as_fd);
        let (is_portable, counters) = (*is_portable, &mut self.counters);
        (&mut self.upgrade, Hands { mesh, pass, places, internal, is_portable, counters })
    }
}

fn refuse(asker: Option<Asker>, words: &str) {
    tracing::warn!("upgrade {words}");
    if let Some(mut asker) = asker {
        asker.tell(words);
    }
}
