//! What the channels of one namespace are like, and what clients may do there (15).

pub use crate::protocol::DataFormat;
use crate::token::{Override, Overrides};

/// The options of a namespace. The names are those of Centrifugo's configuration where there is
/// one. By default nothing is allowed and nothing is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Users may subscribe.
    pub allow_subscribe_for_client: bool,
    /// Anonymous ones too.
    pub allow_subscribe_for_anonymous: bool,
    /// Users may publish.
    pub allow_publish_for_client: bool,
    /// Users who are in the channel may publish.
    pub allow_publish_for_subscriber: bool,
    /// Anonymous ones too, where users may.
    pub allow_publish_for_anonymous: bool,
    /// It is known who is in the channel.
    pub presence: bool,
    /// Users may see who is there.
    pub allow_presence_for_client: bool,
    /// Users who are in the channel may see it.
    pub allow_presence_for_subscriber: bool,
    /// Anonymous ones too, where users may.
    pub allow_presence_for_anonymous: bool,
    /// Coming and going is told to those who ask for it, and may see who is there.
    pub join_leave: bool,
    /// It is told to everyone there.
    pub force_push_join_leave: bool,
    /// Publications are kept (`history_size`, `history_ttl`, `history_meta_ttl`).
    pub history: Option<Retention>,
    /// Users may see what was published.
    pub allow_history_for_client: bool,
    /// Users who are in the channel may see it.
    pub allow_history_for_subscriber: bool,
    /// Anonymous ones too, where users may.
    pub allow_history_for_anonymous: bool,
    /// Every subscription knows its position.
    pub force_positioning: bool,
    /// Those that ask for it do.
    pub allow_positioning: bool,
    /// Every subscription may recover what it misses.
    pub force_recovery: bool,
    /// Those that ask for it may.
    pub allow_recovery: bool,
    /// What recovering brings (`force_recovery_mode`).
    pub recovery_mode: RecoveryMode,
    /// In the mode of a cache, every subscription begins with the latest publication.
    pub auto_cache_recover: bool,
    /// Subscriptions that ask for it get publications as deltas (`allowed_delta_types`).
    pub allow_delta: bool,
    /// Deltas are made of what clients publish.
    pub delta_publish: bool,
    /// Subscriptions may name a filter by tags.
    pub allow_tags_filter: bool,
    /// What is published is retained for users until they acknowledge it.
    pub acknowledged: Option<AckPolicy>,
    /// Channels whose names list users are open to these.
    pub allow_user_limited_channels: bool,
    /// What a publication may be (`publication_data_format`).
    pub data_format: DataFormat,
    /// What becomes of publications for a client that does not keep up.
    pub overflow: Overflow,
}

impl ChannelOptions {
    /// The options as they are for a client whose token says so.
    pub(super) fn overridden(self, by: Overrides) -> Self {
        let set = |by: Option<Override>, option: bool| by.map_or(option, |by| by.value);
        Self {
            presence: set(by.presence, self.presence),
            join_leave: set(by.join_leave, self.join_leave),
            force_push_join_leave: set(by.force_push_join_leave, self.force_push_join_leave),
            force_recovery: set(by.force_recovery, self.force_recovery),
            force_positioning: set(by.force_positioning, self.force_positioning),
            ..self
        }
    }
}

/// How the publications of a channel are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many at most.
    pub publications_max: u32,
    /// So long after the last one.
    pub ttl_s: u32,
    /// How long the position is remembered without any.
    pub meta_ttl_s: u32,
}

/// What is retained for a user in a channel until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPolicy {
    /// Publications at most.
    pub publications_max: u32,
    /// Bytes of them at most.
    pub bytes_max: u32,
    /// So long each, and so long the user is known without a connection.
    pub ttl_s: u32,
}

/// How one publication is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// For how long, and beside how many others.
    pub retention: Retention,
    /// Deltas are made of it.
    pub makes_delta: bool,
}

/// What recovering brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// Everything that was missed.
    #[default]
    Stream,
    /// The latest publication.
    Cache,
}

impl ChannelOptions {
    /// How what a client publishes is kept, if it is.
    pub(super) fn keep(&self) -> Option<Keep> {
        self.history.map(|retention| Keep { retention, makes_delta: self.delta_publish })
    }
}

/// What becomes of publications for a client that does not keep up with a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is disconnected (3008).
    #[default]
    Disconnect,
    /// The oldest that wait are dropped.
    DropOldest,
    /// Only the latest waits.
    Latest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_overridden_both_ways_and_others_stay() {
        let options = ChannelOptions { presence: true, allow_recovery: true, ..Default::default() };
        let overrides = Overrides {
            presence: Some(Override { value: false }),
            join_leave: Some(Override { value: true }),
            force_recovery: Some(Override { value: true }),
            ..Overrides::default()
        };
        let expected =
            ChannelOptions { presence: false, join_leave: true, force_recovery: true, ..options };
        assert_eq!(options.overridden(overrides), expected);
        assert_eq!(options.overridden(Overrides::default()), options);
    }

    #[test]
    fn a_data_format_admits_what_it_says() {
        let cases: [(&[u8], [bool; 4]); 6] = [
            (b"", [false, false, false, true]),
            (b"1", [true, true, false, true]),
            (b" {\"a\":1}", [true, true, true, true]),
            (b"{\"a\":1", [true, false, false, true]),
            (b"{}{}", [true, false, false, true]),
            (b"\xff", [true, false, false, true]),
        ];
        for (data, admitted) in cases {
            let formats = [
                DataFormat::NotEmpty,
                DataFormat::Json,
                DataFormat::JsonObject,
                DataFormat::Binary,
            ];
            assert_eq!(formats.map(|format| format.admits(data)), admitted, "{data:?}");
        }
    }
}
