//! Places in streams, in the words of an application and in those of the hub.

use crate::handler::{AskedEpoch, Epoch, Position, Recover, Retention, Since};
use crate::hub;

impl From<hub::Position> for Position {
    fn from(position: hub::Position) -> Self {
        Self { offset: position.offset, epoch: Epoch(position.epoch) }
    }
}

impl From<AskedEpoch> for hub::AskedEpoch {
    fn from(epoch: AskedEpoch) -> Self {
        match epoch {
            AskedEpoch::Any => Self::Any,
            AskedEpoch::Is(epoch) => Self::Is(epoch.0),
            AskedEpoch::Unknown => Self::Unknown,
        }
    }
}

impl From<Since> for hub::Since {
    fn from(since: Since) -> Self {
        Self { offset: since.offset, epoch: since.epoch.into() }
    }
}

impl From<Recover> for hub::Recover {
    fn from(recover: Recover) -> Self {
        match recover {
            Recover::Missed { since, publications_max } => {
                Self::Missed { since: since.into(), publications_max }
            }
            Recover::Latest { since } => Self::Latest { since: since.into() },
        }
    }
}

impl From<Retention> for hub::Retention {
    fn from(retention: Retention) -> Self {
        let Retention { publications_max, ttl_s, meta_ttl_s } = retention;
        Self { publications_max, ttl_s, meta_ttl_s }
    }
}
