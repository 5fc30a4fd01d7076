//! Sessions that are dropped at once and come back at once to recover, with publications behind
//! each, while others ask for an echo.

use std::io;
use std::time::Duration;

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Bench;
use super::echo::Echo;
use super::server::{KEY, Server};
use super::token::Rsa;
use super::wire::Wire;

#[derive(Args)]
pub(crate) struct StormArgs {
    /// Sessions that are dropped
    #[arg(long, default_value_t = 10_000)]
    sessions: u32,
    /// Channels that they share
    #[arg(long, default_value_t = 100)]
    channels: u32,
    /// Publications that each has missed
    #[arg(long, default_value_t = 100)]
    missed: u32,
    /// Others, who stay and ask ten times a second
    #[arg(long, default_value_t = 100)]
    others: u32,
    /// Tokens they come and come back with
    #[arg(long, value_enum, default_value = "none")]
    tokens: Tokens,
}

/// Who the sessions say they are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tokens {
    /// Nobody
    None,
    /// Users with tokens of RS256, who come back with the tokens they had
    Known,
    /// Users with tokens of RS256, who come back with others
    New,
}

/// The bar for the echo of the others.
const ECHO_P99_MAX_MS: f64 = 5.0;

const SETTINGS: [(&str, &str); 5] = [
    ("LONGWIRE_SHARDS", "1"),
    ("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_HISTORY_SIZE", "1000"),
    ("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_HISTORY_TTL", "600s"),
    ("LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_FORCE_RECOVERY", "true"),
    ("LONGWIRE_CLIENT_STALE_CLOSE_DELAY", "60s"),
];

/// What each says when it connects: the first time, and when it comes back.
struct Connects {
    first: Vec<String>,
    again: Vec<String>,
}

impl Connects {
    fn new(sessions: u32, tokens: Tokens, rsa: &Rsa) -> Self {
        let all = |time: &str| {
            let one = |number| match tokens {
                Tokens::None => String::new(),
                _ => format!(r#""token":"{}""#, rsa.of_user(&format!("user-{number}"), time)),
            };
            let connect = |number| format!(r#"{{"id":1,"connect":{{{}}}}}"#, one(number));
            (0..sessions).map(connect).collect::<Vec<_>>()
        };
        let first = all("first");
        let again = if tokens == Tokens::New { all("again") } else { first.clone() };
        Self { first, again }
    }
}

pub(crate) async fn run(bench: &Bench, args: &StormArgs) -> io::Result<bool> {
    let rsa = Rsa::new();
    let pem = rsa.pem();
    let settings = [&SETTINGS[..], &[("LONGWIRE_CLIENT_TOKEN_RSA_PUBLIC_KEY", &pem)]].concat();
    let connects = Connects::new(args.sessions, args.tokens, &rsa);
    let server = bench.on_server_core(|| Server::start(&bench.binary, &settings))?;
    let positions = come(&server, args, &connects.first).await?;
    let storm = storm(&server, args, positions, connects.again).await?;
    println!(
        "{} of {} recovered {} each, within {:.2?}",
        storm.recovered, args.sessions, args.missed, storm.period
    );
    println!(
        "connect to subscribed: p50 {:.0} ms, p99 {:.0} ms",
        milliseconds(&storm.times, 0.5),
        milliseconds(&storm.times, 0.99)
    );
    println!(
        "echo of others: p99 {:.2} ms quiet, {:.2} ms around the storm (at most {ECHO_P99_MAX_MS})",
        storm.quiet_ms, storm.loud_ms
    );
    Ok(storm.recovered == args.sessions && storm.loud_ms <= ECHO_P99_MAX_MS)
}

/// All come, one after the other, and are dropped again; where each of them was.
async fn come(server: &Server, args: &StormArgs, connects: &[String]) -> io::Result<Vec<Position>> {
    let mut wires = Vec::new();
    let mut positions = Vec::new();
    for (connect, number) in connects.iter().zip(0..) {
        let mut wire = Wire::open(server.address, "/connection/websocket").await?;
        let reply = wire.ask(connect).await?;
        assert!(reply.starts_with(br#"{"id":1,"connect":{"#), "no session");
        positions.push(subscribe(&mut wire, number % args.channels).await?);
        wires.push(wire);
    }
    Ok(positions)
}

/// What a storm was like.
struct Storm {
    times: Histogram<u64>,
    recovered: u32,
    period: Duration,
    quiet_ms: f64,
    loud_ms: f64,
}

/// All come back at once.
async fn storm(
    server: &Server,
    args: &StormArgs,
    positions: Vec<Position>,
    connects: Vec<String>,
) -> io::Result<Storm> {
    publish(server, args).await?;
    let quiet_ms = Echo::start(server.address, args.others, 3)?.p99_ms().await?;
    let echo = Echo::start(server.address, args.others, 5)?;
    // The echo is under way when the storm begins.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let mut returning = JoinSet::new();
    for ((position, connect), number) in positions.into_iter().zip(connects).zip(0..) {
        let channel = number % args.channels;
        let subscribe = position.recover(channel);
        returning.spawn_local(come_back(server.address, connect, subscribe, args.missed));
    }
    let (mut times, mut recovered) = (times(), 0_u32);
    while let Some(returned) = returning.join_next().await {
        let (time, is_recovered) = returned.expect("no panic")?;
        times.saturating_record(nanoseconds(time));
        recovered += u32::from(is_recovered);
    }
    let period = began.elapsed();
    let loud_ms = echo.p99_ms().await?;
    Ok(Storm { times, recovered, period, quiet_ms, loud_ms })
}

/// A position in a stream, as it is written in JSON.
struct Position {
    epoch: String,
    offset: u64,
}

impl Position {
    /// Asks for all that came behind it.
    fn recover(&self, channel: u32) -> String {
        let Self { epoch, offset } = self;
        format!(
            "{{\"id\":2,\"subscribe\":{{\"channel\":\"c{channel}\",\"recover\":true,\
             \"epoch\":\"{epoch}\",\"offset\":{offset}}}}}"
        )
    }
}

async fn subscribe(wire: &mut Wire, channel: u32) -> io::Result<Position> {
    let request = format!(r#"{{"id":2,"subscribe":{{"channel":"c{channel}"}}}}"#);
    let reply = wire.ask(&request).await?;
    let reply: serde_json::Value = serde_json::from_slice(&reply)?;
    let result = &reply["subscribe"];
    assert_eq!(result["recoverable"], true, "{reply}");
    let epoch = result["epoch"].as_str().expect("a position has an epoch").to_owned();
    Ok(Position { epoch, offset: result["offset"].as_u64().unwrap_or(0) })
}

/// What all of them miss.
async fn publish(server: &Server, args: &StormArgs) -> io::Result<()> {
    let mut wire = Wire::connect(server.address).await?;
    for number in 0..args.missed {
        for channel in 0..args.channels {
            let body =
                format!(r#"{{"channel":"c{channel}","data":{{"text":"hello","value":{number}}}}}"#);
            let request = format!(
                "POST /api/publish HTTP/1.1\r\nHost: longwire\r\nX-API-Key: {KEY}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            wire.write(request.as_bytes()).await?;
            let answer = wire.answer().await?;
            assert_eq!(answer.status, 200);
        }
    }
    Ok(())
}

/// Connects and recovers, in one frame as the SDKs do; how long that took, and whether it is whole.
async fn come_back(
    address: std::net::SocketAddr,
    connect: String,
    subscribe: String,
    missed: u32,
) -> io::Result<(Duration, bool)> {
    let began = Instant::now();
    let mut wire = Wire::open(address, "/connection/websocket").await?;
    let mut message = wire.ask(&[connect, subscribe].join("\n")).await?;
    let reply = loop {
        let lines = message.split(|byte| *byte == b'\n');
        if let Some(reply) = lines.into_iter().find(|line| line.starts_with(br#"{"id":2,"#)) {
            break reply.to_vec();
        }
        message = wire.message().await?;
    };
    let time = began.elapsed();
    let reply: serde_json::Value = serde_json::from_slice(&reply)?;
    let result = &reply["subscribe"];
    let publications = result["publications"].as_array().map_or(0, Vec::len);
    Ok((time, result["recovered"] == true && publications == missed as usize))
}

fn times() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("a minute in nanoseconds")
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(times: &Histogram<u64>, quantile: f64) -> f64 {
    1e3 * Duration::from_nanos(times.value_at_quantile(quantile)).as_secs_f64()
}
