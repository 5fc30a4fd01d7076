//! The echo of bystanders, asked for by a process of its own that runs before all others of its
//! core: a generator that is late would be taken for a server that is.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::wire::Wire;

#[derive(Args)]
pub(crate) struct EchoArgs {
    address: SocketAddr,
    /// Connections, which ask ten times a second each
    others: u32,
    seconds: u64,
}

const INTERVAL: Duration = Duration::from_millis(100);

/// Such a process.
pub(crate) struct Echo(Child);

impl Echo {
    /// Starts it on the core of the calling thread.
    pub(crate) fn start(address: SocketAddr, others: u32, seconds: u64) -> io::Result<Self> {
        let own = std::env::current_exe()?;
        let child = Command::new("chrt")
            .args(["--fifo", "1"])
            .arg(own)
            .args(["echo", &address.to_string(), &others.to_string(), &seconds.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// The p99 of all echoes, in milliseconds, when it is done.
    pub(crate) async fn p99_ms(self) -> io::Result<f64> {
        let output = self.0.wait_with_output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let p99_ms = text.lines().find_map(|line| line.strip_prefix("p99_ms ")?.parse().ok());
        p99_ms.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("no p99: {text}")))
    }
}

/// What that process does.
pub(crate) async fn run(args: &EchoArgs) -> io::Result<bool> {
    let mut wires = Vec::new();
    for _ in 0..args.others {
        wires.push(Wire::session(args.address).await?);
    }
    let start = Instant::now() + INTERVAL;
    let end = start + Duration::from_secs(args.seconds);
    let mut echoing = JoinSet::new();
    for (wire, number) in wires.into_iter().zip(0..) {
        echoing.spawn_local(echo(wire, start + INTERVAL * number / args.others, end));
    }
    let mut all = times();
    while let Some(times) = echoing.join_next().await {
        all.add(times.expect("no panic")?).expect("of one range");
    }
    let p99 = Duration::from_nanos(all.value_at_quantile(0.99));
    println!("p99_ms {}", 1e3 * p99.as_secs_f64());
    Ok(true)
}

/// Asks for what is refused at once, and notes how long after it was due the refusal came.
async fn echo(mut wire: Wire, first: Instant, end: Instant) -> io::Result<Histogram<u64>> {
    let (mut times, mut due) = (times(), first);
    while due < end {
        sleep_until(due).await;
        let asked = Instant::now();
        wire.ask(r#"{"id":2,"rpc":{}}"#).await?;
        let ns = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
        times.saturating_record(ns);
        due += INTERVAL;
    }
    Ok(times)
}

fn times() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("a minute in nanoseconds")
}
