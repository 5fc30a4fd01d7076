//! Publications that clients made, and that a back end wants made once for a key, or only if they
//! are news: they are made here, as those of the API are, and not by the client's shard.

use tokio::time::Instant;

use super::publish::{Published, busy};
use super::{ApiError, Repeats};
use crate::backend::{PublishOnce, Verdict};
use crate::control::ask::{Asks, Publication};
use crate::control::channels::Kept;
use crate::control::traffic::Traffic;
use crate::limits::ASK_TIMEOUT;

/// Has publications made.
#[derive(Clone, Debug)]
pub(in crate::control) struct Press {
    asks: Asks,
    repeats: Repeats,
    traffic: Traffic,
}

impl Press {
    pub(in crate::control) fn new(asks: Asks, repeats: Repeats, traffic: Traffic) -> Self {
        Self { asks, repeats, traffic }
    }

    /// Publishes, unless that was done; `None` if it could not be done now.
    pub(in crate::control) async fn publish(&self, wanted: PublishOnce) -> Option<Verdict> {
        let PublishOnce { channel, message, is_binary, kept, makes_delta, version, key } = wanted;
        let kept = kept.map(|[publications_max, ttl_s, meta_ttl_s]| Kept {
            publications_max,
            ttl_s,
            meta_ttl_s,
        });
        let publication = Publication { message, is_binary, kept, makes_delta, version };
        let publishing = async {
            let deadline = Instant::now() + ASK_TIMEOUT;
            let placed = self.asks.publish(channel.clone(), publication, deadline).await;
            placed.map(Published::from).map_err(|_busy| busy())
        };
        let published: Result<Published, ApiError> = if key.is_empty() {
            publishing.await
        } else {
            self.repeats.once((&channel, &key), &self.traffic, publishing).await
        };
        published.ok().map(|_| Verdict::Published)
    }
}
