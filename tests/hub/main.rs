//! The hub by its public face only: each file claims one property of channels, and holds the two
//! halves against models that are too slow to ship and too simple to be wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exactly_once;
mod interest;
mod joined;
mod joins;
mod memory;
mod one_order;
mod presence;
mod stream_model;
mod streams;
mod turns;

use longwire::hub::{Answer, Fanout, FanoutBounds, Homes, MemberId, ShardId, Told};
use std::hash::RandomState;

const MEMBERS_MAX: u32 = 1 << 20;

/// A fan-out among `shard_count` shards.
fn fanout<F>(shard_count: usize, bounds: FanoutBounds) -> Fanout<F> {
    Fanout::new(Homes::dealt(shard_count), MEMBERS_MAX, bounds, RandomState::new())
}

/// Tells every home everything, and hears that it knows.
fn settle<F>(fanout: &mut Fanout<F>, shard_count: usize) {
    for home in 0..shard_count {
        fanout.drain_changes(ShardId::new(home), |_| Told::Answered(Answer::Confirmed));
    }
}

/// All deliveries until nothing is left, as (member, frames, missed).
fn drain<F: Clone>(fanout: &mut Fanout<F>) -> Vec<(u32, Vec<F>, u64)> {
    let mut deliveries = Vec::new();
    while fanout.has_work() {
        let Some(delivery) = fanout.next() else { continue };
        let MemberId(member) = delivery.member;
        deliveries.push((member, delivery.frames.to_vec(), delivery.missed));
    }
    deliveries
}
