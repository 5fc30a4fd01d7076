//! What a run over the client protocol shall do: arguments as typed in, a plan valid by type out.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::parcel::PARCEL_BYTES_MIN;
use super::tokens::Tokens;
use crate::bench::plan::Pace;
use crate::bench::share::Share;
use crate::bench::sources::Sources;
use crate::bench::terms::{Opening, Terms};
use crate::limits;
use crate::ws::Role;

/// What the sessions do once they are in their channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing: how they came to be is what is measured.
    Connect,
    /// They answer pings.
    Idle,
    /// Each publishes into a channel of its own, and gets that back.
    Echo,
    /// Few publish, each into its channel; all get what is published into theirs.
    Fanout,
    /// All publish in turn into channels that they share.
    Chat,
    /// All are dropped at once, come back as the SDKs do, and recover what they missed.
    Storm,
}

/// The arguments as they were typed; the fields are those of the command line.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // Each is documented where the user reads it, in cli/bench.rs.
pub struct SessionArgs {
    pub scenario: Scenario,
    pub target: SocketAddr,
    pub path: String,
    pub connections: u32,
    pub channels: u32,
    pub rate: Option<u64>,
    pub seconds: u32,
    pub size: usize,
    pub publishers: u32,
    pub publish_rate: Option<u64>,
    pub missed: u32,
    pub hmac_key: Option<String>,
    pub server_pid: Option<u32>,
    pub cpu: Option<usize>,
    pub alpha: f64,
    pub memory_bytes_min: u64,
    pub deadline: Duration,
}

/// A run that makes sense.
#[derive(Clone, Debug)]
pub struct SessionPlan {
    /// What the sessions do.
    pub scenario: Scenario,
    /// Where the server listens.
    pub target: SocketAddr,
    /// Path of its endpoint.
    pub path: String,
    /// Sessions.
    pub connections: u32,
    /// The addresses they come from.
    pub sources: Sources,
    /// Channels; session `n` is in channel `n % channels`.
    pub channels: u32,
    /// When sessions are begun: so many at a time, or so many a second.
    pub opens: Pace,
    /// Sessions that publish: the first ones, each into its channel, where nobody else does but in
    /// a chat.
    pub publishers: u32,
    /// When they publish.
    pub publishing: Pace,
    /// Publications of each publisher while the others are away, in a storm.
    pub missed: u32,
    /// Bytes of what is published.
    pub size: usize,
    /// How long is measured.
    pub measured: Duration,
    /// How long the beginning of one session may take.
    pub deadline: Duration,
    /// How long the end of the run waits for what is still under way.
    pub drain_deadline: Duration,
    /// Who the users are; without, they are nobody.
    pub tokens: Option<Tokens>,
    /// Whose CPU time and memory is read.
    pub server_pid: Option<u32>,
    /// Core to run on.
    pub cpu: Option<usize>,
    /// How much load excuses: see [`load_adjusted`](crate::bench::verdict::load_adjusted).
    pub alpha: f64,
    /// Memory that this host keeps; a run that takes more ends.
    pub memory_bytes_min: u64,
}

/// Why arguments make no run. The text names the argument, its value, the bound and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionPlanError {
    /// `--connections` is 0 or beyond what one generator holds.
    Connections(u32),
    /// `--channels` is 0 or beyond the sessions.
    Channels(u32),
    /// `--publishers` is 0 or beyond the channels: each has one of its own.
    Publishers(u32),
    /// `--size` leaves no room for number and time, or is beyond the largest message.
    Size(usize),
    /// A rate of 0.
    NoRate,
    /// `--seconds 0`.
    NoTime,
    /// `--alpha` is below 0, or no number.
    Alpha,
    /// A path must start with a slash and hold printable ASCII only.
    Path(String),
}

impl fmt::Display for SessionPlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(count) => write!(
                f,
                "--connections {count} is outside 1..={}; for more start several generators",
                limits::BENCH_CONNECTIONS_MAX
            ),
            Self::Channels(count) => {
                write!(f, "--channels {count} must be at least 1 and at most --connections")
            }
            Self::Publishers(count) => write!(
                f,
                "--publishers {count} must be at least 1 and at most --channels: each publishes \
                 into a channel of its own"
            ),
            Self::Size(size) => write!(
                f,
                "--size {size} is outside {PARCEL_BYTES_MIN}..={}; what is published names its \
                 number and time",
                limits::BENCH_PAYLOAD_BYTES_MAX / 2
            ),
            Self::NoRate => write!(f, "a rate of 0 does nothing; leave it out to go full speed"),
            Self::NoTime => write!(f, "--seconds 0 measures nothing; give at least 1"),
            Self::Alpha => write!(f, "--alpha must be 0 or more"),
            Self::Path(path) => {
                write!(f, "path {path:?} must start with `/` and hold visible ASCII only")
            }
        }
    }
}

impl std::error::Error for SessionPlanError {}

impl SessionPlan {
    /// Checks the arguments against each other and against the limits.
    pub fn new(args: &SessionArgs) -> Result<Self, SessionPlanError> {
        check(args)?;
        let (channels, publishers) = match args.scenario {
            Scenario::Echo => (args.connections, args.connections),
            Scenario::Chat => (args.channels, args.connections),
            Scenario::Connect | Scenario::Idle => (args.channels, 0),
            Scenario::Fanout | Scenario::Storm => (args.channels, args.publishers),
        };
        let pace = |rate: Option<u64>, window| rate.map_or(Pace::Window(window), Pace::Rate);
        Ok(Self {
            scenario: args.scenario,
            target: args.target,
            path: args.path.clone(),
            connections: args.connections,
            sources: Sources::of_standing(args.target, args.connections),
            channels,
            opens: pace(args.rate, limits::BENCH_OPENING_MAX),
            publishers,
            publishing: match args.scenario {
                Scenario::Chat => Pace::Rate(args.publish_rate.unwrap_or(chat_rate(args))),
                _ => pace(args.publish_rate, 1),
            },
            missed: args.missed,
            size: args.size,
            measured: Duration::from_secs(u64::from(args.seconds)),
            deadline: args.deadline,
            drain_deadline: limits::BENCH_DRAIN_DEADLINE,
            tokens: args.hmac_key.as_deref().map(Tokens::new),
            server_pid: args.server_pid,
            cpu: args.cpu,
            alpha: args.alpha,
            memory_bytes_min: args.memory_bytes_min,
        })
    }

    /// What the clients of one thread go by.
    pub fn terms(&self, share: Share, started: Instant) -> Terms {
        Terms {
            target: self.target,
            path: self.path.clone(),
            sockets: share.count,
            probes_from: share.count,
            probe_path: self.path.clone(),
            opening: Opening::WebSocket,
            role: Role::Client,
            handshake_deadline: self.deadline,
            started,
        }
    }

    /// Descriptors that a run needs where all stand in one table.
    pub fn descriptors(&self) -> u64 {
        u64::from(self.connections) + limits::BENCH_DESCRIPTORS_SPARE
    }

    /// Those of a thread's sessions that publish: the first so many.
    pub fn publishers_of(&self, share: Share) -> u32 {
        self.publishers.saturating_sub(share.first).min(share.count)
    }

    /// Whether a publisher goes on when it has got back what it published, and not by a schedule.
    pub fn answers_itself(&self) -> bool {
        matches!(self.publishing, Pace::Window(_)) || self.scenario == Scenario::Storm
    }

    /// The channel of session `number`.
    pub fn channel(&self, number: u32) -> u32 {
        number % self.channels
    }
}

/// Publications a second of people who write something every ten.
fn chat_rate(args: &SessionArgs) -> u64 {
    u64::from(args.connections).div_ceil(10)
}

fn check(args: &SessionArgs) -> Result<(), SessionPlanError> {
    if !(1..=limits::BENCH_CONNECTIONS_MAX).contains(&args.connections) {
        return Err(SessionPlanError::Connections(args.connections));
    }
    if !(1..=args.connections).contains(&args.channels) && args.scenario != Scenario::Echo {
        return Err(SessionPlanError::Channels(args.channels));
    }
    if matches!(args.scenario, Scenario::Fanout | Scenario::Storm)
        && !(1..=args.channels).contains(&args.publishers)
    {
        return Err(SessionPlanError::Publishers(args.publishers));
    }
    // A server may wrap what it delivers into as much again.
    if !(PARCEL_BYTES_MIN..=limits::BENCH_PAYLOAD_BYTES_MAX / 2).contains(&args.size) {
        return Err(SessionPlanError::Size(args.size));
    }
    if args.rate == Some(0) || args.publish_rate == Some(0) {
        return Err(SessionPlanError::NoRate);
    }
    if args.alpha.is_nan() || args.alpha < 0.0 {
        return Err(SessionPlanError::Alpha);
    }
    if args.seconds == 0 {
        return Err(SessionPlanError::NoTime);
    }
    if !args.path.starts_with('/') || !args.path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SessionPlanError::Path(args.path.clone()));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Arguments that pass, for tests to change.
    pub(crate) fn args(scenario: Scenario) -> SessionArgs {
        SessionArgs {
            scenario,
            target: SocketAddr::from(([127, 0, 0, 1], 8000)),
            path: "/connection/websocket".into(),
            connections: 100,
            channels: 10,
            rate: None,
            seconds: 1,
            size: 64,
            publishers: 2,
            publish_rate: None,
            missed: 3,
            hmac_key: None,
            server_pid: None,
            cpu: None,
            alpha: 1.0,
            memory_bytes_min: limits::BENCH_MEMORY_BYTES_MIN,
            deadline: limits::BENCH_HANDSHAKE_DEADLINE,
        }
    }

    #[test]
    fn each_wrong_argument_is_named() {
        type Change = fn(&mut SessionArgs);
        let cases: [(Change, SessionPlanError); 9] = [
            (|a| a.connections = 0, SessionPlanError::Connections(0)),
            (|a| a.channels = 101, SessionPlanError::Channels(101)),
            (|a| a.publishers = 11, SessionPlanError::Publishers(11)),
            (|a| a.size = 1, SessionPlanError::Size(1)),
            (|a| a.rate = Some(0), SessionPlanError::NoRate),
            (|a| a.publish_rate = Some(0), SessionPlanError::NoRate),
            (|a| a.seconds = 0, SessionPlanError::NoTime),
            (|a| a.alpha = f64::NAN, SessionPlanError::Alpha),
            (|a| a.path = "x".into(), SessionPlanError::Path("x".into())),
        ];
        for (change, expected) in cases {
            let mut args = args(Scenario::Fanout);
            change(&mut args);
            assert_eq!(SessionPlan::new(&args).unwrap_err(), expected);
            assert!(!expected.to_string().is_empty());
        }
    }

    #[test]
    fn an_echo_is_a_fan_out_of_one_to_one() {
        let plan = SessionPlan::new(&args(Scenario::Echo)).unwrap();
        assert_eq!((plan.channels, plan.publishers), (100, 100));
        assert_eq!(plan.channel(99), 99);
    }

    #[test]
    fn in_a_chat_all_publish_in_turn() {
        let plan = SessionPlan::new(&args(Scenario::Chat)).unwrap();
        assert_eq!((plan.channels, plan.publishers), (10, 100));
        assert_eq!(plan.publishing, Pace::Rate(10));
        assert!(!plan.answers_itself());
    }

    #[test]
    fn publishers_are_the_first_sessions_whichever_threads_have_them() {
        let mut args = args(Scenario::Fanout);
        (args.channels, args.publishers) = (60, 60);
        let plan = SessionPlan::new(&args).unwrap();
        let shares = Share::split(100, 25);
        let publishers: Vec<_> = shares.iter().map(|share| plan.publishers_of(*share)).collect();
        assert_eq!(publishers, [25, 25, 10, 0]);
    }
}
