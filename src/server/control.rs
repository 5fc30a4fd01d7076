//! The control thread's half of a server, and how it starts the shards.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use tokio::runtime::Runtime;

use super::checks::{self, Facts};
use super::pid_file::PidFile;
use super::plan::{Plan, RingShape, Wanted};
use super::predecessor::{self, Predecessor};
use super::serving::Serving;
use super::start::{Door, Order, Parts, Place, Report, StartError, shard_thread};
use super::unix::{UnixPlace, UnixShare};
use super::{Hooks, Snapshot, pool};
use crate::address::TrustedProxies;
use crate::config::{Config, Listen};
use crate::control::Site;
use crate::handler::Handler;
use crate::handover::Bequest;
use crate::limits::{COMMANDS_MAX, COMPLETION_ENTRIES_MAX, DOOR_BYTES, SUBMISSION_ENTRIES};
use crate::mesh::{self, Class, Member};
use crate::shard::{DoorSeats, Message, Seats};
use crate::sys::bell::Bell;
use crate::sys::signal::Signals;
use crate::sys::step::Step;
use crate::sys::{clock, cpu, fdpass, socket};

/// What the control thread is asked from outside.
#[derive(Debug)]
pub(super) enum Command {
    /// Say what was counted.
    Snapshot(Sender<Snapshot>),
    /// Stop, as on SIGTERM.
    Stop,
}

/// The control thread's half of a started server.
pub(super) struct Control {
    addresses: Vec<SocketAddr>,
    /// The same, for who comes next.
    pub(super) places: Vec<Place>,
    /// The listener of the site's internal port, to be handed over.
    pub(super) internal: Option<OwnedFd>,
    /// Whether everything here can be handed over to another process.
    pub(super) is_portable: bool,
    /// Unix sockets that are listened on, and the ways to the shards; taken by their tasks.
    pub(super) unix: Vec<UnixPlace>,
    /// The same, for who decides where they are served.
    pub(super) unix_shares: Vec<UnixShare>,
    pub(super) pass: Vec<Arc<OwnedFd>>,
    plan: Plan,
    shard_count: usize,
    /// Those of all shards.
    pub(super) seats: Arc<Seats>,
    pub(super) drain_timeout: Duration,
    pub(super) mesh: Member<Message>,
    bells: Vec<Arc<Bell>>,
    pub(super) reports: Receiver<Report>,
    pub(super) commands: Receiver<Command>,
    /// Where requests come in that are for no WebSocket; taken by the site.
    pub(super) door: Option<DoorEnd>,
    threads: Vec<std::thread::JoinHandle<()>>,
    pub(super) pid_file: Option<PidFile>,
    /// How long nothing was served while this process took over, if it has.
    pub(super) stood_still: Option<Duration>,
    /// What the control thread of the process before has left; taken by the serving.
    pub(super) bequest: Bequest,
}

/// The control thread's end of the door.
pub(super) struct DoorEnd {
    pub(super) seats: Arc<DoorSeats>,
    pub(super) socket: OwnedFd,
    /// Who may speak for others.
    pub(super) trusted: Arc<TrustedProxies>,
}

/// A server while it starts.
struct Starting {
    orders: Vec<Sender<Order>>,
    reports: Receiver<Report>,
    /// The sockets and pipes that every shard's descriptor table keeps.
    keep: Vec<RawFd>,
    /// The control thread's.
    bell: Arc<Bell>,
    seats: Arc<Seats>,
}

impl Control {
    /// Checks the machine, starts all threads, and returns when every shard serves.
    pub(super) fn start<H: Handler>(
        config: Config,
        has_site: bool,
        predecessor: Option<&Predecessor>,
        make: impl Fn(usize) -> H + Send + Sync + 'static,
    ) -> Result<(Self, Sender<Command>), StartError> {
        config.validate().map_err(StartError::Config)?;
        let plan = plan_at(&config, predecessor.is_none())?;
        config.validate_shares(plan.shard_count).map_err(StartError::Config)?;
        let shard_count = plan.shard_count as usize;
        let mut meshes = match config.mesh_slots {
            Some(slots) => mesh::build_with_slots(shard_count + 1, slots),
            None => mesh::build(shard_count + 1),
        }
        .map_err(StartError::Mesh)?;
        let mut mesh = meshes.pop().expect("one for the control thread");
        let bells = make_bells(shard_count + 1)?;
        let (mut places, unix_places) = places(&config.listen);
        if let Some(predecessor) = predecessor {
            predecessor.settle(&mut places).map_err(StartError::Succession)?;
        }
        let drain_timeout = config.drain_timeout;
        let make: Arc<dyn Fn(usize) -> H + Send + Sync> = Arc::new(make);
        let (door, door_end) = make_door(&config, has_site)?.unzip();
        let mut threads = Vec::new();
        let started = spawn(config, plan, meshes, &bells, door.as_ref(), &make, &mut threads)
            .and_then(|(starting, pass)| {
                // What can fail comes before the other process is told to leave.
                let unix = listen_unix(unix_places, predecessor)?;
                let predecessor = predecessor.map(|one| (one, &plan, &pass[..]));
                let taken_over = starting.steps(&mut places, predecessor)?;
                let addresses = places.iter().map(|place| place.address).collect();
                let Starting { reports, seats, .. } = starting;
                Ok((addresses, unix, pass, reports, seats, taken_over))
            });
        let (addresses, unix, pass, reports, seats, taken_over) = match started {
            Ok(started) => started,
            Err(error) => {
                abandon(&mut mesh, &bells, threads);
                return Err(error);
            }
        };
        let (sender, commands) = bounded(COMMANDS_MAX);
        let (stood_still, bequest) = taken_over.unzip();
        let (unix, unix_shares) = unix.into_iter().unzip();
        let control = Self {
            addresses,
            places,
            is_portable: H::is_portable(),
            internal: None,
            unix,
            unix_shares,
            pass,
            plan,
            shard_count,
            seats,
            drain_timeout,
            mesh,
            bells,
            reports,
            commands,
            door: door_end,
            threads,
            pid_file: None,
            stood_still,
            bequest: bequest.unwrap_or_default(),
        };
        Ok((control, sender))
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn shard_count(&self) -> usize {
        self.shard_count
    }

    /// What wakes this thread after a command.
    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bells[self.shard_count])
    }

    pub(super) fn flush(&mut self) {
        let bells = &self.bells;
        self.mesh.flush(|member| bells[member.as_usize()].ring());
    }

    /// After all shards have reported their end.
    pub(super) fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic was reported, and counted, before the thread ended.
            let _panicked = thread.join();
        }
    }

    pub(super) fn log_serving(&self) {
        for address in &self.addresses {
            tracing::info!(%address, "listening");
        }
        for place in &self.unix {
            tracing::info!(path = %place.path().display(), "listening");
        }
        tracing::info!(
            shards = self.shard_count,
            max_connections = self.plan.connections_max,
            per_shard = self.plan.shard_connections_max,
            "serving"
        );
    }

    /// Serves until stopped; returns what was counted.
    pub(super) fn serve(
        self,
        runtime: &Runtime,
        signals: Option<Signals>,
        site: Option<Site>,
        hooks: Hooks,
    ) -> Result<Snapshot, StartError> {
        // Boxed: it holds all counters several times.
        runtime.block_on(async {
            let serving = Serving::new(self, signals, site, hooks)?;
            Ok(Box::pin(serving.run()).await)
        })
    }
}

/// What the control thread runs on.
pub(super) fn runtime() -> Result<Runtime, StartError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_io().enable_time().build().map_err(StartError::Descriptor)
}

pub(super) fn plan(config: &Config) -> Result<Plan, StartError> {
    plan_at(config, true)
}

/// Without the addresses, if they are listened on already by who hands them over.
pub(super) fn plan_at(config: &Config, claims_addresses: bool) -> Result<Plan, StartError> {
    let listen = places(&config.listen).0.iter().map(|place| place.address).collect();
    let ring = RingShape {
        submissions: SUBMISSION_ENTRIES,
        completions: config.completion_entries.unwrap_or(COMPLETION_ENTRIES_MAX),
    };
    // An executor of glommio has three rings of its own, of its least depth.
    let executor = RingShape { submissions: 32, completions: 64 };
    let wanted = Wanted {
        listen: if claims_addresses { listen } else { Vec::new() },
        connections_max: config.max_connections,
        shard_count: config.shards,
        rings: [ring, executor, executor, executor],
        registered_bytes: 64 * 1024,
    };
    let facts = Facts::gather(&wanted).map_err(StartError::Facts)?;
    let mut plan = checks::check(&facts, &wanted).map_err(StartError::Check)?;
    if let Some(capacity) = config.shard_capacity {
        plan.shard_connections_max = plan.shard_connections_max.min(capacity);
        let together = plan.shard_count.saturating_mul(capacity);
        plan.connections_max = plan.connections_max.min(together);
    }
    Ok(plan)
}

fn make_bells(count: usize) -> Result<Vec<Arc<Bell>>, StartError> {
    let bells = (0..count).map(|_| Ok(Arc::new(Bell::new()?)));
    bells.collect::<std::io::Result<_>>().map_err(StartError::Descriptor)
}

/// Both ends of the way for requests that are for no WebSocket, if somebody is to answer them.
fn make_door(config: &Config, has_site: bool) -> Result<Option<(Door, DoorEnd)>, StartError> {
    if !has_site || config.http_connections_max == 0 {
        return Ok(None);
    }
    let (inside, outside) = fdpass::pair().map_err(StartError::Descriptor)?;
    // A burst waits here and not in the shards; the kernel may grant less.
    let bytes = config.door_bytes.unwrap_or(DOOR_BYTES);
    socket::set_send_buffer(&outside, bytes).map_err(StartError::Descriptor)?;
    let seats = Arc::new(DoorSeats::new(config.http_connections_max));
    let door = Door { seats: Arc::clone(&seats), socket: Arc::new(outside) };
    let trusted = Arc::new(TrustedProxies::new(&config.trusted_proxies));
    Ok(Some((door, DoorEnd { seats, socket: inside, trusted })))
}

type Threads = Vec<std::thread::JoinHandle<()>>;

/// The TCP addresses, and the Unix sockets with who may connect to them.
fn places(listen: &[Listen]) -> (Vec<Place>, Vec<(PathBuf, u32)>) {
    let (mut tcp, mut unix) = (Vec::new(), Vec::new());
    for one in listen {
        match one {
            Listen::Tcp { address, proxy_protocol: proxied } => {
                tcp.push(Place { address: *address, proxied: *proxied, v6only: false });
            }
            Listen::Unix { path, mode } => unix.push((path.clone(), *mode)),
        }
    }
    // An IPv6 listener takes IPv4 as well, unless somebody else listens there for it.
    let ports: Vec<u16> = tcp
        .iter()
        .map(|one| one.address)
        .filter(SocketAddr::is_ipv4)
        .map(|one| one.port())
        .collect();
    for place in &mut tcp {
        place.v6only = place.address.is_ipv6() && ports.contains(&place.address.port());
    }
    (tcp, unix)
}

/// Listens on the paths, by the sockets of the process that is taken over from, if there is one.
fn listen_unix(
    places: Vec<(PathBuf, u32)>,
    predecessor: Option<&Predecessor>,
) -> Result<Vec<(UnixPlace, UnixShare)>, StartError> {
    let mut theirs = match predecessor {
        Some(predecessor) => predecessor.unix(&places).map_err(StartError::Succession)?.into_iter(),
        None => Vec::new().into_iter(),
    };
    let listening = places.into_iter().map(|(path, mode)| {
        let place = match theirs.next() {
            Some(socket) => UnixPlace::adopt(&path, mode, socket),
            None => UnixPlace::bind(&path, mode),
        };
        place.map_err(|error| StartError::Unix(path, error))
    });
    listening.collect()
}

/// Waits for the threads of a start that failed. Without orders they end by themselves; one that
/// serves already is told to.
fn abandon(mesh: &mut Member<Message>, bells: &[Arc<Bell>], threads: Threads) {
    for shard in mesh.peers().collect::<Vec<_>>() {
        mesh.send(shard, Message::Stop, Class::Notice).expect("nothing was sent before");
    }
    mesh.flush(|member| bells[member.as_usize()].ring());
    for thread in threads {
        // A panic was reported before the thread ended.
        let _panicked = thread.join();
    }
}

fn spawn<H: Handler>(
    config: Config,
    plan: Plan,
    mut meshes: Vec<Member<Message>>,
    bells: &[Arc<Bell>],
    door: Option<&Door>,
    make: &Arc<dyn Fn(usize) -> H + Send + Sync>,
    threads: &mut Threads,
) -> Result<(Starting, Vec<Arc<OwnedFd>>), StartError> {
    let shard_count = meshes.len();
    let descriptor = StartError::Descriptor;
    let pool =
        pool::start(config.offload_threads, config.offload_queue).map_err(StartError::Thread)?;
    let seats = Seats::new(shard_count, plan.shard_connections_max, plan.connections_max);
    let cpus = cpu::allowed().map_err(StartError::Facts)?;
    let seats = Arc::new(seats.on_cores(cpus.len()));
    mesh::share_cores(&mut meshes, cpus.len());
    let hasher = std::hash::RandomState::new();
    let config = Arc::new(config);
    let pairs: std::io::Result<Vec<_>> = (0..shard_count).map(|_| fdpass::pair()).collect();
    let (ins, outs): (Vec<_>, Vec<_>) = pairs.map_err(descriptor)?.into_iter().unzip();
    let sockets = ins.iter().chain(&outs).map(AsRawFd::as_raw_fd);
    let sockets = sockets.chain(door.map(|door| door.socket.as_raw_fd()));
    let keep = sockets.chain(bells.iter().flat_map(|bell| bell.descriptors())).collect();
    let pass: Vec<_> = outs.into_iter().map(Arc::new).collect();
    let (reports_in, reports) = bounded(shard_count * 2);
    let mut orders = Vec::new();
    for (number, (mesh, passed)) in meshes.into_iter().zip(ins).enumerate() {
        let (order, shard_orders) = bounded(2);
        orders.push(order);
        let parts = Parts {
            config: Arc::clone(&config),
            plan,
            number,
            shard_count,
            cpu: cpus.get(number % cpus.len().max(1)).copied(),
            seats: Arc::clone(&seats),
            mesh,
            pool: pool.clone(),
            bells: bells.to_vec(),
            passed,
            pass: pass.clone(),
            door: door.cloned(),
            hasher: hasher.clone(),
            orders: shard_orders,
            reports: reports_in.clone(),
        };
        let make = Arc::clone(make);
        let thread = std::thread::Builder::new()
            .name(format!("longwire-{number}"))
            .spawn(move || shard_thread(parts, &*make))
            .map_err(StartError::Thread)?;
        threads.push(thread);
    }
    let bell = Arc::clone(&bells[shard_count]);
    Ok((Starting { orders, reports, keep, bell, seats }, pass))
}

impl Starting {
    /// Leads all shards through the steps of the start; notes the addresses they listen on. With a
    /// predecessor they take its listeners and connections over instead: how long that took, and
    /// what is left to the control thread.
    fn steps(
        &self,
        places: &mut [Place],
        predecessor: Option<(&Predecessor, &Plan, &[Arc<OwnedFd>])>,
    ) -> Result<Option<(Duration, Bequest)>, StartError> {
        let mut done = None;
        let mut rings: Vec<RawFd> = vec![-1; self.orders.len()];
        for _ in 0..self.orders.len() {
            if let Report::Made { number, ring } = self.next()? {
                rings[number] = ring;
            }
        }
        let rings: Arc<[RawFd]> = rings.into();
        let keep: Arc<[RawFd]> = self.keep.clone().into();
        self.all(|| Order::Part { rings: Arc::clone(&rings), keep: Arc::clone(&keep) })?;
        let greeted = self.all(|| Order::Greet)?;
        let rings_work = !greeted.iter().any(|report| matches!(report, Report::Greeted(false)));
        if !rings_work {
            tracing::warn!("posting into another ring does not work here: waking by pipes");
        }
        if let Some((predecessor, plan, pass)) = predecessor {
            let taken_over = self.take_over(predecessor, plan, pass, (places, rings_work));
            if let Err(error) = &taken_over {
                predecessor.refuse(error);
            }
            done = Some(taken_over?);
        } else {
            for place in places {
                place.address = self.listen(*place)?;
            }
        }
        for order in &self.orders {
            tell(order, Order::Serve { rings_work })?;
        }
        Ok(done)
    }

    /// Lets the shards take over what the predecessor's send; returns how long nothing was served,
    /// and what is left to the control thread. Once this has returned without an error, this
    /// process serves, and the other does not.
    fn take_over(
        &self,
        predecessor: &Predecessor,
        plan: &Plan,
        pass: &[Arc<OwnedFd>],
        (places, rings_work): (&[Place], bool),
    ) -> Result<(Duration, Bequest), StartError> {
        let ways = predecessor.built(plan).map_err(StartError::Succession)?;
        let mut since = clock::now();
        let places: Arc<[Place]> = places.into();
        let shard_count = predecessor.shard_count();
        for order in &self.orders {
            let places = Arc::clone(&places);
            tell(order, Order::TakeOver { shard_count, places, rings_work })?;
        }
        Step::NewerHasWays.reached();
        predecessor::deal(ways, pass).map_err(StartError::Succession)?;
        if predecessor.sends_ahead() {
            predecessor.still(&self.bell, || self.failure())?;
            since = clock::now();
        }
        let bequest = predecessor.bequest().map_err(StartError::Succession)?;
        let mut connections = 0;
        for _ in &self.orders {
            let Report::TakenOver(count) = self.next()? else { return Err(StartError::ShardLost) };
            connections += count;
        }
        self.all(|| Order::SettleIn)?;
        predecessor.commit(connections).map_err(StartError::Succession)?;
        tracing::info!(connections, "taken over");
        Ok((clock::now() - since, bequest))
    }

    /// The first shard claims the place, and the others join it; returns its address.
    fn listen(&self, place: Place) -> Result<SocketAddr, StartError> {
        let (first, others) = self.orders.split_first().expect("at least one shard");
        tell(first, Order::Claim(place))?;
        let Report::Listening(address) = self.next()? else { return Err(StartError::ShardLost) };
        for other in others {
            tell(other, Order::Join(Place { address, ..place }))?;
        }
        for _ in others {
            self.next()?;
        }
        Ok(address)
    }

    /// Gives all shards the same order and collects what they say.
    fn all(&self, order: impl Fn() -> Order) -> Result<Vec<Report>, StartError> {
        for shard in &self.orders {
            tell(shard, order())?;
        }
        self.orders.iter().map(|_| self.next()).collect()
    }

    /// Why a shard has failed, if one has. None has anything else to say before all is there.
    fn failure(&self) -> Result<(), StartError> {
        match self.reports.try_recv() {
            Err(TryRecvError::Empty) => Ok(()),
            Ok(Report::Failed(error)) => Err(error),
            Ok(_) | Err(TryRecvError::Disconnected) => Err(StartError::ShardLost),
        }
    }

    fn next(&self) -> Result<Report, StartError> {
        match self.reports.recv() {
            Ok(Report::Failed(error)) => Err(error),
            Ok(Report::Lost | Report::Stopped(_)) | Err(_) => Err(StartError::ShardLost),
            Ok(report) => Ok(report),
        }
    }
}

fn tell(shard: &Sender<Order>, order: Order) -> Result<(), StartError> {
    shard.send(order).map_err(|_| StartError::ShardLost)
}
