//! Publications of a member of the mesh that has no connections of its own.

use crate::handler::Keep;
use crate::hub::Homes;
use crate::mesh::MemberId;
use crate::ws::{OpCode, encode_header};

use super::message::Message;

/// Knows the homes of channels, and puts texts into frames.
pub(crate) struct Publisher {
    homes: Homes,
}

impl Publisher {
    /// For a process of so many shards.
    pub(crate) fn new(shard_count: usize) -> Self {
        Self { homes: Homes::dealt(shard_count) }
    }

    /// One text message for all members of a channel, and to whom to send it.
    pub(crate) fn publication(
        &self,
        channel: &str,
        text: &[u8],
        keep: Option<Keep>,
    ) -> (MemberId, Message) {
        let home = MemberId::new(self.homes.home_of_channel(channel).index());
        let header = encode_header(true, OpCode::Text, text.len(), None);
        let frame = [&header, text].concat().into();
        (home, Message::publication(channel.into(), frame, keep))
    }
}
