//! The control thread while the server serves, and until it has stopped.
//!
//! ```text
//!   signals, commands, reports ─▶ ╭─────────╮ ─▶ Stop, Count ─▶ shards
//!   asks of the site ───────────▶ │ serving │ ─▶ Publish ─▶ the channel's home
//!   answers of the shards ──────▶ ╰─────────╯ ─▶ snapshots
//! ```
//!
//! One task of a current-thread runtime owns the mesh; the site and the door are tasks beside it.
//! Invariant: it waits only after it has said so to the mesh, and looks at everything after each
//! wake, so no bell is missed whatever it was rung for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::control::{Command, Control};
use super::door::Door;
use super::publishing::Publishing;
use super::rounds::{Asker, Rounds};
use super::start::{Report, StartError};
use super::{Hooks, Snapshot};
use crate::control::{Ask, Site};
use crate::limits::{
    ASKS_MAX, ASKS_SHARE, INTERNAL_CONNECTIONS_MAX, PROGRAM_ASKERS_MAX, STOP_GRACE,
};
use crate::mesh::{Class, MemberId};
use crate::metrics::Counters;
use crate::shard::Message;
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
        /// Shards that have not been told, for want of room.
        untold: Vec<MemberId>,
        /// Shards that have not ended.
        left: usize,
        deadline: Instant,
    },
}

/// The site's task and what it is told by; empty without a site.
#[derive(Default)]
struct SiteTask {
    stop: Option<watch::Sender<bool>>,
    shards_gone: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl SiteTask {
    fn is_over(&self) -> bool {
        self.serving.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

/// The control thread's main task.
pub(super) struct Serving {
    control: Control,
    signals: Option<Watched<Signals>>,
    bell: Watched<Arc<Bell>>,
    asks: mpsc::Receiver<Ask>,
    /// Keeps `asks` open when there is no site.
    _asks: mpsc::Sender<Ask>,
    site: SiteTask,
    /// Those who accept on Unix sockets.
    dealers: Vec<JoinHandle<()>>,
    hooks: Hooks,
    rounds: Rounds,
    publishing: Publishing,
    /// What the control thread itself has counted.
    counters: Counters,
    life: Life,
    snapshot: Snapshot,
}

/// What the task was woken by, as far as it matters.
enum Woken {
    Ask(Ask),
    Look,
}

impl Serving {
    /// Within the runtime.
    pub(super) fn new(
        mut control: Control,
        signals: Option<Signals>,
        site: Option<Site>,
        hooks: Hooks,
    ) -> Result<Self, StartError> {
        let (asker, asks) = mpsc::channel(ASKS_MAX);
        let seat_count = control.door.as_ref().map_or(0, |door| door.seats.max() as usize);
        // A connection asks one question at a time.
        let askers_max = seat_count + INTERNAL_CONNECTIONS_MAX + PROGRAM_ASKERS_MAX;
        let site = site.map(|site| start_site(site, &mut control, asker.clone())).transpose()?;
        let watched = signals.map(Watched::new).transpose().map_err(StartError::Descriptor)?;
        let bell = Watched::new(control.bell()).map_err(StartError::Descriptor)?;
        let places = std::mem::take(&mut control.unix).into_iter();
        let dealers = places.map(|place| tokio::spawn(place.deal(control.pass.clone())));
        Ok(Self {
            dealers: dealers.collect(),
            publishing: Publishing::new(control.shard_count()),
            control,
            signals: watched,
            bell,
            asks,
            _asks: asker,
            site: site.unwrap_or_default(),
            hooks,
            rounds: Rounds::new(askers_max),
            counters: Counters::default(),
            life: Life::Running,
            snapshot: Snapshot::default(),
        })
    }

    /// Serves until stopped; returns what was counted.
    pub(super) async fn run(mut self) -> Snapshot {
        self.control.log_serving();
        if let Some(serving) = self.hooks.serving.take() {
            serving(self.control.addresses());
        }
        loop {
            self.take_commands();
            self.take_signals();
            self.take_reports();
            self.take_messages();
            self.rounds.advance(&mut self.control.mesh);
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
            if let Woken::Ask(ask) = woken {
                self.answer(ask);
                // Those behind it leave with the same flush.
                for _ in 0..ASKS_SHARE {
                    let Ok(ask) = self.asks.try_recv() else { break };
                    self.answer(ask);
                }
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let timer = tokio::time::sleep(self.patience());
        let signals = self.signals.as_ref();
        let serving = self.site.serving.as_mut().filter(|serving| !serving.is_finished());
        tokio::select! {
            ready = self.bell.readable() => {
                if let Err(error) = ready {
                    tracing::error!(%error, "the bell cannot be watched");
                }
                // Before the look at what it was rung for, as `Bell` asks.
                self.bell.get().quiet();
                Woken::Look
            }
            Some(ask) = self.asks.recv() => Woken::Ask(ask),
            () = readable(signals) => Woken::Look,
            _ended = async { match serving {
                Some(serving) => drop(serving.await),
                None => std::future::pending().await,
            } } => {
                // A task that was awaited to its end may not be awaited again.
                self.site.serving = None;
                Woken::Look
            }
            () = timer => Woken::Look,
        }
    }

    /// How long there is nothing to do but what wakes by itself.
    fn patience(&self) -> Duration {
        if matches!(self.life, Life::Stopping { .. }) {
            return LOOK;
        }
        let deadline = self.rounds.deadline();
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
        while let Some(Ok(Some(signal))) = self.signals.as_ref().map(|one| one.get().next()) {
            tracing::info!(?signal, "signal");
            match (signal, &self.life) {
                (Signal::Hangup, _) => self.reload(),
                (_, Life::Running) => self.stop(),
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
                    self.site.shards_gone = None; // its drop says so
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
            if let Message::Counted(counted) = received.message {
                self.rounds.answered(&counted, &self.counters);
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Publish { channel, frame, answer } => {
                let (mesh, counters) = (&mut self.control.mesh, &mut self.counters);
                self.publishing.publish(mesh, counters, (&channel, &frame), answer);
            }
            Ask::Snapshot { answer } => {
                self.rounds.ask(Asker::Site(answer), &mut self.counters);
            }
        }
    }

    /// Begins to stop, once.
    fn stop(&mut self) {
        if matches!(self.life, Life::Stopping { .. }) {
            return;
        }
        tracing::info!(timeout = ?self.control.drain_timeout, "stopping");
        // Their drop closes the sockets and removes their files.
        self.dealers.drain(..).for_each(|dealer| dealer.abort());
        if let Some(stop) = &self.site.stop {
            stop.send_replace(true);
        }
        self.life = Life::Stopping {
            untold: self.control.mesh.peers().collect(),
            left: self.control.shard_count(),
            deadline: clock::now() + self.control.drain_timeout + STOP_GRACE,
        };
    }

    fn tell_stop(&mut self) {
        if let Life::Stopping { untold, .. } = &mut self.life {
            let mesh = &mut self.control.mesh;
            untold.retain(|&shard| mesh.send(shard, Message::Stop, Class::Notice).is_err());
        }
    }

    fn is_over(&mut self) -> bool {
        let Life::Stopping { left, deadline, .. } = self.life else { return false };
        if left == 0 && self.site.is_over() {
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
        self.snapshot.counters += &self.counters;
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

/// Starts the site and its door as tasks of their own.
fn start_site(
    site: Site,
    control: &mut Control,
    asks: mpsc::Sender<Ask>,
) -> Result<SiteTask, StartError> {
    let (stop, stopped) = watch::channel(false);
    let (shards_gone, gone) = oneshot::channel();
    // Room for every seat; none at all without a door, and the site serves its internal port.
    let door = control.door.take();
    let seat_count = door.as_ref().map_or(1, |door| door.seats.max().max(1) as usize);
    let (arrivals_in, arrivals) = mpsc::channel(seat_count);
    let serving = tokio::spawn(site.serve(arrivals, seat_count, asks, stopped));
    let door = door.map(|door| Door::new(door.socket, door.seats, arrivals_in.clone()));
    if let Some(door) = door.transpose().map_err(StartError::Descriptor)? {
        tokio::spawn(door.serve(gone));
    } else {
        tokio::spawn(async move {
            let _shards_gone = gone.await;
            drop(arrivals_in);
        });
    }
    Ok(SiteTask { stop: Some(stop), shards_gone: Some(shards_gone), serving: Some(serving) })
}
