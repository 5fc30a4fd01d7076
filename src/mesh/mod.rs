//! The only way between cores: messages in bounded queues, and wakes for those who sleep.
//!
//! ```text
//!            ┌────▶ 0 → 1 ────▶┐                 one queue per ordered pair of members
//!  member 0 ─┤                 ├─ member 1       one doorbell per member: who has sent, and
//!            └◀──── 1 → 0 ◀────┘                 whether it sleeps
//! ```
//!
//! Nothing here blocks, and nothing grows: a full queue gives the message back ([`Full`]), and
//! its sender says what that means. An answer to a request always fits. What one member sends
//! to another arrives once and in order. A wake carries no data and is the caller's to deliver:
//! into the target's ring, or by a bell. Members that share a core do long work by turns.
//!
//! Invariants worth naming: *a request reserves the room of its answer* (`link`), *nobody
//! sleeps while it is marked* (`doorbell`), *one at most holds a core* (`rota`).
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use crate::limits::{MESH_BYTES_MAX, MESH_MEMBERS_MAX, MESH_SLOTS_MAX, MESH_SLOTS_MIN};

mod atomics;
mod doorbell;
mod link;
mod member;
mod members;
#[cfg(test)]
pub(crate) mod planted;
mod rota;

use self::doorbell::Doorbell;
pub use self::link::{Class, Full};
use self::link::{Envelope, Link, Parts};
pub use self::member::{Counters, Member, Received};
pub use self::members::MemberId;
use self::rota::Rota;

/// Why a mesh cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeshError {
    /// More members than the bitmaps have bits.
    TooManyMembers {
        /// Members that were asked for.
        count: usize,
    },
    /// The budget of all queues does not give each of them enough slots.
    TooFewSlots {
        /// Members that were asked for.
        count: usize,
        /// Slots that each queue would have had.
        slots: usize,
    },
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyMembers { count } => {
                write!(f, "{count} threads, at most {MESH_MEMBERS_MAX}: run fewer shards")
            }
            Self::TooFewSlots { count, slots } => write!(
                f,
                "{count} threads leave {slots} slots to each queue, at least {MESH_SLOTS_MIN} \
                 are needed: run fewer shards"
            ),
        }
    }
}

impl std::error::Error for MeshError {}

/// Members of a mesh, each to be moved to its thread; their ids count from 0.
pub fn build<M: Send>(member_count: usize) -> Result<Vec<Member<M>>, MeshError> {
    let slots = slots_of(member_count, size_of::<Envelope<M>>())?;
    Ok(connect(member_count, slots))
}

/// The same with a given number of slots per queue, 2 or more, whatever the budget.
pub fn build_with_slots<M: Send>(
    member_count: usize,
    slots: usize,
) -> Result<Vec<Member<M>>, MeshError> {
    if member_count > MESH_MEMBERS_MAX {
        return Err(MeshError::TooManyMembers { count: member_count });
    }
    Ok(connect(member_count, slots))
}

/// Members share `core_count` cores, dealt to them in the order of their numbers: those of one core
/// do long work by turns, see [`Member::take_core`]. Where there is a core for each, nothing is
/// shared.
pub fn share_cores<M: Send>(members: &mut [Member<M>], core_count: usize) {
    if core_count == 0 || core_count >= members.len() {
        return;
    }
    let rotas: Vec<_> = (0..core_count).map(|_| Arc::new(Rota::new())).collect();
    for (member, rota) in members.iter_mut().zip(rotas.iter().cycle()) {
        member.share_core(Arc::clone(rota));
    }
}

/// The share of one queue in the budget of all.
fn slots_of(member_count: usize, envelope_bytes: usize) -> Result<usize, MeshError> {
    let count = member_count;
    if count > MESH_MEMBERS_MAX {
        return Err(MeshError::TooManyMembers { count });
    }
    let queue_bytes = MESH_BYTES_MAX / (count * count).max(1);
    let slots = (queue_bytes / envelope_bytes).min(MESH_SLOTS_MAX);
    if slots < MESH_SLOTS_MIN {
        return Err(MeshError::TooFewSlots { count, slots });
    }
    Ok(slots)
}

fn connect<M: Send>(member_count: usize, slots: usize) -> Vec<Member<M>> {
    let doorbells: Arc<[Doorbell]> = (0..member_count).map(|_| Doorbell::new()).collect();
    let ids = || (0..member_count).map(MemberId::new);
    let member = |id| Member::new(id, member_count, Arc::clone(&doorbells));
    let mut members: Vec<_> = ids().map(member).collect();
    for left in ids() {
        for right in ids().skip(left.as_usize() + 1) {
            let (to_right, to_left) = Link::pair(Parts::of(slots));
            members[left.as_usize()].connect(right, to_right);
            members[right.as_usize()].connect(left, to_left);
        }
    }
    members
}

#[cfg(test)]
#[cfg(not(longwire_loom))]
mod tests;
