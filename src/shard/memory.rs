//! What a shard holds, by what it is for.
//!
//! Most of it is counted where it is allocated. What sessions hold is not, because they change in
//! many places: some of them are looked at, and stand for all, so that a scrape costs no more than
//! a turn on a shard of half a million.

use super::connection::{Busy, Connection};
use super::core::Core;
use super::slab::{Index, Slab};
use crate::handler::Handler;
use crate::limits::{CONNECTION_KERNEL_BYTES, MEMORY_SAMPLE_MAX};
use crate::metrics::{Class, Memory};

impl<H: Handler> Core<H> {
    /// Bytes by class, as far as the core knows of them: the rings are the loop's.
    pub(super) fn memory(&self) -> Memory {
        let (fanout, home) = (&self.channels.fanout, &self.channels.home);
        let boxed = Boxed::of::<H>(&self.connections);
        let mut memory = Memory::default();
        let mut set = |class, bytes: usize| memory[class] = bytes as u64;
        set(Class::Slab, self.connections.memory_bytes() + boxed.busy_bytes);
        set(Class::Timers, self.wheel.memory_bytes());
        set(Class::Sessions, boxed.session_bytes);
        set(Class::Subscriptions, fanout.subscription_bytes());
        set(Class::Members, fanout.member_bytes() + home.attendance.memory_bytes());
        set(Class::Channels, fanout.channel_bytes() + home.order.memory_bytes());
        let users = self.sign_ins.memory_bytes() + self.tellings.roster.memory_bytes();
        set(Class::Users, users);
        set(Class::History, home.history_bytes());
        let output = self.backlog_bytes + self.set_aside_bytes + fanout.queued_memory_bytes();
        set(Class::Output, output);
        set(Class::Input, self.partial_bytes);
        set(Class::Mesh, self.channels.mesh.memory_bytes());
        memory[Class::Sockets] = u64::from(self.connections.len()) * CONNECTION_KERNEL_BYTES;
        memory
    }
}

/// What entries of the slab point to.
struct Boxed {
    busy_bytes: usize,
    session_bytes: usize,
}

impl Boxed {
    /// What at most [`MEMORY_SAMPLE_MAX`] entries, at equal distances, have, times as many as there
    /// are.
    fn of<H: Handler>(connections: &Slab<Connection<H::Connection>>) -> Self {
        let distance = connections.places().div_ceil(MEMORY_SAMPLE_MAX).max(1);
        let places = (0..connections.places()).step_by(distance as usize);
        let (mut seen, mut busy, mut session_bytes) = (0, 0, 0);
        for connection in places.filter_map(|place| connections.get(Index::new(place))) {
            seen += 1;
            busy += usize::from(connection.busy.is_some());
            session_bytes += connection.state.as_ref().map_or(0, H::memory_bytes);
        }
        let all = connections.len() as usize;
        let of_all = |bytes: usize| bytes * all / usize::max(seen, 1);
        Self { busy_bytes: of_all(busy * size_of::<Busy>()), session_bytes: of_all(session_bytes) }
    }
}
