//! Start-up: the steps that all shards take together, and what can go wrong in each.
//!
//! ```text
//!  make      executor and ring in the common descriptor table
//!  part      each shard's table becomes its own
//!  greet     every pair of shards exchanges a wake; without one, bells are rung instead
//!  listen    the first shard claims the port, the others join it
//!  serve
//! ```
//!
//! The order matters: a ring made after the tables part has a number that means another ring to
//! the others; a listener made before it stays in the port's group after its close.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::checks::CheckError;
use super::plan::Plan;
use super::predecessor::SuccessionError;
use crate::config::{Config, ConfigError};
use crate::handler::{Handler, Routes};
use crate::limits::{
    ARENA_BYTES, COMPLETION_ENTRIES_MAX, COMPLETION_ENTRIES_MIN, PINGS_MISSED_MAX,
    SUBMISSION_ENTRIES,
};
use crate::mesh::{Member, MeshError};
use crate::ring::{Operation, Ring, RingError, RingSize};
use crate::shard::{
    Channels, Core, Counted, DoorSeats, Jobs, Links, Loop, Message, PoolJob, Seats, Settings, Ways,
    address_of, with_executor,
};
use crate::sys::bell::Bell;
use crate::sys::{clock, fdtable, memory, socket};

/// Why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration has a value out of its range.
    Config(ConfigError),
    /// The machine, or its settings, cannot carry this server.
    Check(CheckError),
    /// What the machine is like could not be read.
    Facts(io::Error),
    /// So many shards cannot be joined.
    Mesh(MeshError),
    /// A shard's ring could not be made.
    Ring(RingError),
    /// A shard's executor could not be made.
    Executor(io::Error),
    /// A shard could not have its own descriptor table.
    Table(io::Error),
    /// The address could not be listened on.
    Listen(SocketAddr, io::Error),
    /// A Unix socket could not be listened on.
    Unix(PathBuf, io::Error),
    /// Signals could not be blocked.
    Signals(io::Error),
    /// A thread could not be started.
    Thread(io::Error),
    /// A pipe or Unix socket could not be made.
    Descriptor(io::Error),
    /// A shard's thread ended before it served.
    ShardLost,
    /// Nothing was taken over from the process that has started this one.
    Succession(SuccessionError),
    /// The file for this process's number cannot be written.
    PidFile(PathBuf, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(out),
            Self::Check(error) => error.fmt(out),
            Self::Facts(error) => write!(out, "the machine's limits cannot be read: {error}"),
            Self::Mesh(error) => error.fmt(out),
            Self::Ring(error) => error.fmt(out),
            Self::Executor(error) => write!(
                out,
                "the executor cannot be made ({error}): it locks 512 KiB of memory, so look at \
                 `ulimit -l`"
            ),
            Self::Table(error) => write!(
                out,
                "a shard cannot have a descriptor table of its own: {error}\n\
                 mend: allow unshare(CLONE_FILES) in the seccomp profile, as \
                 tuning/docker/seccomp.json does"
            ),
            Self::Listen(address, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                out,
                "{address} is taken by another process: `ss -ltnp 'sport = :{}'` names it; stop \
                 it, or choose another port",
                address.port()
            ),
            Self::Listen(address, error) => write!(out, "cannot listen on {address}: {error}"),
            Self::Unix(path, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                out,
                "{0} is taken: `ss -lxp src {0}` names the process that listens there, if there is \
                 one; stop it, or choose another path",
                path.display()
            ),
            Self::Unix(path, error) => write!(
                out,
                "cannot listen on {}: {error}; its directory must exist and be writable",
                path.display()
            ),
            Self::Signals(error) => write!(out, "signals cannot be blocked: {error}"),
            Self::Thread(error) => write!(
                out,
                "a thread cannot be started ({error}): raise `ulimit -u`, or TasksMax= in the unit"
            ),
            Self::Descriptor(error) => write!(
                out,
                "no descriptor left at start ({error}): raise `ulimit -n`, or LimitNOFILE= in \
                 the unit"
            ),
            Self::Succession(error) => error.fmt(out),
            Self::PidFile(path, error) => {
                write!(out, "the pid file {} cannot be written: {error}", path.display())
            }
            Self::ShardLost => write!(out, "a shard's thread ended while starting; see the log"),
        }
    }
}

impl std::error::Error for StartError {}

/// What the control thread tells a shard, step by step.
pub(super) enum Order {
    /// Part from the common table; these are everybody's rings.
    Part { rings: Arc<[RawFd]>, keep: Arc<[RawFd]> },
    /// Wake every other shard, and wait for their wakes.
    Greet,
    /// Claim the place, alone.
    Claim(Place),
    /// Join a place that was claimed.
    Join(Place),
    /// Take over what so many shards of another process send.
    TakeOver { shard_count: usize, places: Arc<[Place]>, rings_work: bool },
    /// Tell the other shards of all that was taken over, and hear what they have.
    SettleIn,
    /// Serve, with wakes posted into rings if that works.
    Serve { rings_work: bool },
}

/// A TCP address that every shard listens on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    /// Its connections begin with a header of the PROXY protocol.
    pub(super) proxied: bool,
    /// It leaves IPv4 to another listener of the same port.
    pub(super) v6only: bool,
}

/// What a shard tells the control thread.
pub(super) enum Report {
    Made {
        number: usize,
        ring: RawFd,
    },
    Done,
    Greeted(bool),
    Listening(SocketAddr),
    /// So many connections were taken over.
    TakenOver(u64),
    Failed(StartError),
    /// It has served, and ended.
    Stopped(Box<Counted>),
    /// Its thread panicked, or never came so far.
    Lost,
}

/// Everything that a shard is made of, on the way to its thread.
pub(super) struct Parts {
    pub(super) config: Arc<Config>,
    pub(super) plan: Plan,
    pub(super) number: usize,
    pub(super) shard_count: usize,
    pub(super) cpu: Option<usize>,
    pub(super) seats: Arc<Seats>,
    pub(super) mesh: Member<Message>,
    pub(super) pool: Sender<PoolJob>,
    pub(super) bells: Vec<Arc<Bell>>,
    pub(super) passed: OwnedFd,
    pub(super) pass: Vec<Arc<OwnedFd>>,
    pub(super) door: Option<Door>,
    pub(super) hasher: std::hash::RandomState,
    pub(super) orders: Receiver<Order>,
    pub(super) reports: Sender<Report>,
}

/// Where requests leave a shard that are for no WebSocket.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) seats: Arc<DoorSeats>,
    pub(super) socket: Arc<OwnedFd>,
}

/// Tells the control thread of an end that nobody planned.
struct Lost {
    reports: Sender<Report>,
    /// The control thread's.
    bell: Arc<Bell>,
    is_told: bool,
}

impl Lost {
    fn tell(&mut self, report: Report) {
        self.is_told = true;
        // The control thread is gone only when the process is.
        let _gone = self.reports.send(report);
        self.bell.ring();
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(Report::Lost);
        }
    }
}

/// The life of a shard's thread.
pub(super) fn shard_thread<H: Handler>(parts: Parts, make: &dyn Fn(usize) -> H) {
    let bell = Arc::clone(&parts.bells[parts.shard_count]);
    let mut guard = Lost { reports: parts.reports.clone(), bell, is_told: false };
    let (executor, cpu) = (parts.config.executor, parts.cpu);
    let outcome = with_executor(executor, cpu, || live(parts, make));
    let last = match outcome {
        Err(error) => Report::Failed(StartError::Executor(error)),
        Ok(Err(error)) => Report::Failed(error),
        Ok(Ok(counted)) => Report::Stopped(Box::new(counted)),
    };
    guard.tell(last);
}

fn live<H: Handler>(parts: Parts, make: &dyn Fn(usize) -> H) -> Result<Counted, StartError> {
    let number = parts.number;
    let mut ring = Ring::new(ring_size(&parts), ARENA_BYTES).map_err(StartError::Ring)?;
    let tell = |report| parts.reports.send(report).map_err(|_| StartError::ShardLost);
    let next = || parts.orders.recv().map_err(|_| StartError::ShardLost);
    tell(Report::Made { number, ring: ring.as_raw_fd() })?;
    let mut rings: Arc<[RawFd]> = Arc::new([]);
    let mut listeners = Vec::new();
    let mut application = None;
    loop {
        match next()? {
            Order::Part { rings: all, keep } => {
                fdtable::unshare_keeping(&keep).map_err(StartError::Table)?;
                rings = all;
                // Not before: what it opens belongs into this shard's own table.
                application = Some(Application::new(&parts, make)?);
                tell(Report::Done)?;
            }
            Order::Greet => tell(Report::Greeted(greet(&mut ring, number, &rings)))?,
            Order::Claim(place) => {
                let failed = |error| StartError::Listen(place.address, error);
                let options = listen_options(&parts.config, place);
                let claimed = socket::claim(place.address, &options).map_err(failed)?;
                let bound = socket::local_addr(&claimed).map_err(failed)?;
                listeners.push((claimed, place.proxied));
                tell(Report::Listening(bound))?;
            }
            Order::Join(place) => {
                let failed = |error| StartError::Listen(place.address, error);
                let options = listen_options(&parts.config, place);
                let joined = socket::join(place.address, &options).map_err(failed)?;
                listeners.push((joined, place.proxied));
                tell(Report::Listening(place.address))?;
            }
            Order::TakeOver { shard_count, places, rings_work } => {
                let rings = if rings_work { &rings[..] } else { &[] };
                let application = application.expect("made when the tables parted");
                return succeed(parts, application, ring, (rings, shard_count, &places));
            }
            Order::SettleIn => unreachable!("there is nothing to settle before a take-over"),
            Order::Serve { rings_work } => {
                if !rings_work {
                    rings = Arc::new([]);
                }
                break;
            }
        }
    }
    let application = application.expect("made when the tables parted");
    let mut shard = build(parts, application, ring, &rings);
    for (place, (listener, proxied)) in (0..).zip(listeners) {
        shard.listen(listener, proxied, place);
    }
    shard.run();
    Ok(shard.counted())
}

/// The life of a shard that takes over from those of another process.
fn succeed<H: Handler>(
    parts: Parts,
    application: Application<H>,
    ring: Ring,
    (rings, shard_count, places): (&[RawFd], usize, &[Place]),
) -> Result<Counted, StartError> {
    let config = Arc::clone(&parts.config);
    let (orders, reports) = (parts.orders.clone(), parts.reports.clone());
    let bell = Arc::clone(&parts.bells[parts.shard_count]);
    let mut shard = build(parts, application, ring, rings);
    memory::set_apart();
    let mut ways = Ways::default();
    let taken_over = match take_over(&mut shard, &mut ways, shard_count, places) {
        Ok(connections) => Report::TakenOver(connections),
        Err(error) => Report::Failed(error),
    };
    let has_failed = matches!(taken_over, Report::Failed(_));
    reports.send(taken_over).map_err(|_| StartError::ShardLost)?;
    if has_failed {
        // The control thread may wait for the other process's.
        bell.ring();
    }
    // Where it has failed there is no other order: by then the reason was said.
    let Ok(Order::SettleIn) = orders.recv() else { return Err(StartError::ShardLost) };
    shard.settle_in();
    reports.send(Report::Done).map_err(|_| StartError::ShardLost)?;
    let Ok(Order::Serve { .. }) = orders.recv() else { return Err(StartError::ShardLost) };
    drop(ways);
    shard.serve_adopted();
    join_missing(&mut shard, &config, places);
    shard.run();
    Ok(shard.counted())
}

/// Takes over; returns how much that was.
fn take_over<H: Handler>(
    shard: &mut Loop<H>,
    ways: &mut Ways,
    shard_count: usize,
    places: &[Place],
) -> Result<u64, StartError> {
    let proxied: Vec<bool> = places.iter().map(|place| place.proxied).collect();
    let taken_over = shard.take_over(ways, shard_count, &proxied);
    taken_over.map_err(|error| StartError::Succession(error.into()))
}

/// A shard to which no listener of an address has come joins the others there. It can only after
/// the commit: what the kernel queues for a listener that is closed again is lost.
fn join_missing<H: Handler>(shard: &mut Loop<H>, config: &Config, places: &[Place]) {
    for (number, place) in (0..).zip(places) {
        if shard.has_listener(number) {
            continue;
        }
        match socket::join(place.address, &listen_options(config, *place)) {
            Ok(listener) => shard.listen(listener, place.proxied, number),
            // The others serve the address.
            Err(error) => tracing::warn!(%error, address = %place.address, "not joined"),
        }
    }
}

/// One shard's instance of the application.
struct Application<H> {
    handler: H,
    routes: Routes,
}

impl<H: Handler> Application<H> {
    fn new(parts: &Parts, make: &dyn Fn(usize) -> H) -> Result<Self, StartError> {
        let mut handler = make(parts.number);
        let routes = handler.routes();
        let numbers = 0..u16::try_from(routes.count()).expect("numbered with 16 bits");
        let longest = numbers.map(|number| routes.limits_of(number).message_bytes_max).max();
        let shard_count = parts.plan.shard_count;
        let checked = parts.config.validate_messages(longest.unwrap_or(0), shard_count);
        checked.map_err(StartError::Config)?;
        Ok(Self { handler, routes })
    }
}

fn ring_size(parts: &Parts) -> RingSize {
    let completions = completion_entries(&parts.config, parts.plan.shard_connections_max);
    // The kernel refuses a completion queue that is shorter than the submission queue.
    RingSize { submissions: SUBMISSION_ENTRIES.min(completions), completions }
}

/// Completions of one shard's ring: one for each connection, in a storm, within bounds.
pub(super) fn completion_entries(config: &Config, shard_connections_max: u32) -> u32 {
    config.completion_entries.unwrap_or_else(|| {
        let wanted = shard_connections_max.checked_next_power_of_two();
        let wanted = wanted.unwrap_or(COMPLETION_ENTRIES_MAX);
        wanted.clamp(COMPLETION_ENTRIES_MIN, COMPLETION_ENTRIES_MAX)
    })
}

fn listen_options(config: &Config, place: Place) -> socket::ListenOptions {
    socket::ListenOptions {
        v6only: place.v6only,
        send_buffer_bytes: config.send_buffer_bytes,
        receive_buffer_bytes: config.receive_buffer_bytes,
        user_timeout: Some(user_timeout(config)),
        ..socket::ListenOptions::default()
    }
}

/// Behind our own deadlines, which say why: for what the kernel still has to bring to a peer that
/// has vanished after its connection was closed here. The first of the pings that a peer may miss
/// is without an acknowledgement the longest.
fn user_timeout(config: &Config) -> Duration {
    let pings = config.ping_interval.unwrap_or_default() * u32::from(PINGS_MISSED_MAX);
    let asked = config.message_ping_interval.unwrap_or_default() + config.message_pong_timeout;
    let longest = config.write_timeout.max(pings + config.pong_timeout).max(asked);
    longest + config.close_timeout
}

/// How long the wakes of all others may take.
const GREETING: Duration = Duration::from_secs(2);

/// Exchanges a wake with every other shard; false if one did not come, or could not be posted.
fn greet(ring: &mut Ring, number: usize, rings: &[RawFd]) -> bool {
    for (other, &target) in rings.iter().enumerate() {
        if other != number {
            ring.wake(target);
        }
    }
    let deadline: Instant = clock::now() + GREETING;
    let mut missing = rings.len() - 1;
    let mut completions = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        let entered = ring.enter(Some(left.min(Duration::from_millis(50))));
        if entered.and_then(|()| ring.drain(&mut completions)).is_err() {
            return false;
        }
        for completion in completions.drain(..) {
            if completion.token.operation() == Operation::Wake {
                if completion.result < 0 {
                    return false;
                }
                missing = missing.saturating_sub(1);
            }
        }
        if missing == 0 {
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}

fn build<H: Handler>(
    parts: Parts,
    application: Application<H>,
    ring: Ring,
    rings: &[RawFd],
) -> Loop<H> {
    let Parts { config, number, shard_count, seats, mesh, pool, bells, hasher, .. } = parts;
    let Application { handler, routes } = application;
    let door_seats = parts.door.as_ref().map(|door| Arc::clone(&door.seats));
    let lineage = lineage(&hasher);
    let settings = Settings::new(&config, number, shard_count, seats, door_seats, lineage, &routes);
    let members_max = settings.entries_max();
    let channels = Channels::new(number, shard_count, members_max, mesh, clock::now(), &hasher);
    let bell = Arc::clone(&bells[number]);
    let in_flight_max = config.offload_queue + config.offload_threads;
    let jobs = Jobs::new(pool, in_flight_max, Arc::clone(&bell));
    let core = Core::new(settings, routes, channels, jobs, clock::now(), address_of);
    let links = Links {
        bell,
        bells,
        rings: rings.to_vec(),
        passed: parts.passed,
        pass: parts.pass,
        door: parts.door.map(|door| door.socket),
    };
    let (drain_timeout, stall_threshold) = (config.drain_timeout, config.stall_threshold);
    Loop::new(handler, core, ring, links, drain_timeout, stall_threshold, config.give_back)
}

/// Random bits of this start: the hasher's keys are the process's own.
fn lineage(hasher: &std::hash::RandomState) -> u32 {
    use std::hash::BuildHasher;
    let [low @ .., _, _, _, _] = hasher.hash_one("lineage").to_le_bytes();
    u32::from_le_bytes(low)
}
