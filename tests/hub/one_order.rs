//! Claim: two publishers on two shards, members on four, queues between the shards that are far
//! too small: every member sees one and the same sequence, and knows how many it did not see.

use super::fanout;
use longwire::hub::{Answer, Fanout, FanoutBounds, Homes, MemberId, Order, ShardId, Told};
use std::collections::VecDeque;
use std::hash::RandomState;

const SHARDS: usize = 4;
const MEMBERS: u32 = 64;

enum Message {
    Publication { sequence: u64, payload: u64 },
    Gap { missed: u64 },
}

/// Publishes 10,000 messages from two shards through queues of `room` messages, of which each
/// shard reads one a turn; returns what each member saw: payloads, and gaps as their count.
fn run(room: usize, turn_sends: usize) -> Vec<Vec<Result<u64, u64>>> {
    let mut order = Order::new(SHARDS, 10, RandomState::new());
    let home = Homes::dealt(SHARDS).home_of_channel("room");
    let bounds = FanoutBounds { channel_queue_frames_max: 8, ..FanoutBounds::default() };
    let mut shards: Vec<Fanout<u64>> = (0..SHARDS).map(|_| fanout(SHARDS, bounds)).collect();
    for member in 0..MEMBERS {
        shards[member as usize % SHARDS].join("room", MemberId(member)).unwrap();
    }
    for (index, shard) in shards.iter_mut().enumerate() {
        shard.drain_changes(home, |change| {
            order.interested(change.channel, ShardId::new(index)).unwrap();
            Told::Answered(Answer::Confirmed)
        });
    }
    let mut queues: Vec<VecDeque<Message>> = (0..SHARDS).map(|_| VecDeque::new()).collect();
    let mut seen = vec![Vec::new(); MEMBERS as usize];
    let mut next_sequence = [1; SHARDS];
    let mut published_count = 0;
    loop {
        // The first publisher publishes one a turn, the second three every other turn.
        let burst = if published_count % 4 == 0 { 1 } else { 3 };
        for _ in 0..burst {
            if published_count == 10_000 {
                break;
            }
            let published = order.publish("room", None).unwrap();
            for target in published.targets {
                let queue = &mut queues[target.index()];
                if queue.len() < room {
                    let sequence = published.sequence;
                    queue.push_back(Message::Publication { sequence, payload: published_count });
                } else {
                    order.lagging(&published, target);
                }
            }
            published_count += 1;
        }
        for (index, shard) in shards.iter_mut().enumerate() {
            let id = shard.find("room").unwrap();
            match queues[index].pop_front() {
                Some(Message::Publication { sequence, payload }) => {
                    assert_eq!(sequence, next_sequence[index]);
                    next_sequence[index] += 1;
                    let _ = shard.deliver(id, payload, 100);
                }
                Some(Message::Gap { missed }) => {
                    next_sequence[index] += missed;
                    shard.miss(id, missed);
                }
                None => {}
            }
            for _ in 0..turn_sends {
                let Some(delivery) = shard.next() else { break };
                let seen = &mut seen[delivery.member.0 as usize];
                if delivery.missed > 0 {
                    seen.push(Err(delivery.missed));
                }
                seen.extend(delivery.frames.iter().map(|&payload| Ok(payload)));
            }
            let id = ShardId::new(index);
            if let Some(gap) = order.next_repair(id).filter(|_| queues[index].len() < room) {
                queues[index].push_back(Message::Gap { missed: gap.missed });
                let channel = gap.channel;
                order.repaired(channel, id);
            }
        }
        let idle = queues.iter().all(VecDeque::is_empty)
            && !shards.iter().any(Fanout::has_work)
            && (0..SHARDS).all(|index| !order.has_repairs(ShardId::new(index)));
        if published_count == 10_000 && idle {
            return seen;
        }
    }
}

#[test]
fn all_members_see_one_sequence_when_there_is_room() {
    let expected: Vec<_> = (0..10_000).map(Ok).collect();
    for seen in run(40_000, 64) {
        assert_eq!(seen, expected);
    }
}

#[test]
fn all_members_see_one_sequence_less_counted_gaps_when_there_is_not() {
    let mut gap_count = 0;
    for (room, turn_sends) in [(4, 64), (2, 3), (1, 1), (40_000, 2)] {
        for seen in run(room, turn_sends) {
            let mut next = 0;
            for item in seen {
                match item {
                    Ok(payload) => {
                        assert_eq!(payload, next);
                        next += 1;
                    }
                    Err(missed) => {
                        next += missed;
                        gap_count += 1;
                    }
                }
            }
            assert_eq!(next, 10_000);
        }
    }
    assert!(gap_count > 0, "the queues were never full");
}
