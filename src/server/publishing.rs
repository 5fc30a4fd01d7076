//! Publications of back ends, on their way from the site to their channel's home.
//!
//! Invariant: a publication whose answer nobody waits for is not made. The site has answered
//! "busy" in its place, and what was answered so must not happen later.

use tokio::sync::oneshot;

use crate::control::{Busy, Kept, Publication};
use crate::handler::{Keep, Retention};
use crate::mesh::{Class, Member};
use crate::metrics::Counters;
use crate::shard::{Message, Publisher};

/// Puts publications into the queues to their homes.
pub(super) struct Publishing {
    publisher: Publisher,
}

impl Publishing {
    pub(super) fn new(shard_count: usize) -> Self {
        Self { publisher: Publisher::new(shard_count) }
    }

    /// Queues one publication to its channel's home, and says whether there was room.
    pub(super) fn publish(
        &self,
        mesh: &mut Member<Message>,
        counters: &mut Counters,
        (channel, frame): (&str, &Publication),
        answer: oneshot::Sender<Result<(), Busy>>,
    ) {
        if answer.is_closed() {
            counters.publishes_late += 1;
            return;
        }
        let makes_delta = frame.makes_delta;
        let keep = frame.kept.map(|kept| Keep { retention: retention(kept), makes_delta });
        let (home, message) = self.publisher.publication(channel, &frame.text, keep);
        let sent = mesh.send(home, message, Class::Delivery).map_err(|_| Busy);
        match sent {
            Ok(()) => counters.published += 1,
            Err(Busy) => counters.publishes_refused += 1,
        }
        // The site is on this thread, so who waited above still waits.
        let _answered = answer.send(sent);
    }
}

fn retention(kept: Kept) -> Retention {
    let Kept { publications_max, ttl_s, meta_ttl_s } = kept;
    Retention { publications_max, ttl_s, meta_ttl_s }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh;

    #[test]
    fn what_nobody_waits_for_is_not_published() {
        let mut members = mesh::build(2).unwrap();
        let (mut control, mut shard) = (members.pop().unwrap(), members.pop().unwrap());
        let publishing = Publishing::new(1);
        let mut counters = Counters::default();
        let frame = Publication { text: b"{}".to_vec(), kept: None, makes_delta: false };
        for is_late in [true, false] {
            let (answer, mut answered) = oneshot::channel();
            if is_late {
                answered.close();
            }
            publishing.publish(&mut control, &mut counters, ("a", &frame), answer);
            assert_eq!(answered.try_recv().is_ok_and(|sent| sent.is_ok()), !is_late);
            control.flush(|_| {});
            assert_eq!(shard.receive().is_none(), is_late, "it reaches the home if it is in time");
        }
        assert_eq!((counters.publishes_late, counters.published), (1, 1));
    }
}
