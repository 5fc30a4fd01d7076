//! `longwire raw`: the plain WebSocket servers, made with the public API only.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use longwire::config::Period;
use longwire::{
    Config, Handler, Heartbeat, Hooks, Limits, Message, Origins, Peer, Predecessor, Request, Route,
    Routes, Server, StartError, SuccessionError, Upgrade,
};

use super::succession::SuccessionArgs;
use super::value::{bytes, duration, duration_or_off};
use super::{failure, stopped};

/// What the server does, and within which limits.
#[derive(Args, Debug)]
pub(crate) struct RawArgs {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Send every message back to its sender
    Echo(ServerArgs),
    /// Send every message to all connections
    Broadcast(ServerArgs),
}

#[derive(Args, Debug)]
struct ServerArgs {
    /// Address and port to serve; port 0 takes a free one, printed at start
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// Shards, one thread and one descriptor table each; by default one per usable core, more only
    /// where the limit of descriptors makes it necessary
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroU32>,

    /// Connections at most; more are answered with 503. By default what the limit of descriptors
    /// allows
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroU32>,

    /// Connections that a shard has more than the emptiest one, and by an eighth of what it has,
    /// before some of it move there while they are idle, where the mode is echo; also from a full
    /// shard and from a much busier core. 0 moves none
    #[arg(long, value_name = "N", default_value_t = longwire::limits::BALANCE_DIFFERENCE_DEFAULT)]
    balance_difference: u32,

    /// Bytes of one message at most; a longer one ends its connection with code 1009
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = bytes,
        default_value = "64KiB"
    )]
    max_message: usize,

    /// Time between two pings to a connection, or off
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration_or_off,
        default_value = "25s"
    )]
    ping_interval: Period,

    /// Time without a byte from a client after which its connection is closed, or off
    #[arg(long, value_name = "TIME", value_parser = duration_or_off, default_value = "10m")]
    idle_timeout: Period,

    /// Time for the opening handshake
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    handshake_timeout: Duration,

    /// Time for open connections to end after SIGTERM or SIGINT; a second signal ends the process
    /// at once, with exit code 1
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    drain_timeout: Duration,

    #[command(flatten)]
    succession: SuccessionArgs,
}

/// Runs a server until a signal stops it.
pub(crate) fn run(args: RawArgs) -> ExitCode {
    if let Err(error) = longwire::sys::memory::forgo_huge_pages() {
        tracing::warn!(%error, "huge pages stay on: memory will grow in steps of 2 MiB");
    }
    let served = match args.mode {
        Mode::Echo(args) => {
            let limits = args.limits();
            let hooks = match args.hooks() {
                Ok(hooks) => hooks,
                Err(error) => return failure(&error),
            };
            Server::run_with(args.config(), hooks, move |_shard| Echo { limits: limits.clone() })
        }
        Mode::Broadcast(args) => {
            let limits = args.limits();
            Server::run(args.config(), move |_shard| Broadcast { limits: limits.clone() })
        }
    };
    match served {
        Ok(counted) => stopped(&counted),
        Err(StartError::Succession(SuccessionError::Rehearsed)) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

impl ServerArgs {
    fn config(&self) -> Config {
        let mut config = Config::new(self.listen);
        config.shards = self.shards.map(NonZeroU32::get);
        config.max_connections = self.max_connections.map(NonZeroU32::get);
        config.balance_difference =
            (self.balance_difference > 0).then_some(self.balance_difference);
        config.ping_interval = self.ping_interval.time();
        config.handshake_timeout = self.handshake_timeout;
        config.drain_timeout = self.drain_timeout;
        config.give_back = Some(longwire::sys::memory::give_back);
        // The one limit that can be raised from here; each shard has room for one such message.
        let shards = self.shards.map_or_else(cores, NonZeroU32::get) as usize;
        let wanted = self.max_message.saturating_mul(shards);
        config.partial_bytes_max = config.partial_bytes_max.max(wanted);
        config
    }

    /// Whom this process takes over from, and what comes after it.
    fn hooks(&self) -> Result<Hooks, SuccessionError> {
        let predecessor = Predecessor::of_this_process()?;
        Ok(self.succession.hooks(predecessor, Vec::new()))
    }

    fn limits(&self) -> Limits {
        Limits {
            message_bytes_max: self.max_message,
            idle: self.idle_timeout.time(),
            // Conformance suites and load tools come from anywhere, and there is nothing to steal.
            origins: Origins::ANY,
        }
    }
}

/// As many shards as there are without a number, at least.
fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// Sends every message back.
struct Echo {
    limits: Limits,
}

impl Handler for Echo {
    type Connection = ();

    fn routes(&mut self) -> Routes {
        Routes::new().route(Route::new("/*").limits(self.limits.clone()))
    }

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        // A peer that is gone, or cut because it does not read, is counted by its shard.
        let _uncounted = peer.send(message);
    }

    fn is_portable() -> bool {
        true
    }

    fn is_movable() -> bool {
        true
    }

    fn unpack(&mut self, _nothing: &[u8]) -> Option<((), Heartbeat)> {
        Some(((), Heartbeat::Ping))
    }
}

/// Sends every message to all connections; those on `/echo` only get their own back, so that a
/// load tool can see what the others' messages do to them.
struct Broadcast {
    limits: Limits,
}

const ECHO_PATH: &str = "/echo";

/// The channel that everybody is in.
const ALL: &str = "all";

/// What a connection of [`Broadcast`] is there for.
#[derive(Clone, Copy)]
enum Role {
    Member,
    Bystander,
}

impl Handler for Broadcast {
    type Connection = Role;

    fn routes(&mut self) -> Routes {
        Routes::new()
            .route(Route::new(ECHO_PATH).limits(self.limits.clone()))
            .route(Route::new("/*").limits(self.limits.clone()))
    }

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Role> {
        Upgrade::accept(if request.path() == ECHO_PATH { Role::Bystander } else { Role::Member })
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        if let Some(Role::Member) = peer.state()
            && peer.join(ALL).is_err()
        {
            peer.close(TRY_AGAIN_LATER, "no room in the channel");
        }
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        match peer.state().copied() {
            Some(Role::Bystander) => {
                // As with `Echo`.
                let _uncounted = peer.send(message);
            }
            Some(Role::Member) if peer.publish(ALL, message).is_err() => {
                // Not in silence: the publisher learns that this message reached nobody.
                peer.close(TRY_AGAIN_LATER, "not published");
            }
            Some(Role::Member) | None => {}
        }
    }

    fn missed(&mut self, peer: &mut Peer<'_, Self>, _channel: &str, count: u64) {
        // A plain WebSocket client has no other way to learn of a gap.
        peer.close(TRY_AGAIN_LATER, &format!("{count} messages were lost on the way"));
    }
}

/// The IANA registry's code for a server that is too busy (RFC 6455 §7.4.2 refers to it).
const TRY_AGAIN_LATER: u16 = 1013;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ServerArgs,
    }

    fn parsed(line: &str) -> ServerArgs {
        Line::parse_from(line.split_whitespace()).args
    }

    #[test]
    fn the_defaults_in_the_help_are_those_of_the_library() {
        let args = parsed("raw");
        let (shown, library) = (args.config(), Config::new(args.listen));
        assert_eq!(shown.ping_interval, library.ping_interval);
        assert_eq!(shown.handshake_timeout, library.handshake_timeout);
        assert_eq!(shown.drain_timeout, library.drain_timeout);
        assert_eq!(shown.shards, library.shards);
        assert_eq!(shown.max_connections, library.max_connections);
        assert_eq!(shown.balance_difference, library.balance_difference);
        assert_eq!(parsed("raw --balance-difference 0").config().balance_difference, None);
        assert_eq!(args.limits().message_bytes_max, Limits::default().message_bytes_max);
        shown.validate().unwrap();
    }

    #[test]
    fn every_flag_reaches_the_server() {
        let args = parsed(
            "raw --listen 127.0.0.2:81 --shards 3 --max-connections 500 --max-message 16MiB \
             --ping-interval off --idle-timeout 2m --handshake-timeout 3s --drain-timeout 4s \
             --balance-difference 64",
        );
        let (config, limits) = (args.config(), args.limits());
        assert_eq!(config.listen, ["127.0.0.2:81".parse().unwrap()]);
        assert_eq!((config.shards, config.max_connections), (Some(3), Some(500)));
        assert_eq!((config.ping_interval, config.balance_difference), (None, Some(64)));
        assert_eq!(config.handshake_timeout, Duration::from_secs(3));
        assert_eq!(config.drain_timeout, Duration::from_secs(4));
        assert_eq!(limits.message_bytes_max, 16 << 20);
        assert_eq!(limits.idle, Some(Duration::from_mins(2)));
    }
}
