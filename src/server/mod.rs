//! A whole server: its threads, and the life of the process around them.
//!
//! ```text
//!   caller ─ Server::run ─▶ control ─┬─ shard 0 ─┐
//!            (or start)     signals  ├─ shard 1  ├─ mesh
//!                                    ├─ …       ─┘
//!                                    └─ off-load pool
//! ```
//!
//! Start is a sequence of steps that all shards take together (`start`); a fault in any of them
//! ends all, and is returned with its cause and the command that mends it.

mod asked;
mod asking;
pub mod checks;
mod companions;
mod consulting;
mod control;
mod dealer;
mod door;
mod listing;
mod notify;
mod pid_file;
pub mod plan;
mod pool;
mod predecessor;
mod reporting;
mod rounds;
mod serving;
mod snapshot;
mod start;
mod succession;
mod survey;
mod telling;
mod unix;
mod upgrade;
mod watchdog;
mod ways;
mod will;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Config;
use crate::control::Site;
use crate::handler::Handler;
use crate::sys::bell::Bell;
use crate::sys::signal::Signals;

pub use self::asked::Succession;
use self::control::{Command, Control};
use self::pid_file::PidFile;
use self::plan::Plan;
pub use self::predecessor::{Predecessor, SuccessionError};
pub use self::snapshot::Snapshot;
pub use self::start::StartError;

/// The server. See [`Server::run`].
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Runs a server until SIGTERM or SIGINT has stopped it, and returns what it counted.
    ///
    /// `make` is called once on each shard's own thread, with the shard's number, for the
    /// shard's [`Handler`]. The first signal stops accepting, closes every connection with 1001
    /// and waits for the drain timeout; a second one ends at once, which the result says by
    /// [`Snapshot::forced`]: a program that ends then should not end with 0.
    pub fn run<H: Handler>(
        config: Config,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Snapshot, StartError> {
        Self::run_with(config, Hooks::default(), make)
    }

    /// The same with hooks: with a [`Succession`] among them, SIGUSR2 starts its binary, which
    /// takes everything over; see [`Handler::is_portable`].
    pub fn run_with<H: Handler>(
        config: Config,
        hooks: Hooks,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Snapshot, StartError> {
        Self::run_all(config, None, hooks, make)
    }

    /// The same with a site: requests that match no route are handed over to it, and SIGHUP calls
    /// the hook for it. A stop waits for the requests under way, too.
    pub fn run_site<H: Handler>(
        config: Config,
        site: Site,
        hooks: Hooks,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Snapshot, StartError> {
        Self::run_all(config, Some(site), hooks, make)
    }

    fn run_all<H: Handler>(
        config: Config,
        site: Option<Site>,
        mut hooks: Hooks,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Snapshot, StartError> {
        let signals = Signals::block().map_err(StartError::Signals)?;
        let predecessor = hooks.predecessor.take();
        let started = hooks.prepare_pid_file().and_then(|pid_file| {
            // What can fail comes before the other process is told to leave.
            let runtime = control::runtime()?;
            let (mut control, commands) =
                Control::start(config, site.is_some(), predecessor.as_ref(), make)?;
            control.pid_file = pid_file;
            Ok((control, commands, runtime))
        });
        if let (Err(error), Some(predecessor)) = (&started, &predecessor) {
            predecessor.refuse(error);
        }
        let (control, _commands, runtime) = started?;
        drop(predecessor);
        control.serve(&runtime, Some(signals), site, hooks)
    }

    /// How the process would be laid out on this machine, or what of it stands in the way. Raises
    /// the limit of descriptors as far as that needs.
    pub fn plan(config: &Config) -> Result<Plan, StartError> {
        control::plan(config)
    }

    /// Starts a server in the background: for tests, and for programs with signals of their own.
    pub fn start<H: Handler>(
        config: Config,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Running, StartError> {
        Self::start_with(config, None, make)
    }

    /// The same with a site: requests that match no route are handed over to it.
    pub fn start_site<H: Handler>(
        config: Config,
        site: Site,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Running, StartError> {
        Self::start_with(config, Some(site), make)
    }

    fn start_with<H: Handler>(
        config: Config,
        site: Option<Site>,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<Running, StartError> {
        let runtime = control::runtime()?;
        let (control, commands) = Control::start(config, site.is_some(), None, make)?;
        let (addresses, shard_count) = (control.addresses().to_vec(), control.shard_count());
        let bell = control.bell();
        let (report, reports) = bounded(1);
        std::thread::Builder::new()
            .name("longwire-control".into())
            .spawn(move || {
                let served = control.serve(&runtime, None, site, Hooks::default());
                let snapshot = served.unwrap_or_else(|error| {
                    tracing::error!(%error, "the control thread cannot serve");
                    Snapshot::default()
                });
                // Nobody may be waiting for it.
                let _dropped = report.send(snapshot);
            })
            .map_err(StartError::Thread)?;
        Ok(Running { addresses, shard_count, commands, bell, reports })
    }
}

/// Is told the TCP addresses of a server that has begun to serve.
pub type OnServing = Box<dyn FnOnce(&[SocketAddr]) + Send>;

/// What a running server calls on its control thread.
#[derive(Default)]
pub struct Hooks {
    /// Once, when all shards serve: with the TCP addresses in the order of the configuration, and
    /// the ports that were chosen where 0 was asked for.
    pub serving: Option<OnServing>,
    /// On SIGHUP: reads again what can be changed while the server serves. It may take as long as
    /// reading a file does.
    pub reload: Option<Box<dyn FnMut() + Send>>,
    /// What comes after this process.
    pub succession: Option<Succession>,
    /// The process that this one takes over from.
    pub predecessor: Option<Predecessor>,
}

impl Hooks {
    /// Writes what nothing will be taken over without.
    fn prepare_pid_file(&self) -> Result<Option<PidFile>, StartError> {
        let path = self.succession.as_ref().and_then(|succession| succession.pid_file.as_deref());
        let prepare = |path: &std::path::Path| {
            PidFile::prepare(path).map_err(|error| StartError::PidFile(path.to_owned(), error))
        };
        path.map(prepare).transpose()
    }
}

/// A server in the background. Dropping it stops the server and waits for it.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    shard_count: usize,
    commands: Sender<Command>,
    bell: Arc<Bell>,
    reports: Receiver<Snapshot>,
}

/// How long a snapshot may take: every shard answers between two turns, and who looks at one that
/// is stuck in its handler is answered at last.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_mins(1);

impl Running {
    /// The first TCP address it listens on; the port that was chosen where 0 was asked for.
    ///
    /// # Panics
    ///
    /// If it listens on Unix sockets only.
    pub fn address(&self) -> SocketAddr {
        *self.addresses.first().expect("it listens on a TCP address")
    }

    /// All TCP addresses it listens on, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many shards it has.
    pub fn shard_count(&self) -> usize {
        self.shard_count
    }

    /// What the shards have counted, and what they hold; `None` if the server has stopped or a
    /// shard does not answer.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (answer, answers) = bounded(1);
        // Those who wait in front of it have rung the bell.
        self.commands.send_timeout(Command::Snapshot(answer), SNAPSHOT_TIMEOUT).ok()?;
        self.bell.ring();
        answers.recv_timeout(SNAPSHOT_TIMEOUT).ok()
    }

    /// Begins to stop, as SIGTERM does.
    pub fn stop(&self) {
        // Full or gone: it is stopping already, or was told to.
        let _stopping = self.commands.try_send(Command::Stop);
        self.bell.ring();
    }

    /// Waits until it has stopped, by [`stop`](Self::stop) or by the loss of a shard; returns what
    /// it counted.
    pub fn wait(self) -> Snapshot {
        self.reports.recv().unwrap_or_default()
    }

    /// Stops it and waits; returns what it counted.
    pub fn join(self) -> Snapshot {
        self.stop();
        self.reports.recv().unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        let _stopped = self.reports.recv();
    }
}
