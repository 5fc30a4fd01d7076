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
        if let Some(succession) = self.upgrade.succession() {
            if let Some(path) = &succession.pid_file {
                notify::write_pid_file(path);
            }
            if let Some(path) = succession.socket.clone() {
                self.listen_for_wishes(&path);
            }
        }
        notify::tell(News::Ready);
        Step::NewerServing.reached();
    }

    fn listen_for_wishes(&mut self, path: &Path) {
        match asked::listen(path) {
            Ok(listener) => {
                let wishes = self.wishes_in.clone();
                let task = self.companions.add(asked::serve(listener, wishes));
                self.companions.note_listener(task);
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "no upgrade can be asked for");
            }
        }
    }

    pub(super) fn ask_upgrade(&mut self, Wish { is_check, asker }: Wish) {
        if self.is_stopping() {
            return refuse(asker, "failed: the server is stopping");
        }
        let (upgrade, mut hands) = parts(&mut self.upgrade, &mut self.control);
        upgrade.ask(&mut hands, is_check, asker);
    }

    pub(super) fn moved(&mut self, connections: Option<u64>) {
        let (upgrade, mut hands) = parts(&mut self.upgrade, &mut self.control);
        upgrade.moved(&mut hands, connections);
    }

    pub(super) fn surveyed(&mut self, round: u32, counts: Counts, is_idle: bool) {
        let (upgrade, hands) = parts(&mut self.upgrade, &mut self.control);
        upgrade.surveyed(&hands, round, counts, is_idle);
    }

    /// The server is to stop: what is under way has to come to its end first.
    pub(super) fn give_up_upgrade(&mut self) {
        self.stops_soon = true;
        let (upgrade, mut hands) = parts(&mut self.upgrade, &mut self.control);
        upgrade.give_up(&mut hands);
    }

    /// Does what can be done now; and what waits for the end of an upgrade, if it has come.
    pub(super) fn advance_upgrade(&mut self) {
        if self.is_stopping() {
            return;
        }
        let (upgrade, mut hands) = parts(&mut self.upgrade, &mut self.control);
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
}

fn refuse(asker: Option<Asker>, words: &str) {
    tracing::warn!("upgrade {words}");
    if let Some(mut asker) = asker {
        asker.tell(words);
    }
}

/// An upgrade, and what it works with.
fn parts<'a>(upgrade: &'a mut Upgrade, control: &'a mut Control) -> (&'a mut Upgrade, Hands<'a>) {
    let Control { mesh, pass, places, is_portable, internal, .. } = control;
    let internal = internal.as_ref().map(AsFd::as_fd);
    (upgrade, Hands { mesh, pass, places, internal, is_portable: *is_portable })
}
