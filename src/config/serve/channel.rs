//! `channel`: the names of channels, and what clients may do in them.

use super::namespace::Namespaces;
use crate::config::section::section;
use crate::config::setting::Bytes;
use crate::limits::CHANNEL_NAME_BYTES_MAX;

section! {
    /// Names of channels.
    pub struct Channel in "channel." {
        /// Bytes of the name of a channel that a client subscribes to.
        max_length: Bytes = Bytes(CHANNEL_NAME_BYTES_MAX), in 1..=CHANNEL_NAME_BYTES_MAX as u64;
        /// What clients may do in the channels of a namespace, whose names begin with its name and
        /// a colon. There are no channels in a namespace that is not here.
        namespaces: Namespaces = Namespaces::default();
    }
}

section! {
    /// What clients may do in a channel.
    pub struct WithoutNamespace in "channel.without_namespace." {
        /// Whether any client with a user's name may subscribe.
        allow_subscribe_for_client: bool = false;
        /// Whether clients without a user's name are meant, too.
        allow_subscribe_for_anonymous: bool = false;
        /// Whether any client with a user's name may publish.
        allow_publish_for_client: bool = false;
        /// Whether a client that is subscribed may publish.
        allow_publish_for_subscriber: bool = false;
        /// Whether clients without a user's name are meant, too, by the two keys above.
        allow_publish_for_anonymous: bool = false;
    }
}
