//! A shard's core without a ring: what only the order of completions brings about.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::core::{Effect, Turn};
use super::listeners::Newcomer;
use super::message::Message as Mesh;
use super::ready::Rank;
use super::slab::Index;
use super::{Channels, Core, Jobs, Seats, Settings};
use crate::address::SocketPeer;
use crate::config::Config;
use crate::handler::{Cause, Handler, Message, Peer, Request, Routes, Upgrade};
use crate::mesh::Member;
use crate::ring::{Batch, Operation, Token};
use crate::sys::bell::Bell;
use crate::sys::clock;
use crate::ws::close::code;

pub(super) struct Silent;

impl Handler for Silent {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, _peer: &mut Peer<'_, Self>, _message: Message<'_>) {}
}

/// The core of a lone shard with one connection, and that one's other end.
pub(super) fn core() -> (Core<Silent>, UnixStream) {
    let mut core = core_in(crate::mesh::build(1).unwrap().remove(0));
    let peer = admit(&mut core);
    (core, peer)
}

/// The core of a lone shard with this place in the mesh.
pub(super) fn core_in<H: Handler>(mesh: Member<Mesh>) -> Core<H> {
    let config = Config::new(([127, 0, 0, 1], 0).into());
    let routes = Routes::any();
    let settings = Settings::new(&config, 0, 1, Arc::new(Seats::new(1, 10, 10)), None, 0, &routes);
    let channels = Channels::new(0, 1, 100, mesh, clock::now(), &std::hash::RandomState::new());
    let bell = Arc::new(Bell::new().unwrap());
    let jobs = Jobs::new(crossbeam_channel::bounded(1).0, 1, bell);
    Core::new(settings, routes, channels, jobs, clock::now(), |_| SocketPeer::Local)
}

pub(super) fn admit<H: Handler>(core: &mut Core<H>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let _taken = core.admit(Newcomer::new(ours.into(), false));
    theirs
}

pub(super) fn effects(core: &mut Core<Silent>) -> Vec<Effect> {
    let mut effects = Vec::new();
    core.take_effects(&mut effects);
    effects.into_iter().map(|(_, effect)| effect).collect()
}

/// Ends the connection at `index` at once.
fn cut(core: &mut Core<Silent>, index: Index) {
    let mut batch = Batch::new(64);
    Turn { core, batch: &mut batch }.cut(index, Cause::Vanished, code::ABNORMAL, "");
}

const CANCELLED: i32 = -libc::ECANCELED;

/// The number of a descriptor that is closed too early means another socket to a poll on its way.
#[test]
fn a_slot_and_its_socket_stay_until_the_last_poll_has_ended() {
    let (mut core, _peer) = core();
    let index = Index::new(0);
    let token = |operation, core: &Core<_>| Token::new(operation, core.serial(index), 0);
    let (input, room) = (token(Operation::Readable, &core), token(Operation::Writable, &core));
    core.watch_writable(index);
    effects(&mut core);
    cut(&mut core, index);
    assert_eq!(effects(&mut core), [Effect::Shut(index)]);
    for ended in [input, room] {
        core.release();
        assert_eq!((core.connection_count(), core.counters().released), (1, 0));
        assert!(core.socket(index).is_some());
        core.poll_ended(ended, CANCELLED);
    }
    let _other = admit(&mut core);
    assert_eq!(effects(&mut core), [Effect::Watch(Index::new(1))], "in a slot of its own");
    core.release();
    assert_eq!((core.connection_count(), core.counters().released), (1, 1));
    assert!(core.socket(index).is_none());
}

#[test]
fn what_completes_late_is_not_taken_for_the_next_in_the_slot() {
    let (mut core, _peer) = core();
    let index = Index::new(0);
    let first = core.serial(index);
    let late = |operation| Token::new(operation, first, 0);
    cut(&mut core, index);
    core.poll_ended(late(Operation::Readable), CANCELLED);
    core.release();
    let _next = admit(&mut core);
    assert_ne!(core.serial(index), first);
    effects(&mut core);

    core.readable(late(Operation::Readable), true);
    core.poll_ended(late(Operation::Readable), 0);
    let mut batch = Batch::new(64);
    let mut turn = Turn { core: &mut core, batch: &mut batch };
    turn.send_failed(late(Operation::Send), -libc::EPIPE);
    turn.writable(late(Operation::Writable));
    assert_eq!(effects(&mut core), []);
    assert_eq!((core.ready_count(Rank::New), core.counters().send_errors), (0, 0));
    assert!(!core.is_half_closed(index));
    assert_eq!(core.connection_count(), 1);
}
