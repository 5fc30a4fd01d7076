//! Private memory of the server with many idle sessions, minus that of the same process with no
//! connections: one row for each thing that a session may have, the next on top of the last.

use std::io::{self, ErrorKind};
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Bench;
use super::server::Server;
use super::token;
use super::wire::Wire;

#[derive(Args)]
pub(crate) struct MemoryArgs {
    /// Sessions
    #[arg(long, default_value_t = 15_000)]
    sessions: u32,
    /// Channels that they share
    #[arg(long, default_value_t = 1000)]
    channels: u32,
    /// Seconds of idleness before the look
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only the rows whose name contains this
    #[arg(long, default_value = "")]
    row: String,
}

/// What each session of a row has.
struct Row {
    name: &'static str,
    /// Bytes of user memory that a session may take.
    bar_bytes: Option<i64>,
    connects: bool,
    has_user: bool,
    subscriptions: u32,
    is_own_channel: bool,
    settings: &'static [(&'static str, &'static str)],
}

const BARE: Row = Row {
    name: "a WebSocket",
    bar_bytes: None,
    connects: false,
    has_user: false,
    subscriptions: 0,
    is_own_channel: false,
    settings: &[],
};

const USER: Row = Row { connects: true, has_user: true, ..BARE };

const ROWS: [Row; 8] = [
    BARE,
    Row { name: "a session of nobody", connects: true, ..BARE },
    Row { name: "a session of a user", ..USER },
    Row { name: "one subscription", bar_bytes: Some(320), subscriptions: 1, ..USER },
    Row {
        name: "one subscription and presence",
        bar_bytes: Some(320 + 128),
        subscriptions: 1,
        settings: &[("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "true")],
        ..USER
    },
    Row {
        name: "one subscription and a personal channel",
        bar_bytes: Some(480),
        subscriptions: 1,
        settings: &[("LONGWIRE_CLIENT_SUBSCRIBE_TO_USER_PERSONAL_CHANNEL_ENABLED", "true")],
        ..USER
    },
    Row { name: "a channel of its own", subscriptions: 1, is_own_channel: true, ..USER },
    Row { name: "eight subscriptions", subscriptions: 8, ..USER },
];

/// Bytes of each user's id.
const USER_BYTES: usize = 24;

pub(crate) async fn run(bench: &Bench, args: &MemoryArgs) -> io::Result<bool> {
    let mut holds = true;
    println!("{} sessions, {} channels, {} s idle", args.sessions, args.channels, args.seconds);
    for row in ROWS.iter().filter(|row| row.name.contains(&args.row)) {
        let each = measure(bench, args, row).await?;
        let is_within = row.bar_bytes.is_none_or(|bar| each <= bar);
        holds &= is_within;
        let bar = row.bar_bytes.map_or_else(String::new, |bar| format!(" (at most {bar})"));
        println!("{:40} {each:4} bytes each{bar}{}", row.name, if is_within { "" } else { " !" });
    }
    Ok(holds)
}

async fn measure(bench: &Bench, args: &MemoryArgs, row: &Row) -> io::Result<i64> {
    let common = [
        ("LONGWIRE_CLIENT_PING_INTERVAL", "25s"),
        ("LONGWIRE_CLIENT_STALE_CLOSE_DELAY", "1h"),
        ("LONGWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY", token::KEY),
    ];
    let settings = [&common, row.settings].concat();
    let server = bench.on_server_core(|| Server::start(&bench.binary, &settings))?;
    // One that came and went: what the first connection brings about is no session's.
    drop(Wire::session(server.address).await?);
    sleep(Duration::from_secs(1)).await;
    let before = server.private_bytes()?;
    let mut sessions = JoinSet::new();
    for number in 0..args.sessions {
        let wire = begin(&server, row, number, args.channels).await?;
        sessions.spawn_local(stay(wire));
    }
    let idle = sleep(Duration::from_secs(args.seconds));
    tokio::select! {
        () = idle => {}
        ended = sessions.join_next() => {
            return Err(io::Error::other(format!("a session ended: {ended:?}")));
        }
    }
    let bytes = i64::try_from(server.private_bytes()?).expect("of 63 bits")
        - i64::try_from(before).expect("of 63 bits");
    Ok(bytes / i64::from(args.sessions))
}

/// One session of the row.
async fn begin(server: &Server, row: &Row, number: u32, channels: u32) -> io::Result<Wire> {
    let mut wire = Wire::open(server.address, "/connection/websocket").await?;
    if !row.connects {
        return Ok(wire);
    }
    let user = format!("{number:0USER_BYTES$}");
    let token = if row.has_user {
        format!(r#""token":"{}""#, token::of_user(&user))
    } else {
        String::new()
    };
    expect(&wire.ask(&format!(r#"{{"id":1,"connect":{{{token}}}}}"#)).await?, "connect")?;
    for subscription in 0..row.subscriptions {
        let channel = if row.is_own_channel {
            format!("own-{number}")
        } else {
            format!("channel-{}", (number + subscription * 37) % channels)
        };
        let id = subscription + 2;
        let request = format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#);
        expect(&wire.ask(&request).await?, "subscribe")?;
    }
    Ok(wire)
}

fn expect(reply: &[u8], result: &str) -> io::Result<()> {
    let reply = String::from_utf8_lossy(reply);
    if reply.contains(&format!("\"{result}\":{{")) {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::InvalidData, format!("no {result}: {reply}")))
}

/// Answers pings for ever.
async fn stay(mut wire: Wire) -> io::Result<()> {
    loop {
        if wire.message().await? == b"{}" {
            wire.say("{}").await?;
        }
    }
}
