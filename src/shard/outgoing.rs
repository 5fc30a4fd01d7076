//! What a turn decided, carried out: polls armed and cancelled, shutdowns, sends and wakes.

use std::net::Shutdown;

use super::core::{Effect, Turn};
use super::event_loop::Loop;
use super::slab::Index;
use crate::handler::Handler;
use crate::mesh::MemberId;
use crate::ring::{Operation, Token};
use crate::sys::socket;

impl<H: Handler> Loop<H> {
    pub(super) fn apply_effects(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        self.core.take_effects(&mut effects);
        for (serial, effect) in effects.drain(..) {
            let (Effect::Watch(index)
            | Effect::WatchWritable(index)
            | Effect::EndRoomPoll(index)
            | Effect::ShutWrite(index)
            | Effect::Shut(index)
            | Effect::Detach(index)) = effect;
            if self.core.serial(index) != serial {
                continue; // the connection it was meant for is gone, and took it with it
            }
            let Some(socket) = self.core.socket(index) else { continue };
            let token = |operation| Token::new(operation, serial, index.as_u32());
            match effect {
                Effect::Watch(_) => self.ring.poll_readable(socket, token(Operation::Readable)),
                Effect::WatchWritable(_) if self.core.is_half_closed(index) => {
                    self.ring.poll_room(socket, token(Operation::Writable));
                }
                Effect::WatchWritable(_) => {
                    self.ring.poll_writable(socket, token(Operation::Writable));
                }
                Effect::EndRoomPoll(_) => self.ring.cancel(token(Operation::Writable)),
                Effect::ShutWrite(_) => self.shut(index, Shutdown::Write),
                Effect::Shut(_) | Effect::Detach(_) => {
                    if matches!(effect, Effect::Shut(_)) {
                        self.shut(index, Shutdown::Both);
                    }
                    for operation in self.core.armed(index) {
                        self.ring.cancel(token(operation));
                    }
                }
            }
        }
        self.effects = effects;
    }

    pub(super) fn shut(&self, index: Index, how: Shutdown) {
        // It fails only where the connection is gone already.
        let _gone = self.core.socket_ref(index).map(|socket| socket::shutdown(socket, how));
    }

    pub(super) fn flush(&mut self) {
        let mut sends = std::mem::take(&mut self.sends);
        Turn { core: &mut self.core, batch: self.ring.batch() }.flush(&mut sends);
        self.core.counters().sends += sends.len() as u64;
        for send in sends.drain(..) {
            if let Some(socket) = self.core.socket(send.index) {
                self.ring.send(socket, send.piece, send.token);
            }
        }
        self.sends = sends;
        self.flush_mesh();
    }

    /// The wakes of those who have something to look at.
    pub(super) fn flush_mesh(&mut self) {
        let Self { core, ring, links, .. } = self;
        let mut wakes = 0;
        core.channels.mesh.flush(|member: MemberId| {
            wakes += 1;
            match links.rings.get(member.as_usize()) {
                Some(&target) => ring.wake(target),
                None => links.bells[member.as_usize()].ring(),
            }
        });
        core.counters().wakes_sent += wakes;
    }
}
