//! The addresses that connections come from: one has too few ports for a million.
//!
//! Towards one target an address has as many connections as there are local ports, 28,232 by
//! default. `connect` looks for a free one among every other port first, so from half of that on
//! it passes all those in use: with 14,116 connections of each address a run came to a halt (Linux
//! 6.18). On loopback there is no need to come near: all of 127/8 is this host.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::limits;

/// Addresses that differ in the last number only; 0 and 255 look like networks to people.
const ADDRESSES_PER_NET: u64 = 250;

/// The addresses of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    count: u32,
}

impl Sources {
    /// Addresses for `sockets` connections that stand at the same time.
    pub fn of_standing(target: SocketAddr, sockets: u32) -> Self {
        Self::on_loopback(target, sockets.div_ceil(limits::BENCH_CONNECTIONS_PER_SOURCE))
    }

    /// Addresses for connections that come and go: each keeps its port for a while (TIME-WAIT).
    pub fn of_churn(target: SocketAddr) -> Self {
        Self::on_loopback(target, limits::BENCH_SOURCES_OF_CHURN)
    }

    fn on_loopback(target: SocketAddr, count: u32) -> Self {
        let loopback = matches!(target.ip(), IpAddr::V4(target) if target.is_loopback());
        Self { count: if loopback { count } else { 1 } }
    }

    /// The address of connection `index`: `None` leaves it to the kernel.
    pub fn address(self, index: u64) -> Option<Ipv4Addr> {
        if self.count <= 1 {
            return None;
        }
        let number = index % u64::from(self.count);
        let net = u8::try_from(number / ADDRESSES_PER_NET).expect("bounded in limits");
        let last = u8::try_from(number % ADDRESSES_PER_NET + 1).expect("at most 250");
        Some(Ipv4Addr::new(127, 0, net, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

    #[test]
    fn addresses_are_used_up_evenly_and_only_when_needed() {
        const PER_SOURCE: u32 = limits::BENCH_CONNECTIONS_PER_SOURCE;
        assert_eq!(Sources::of_standing(LOOPBACK, PER_SOURCE).address(7), None);
        for sockets in [PER_SOURCE + 1, 1_000_000, limits::BENCH_CONNECTIONS_MAX] {
            let sources = Sources::of_standing(LOOPBACK, sockets);
            let mut counts = BTreeMap::<Ipv4Addr, u32>::new();
            for index in 0..u64::from(sockets) {
                let address = sources.address(index).expect("several are needed");
                *counts.entry(address).or_default() += 1;
            }
            let (least, most) = (counts.values().min(), counts.values().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
            assert!(counts.values().all(|count| *count <= PER_SOURCE));
            assert!(counts.keys().all(|address| ![0, 255].contains(&address.octets()[3])));
        }
    }

    #[test]
    fn another_host_is_reached_from_where_the_kernel_says() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 80));
        assert_eq!(Sources::of_standing(elsewhere, 1_000_000).address(7), None);
        assert_eq!(Sources::of_churn(elsewhere).address(7), None);
        assert!(Sources::of_churn(LOOPBACK).address(7).is_some());
    }
}
