//! The layout of the process: how many shards, how many connections each.
//!
//! Connections are bounded by descriptors, and every shard has a table of its own, so shards are
//! the way past a hard limit that cannot be raised. Pure arithmetic over the limit.

use std::net::SocketAddr;

use super::checks::CheckError;
use crate::limits::{
    FDS_RESERVED_BASE, FDS_RESERVED_PER_SHARD, SHARD_CONNECTIONS_MAX, SHARD_HEADROOM_PERCENT,
    SHARDS_MAX,
};
use crate::ring::queue_bytes;

/// What is asked of the machine.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The public addresses.
    pub listen: Vec<SocketAddr>,
    /// Connections that must fit; without a number, as many as the descriptors allow.
    pub connections_max: Option<u32>,
    /// Shards; without a number, one per usable core, or more where descriptors demand it.
    pub shard_count: Option<u32>,
    /// The rings of one shard.
    pub rings: [RingShape; 4],
    /// Bytes that a shard registers with its rings.
    pub registered_bytes: u64,
}

/// The queues of one ring, as far as its memory depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingShape {
    /// Entries of the submission queue.
    pub submissions: u32,
    /// Entries of the completion queue.
    pub completions: u32,
}

/// How the process will be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Shards to start.
    pub shard_count: u32,
    /// Connections of the whole process.
    pub connections_max: u32,
    /// Connections of one shard; all together exceed `connections_max` by the headroom.
    pub shard_connections_max: u32,
}

impl Wanted {
    /// Lays the process out on `core_count` cores under a limit of `nofile` descriptors per table.
    pub(super) fn lay_out(&self, core_count: u32, nofile: Option<u64>) -> Result<Plan, CheckError> {
        let limit = nofile.unwrap_or(u64::MAX);
        let shard_count = match self.shard_count {
            Some(shard_count) if shard_count > SHARDS_MAX => {
                return Err(CheckError::TooManyShards { shard_count });
            }
            Some(shard_count) => shard_count.max(1),
            None => {
                let core_count = core_count.clamp(1, SHARDS_MAX);
                let wish = self.connections_max.unwrap_or(0);
                shards_that_fit(wish, core_count, limit).unwrap_or(core_count)
            }
        };
        let capacity = capacity(limit, shard_count);
        let together = u64::from(capacity) * u64::from(shard_count);
        let connections_max = match self.connections_max {
            None => together * 100 / (100 + SHARD_HEADROOM_PERCENT),
            Some(wish) => u64::from(wish),
        };
        if together < connections_max || capacity == 0 {
            let connections_max = u32::try_from(connections_max).unwrap_or(u32::MAX);
            return Err(CheckError::NofileTooLow {
                limit,
                needed: nofile_needed(u64::from(connections_max), shard_count),
                connections_max,
                shard_count,
                shards_that_fit: shards_that_fit(connections_max, 1, limit),
            });
        }
        let share = with_headroom(connections_max).div_ceil(u64::from(shard_count));
        Ok(Plan {
            shard_count,
            connections_max: u32::try_from(connections_max).unwrap_or(u32::MAX),
            shard_connections_max: u32::try_from(share).unwrap_or(u32::MAX).min(capacity),
        })
    }

    /// Descriptors per table for which the limit is to be raised.
    pub(super) fn nofile(&self, core_count: u32) -> u64 {
        let shard_count = self.shard_count.unwrap_or(core_count).clamp(1, SHARDS_MAX);
        nofile_needed(u64::from(self.connections_max.unwrap_or(0)), shard_count)
    }

    /// Locked memory of `shard_count` shards.
    ///
    /// Registered memory is charged to the user on every kernel, ring memory on some (6.18 seen)
    /// and to the control group on others. The sum is enough for all of them; other processes of
    /// the same user share the limit.
    pub(super) fn locked_bytes(&self, shard_count: u32) -> u64 {
        let rings: u64 = self.rings.iter().map(RingShape::bytes).sum();
        u64::from(shard_count) * (rings + self.registered_bytes)
    }
}

impl RingShape {
    /// Pages that the kernel takes for a ring.
    pub fn bytes(&self) -> u64 {
        queue_bytes(self.submissions, self.completions)
    }
}

/// Connections that one table holds beside what every table holds.
fn capacity(nofile: u64, shard_count: u32) -> u32 {
    let room = nofile.saturating_sub(fds_reserved(shard_count));
    u32::try_from(room).unwrap_or(u32::MAX).min(SHARD_CONNECTIONS_MAX)
}

/// The least number of shards, from `at_least` on, whose tables hold the connections and the
/// headroom.
fn shards_that_fit(connections_max: u32, at_least: u32, nofile: u64) -> Option<u32> {
    let needed = with_headroom(u64::from(connections_max));
    (at_least..=SHARDS_MAX)
        .find(|&count| u64::from(count) * u64::from(capacity(nofile, count)) >= needed)
}

fn nofile_needed(connections_max: u64, shard_count: u32) -> u64 {
    let share = with_headroom(connections_max).div_ceil(u64::from(shard_count));
    share + fds_reserved(shard_count)
}

fn fds_reserved(shard_count: u32) -> u64 {
    FDS_RESERVED_BASE + FDS_RESERVED_PER_SHARD * u64::from(shard_count)
}

fn with_headroom(connections: u64) -> u64 {
    (connections * (100 + SHARD_HEADROOM_PERCENT)).div_ceil(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptors per table of the examples.
    const NOFILE: Option<u64> = Some(20_000);

    fn wanted(connections_max: Option<u32>, shard_count: Option<u32>) -> Wanted {
        let small = RingShape { submissions: 32, completions: 64 };
        Wanted {
            listen: vec![([127, 0, 0, 1], 8000).into()],
            connections_max,
            shard_count,
            rings: [RingShape { submissions: 1024, completions: 2048 }, small, small, small],
            registered_bytes: 3 * 64 * 1024,
        }
    }

    #[test]
    fn a_million_connections_under_a_low_limit_take_more_shards_than_cores() {
        let plan = wanted(Some(1_000_000), None).lay_out(2, NOFILE).unwrap();
        assert_eq!(plan.shard_count, 56);
        assert!(u64::from(plan.shard_connections_max) * 56 >= 1_050_000);
        // One fewer would not hold them with the headroom.
        assert!(55 * u64::from(capacity(20_000, 55)) < 1_050_000);
    }

    #[test]
    fn a_fixed_number_of_shards_is_never_raised_but_refused_with_the_number_that_fits() {
        let error = wanted(Some(100_000), Some(4)).lay_out(2, NOFILE).unwrap_err();
        let CheckError::NofileTooLow { shards_that_fit: Some(count), .. } = error else {
            panic!("{error}");
        };
        assert!(error.to_string().ends_with(&format!("or --shards {count}")), "{error}");
        let plan = wanted(Some(100_000), Some(count)).lay_out(2, NOFILE).unwrap();
        assert_eq!(plan.shard_count, count);
    }

    #[test]
    fn tables_may_be_filled_to_the_last_descriptor() {
        // The headroom is a wish; what must hold is the number itself.
        let nofile = Some(fds_reserved(4) + 100);
        let plan = wanted(Some(400), Some(4)).lay_out(2, nofile).unwrap();
        assert_eq!(plan.shard_connections_max, 100);
        let error = wanted(Some(401), Some(4)).lay_out(2, nofile).unwrap_err();
        assert!(matches!(error, CheckError::NofileTooLow { .. }), "{error}");
    }

    #[test]
    fn without_a_number_the_descriptors_decide() {
        let plan = wanted(None, None).lay_out(2, NOFILE).unwrap();
        assert_eq!(plan.shard_count, 2);
        assert_eq!(u64::from(plan.shard_connections_max), 20_000 - fds_reserved(2));
        assert_eq!(plan.connections_max, 37_912);
        let plan = wanted(None, None).lay_out(2, None).unwrap();
        assert_eq!(plan.shard_connections_max, SHARD_CONNECTIONS_MAX);
        let error = wanted(None, None).lay_out(2, Some(10)).unwrap_err();
        assert!(matches!(error, CheckError::NofileTooLow { .. }), "{error}");
    }

    #[test]
    fn any_limit_gives_a_plan_that_its_tables_hold_or_an_error() {
        for nofile in (0..3_000).step_by(7) {
            for connections_max in [1, 99, 100, 5_000, 1_000_000, u32::MAX] {
                for shard_count in [None, Some(1), Some(4), Some(SHARDS_MAX)] {
                    let wanted = wanted(Some(connections_max), shard_count);
                    let Ok(plan) = wanted.lay_out(2, Some(nofile)) else { continue };
                    let (share, count) = (plan.shard_connections_max, plan.shard_count);
                    assert!(u64::from(share) + fds_reserved(count) <= nofile, "{plan:?}");
                    assert!(u64::from(share) * u64::from(count) >= u64::from(connections_max));
                    assert!(count <= SHARDS_MAX && shard_count.is_none_or(|fixed| fixed == count));
                }
            }
        }
    }

    #[test]
    fn the_memory_of_a_ring_is_what_the_kernel_charges() {
        // Seen on 6.18 without CAP_IPC_LOCK: these pass under exactly this limit, and fail with
        // ENOMEM under one page less.
        let seen = [(1024, 2048, 104), (512, 16_384, 292)];
        for (submissions, completions, kib) in seen {
            let shape = RingShape { submissions, completions };
            assert_eq!(shape.bytes(), kib * 1024);
        }
    }
}
