//! The one screen at start: what the server is, what it bounds, what that costs, where it is.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use longwire::config::measure::{show_bytes, show_time};
use longwire::config::{Listen, Serve};
use longwire::limits::{
    CONNECTION_KERNEL_BYTES, CONNECTION_USER_BYTES, FANOUT_QUEUE_BYTES_MAX, MEMBERSHIP_BYTES,
    MEMBERSHIPS_PER_SHARD_MAX, MESH_BYTES_MAX, SHARD_BYTES,
};
use longwire::server::plan::Plan;

use super::VERSION;

/// What is known before the first connection.
pub(crate) struct Screen {
    serve: Serve,
    plan: Plan,
    internal: Option<SocketAddr>,
    is_dev: bool,
}

impl Screen {
    pub(crate) fn new(
        serve: &Serve,
        plan: Plan,
        internal: Option<SocketAddr>,
        is_dev: bool,
    ) -> Self {
        Self { serve: serve.clone(), plan, internal, is_dev }
    }

    /// The screen; `addresses` are the public ones, with the ports that were taken for 0.
    pub(crate) fn text(&self, addresses: &[SocketAddr]) -> String {
        let mut out = String::new();
        self.write(&mut out, addresses).expect("a string takes all that is written to it");
        out
    }

    fn write(&self, out: &mut String, addresses: &[SocketAddr]) -> std::fmt::Result {
        let Serve { client, websocket, host, shutdown, .. } = &self.serve;
        let Plan { shard_count, connections_max, shard_connections_max } = self.plan;
        let size = |bytes: usize| show_bytes(bytes as u64);
        writeln!(out, "longwire {VERSION}\n")?;
        let path = websocket.handler_prefix.as_str();
        for listen in self.listens(addresses) {
            writeln!(out, "  clients      {}", endpoint(&listen, path))?;
        }
        if let Some(internal) = self.internal {
            writeln!(out, "  metrics      http://{internal}/metrics")?;
        }
        writeln!(
            out,
            "  capacity     {} connections on {shard_count} shards, at most {} on one",
            grouped(connections_max.into()),
            grouped(shard_connections_max.into()),
        )?;
        writeln!(
            out,
            "  limits       message {}, unsent {} a client and {} in all, {} channels a client",
            size(websocket.message_size_limit.0),
            size(client.queue_max_size.0),
            size(host.max_unsent.0),
            client.channel_limit,
        )?;
        writeln!(
            out,
            "  time limits  handshake {}, connect {}, ping {}, pong {}, shutdown {}",
            show_time(host.handshake_timeout),
            show_time(client.stale_close_delay),
            client.ping_interval.time().map_or_else(|| "off".to_owned(), show_time),
            show_time(client.pong_timeout),
            show_time(shutdown.timeout),
        )?;
        let (user, kernel) = (self.user_bytes(), self.kernel_bytes());
        writeln!(
            out,
            "  memory       {} at full load at most, and {} of the kernel's",
            gibibytes(user),
            gibibytes(kernel),
        )?;
        if self.is_dev {
            write_dev(out, addresses.first())?;
        }
        out.push('\n');
        Ok(())
    }

    /// The public addresses, with the ports that were taken in place of 0.
    fn listens(&self, addresses: &[SocketAddr]) -> Vec<Listen> {
        let mut listens = self.serve.listens();
        let tcp = listens.iter_mut().filter_map(|listen| match listen {
            Listen::Tcp { address, .. } => Some(address),
            Listen::Unix { .. } => None,
        });
        for (asked, taken) in tcp.zip(addresses) {
            *asked = *taken;
        }
        listens
    }

    /// The sum of what every part may hold. What is never reached costs nothing: these are
    /// bounds, not reservations.
    fn user_bytes(&self) -> u64 {
        let Plan { shard_count, connections_max, .. } = self.plan;
        let (shards, connections) = (u64::from(shard_count), u64::from(connections_max));
        let subscriptions = connections * u64::from(self.serve.client.channel_limit);
        let subscriptions = subscriptions.min(shards * u64::from(MEMBERSHIPS_PER_SHARD_MAX));
        connections * CONNECTION_USER_BYTES
            + subscriptions * MEMBERSHIP_BYTES
            + shards * (SHARD_BYTES + FANOUT_QUEUE_BYTES_MAX as u64)
            + MESH_BYTES_MAX as u64
            + self.serve.host.max_unsent.0 as u64
            + self.serve.host.max_partial.0 as u64
    }

    fn kernel_bytes(&self) -> u64 {
        u64::from(self.plan.connections_max) * CONNECTION_KERNEL_BYTES
    }
}

fn write_dev(out: &mut String, address: Option<&SocketAddr>) -> std::fmt::Result {
    if let Some(address) = address.copied().map(reachable) {
        writeln!(out, "\n  Open this page in two tabs: http://{address}/\n")?;
    }
    writeln!(out, "  ************************************************************")?;
    writeln!(out, "  *  --dev: OPEN TO EVERYBODY who reaches these addresses.   *")?;
    writeln!(out, "  *  No tokens, no API key; only foreign web pages stay out. *")?;
    writeln!(out, "  ************************************************************")
}

/// Where a browser on this machine finds it: all addresses are no address to go to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn endpoint(listen: &Listen, path: &str) -> String {
    match listen {
        Listen::Tcp { address, proxy_protocol: false } => format!("ws://{address}{path}"),
        Listen::Tcp { address, proxy_protocol: true } => {
            format!("ws://{address}{path} behind a PROXY header")
        }
        Listen::Unix { path: socket, .. } => format!("unix:{} {path}", socket.display()),
    }
}

/// A number with its thousands apart: `1,004,400`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size to a tenth, in the unit that people buy memory in.
fn gibibytes(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    let tenths = bytes.saturating_mul(10).div_ceil(GIB);
    format!("{}.{} GiB", grouped(tenths / 10), tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(is_dev: bool) -> String {
        let plan =
            Plan { shard_count: 2, connections_max: 1_000_000, shard_connections_max: 525_000 };
        let internal = Some("127.0.0.1:9000".parse().unwrap());
        Screen::new(&Serve::default(), plan, internal, is_dev)
            .text(&["127.0.0.1:8123".parse().unwrap()])
    }

    #[test]
    fn the_screen_says_where_how_much_and_at_what_cost() {
        let text = screen(false);
        for part in [
            "ws://127.0.0.1:8123/connection/websocket",
            "http://127.0.0.1:9000/metrics",
            "1,000,000 connections on 2 shards, at most 525,000 on one",
            "message 64KiB",
            "ping 25s, pong 8s",
            " GiB at full load",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("--dev"), "{text}");
        assert!(text.lines().count() <= 24 && text.lines().all(|line| line.len() <= 100), "{text}");
    }

    #[test]
    fn an_open_server_says_so_and_where_its_page_is() {
        let text = screen(true);
        assert!(text.contains("OPEN TO EVERYBODY"), "{text}");
        assert!(text.contains("http://127.0.0.1:8123/\n"), "{text}");
    }

    #[test]
    fn numbers_are_written_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_004_400, "1,004,400")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(gibibytes(0), "0.0 GiB");
        assert_eq!(gibibytes(1), "0.1 GiB");
        assert_eq!(gibibytes(4_300 << 20), "4.2 GiB");
    }
}
