//! What a run over the client protocol shall do: arguments as typed in, a plan valid by type out.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::parcel::PARCEL_BYTES_MIN;
use super::plan_error::SessionPlanError;
use super::tokens::{self, Tokens};
use crate::bench::plan::{Pace, churn_rate};
use crate::bench::share::Share;
use crate::bench::sources::Sources;
use crate::bench::terms::{Opening, Terms};
use crate::limits;
use crate::protocol::Format;
use crate::ws::{MessageKind, Role};

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
    /// So many a second leave and come anew, while the others stand.
    Churn,
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
    pub format: Format,
    pub connections: u32,
    pub channels: u32,
    pub channel_prefix: String,
    pub rate: Option<u64>,
    pub seconds: u32,
    pub size: usize,
    pub publishers: u32,
    pub publish_rate: Option<u64>,
    pub churn_rate: Option<u64>,
    pub missed: u32,
    pub publications: Option<u32>,
    pub bare: bool,
    pub echo_connections: u32,
    pub echo_rate: Option<u64>,
    pub echo_seconds: u32,
    pub hmac_key: Option<String>,
    pub server_pid: Option<u32>,
    pub server_metrics: Option<String>,
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
    /// Path of its endpoint, with the query that asks for the format.
    pub path: String,
    /// What the sessions speak.
    pub format: Format,
    /// Sessions.
    pub connections: u32,
    /// The addresses they come from.
    pub sources: Sources,
    /// Channels; session `n` is in channel `n % channels`.
    pub channels: u32,
    /// What their names begin with.
    pub channel_prefix: String,
    /// When sessions are begun: so many at a time, or so many a second.
    pub opens: Pace,
    /// Sessions that publish: the first ones, each into its channel, where nobody else does but in
    /// a chat.
    pub publishers: u32,
    /// When they publish.
    pub publishing: Pace,
    /// Sessions that leave a second, in a churn.
    pub churn_rate: u64,
    /// Publications of each publisher while the others are away, in a storm.
    pub missed: u32,
    /// Publications of each publisher of a fan-out, one at a time; without, as many as the time
    /// allows.
    pub publications: Option<u32>,
    /// No server: threads of this process send the same frame to as many sockets by a plain loop.
    pub bare: bool,
    /// Sessions beside those of the run that echo, on a thread of their own.
    pub echo: Option<EchoBeside>,
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
    /// Who tells the server's memory by class.
    pub server_metrics: Option<String>,
    /// Core to run on.
    pub cpu: Option<usize>,
    /// How much load excuses: see [`load_adjusted`](crate::bench::verdict::load_adjusted).
    pub alpha: f64,
    /// Memory that this host keeps; a run that takes more ends.
    pub memory_bytes_min: u64,
}

/// Sessions beside a run that publish into channels of their own, to see what it does to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoBeside {
    /// How many.
    pub connections: u32,
    /// Publications a second of all of them.
    pub rate: u64,
    /// How long they echo where nothing else goes on.
    pub time: Duration,
}

/// Who of one thread's sessions publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publishers {
    /// The first so many sessions of the thread.
    pub count: u32,
    /// How many there are on the threads before it.
    pub before: u32,
    /// How many there are in all.
    pub all: u32,
    /// When they do.
    pub pace: Pace,
}

impl SessionPlan {
    /// Checks the arguments against each other and against the limits.
    pub fn new(args: &SessionArgs) -> Result<Self, SessionPlanError> {
        check(args)?;
        let (channels, publishers) = match args.scenario {
            Scenario::Echo => (args.connections, args.connections),
            Scenario::Chat => (args.channels, args.connections),
            Scenario::Connect | Scenario::Idle | Scenario::Churn => (args.channels, 0),
            Scenario::Fanout | Scenario::Storm => (args.channels, args.publishers),
        };
        let pace = |rate: Option<u64>, window| rate.map_or(Pace::Window(window), Pace::Rate);
        Ok(Self {
            scenario: args.scenario,
            target: args.target,
            path: path(args),
            format: args.format,
            connections: args.connections,
            sources: Sources::of_standing(args.target, args.connections + args.echo_connections),
            channels,
            channel_prefix: args.channel_prefix.clone(),
            opens: pace(args.rate, limits::BENCH_OPENING_MAX),
            publishers,
            publishing: match args.scenario {
                Scenario::Chat => Pace::Rate(args.publish_rate.unwrap_or(chat_rate(args))),
                _ => pace(args.publish_rate, 1),
            },
            churn_rate: args.churn_rate.unwrap_or(churn_rate(args.connections)),
            missed: args.missed,
            publications: args.publications,
            bare: args.bare,
            echo: echo_beside(args),
            size: args.size,
            measured: Duration::from_secs(u64::from(args.seconds)),
            deadline: args.deadline,
            drain_deadline: limits::BENCH_DRAIN_DEADLINE,
            tokens: args.hmac_key.as_deref().map(Tokens::new),
            server_pid: args.server_pid,
            server_metrics: args.server_metrics.clone(),
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
            opening: if self.bare { Opening::None } else { Opening::WebSocket },
            role: Role::Client,
            handshake_deadline: self.deadline,
            gathers: false,
            started,
        }
    }

    /// Sessions, those beside the run included.
    pub fn sessions(&self) -> u32 {
        self.connections + self.echo.map_or(0, |echo| echo.connections)
    }

    /// Channels, those of the sessions beside the run included.
    pub fn channel_count(&self) -> u32 {
        self.channels + self.sessions() - self.connections
    }

    /// Descriptors that a run needs where all stand in one table.
    pub fn descriptors(&self) -> u64 {
        u64::from(self.connections) + limits::BENCH_DESCRIPTORS_SPARE
    }

    /// The shares of the threads; sessions beside the run have the last to themselves, so that they
    /// do not wait behind what the others are told.
    pub fn shares(&self, table_sockets: u32) -> Vec<Share> {
        let mut shares = Share::split(self.connections, table_sockets);
        if let Some(echo) = self.echo {
            let of = u32::try_from(shares.len()).expect("fewer than sessions");
            let beside = Share { number: of, of, first: self.connections, count: echo.connections };
            shares.push(beside);
        }
        shares
    }

    /// Whether a thread has the sessions beside the run.
    pub fn is_beside(&self, share: Share) -> bool {
        share.first >= self.connections
    }

    /// Those of a thread's sessions that publish.
    pub fn publishers_of(&self, share: Share) -> Publishers {
        if let Some(echo) = self.echo.filter(|_| self.is_beside(share)) {
            let pace = Pace::Rate(echo.rate);
            return Publishers { count: share.count, before: 0, all: share.count, pace };
        }
        let before = self.publishers.min(share.first);
        let count = (self.publishers - before).min(share.count);
        Publishers { count, before, all: self.publishers, pace: self.publishing }
    }

    /// Whether a publisher of a thread goes on when it has got back what it published, and not by a
    /// schedule or when everybody has it.
    pub fn answers_itself(&self, share: Share) -> bool {
        let is_loop = matches!(self.publishing, Pace::Window(_)) && self.publications.is_none();
        !self.is_beside(share) && (is_loop || self.scenario == Scenario::Storm)
    }

    /// The kind of message that its format is sent in.
    pub fn message_kind(&self) -> MessageKind {
        match self.format {
            Format::Json => MessageKind::Text,
            Format::Protobuf => MessageKind::Binary,
        }
    }

    /// The user of session `number`; nobody where there are no tokens.
    pub fn user(&self, number: u32) -> String {
        self.tokens.as_ref().map_or_else(String::new, |_| tokens::user(number))
    }

    /// The name of a channel.
    pub fn channel_name(&self, channel: u32) -> String {
        format!("{}{channel}", self.channel_prefix)
    }

    /// The channel of session `number`: one of its own for each beside the run.
    pub fn channel(&self, number: u32) -> u32 {
        match number.checked_sub(self.connections) {
            Some(beside) => self.channels + beside,
            None => number % self.channels,
        }
    }
}

/// JSON is what a client gets that asks for nothing.
fn path(args: &SessionArgs) -> String {
    let SessionArgs { path, format, .. } = args;
    match (format, path.contains('?')) {
        (Format::Json, _) => path.clone(),
        (Format::Protobuf, false) => format!("{path}?format=protobuf"),
        (Format::Protobuf, true) => format!("{path}&format=protobuf"),
    }
}

/// The sessions beside the run, if there are any.
fn echo_beside(args: &SessionArgs) -> Option<EchoBeside> {
    let connections = args.echo_connections;
    (connections > 0).then(|| EchoBeside {
        connections,
        rate: args.echo_rate.unwrap_or(u64::from(connections) * limits::BENCH_PROBE_RATE),
        time: Duration::from_secs(u64::from(args.echo_seconds)),
    })
}

fn check_beside(args: &SessionArgs) -> Result<(), SessionPlanError> {
    let is_fanout = args.scenario == Scenario::Fanout;
    let rounds = 1..=limits::BENCH_ROUNDS_MAX;
    if let Some(count) = args.publications.filter(|count| !rounds.contains(count) || !is_fanout) {
        return Err(SessionPlanError::Publications(count));
    }
    let is_plain = is_fanout && args.publications.is_some() && args.channels == 1;
    if args.bare && (!is_plain || args.echo_connections > 0) {
        return Err(SessionPlanError::Bare);
    }
    let is_timed = args.echo_rate != Some(0) && args.echo_seconds > 0;
    let has_room = is_fanout || args.scenario == Scenario::Idle;
    if args.echo_connections > 0 && !(is_timed && has_room) {
        return Err(SessionPlanError::Echo);
    }
    Ok(())
}

/// Publications a second of people who write something every ten.
fn chat_rate(args: &SessionArgs) -> u64 {
    u64::from(args.connections).div_ceil(10)
}

/// Nothing that would have to be escaped, and no sign that servers give a meaning but the colon
/// behind a namespace.
fn is_prefix(prefix: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    prefix.len() <= limits::BENCH_PREFIX_BYTES_MAX && prefix.bytes().all(is_plain)
}

fn check(args: &SessionArgs) -> Result<(), SessionPlanError> {
    let sessions = args.connections.saturating_add(args.echo_connections);
    if args.connections == 0 || sessions > limits::BENCH_CONNECTIONS_MAX {
        return Err(SessionPlanError::Connections(args.connections));
    }
    check_beside(args)?;
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
    if [args.rate, args.publish_rate, args.churn_rate].contains(&Some(0)) {
        return Err(SessionPlanError::NoRate);
    }
    if args.alpha.is_nan() || args.alpha < 0.0 {
        return Err(SessionPlanError::Alpha);
    }
    if args.seconds == 0 {
        return Err(SessionPlanError::NoTime);
    }
    if !is_prefix(&args.channel_prefix) {
        return Err(SessionPlanError::Prefix(args.channel_prefix.clone()));
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
            format: Format::Json,
            connections: 100,
            channels: 10,
            channel_prefix: "bench-".into(),
            rate: None,
            seconds: 1,
            size: 64,
            publishers: 2,
            publish_rate: None,
            churn_rate: None,
            missed: 3,
            publications: None,
            bare: false,
            echo_connections: 0,
            echo_rate: None,
            echo_seconds: 10,
            hmac_key: None,
            server_pid: None,
            server_metrics: None,
            cpu: None,
            alpha: 1.0,
            memory_bytes_min: limits::BENCH_MEMORY_BYTES_MIN,
            deadline: limits::BENCH_HANDSHAKE_DEADLINE,
        }
    }

    #[test]
    fn each_wrong_argument_is_named() {
        type Change = fn(&mut SessionArgs);
        let cases: [(Change, SessionPlanError); 15] = [
            (|a| a.connections = 0, SessionPlanError::Connections(0)),
            (|a| a.channels = 101, SessionPlanError::Channels(101)),
            (|a| a.channel_prefix = "a\"b".into(), SessionPlanError::Prefix("a\"b".into())),
            (|a| a.channel_prefix = "a".repeat(65), SessionPlanError::Prefix("a".repeat(65))),
            (|a| a.publishers = 11, SessionPlanError::Publishers(11)),
            (|a| a.size = 1, SessionPlanError::Size(1)),
            (|a| a.rate = Some(0), SessionPlanError::NoRate),
            (|a| a.publish_rate = Some(0), SessionPlanError::NoRate),
            (|a| a.seconds = 0, SessionPlanError::NoTime),
            (|a| a.alpha = f64::NAN, SessionPlanError::Alpha),
            (|a| a.publications = Some(0), SessionPlanError::Publications(0)),
            (|a| (a.bare, a.channels) = (true, 1), SessionPlanError::Bare),
            (|a| (a.bare, a.publications) = (true, Some(1)), SessionPlanError::Bare),
            (|a| (a.echo_connections, a.echo_rate) = (1, Some(0)), SessionPlanError::Echo),
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
    fn generators_beside_each_other_have_channels_of_their_own() {
        let mut args = args(Scenario::Idle);
        let name = |args: &SessionArgs| SessionPlan::new(args).unwrap().channel_name(7);
        assert_eq!(name(&args), "bench-7");
        args.channel_prefix = "room:a_".into();
        assert_eq!(name(&args), "room:a_7");
    }

    #[test]
    fn in_a_chat_all_publish_in_turn() {
        let plan = SessionPlan::new(&args(Scenario::Chat)).unwrap();
        assert_eq!((plan.channels, plan.publishers), (10, 100));
        assert_eq!(plan.publishing, Pace::Rate(10));
        assert!(!plan.answers_itself(Share::whole(100)));
    }

    #[test]
    fn publishers_are_the_first_sessions_whichever_threads_have_them() {
        let mut args = args(Scenario::Fanout);
        (args.channels, args.publishers) = (60, 60);
        let plan = SessionPlan::new(&args).unwrap();
        let shares = Share::split(100, 25);
        let of = |share: &Share| plan.publishers_of(*share);
        let publishers: Vec<_> = shares.iter().map(|share| of(share).count).collect();
        assert_eq!(publishers, [25, 25, 10, 0]);
        assert_eq!(of(&shares[3]).before, 60);
    }

    #[test]
    fn who_echoes_beside_the_run_has_a_thread_and_channels_of_its_own() {
        let mut args = args(Scenario::Idle);
        args.echo_connections = 7;
        let plan = SessionPlan::new(&args).unwrap();
        let shares = plan.shares(50);
        assert_eq!(shares.len(), 3);
        let beside = shares[2];
        assert!(plan.is_beside(beside) && !plan.is_beside(shares[1]));
        assert_eq!((plan.sessions(), plan.channel_count()), (107, 17));
        assert_eq!((plan.channel(99), plan.channel(100), plan.channel(106)), (9, 10, 16));
        let pace = Pace::Rate(70);
        assert_eq!(plan.publishers_of(beside), Publishers { count: 7, before: 0, all: 7, pace });
        assert_eq!(plan.publishers_of(shares[0]).count, 0);
        assert!(!plan.answers_itself(beside));
    }
}
