//! What may not grow, and what must be gone with those it belongs to.

use super::{Network, Node};
use crate::limits::{FANOUT_QUEUE_BYTES_MAX, JOINS_WAITING_MAX};
use crate::shard::Channels;

impl Network {
    /// Nothing has grown beyond its bound, where there are so many memberships at most.
    pub(in crate::shard::simulation) fn check_bounds(&self, memberships_max: usize) {
        let bounds = self.shape.streams;
        // A request that is under way holds the room of its answer.
        let under_way_max = self.shape.mesh_slots * self.shape.shard_count;
        for Node { core, .. } in &self.nodes {
            let counted = core.counted();
            let settings = &core.settings;
            assert!(!core.is_over_budget(), "{counted:?}");
            assert!(counted.partial_bytes <= settings.partial_bytes_max as u64, "{counted:?}");
            let Channels { fanout, home, entering, requests, absences, replaced, .. } =
                &core.channels;
            assert!(fanout.queue_bytes() <= FANOUT_QUEUE_BYTES_MAX);
            assert!(home.streams.bytes() <= bounds.bytes_max, "{bounds:?}");
            assert!(home.streams.count() <= bounds.streams_max, "{bounds:?}");
            assert!(requests.count() <= self.shape.requests_max, "{} waiting", requests.count());
            let entering_max = under_way_max + requests.count();
            assert!(entering.count() <= entering_max, "{} entering", entering.count());
            assert!(fanout.hold_count() as usize <= entering_max, "{} held", fanout.hold_count());
            assert!(absences.count() <= memberships_max, "{} absent", absences.count());
            assert!(replaced.count() <= fanout.membership_count() as usize);
            assert!(home.attendance.waiting_count() <= JOINS_WAITING_MAX);
        }
    }

    /// Nobody is connected, and nothing is left of those who were but streams.
    pub(in crate::shard::simulation) fn check_empty(&self) {
        for Node { core, .. } in &self.nodes {
            let counted = core.counted();
            let left = [
                counted.connections,
                counted.subscriptions,
                counted.channels,
                counted.backlog_bytes,
                counted.partial_bytes,
                core.set_aside_bytes as u64,
            ];
            assert_eq!(left, [0; 6], "{counted:?}");
            let Channels { fanout, home, entering, requests, absences, replaced, .. } =
                &core.channels;
            assert_eq!((fanout.queue_bytes(), fanout.channel_count()), (0, 0));
            assert_eq!((fanout.membership_count(), fanout.hold_count()), (0, 0));
            assert_eq!((entering.count(), requests.count()), (0, 0));
            assert_eq!((absences.count(), replaced.count()), (0, 0));
            assert_eq!((home.attendance.count(), home.attendance.waiting_count()), (0, 0));
        }
    }

    /// The streams have outlived their time.
    pub(in crate::shard::simulation) fn check_streams_gone(&self) {
        for Node { core, .. } in &self.nodes {
            let streams = &core.channels.home.streams;
            assert_eq!((streams.count(), streams.bytes()), (0, 0));
        }
    }
}
