//! The control thread while the server serves, and until it has stopped.
//!
//! ```text
//!   signals, commands, reports ─▶ ╭─────────╮ ─▶ Stop, Count ─▶ shards
//!   asks of the site ───────────▶ │ serving │ ─▶ Publish ─▶ the channel's home
//!                                 │         │ ─▶ TellUser ─▶ shards
//!   answers of the shards ──────▶ ╰─────────╯ ─▶ snapshots
//! ```
//!
//! One task of a current-thread runtime owns the mesh; the site and the door are tasks beside it.
//! Invariant: it waits only after it has said so to the mesh, and looks at everything after each
//! wake, so no bell is missed whatever it was rung for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio::sync::mpsc;
use tokio::task::JoinError;

use super::asked::Wish;
use super::asking::Asking;
use super::companions::Companions;
use super::consulting::{Answered, Consulting};
use super::control::{Command, Control};
use super::listing::Listing;
use super::notify::{self, News};
use super::reporting::Reporting;
use super::rounds::{Asker, Rounds};
use super::start::{Report, StartError};
use super::survey::Counts;
use super::telling::Telling;
use super::upgrade::Upgrade;
use super::watchdog::Watchdog;
use super::{Hooks, Snapshot};
use crate::control::{Ask, Crossing, CrossingCounts, Memory, Site};
use crate::limits::{
    ASKS_MAX, ASKS_SHARE, HANDED_PAUSE, INTERNAL_CONNECTIONS_MAX, PROGRAM_ASKERS_MAX, STOP_GRACE,
    UPGRADE_LISTENERS_MAX,
};
use crate::mesh::{Class, MemberId};
use crate::metrics::Counters;
use crate::shard::{HandOver, Message};
use crate::sys::bell::Bell;
use crate::sys::clock;
use crate::sys::signal::{Signal, Signals};
use crate::sys::watched::Watched;

/// How often full queues and stopping shards are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the server goes on.
enum Life {
    Running,
    Stopping {
        /// What the shards are told.
        farewell: Message,
        /// Shards that have not been told, for want of room.
        untold: Vec<MemberId>,
        /// Shards that have not ended.
        left: usize,
        deadline: Instant,
    },
}

/// The control thread's main task.
pub(super) struct Serving {
    pub(super) control: Control,
    signals: Option<Watched<Signals>>,
    bell: Watched<Arc<Bell>>,
    asks: mpsc::Receiver<Ask>,
    /// Those that wait for the end of a hand-over.
    held: VecDeque<Ask>,
    /// Keeps `asks` open when there is no site.
    _asks: mpsc::Sender<Ask>,
    pub(super) companions: Companions,
    hooks: Hooks,
    pub(super) rounds: Rounds,
    asking: Asking,
    listing: Listing,
    consulting: Consulting,
    /// Where requests of the site are carried out.
    pub(super) crossing: Crossing,
    reporting: Reporting,
    telling: Telling,
    pub(super) upgrade: Upgrade,
    /// What the site knows that the next process needs.
    pub(super) memory: Option<Memory>,
    /// The last counts of this process, on their way to the next.
    pub(super) last_counts: Option<Receiver<Snapshot>>,
    /// They have left: nobody is told more here until it is known who serves.
    pub(super) last_said: Option<Snapshot>,
    wishes: mpsc::Receiver<Wish>,
    /// Keeps `wishes` open when nobody listens for them.
    pub(super) wishes_in: mpsc::Sender<Wish>,
    /// The process that this one has taken over from.
    predecessor: Option<u32>,
    /// A stop that waits for the end of an upgrade.
    pub(super) stops_soon: bool,
    /// What the control thread itself has counted.
    pub(super) counters: Counters,
    watchdog: Watchdog,
    life: Life,
    snapshot: Snapshot,
}

/// What the task was woken by, as far as it matters.
enum Woken {
    Ask(Ask),
    /// A question of a session has an answer.
    Consulted(Answered),
    /// A companion has ended.
    Ended(Result<(), JoinError>),
    /// Somebody wants an upgrade.
    Wished(Wish),
    Look,
}

impl Serving {
    /// Within the runtime.
    pub(super) fn new(
        mut control: Control,
        signals: Option<Signals>,
        site: Option<Site>,
        mut hooks: Hooks,
    ) -> Result<Self, StartError> {
        let (wishes_in, wishes) = mpsc::channel(UPGRADE_LISTENERS_MAX);
        let (asker, asks) = mpsc::channel(ASKS_MAX);
        let seat_count = control.door.as_ref().map_or(0, |door| door.seats.max() as usize);
        // A connection asks one question at a time.
        let askers_max = seat_count + INTERNAL_CONNECTIONS_MAX + PROGRAM_ASKERS_MAX;
        let mut companions = Companions::default();
        let desk = site.as_ref().map(|site| site.desk(asker.clone()));
        let mailbox = site.as_ref().map(Site::mailbox);
        let memory = site.as_ref().map(Site::memory);
        let crossing = site.as_ref().map(Site::crossing).unwrap_or_default();
        if let Some(site) = site {
            control.internal = site.internal_listener();
            companions.add_site(site, &mut control, asker.clone())?;
        }
        let watched = signals.map(Watched::new).transpose().map_err(StartError::Descriptor)?;
        let bell = Watched::new(control.bell()).map_err(StartError::Descriptor)?;
        for place in std::mem::take(&mut control.unix) {
            companions.add_dealer(place, control.pass.clone());
        }
        Ok(Self {
            asking: Asking::new(control.shard_count()),
            listing: Listing::default(),
            consulting: Consulting::new(desk),
            crossing,
            reporting: Reporting::new(mailbox),
            telling: Telling::new(),
            upgrade: Upgrade::new(hooks.succession.take()),
            memory,
            last_counts: None,
            last_said: None,
            wishes,
            wishes_in,
            predecessor: control.stood_still.map(|_| std::os::unix::process::parent_id()),
            stops_soon: false,
            control,
            signals: watched,
            bell,
            asks,
            held: VecDeque::new(),
            _asks: asker,
            companions,
            hooks,
            rounds: Rounds::new(askers_max),
            counters: Counters::default(),
            watchdog: Watchdog::of_this_process(clock::now()),
            life: Life::Running,
            snapshot: Snapshot::default(),
        })
    }

    /// Serves until stopped; returns what was counted.
    pub(super) async fn run(mut self) -> Snapshot {
        self.inherit();
        self.begin_succession();
        self.control.log_serving();
        if let Some(serving) = self.hooks.serving.take() {
            serving(self.control.addresses());
        }
        loop {
            self.take_commands();
            self.take_signals();
            self.take_reports();
            self.take_messages();
            self.close_mailbox();
            self.advance_upgrade();
            if let Some(answer) = self.watchdog.advance(clock::now()) {
                self.rounds.ask(Asker::Program(answer), &mut self.counters);
            }
            self.advance_asks();
            self.tell_stop();
            self.control.flush();
            if self.is_over() {
                return self.end();
            }
            if !self.control.mesh.prepare_sleep() {
                // Others have a turn too, also while shards never fall silent.
                tokio::task::yield_now().await;
                continue;
            }
            let woken = self.wait().await;
            self.control.mesh.woke();
            match woken {
                Woken::Ask(ask) => self.answer_share(ask),
                Woken::Consulted(answered) => self.consulting.note_share(answered),
                Woken::Ended(how) => self.companion_ended(how),
                Woken::Wished(wish) => self.ask_upgrade(wish),
                Woken::Look => {}
            }
        }
    }

    /// Hands on what others ask of the shards, unless those stand still; but how they are is asked,
    /// as long as they answer.
    fn advance_asks(&mut self) {
        if self.upgrade.has_left() {
            return;
        }
        if let Some(last) = &self.last_said {
            self.rounds.answer_sites(last);
        }
        self.rounds.advance(&mut self.control.mesh);
        if self.upgrade.holds_shards() {
            return;
        }
        while let Some(ask) = self.held.pop_front_if(|_| !self.upgrade.holds_asks()) {
            self.answer(ask);
        }
        self.consulting.advance(&mut self.control.mesh);
        self.asking.advance(&mut self.control.mesh, &mut self.counters);
        self.listing.advance(&mut self.control.mesh);
        self.telling.advance(&mut self.control.mesh, &mut self.counters);
    }

    /// Nothing that was asked waits here for the shards, nor anybody who may ask more.
    pub(super) fn is_idle(&self) -> bool {
        let is_asked = !self.crossing.is_quiet() && self.upgrade.waits_for_requests();
        !is_asked
            && self.asking.is_quiet()
            && self.telling.is_quiet()
            && self.listing.is_quiet()
            && self.consulting.is_quiet()
    }

    /// The shards answer nobody any more: whoever waits hears that at once. What they have reported
    /// is delivered.
    pub(super) fn drop_asks(&mut self) {
        self.reporting.stop(clock::now() + self.control.drain_timeout);
        self.asking = Asking::new(self.control.shard_count());
        self.listing = Listing::default();
        self.telling = Telling::new();
        self.rounds = Rounds::new(0);
        self.crossing.lose(self.held.drain(..).count());
    }

    async fn wait(&mut self) -> Woken {
        let timer = tokio::time::sleep(self.patience());
        let signals = self.signals.as_ref();
        let takes_asks = self.held.len() < ASKS_MAX;
        tokio::select! {
            ready = self.bell.readable() => {
                if let Err(error) = ready {
                    tracing::error!(%error, "the bell cannot be watched");
                }
                // Before the look at what it was rung for, as `Bell` asks.
                self.bell.get().quiet();
                Woken::Look
            }
            Some(ask) = self.asks.recv(), if takes_asks => Woken::Ask(ask),
            answered = self.consulting.answered() => Woken::Consulted(answered),
            () = readable(signals) => Woken::Look,
            () = self.upgrade.heard() => Woken::Look,
            Some(wish) = self.wishes.recv() => Woken::Wished(wish),
            Some(how) = self.companions.ended() => Woken::Ended(how),
            () = timer => Woken::Look,
        }
    }

    /// How long there is nothing to do but what wakes by itself.
    fn patience(&self) -> Duration {
        if matches!(self.life, Life::Stopping { .. }) {
            return LOOK;
        }
        // A round that was turned away is asked for again.
        let is_turned_away = self.upgrade.wants_bequest() && self.last_counts.is_none();
        if self.upgrade.has_waiting() || is_turned_away {
            return HANDED_PAUSE;
        }
        let deadlines = [self.rounds.deadline(), self.upgrade.deadline(), self.watchdog.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        deadline.map_or(Duration::from_hours(1), |at| at.saturating_duration_since(clock::now()))
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.control.commands.try_recv() {
            match command {
                Command::Stop => self.stop(),
                Command::Snapshot(answer) => {
                    self.rounds.ask(Asker::Program(answer), &mut self.counters);
                }
            }
        }
    }

    fn take_signals(&mut self) {
        while let Some(Ok(Some((signal, sender)))) =
            self.signals.as_ref().map(|one| one.get().next_from())
        {
            tracing::info!(?signal, sender, "signal");
            match (signal, &self.life) {
                (Signal::Hangup, _) => self.reload(),
                (Signal::Upgrade, _) => self.ask_upgrade(Wish::of_a_signal()),
                (_, Life::Running) => self.stop(),
                (Signal::Terminate, Life::Stopping { .. }) if self.upgrade.pass_on_stop() => {}
                // What the old process passes on may have been sent to this one as well.
                (_, Life::Stopping { .. }) if self.predecessor == Some(sender) => {}
                (_, Life::Stopping { .. }) => self.snapshot.forced = true,
            }
        }
    }

    fn reload(&mut self) {
        if let Some(reload) = &mut self.hooks.reload {
            reload();
        } else {
            tracing::info!("nothing is read again on a hangup");
        }
    }

    fn take_reports(&mut self) {
        while let Ok(report) = self.control.reports.try_recv() {
            if matches!(self.life, Life::Running) {
                // The process must not go on without it.
                if let Report::Failed(error) = &report {
                    tracing::error!(%error, "a shard has failed");
                }
                tracing::error!("a shard ended by itself: stopping the server");
                self.stop();
            }
            if let Life::Stopping { left, untold, .. } = &mut self.life {
                *left -= 1;
                if *left == 0 {
                    untold.clear();
                    self.companions.shards_ended();
                }
            }
            match report {
                Report::Stopped(counted) => self.snapshot.add(&counted),
                _ => self.snapshot.shards_lost += 1,
            }
        }
    }

    fn take_messages(&mut self) {
        while let Some(received) = self.control.mesh.receive() {
            match received.message {
                Message::Reported(reports) => self.reporting.take(reports),
                Message::Counted(counted) => {
                    self.count_others();
                    self.rounds.answered(&counted, &self.counters);
                }
                Message::Consult(consult) => self.consulting.ask(received.from, &consult),
                Message::Unconsult { connection, id } => {
                    self.consulting.call_off(received.from, connection, id);
                }
                Message::HandOver(HandOver::Copied { attempt, copies }) => {
                    self.copied(attempt, copies);
                }
                Message::HandOver(HandOver::Moved { connections, copied }) => {
                    self.moved(connections, copied);
                }
                Message::HandOver(HandOver::Surveyed { round, sent, received, is_idle }) => {
                    self.surveyed(round, Counts { sent, received }, is_idle);
                }
                Message::UserTold { ask, was_heard } => self.telling.told(ask, was_heard),
                Message::ChannelsListed { ask, found } => {
                    self.listing.found(ask, found.as_ref().map(|found| found.as_slice()));
                }
                Message::Placed { ask, place } => {
                    self.asking.placed(ask, place, &mut self.counters);
                }
                Message::Answered(answered) => {
                    self.asking.answered(answered.id, answered.result);
                }
                _ => unreachable!("shards say these to each other"),
            }
        }
    }

    /// What was counted on this thread, but not here.
    fn count_others(&mut self) {
        let counters = &mut self.counters;
        self.reporting.count_into(counters);
        let CrossingCounts { held, sent_on, lost } = self.crossing.counts();
        (counters.http_held, counters.http_sent_on, counters.http_lost) = (held, sent_on, lost);
    }

    /// Without one of them the server would go on and answer nobody, so it does not go on.
    fn companion_ended(&mut self, how: Result<(), JoinError>) {
        let is_running = matches!(self.life, Life::Running);
        match how {
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "a task of the control thread panicked");
            }
            _ if is_running => tracing::error!("a task of the control thread ended by itself"),
            _ => return,
        }
        self.snapshot.tasks_lost += 1;
        self.stop();
    }

    /// Answers an ask and some of those behind it, which leave with the same flush.
    fn answer_share(&mut self, first: Ask) {
        self.answer(first);
        for _ in 0..ASKS_SHARE.min(ASKS_MAX - self.held.len()) {
            let Ok(ask) = self.asks.try_recv() else { break };
            self.answer(ask);
        }
    }

    fn answer(&mut self, ask: Ask) {
        if self.upgrade.has_left() {
            return; // its drop says that there is no answer
        }
        if self.upgrade.holds_asks() && !matches!(ask, Ask::Snapshot { .. }) {
            return self.held.push_back(ask);
        }
        match ask {
            Ask::Publish { channel, frame, answer } => {
                let (mesh, counters) = (&mut self.control.mesh, &mut self.counters);
                self.asking.publish(mesh, counters, (&channel, frame), answer);
            }
            Ask::Question { channel, question, answer } => {
                let (mesh, counters) = (&mut self.control.mesh, &mut self.counters);
                self.asking.ask(mesh, counters, (&channel, &question), answer);
            }
            Ask::Channels { pattern, answer } => {
                self.listing.list(&self.control.mesh, &pattern, answer);
            }
            Ask::Tell { whom, word, answer } => {
                let (mesh, counters) = (&self.control.mesh, &mut self.counters);
                self.telling.tell(mesh, counters, (&whom, &word), answer);
            }
            Ask::Snapshot { answer } => {
                self.rounds.ask(Asker::Site(answer), &mut self.counters);
            }
        }
    }

    /// Begins to stop, once.
    pub(super) fn stop(&mut self) {
        if matches!(self.life, Life::Stopping { .. }) {
            return;
        }
        if self.upgrade.is_under_way() {
            return self.give_up_upgrade();
        }
        notify::tell(News::Stopping);
        tracing::info!(timeout = ?self.control.drain_timeout, "stopping");
        self.companions.stop();
        self.control.unix_shares.clear();
        self.reporting.stop(clock::now() + self.control.drain_timeout);
        self.end_with(Message::Stop, self.control.drain_timeout);
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.life, Life::Stopping { .. })
    }

    /// Tells the shards, which have so long to end, and the site with them.
    pub(super) fn end_with(&mut self, farewell: Message, patience: Duration) {
        self.life = Life::Stopping {
            farewell,
            untold: self.control.mesh.peers().collect(),
            left: self.control.shard_count(),
            deadline: clock::now() + patience + STOP_GRACE,
        };
    }

    /// The shards have ended, and all that they had to report has come.
    fn close_mailbox(&mut self) {
        if matches!(self.life, Life::Stopping { left: 0, .. }) {
            self.reporting.close();
        }
    }

    fn tell_stop(&mut self) {
        if let Life::Stopping { untold, farewell, .. } = &mut self.life {
            let mesh = &mut self.control.mesh;
            untold.retain(|&shard| mesh.send(shard, farewell.clone(), Class::Notice).is_err());
        }
    }

    fn is_over(&mut self) -> bool {
        let Life::Stopping { left, deadline, .. } = self.life else { return false };
        if left == 0 && self.companions.is_over() {
            return true;
        }
        if self.snapshot.forced || clock::now() > deadline {
            tracing::warn!(shards = left, "ending at once");
            self.snapshot.forced = true;
        }
        self.snapshot.forced
    }

    fn end(mut self) -> Snapshot {
        if !self.snapshot.forced {
            self.control.join_threads();
        }
        self.reporting.give_up();
        self.count_others();
        self.snapshot.counters += &self.counters;
        // What the processes before it have counted is in all of its counts, the last as well.
        self.snapshot.counters += &self.rounds.inherited.counters;
        self.snapshot.details += &self.rounds.inherited.details;
        self.snapshot.log();
        self.snapshot
    }
}

async fn readable(signals: Option<&Watched<Signals>>) {
    match signals {
        Some(signals) => match signals.readable().await {
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "signals cannot be waited for"),
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::handler::{Handler, Message as Received, Peer, Request, Upgrade};

    struct Silent;

    impl Handler for Silent {
        type Connection = ();

        fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
            Upgrade::accept(())
        }

        fn message(&mut self, _peer: &mut Peer<'_, Self>, _message: Received<'_>) {}
    }

    /// What a server has counted of which a companion ends by itself.
    fn served_beside(companion: impl Future<Output = ()> + Send + 'static) -> Snapshot {
        let config = Config { shards: Some(1), ..Config::new(([127, 0, 0, 1], 0).into()) };
        let (control, _commands) = Control::start(config, false, None, |_| Silent).unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(async {
            let mut serving = Serving::new(control, None, None, Hooks::default()).unwrap();
            serving.companions.add(companion);
            let stopped =
                tokio::time::timeout(Duration::from_mins(1), Box::pin(serving.run())).await;
            stopped.expect("it stops by itself")
        })
    }

    /// The last counts of a process were its own alone, other than all that it had told before.
    #[test]
    fn the_last_counts_of_a_process_go_on_from_those_it_has_inherited() {
        let config = Config { shards: Some(1), ..Config::new(([127, 0, 0, 1], 0).into()) };
        let (mut control, commands) = Control::start(config, false, None, |_| Silent).unwrap();
        control.bequest.counts = vec![("opened".to_owned(), 5)];
        commands.send(Command::Stop).unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let stopped = runtime.enable_all().build().unwrap().block_on(async {
            let serving = Serving::new(control, None, None, Hooks::default()).unwrap();
            let stopped =
                tokio::time::timeout(Duration::from_mins(1), Box::pin(serving.run())).await;
            stopped.expect("it was told to stop")
        });
        assert_eq!((stopped.counters.opened, stopped.forced), (5, false));
    }

    /// A site that ended left a server behind that took requests and answered none.
    #[test]
    fn no_server_outlives_what_serves_beside_it() {
        for stopped in [served_beside(async {}), served_beside(async { panic!("on purpose") })] {
            assert_eq!((stopped.tasks_lost, stopped.shards_lost, stopped.forced), (1, 0, false));
        }
    }
}
