//! What one shard goes by: the configuration in the units of its loop.

use std::sync::Arc;

use super::seats::Seats;
use super::wheel::ticks_in;
use crate::config::Config;
use crate::handler::Routes;
use crate::limits::{LINGER_PERIOD_MAX, SURPLUS_SLOTS};
use crate::ws::MessageLimits;

/// The settings of one shard.
pub(crate) struct Settings {
    pub(super) number: usize,
    pub(super) shard_count: usize,
    pub(super) seats: Arc<Seats>,
    pub(super) handshake_ticks: u32,
    pub(super) ping_ticks: Option<u32>,
    pub(super) pong_ticks: u32,
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
    routes: Box<[RouteSettings]>,
}

struct RouteSettings {
    message_limits: MessageLimits,
    idle_ticks: Option<u32>,
}

impl Settings {
    pub(crate) fn new(
        config: &Config,
        number: usize,
        shard_count: usize,
        seats: Arc<Seats>,
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
            handshake_ticks: ticks_in(config.handshake_timeout),
            ping_ticks: config.ping_interval.map(ticks_in),
            pong_ticks: ticks_in(config.pong_timeout),
            write_ticks: ticks_in(config.write_timeout),
            close_ticks: ticks_in(config.close_timeout),
            linger_ticks: ticks_in(config.close_timeout.min(LINGER_PERIOD_MAX)),
            output_bytes_max: config.output_bytes_max,
            backlog_bytes_max: config.backlog_bytes_max / shard_count,
            partial_bytes_max: config.partial_bytes_max / shard_count,
            connection_channels_max: config.connection_channels_max,
            routes: routes.collect(),
        }
    }

    /// Slots of the slab: every seat, and what is refused beyond them.
    pub(crate) fn entries_max(&self) -> u32 {
        self.seats.capacity() + SURPLUS_SLOTS
    }

    pub(super) fn message_limits(&self, route: u16) -> MessageLimits {
        self.routes[usize::from(route)].message_limits
    }

    pub(super) fn idle_ticks(&self, route: u16) -> Option<u32> {
        self.routes.get(usize::from(route)).and_then(|route| route.idle_ticks)
    }
}
