//! `client.subscribe_to_user_personal_channel`: a channel of one's own for every user.

use crate::config::section::section;

section! {
    /// A channel of one's own for every user.
    pub struct Personal in "client.subscribe_to_user_personal_channel." {
        /// Whether every client with a user's name is subscribed to the channel of that user:
        /// `#`, and the user's name.
        enabled: bool = false;
        /// The namespace of these channels. Empty for none.
        personal_channel_namespace: String = String::new();
        /// Whether a user has one connection at most: the next ends those before it with 3504.
        single_connection: bool = false;
    }
}
