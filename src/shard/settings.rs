//! What one shard goes by: the configuration in the units of its loop.

use std::sync::Arc;
use std::time::Duration;

use super::handover::DoorSeats;
use super::seats::Seats;
use super::wheel::ticks_in;
use crate::address::TrustedProxies;
use crate::config::Config;
use crate::handler::{Routes, ShardLimits};
use crate::limits::{LINGER_PERIOD_MAX, SURPLUS_SLOTS};
use crate::ws::MessageLimits;

/// The settings of one shard.
pub(crate) struct Settings {
    pub(super) number: usize,
    pub(super) shard_count: usize,
    pub(super) seats: Arc<Seats>,
    /// Seats of the control thread; without them nothing is handed over.
    pub(super) door: Option<Arc<DoorSeats>>,
    /// Whose word about other addresses is taken.
    pub(super) trusted_proxies: TrustedProxies,
    /// Random bits of this start, in the request ids made here.
    pub(super) lineage: u32,
    pub(super) handshake_ticks: u32,
    ping: Beats,
    message_ping: Beats,
    pub(super) write_ticks: u32,
    pub(super) close_ticks: u32,
    pub(super) linger_ticks: u32,
    /// Unsent bytes of one connection.
    pub(super) output_bytes_max: usize,
    /// Unsent bytes of all connections of the shard.
    pub(super) backlog_bytes_max: usize,
    /// Bytes of all heads and messages of the shard that have not arrived whole.
    pub(super) partial_bytes_max: usize,
    pub(super) connection_channels_max: u16,
    /// Connections that this shard has more than the emptiest before some move there.
    pub(super) balance_difference: Option<u32>,
    routes: Box<[RouteSettings]>,
}

struct RouteSettings {
    message_limits: MessageLimits,
    idle_ticks: Option<u32>,
}

/// One kind of heartbeat: how often, and how long its answer may take.
struct Beats {
    interval_ticks: Option<u32>,
    patience_ticks: u32,
}

impl Beats {
    fn new(interval: Option<Duration>, patience: Duration) -> Self {
        let interval_ticks = interval.map(ticks_in);
        let patience_ticks = ticks_in(patience).min(interval_ticks.unwrap_or(u32::MAX));
        Self { interval_ticks, patience_ticks }
    }
}

impl Settings {
    pub(crate) fn new(
        config: &Config,
        number: usize,
        shard_count: usize,
        seats: Arc<Seats>,
        door: Option<Arc<DoorSeats>>,
        lineage: u32,
        routes: &Routes,
    ) -> Self {
        let numbers = 0..u16::try_from(routes.count()).expect("numbered with 16 bits");
        let routes = numbers.map(|number| {
            let limits = routes.limits_of(number);
            RouteSettings {
                message_limits: MessageLimits::for_message_bytes(limits.message_bytes_max),
                idle_ticks: limits.idle.map(ticks_in),
            }
        });
        Self {
            number,
            shard_count,
            seats,
            door,
            trusted_proxies: TrustedProxies::new(&config.trusted_proxies),
            lineage,
            handshake_ticks: ticks_in(config.handshake_timeout),
            ping: Beats::new(config.ping_interval, config.pong_timeout),
            message_ping: Beats::new(config.message_ping_interval, config.message_pong_timeout),
            write_ticks: ticks_in(config.write_timeout),
            close_ticks: ticks_in(config.close_timeout),
            linger_ticks: ticks_in(config.close_timeout.min(LINGER_PERIOD_MAX)),
            output_bytes_max: config.output_bytes_max,
            backlog_bytes_max: config.backlog_bytes_max / shard_count,
            partial_bytes_max: config.partial_bytes_max / shard_count,
            connection_channels_max: config.connection_channels_max,
            balance_difference: config.balance_difference,
            routes: routes.collect(),
        }
    }

    /// Takes new limits; the shard's share of each budget stays what it is.
    pub(super) fn set_limits(&mut self, limits: ShardLimits) {
        self.output_bytes_max = limits.output_bytes_max;
        self.connection_channels_max = limits.connection_channels_max;
        for route in &mut self.routes {
            route.message_limits = MessageLimits::for_message_bytes(limits.message_bytes_max);
        }
    }

    /// Slots of the slab: every seat, and what is refused beyond them.
    pub(crate) fn entries_max(&self) -> u32 {
        self.seats.capacity() + SURPLUS_SLOTS
    }

    fn beats(&self, heartbeat: u8) -> &Beats {
        if heartbeat == 0 { &self.ping } else { &self.message_ping }
    }

    /// Time between two heartbeats of this number; `None` if there are none.
    pub(super) fn beat_ticks(&self, heartbeat: u8) -> Option<u32> {
        self.beats(heartbeat).interval_ticks
    }

    /// Time for the answer to the last question; the interval at most.
    pub(super) fn patience_ticks(&self, heartbeat: u8) -> u32 {
        self.beats(heartbeat).patience_ticks
    }

    pub(super) fn message_limits(&self, route: u16) -> MessageLimits {
        self.routes[usize::from(route)].message_limits
    }

    pub(super) fn idle_ticks(&self, route: u16) -> Option<u32> {
        self.routes.get(usize::from(route)).and_then(|route| route.idle_ticks)
    }
}
