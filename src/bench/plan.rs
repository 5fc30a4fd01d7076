//! What a run of the load generator shall do: arguments as typed in, a `Plan` valid by type out.
//!
//! Also when the n-th message of a run with a rate is due. A due time never moves, so a server that
//! stalls is charged for all messages that should have been sent meanwhile (no coordinated
//! omission).
//!
//! Invariant: a `Plan` can be run as it stands on a machine with `descriptors()` to spare.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::payload::PAYLOAD_BYTES_MIN;
use super::share::Share;
use super::sources::Sources;
use super::terms::{Opening, Terms};
use crate::limits;
use crate::ws::Role;

/// A frame with a payload of up to this size is one segment on loopback, so that a server which
/// knows no frames receives it whole.
const BARE_FRAME_BYTES_MAX: usize = 16 * 1024;

/// What the connections do once they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Open and close again: the unit of measure is one opening handshake.
    Connect,
    /// Many stand, and so many a second leave and are opened anew: opening handshakes, too.
    Churn,
    /// Nothing: memory and CPU time of standing connections.
    Idle,
    /// Every connection sends and expects the same back.
    Echo,
    /// Few publish, all expect every publication.
    Fanout,
}

/// What decides when the next message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many are under way: per connection in `Echo`, per publisher in `Fanout`, in all in
    /// `Connect`. The next follows when one has come back.
    Window(u32),
    /// So many a second in all, at times fixed beforehand.
    Rate(u64),
}

/// The arguments as they were typed; the fields are those of the command line.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // Each is documented where the user reads it, in cli/bench.rs.
pub struct BenchArgs {
    pub kind: Kind,
    pub target: SocketAddr,
    pub path: String,
    pub connections: u32,
    pub size: usize,
    pub rate: Option<u64>,
    pub window: u32,
    pub seconds: u32,
    pub publishers: u32,
    pub probes: u32,
    pub probe_path: String,
    pub server_pid: Option<u32>,
    pub bare: bool,
    pub json: bool,
    pub cpu: Option<usize>,
}

/// A run that makes sense.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the connections do.
    pub kind: Kind,
    /// Where the server listens.
    pub target: SocketAddr,
    /// Path of the opening handshake.
    pub path: String,
    /// Connections that stand at the same time; for `Kind::Connect`, those being opened.
    pub connections: u32,
    /// Those that stand all the time in a run of `Kind::Churn`.
    pub hold: u32,
    /// Number of the first of them, where other threads have those before it.
    pub first: u32,
    /// The addresses they come from.
    pub sources: Sources,
    /// Bytes of a payload.
    pub size: usize,
    /// When messages are sent.
    pub pace: Pace,
    /// How long is measured, after the warm-up.
    pub measured: Duration,
    /// How long messages flow before anything is counted.
    pub warm_up: Duration,
    /// How long one opening handshake may take.
    pub handshake_deadline: Duration,
    /// How long the end of the run waits for what is under way.
    pub drain_deadline: Duration,
    /// The first connections of a fan-out, which also publish.
    pub publishers: u32,
    /// Connections beside the fan-out that echo, to see what it does to others.
    pub probes: u32,
    /// Their path.
    pub probe_path: String,
    /// Whose CPU time and memory is read.
    pub server_pid: Option<u32>,
    /// The server knows no WebSocket: no handshake, and our own frames come back.
    pub bare: bool,
    /// Core to run on.
    pub cpu: Option<usize>,
}

/// Why arguments make no run. The text names the argument, its value, the bound and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// `--connections 0`.
    NoConnections,
    /// More connections than payloads can tell apart.
    TooManyConnections(u32),
    /// `--size` leaves no room for connection and sequence, or is beyond the largest message.
    Size(usize),
    /// `--window` is 0 or beyond what is remembered per connection.
    Window(u32),
    /// `--rate 0`.
    NoRate,
    /// `--seconds 0`.
    NoTime,
    /// `--publishers` is 0, exceeds `--connections`, or is more than subscribers can follow.
    Publishers(u32),
    /// `--probes` without a fan-out, or against a server that knows no paths.
    Probes,
    /// A server that knows no frames mixes chunks of several publishers, which are whole frames
    /// only when each has one small frame under way.
    BarePublishers,
    /// A path must start with a slash and hold printable ASCII only.
    Path(String),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnections => write!(f, "--connections 0 measures nothing; give at least 1"),
            Self::TooManyConnections(count) => write!(
                f,
                "--connections {count} is over {}; start several generators",
                limits::BENCH_CONNECTIONS_MAX
            ),
            Self::Size(size) => write!(
                f,
                "--size {size} is outside {PAYLOAD_BYTES_MIN}..={}; \
                 the first {PAYLOAD_BYTES_MIN} bytes name connection and sequence",
                limits::BENCH_PAYLOAD_BYTES_MAX
            ),
            Self::Window(window) => {
                write!(f, "--window {window} is outside 1..={}", limits::BENCH_WINDOW_MAX)
            }
            Self::NoRate => write!(f, "--rate 0 sends nothing; leave it out to go by --window"),
            Self::NoTime => write!(f, "--seconds 0 measures nothing; give at least 1"),
            Self::Publishers(count) => {
                write!(
                    f,
                    "--publishers {count} must be at least 1 and at most --connections, or {}",
                    limits::BENCH_PUBLISHERS_MAX
                )
            }
            Self::Probes => write!(f, "--probes goes with `fanout` and without --bare only"),
            Self::BarePublishers => write!(
                f,
                "--bare with several --publishers needs --window 1, no --rate and a --size of at \
                 most {BARE_FRAME_BYTES_MAX}: a server without frames mixes their bytes otherwise"
            ),
            Self::Path(path) => {
                write!(f, "path {path:?} must start with `/` and hold visible ASCII only")
            }
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// Checks the arguments against each other and against the limits.
    pub fn new(args: &BenchArgs) -> Result<Self, PlanError> {
        check_numbers(args)?;
        for path in [&args.path, &args.probe_path] {
            if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(PlanError::Path(path.clone()));
            }
        }
        if args.probes > 0 && (args.kind != Kind::Fanout || args.bare) {
            return Err(PlanError::Probes);
        }
        let whole_frames =
            args.rate.is_none() && args.window == 1 && args.size <= BARE_FRAME_BYTES_MAX;
        if args.kind == Kind::Fanout && args.bare && args.publishers > 1 && !whole_frames {
            return Err(PlanError::BarePublishers);
        }
        let measured = Duration::from_secs(u64::from(args.seconds));
        let warm_up = match args.kind {
            // Standing connections have settled before.
            Kind::Idle => Duration::ZERO,
            _ => (measured / 5).min(limits::BENCH_WARM_UP_MAX),
        };
        let publishers = if args.kind == Kind::Fanout { args.publishers } else { 0 };
        let connections = match (args.kind, args.rate) {
            (Kind::Connect, None) => args.window.min(limits::BENCH_OPENING_MAX),
            (Kind::Connect, Some(_)) => limits::BENCH_OPENING_MAX,
            (Kind::Churn, _) => args.connections.saturating_add(limits::BENCH_OPENING_MAX),
            _ => args.connections,
        };
        Ok(Self {
            kind: args.kind,
            target: args.target,
            path: args.path.clone(),
            connections,
            hold: if args.kind == Kind::Churn { args.connections } else { 0 },
            first: 0,
            sources: match args.kind {
                Kind::Connect | Kind::Churn => Sources::of_churn(args.target),
                _ => Sources::of_standing(args.target, connections + args.probes),
            },
            size: args.size,
            pace: match (args.rate, args.kind) {
                (Some(rate), _) => Pace::Rate(rate),
                (None, Kind::Churn) => Pace::Rate(churn_rate(args.connections)),
                (None, _) => Pace::Window(args.window),
            },
            measured,
            warm_up,
            handshake_deadline: limits::BENCH_HANDSHAKE_DEADLINE,
            drain_deadline: limits::BENCH_DRAIN_DEADLINE,
            publishers,
            probes: args.probes,
            probe_path: args.probe_path.clone(),
            server_pid: args.server_pid,
            bare: args.bare,
            cpu: args.cpu,
        })
    }

    /// Sockets that may be open at the same time.
    pub fn sockets(&self) -> u32 {
        self.connections + self.probes
    }

    /// Descriptors that a run needs: its sockets, and a few for the ring, /proc and the terminal.
    pub fn descriptors(&self) -> u64 {
        u64::from(self.sockets()) + limits::BENCH_DESCRIPTORS_SPARE
    }

    /// What its clients go by.
    pub fn terms(&self, started: Instant) -> Terms {
        Terms {
            target: self.target,
            path: self.path.clone(),
            sockets: self.sockets(),
            probes_from: self.connections,
            probe_path: self.probe_path.clone(),
            opening: match (self.bare, self.kind) {
                (false, _) => Opening::WebSocket,
                (true, Kind::Connect | Kind::Churn) => Opening::FixedAnswer,
                (true, _) => Opening::None,
            },
            role: if self.bare { Role::Server } else { Role::Client },
            gathers: false,
            handshake_deadline: self.handshake_deadline,
            started,
        }
    }

    /// The part of the run that one thread does.
    #[must_use]
    pub fn share(&self, share: Share) -> Self {
        let pace = match self.pace {
            // A share of a rate may be nothing, which no schedule is.
            Pace::Rate(rate) => Pace::Rate(share.part(rate).max(1)),
            window @ Pace::Window(_) => window,
        };
        Self { first: share.first, connections: share.count, pace, ..self.clone() }
    }

    /// Whether the run can be split over threads: what each connection does concerns it alone.
    pub fn can_be_split(&self) -> bool {
        matches!(self.kind, Kind::Idle | Kind::Echo)
    }
}

/// Those that leave a second where nothing is said: each has stood for ten then.
pub(super) fn churn_rate(connections: u32) -> u64 {
    u64::from(connections).div_ceil(10)
}

fn check_numbers(args: &BenchArgs) -> Result<(), PlanError> {
    if args.connections == 0 {
        return Err(PlanError::NoConnections);
    }
    let sockets = args.connections.saturating_add(args.probes);
    if sockets > limits::BENCH_CONNECTIONS_MAX {
        return Err(PlanError::TooManyConnections(sockets));
    }
    if !(PAYLOAD_BYTES_MIN..=limits::BENCH_PAYLOAD_BYTES_MAX).contains(&args.size) {
        return Err(PlanError::Size(args.size));
    }
    if !(1..=limits::BENCH_WINDOW_MAX).contains(&args.window) {
        return Err(PlanError::Window(args.window));
    }
    if args.rate == Some(0) {
        return Err(PlanError::NoRate);
    }
    if args.seconds == 0 {
        return Err(PlanError::NoTime);
    }
    let publishers_max = args.connections.min(limits::BENCH_PUBLISHERS_MAX);
    if !(1..=publishers_max).contains(&args.publishers) {
        return Err(PlanError::Publishers(args.publishers));
    }
    Ok(())
}

/// When each message of a run with a rate is due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: u64,
}

impl Schedule {
    /// `rate` messages a second, at least 1.
    pub fn new(rate: u64) -> Self {
        assert!(rate > 0, "the plan admits no rate of 0");
        Self { rate }
    }

    /// When message `number` is due, counted from the start of the run. Exact at any length.
    pub fn due(self, number: u64) -> Duration {
        let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Arguments that pass, for tests to change.
    pub(crate) fn args(kind: Kind) -> BenchArgs {
        BenchArgs {
            kind,
            target: SocketAddr::from(([127, 0, 0, 1], 8000)),
            path: "/".into(),
            connections: 1000,
            size: 20,
            rate: None,
            window: 1,
            seconds: 5,
            publishers: 1,
            probes: 0,
            probe_path: "/echo".into(),
            server_pid: None,
            bare: false,
            json: false,
            cpu: None,
        }
    }

    fn refused(change: impl Fn(&mut BenchArgs)) -> PlanError {
        let mut args = args(Kind::Fanout);
        change(&mut args);
        Plan::new(&args).expect_err("the change makes the arguments wrong")
    }

    #[test]
    fn each_wrong_argument_is_named() {
        assert_eq!(refused(|a| a.connections = 0), PlanError::NoConnections);
        assert_eq!(refused(|a| a.connections = u32::MAX), PlanError::TooManyConnections(u32::MAX));
        assert_eq!(refused(|a| a.size = 9), PlanError::Size(9));
        assert_eq!(refused(|a| a.size = 1 << 30), PlanError::Size(1 << 30));
        assert_eq!(refused(|a| a.window = 0), PlanError::Window(0));
        assert_eq!(refused(|a| a.window = 1 << 20), PlanError::Window(1 << 20));
        assert_eq!(refused(|a| a.rate = Some(0)), PlanError::NoRate);
        assert_eq!(refused(|a| a.seconds = 0), PlanError::NoTime);
        assert_eq!(refused(|a| a.publishers = 0), PlanError::Publishers(0));
        assert_eq!(refused(|a| a.publishers = 1001), PlanError::Publishers(1001));
        assert_eq!(refused(|a| (a.probes, a.bare) = (1, true)), PlanError::Probes);
        assert_eq!(refused(|a| (a.probes, a.kind) = (1, Kind::Echo)), PlanError::Probes);
        for change in [
            |a: &mut BenchArgs| a.window = 2,
            |a: &mut BenchArgs| a.rate = Some(1),
            |a: &mut BenchArgs| a.size = 20_000,
        ] {
            let refusal = refused(|a| {
                (a.publishers, a.bare) = (2, true);
                change(a);
            });
            assert_eq!(refusal, PlanError::BarePublishers);
        }
        assert_eq!(refused(|a| a.path = "ws".into()), PlanError::Path("ws".into()));
        let split = "/a HTTP/1.1\r\nX: y";
        assert_eq!(refused(|a| a.path = split.into()), PlanError::Path(split.into()));
    }

    #[test]
    fn errors_name_the_argument() {
        assert!(PlanError::Size(9).to_string().starts_with("--size 9 is outside 10..="));
        assert!(PlanError::Publishers(0).to_string().starts_with("--publishers 0 must"));
    }

    #[test]
    fn due_times_do_not_drift() {
        let schedule = Schedule::new(3);
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(1), Duration::from_nanos(333_333_333));
        assert_eq!(schedule.due(3_000_000), Duration::from_secs(1_000_000));
    }

    #[test]
    fn handshakes_in_flight_are_bounded_by_the_window() {
        let mut args = args(Kind::Connect);
        args.window = 8;
        assert_eq!(Plan::new(&args).unwrap().connections, 8);
        args.window = limits::BENCH_WINDOW_MAX;
        assert_eq!(Plan::new(&args).unwrap().connections, limits::BENCH_OPENING_MAX);
    }

    #[test]
    fn a_rate_stands_before_a_window() {
        let mut args = args(Kind::Echo);
        assert_eq!(Plan::new(&args).unwrap().pace, Pace::Window(1));
        args.rate = Some(100);
        assert_eq!(Plan::new(&args).unwrap().pace, Pace::Rate(100));
    }
}
