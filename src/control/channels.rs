//! The channels that back ends may publish to, and what is kept of each.

use std::collections::BTreeMap;

use crate::protocol::DataFormat;
use crate::protocol::channel::{Naming, is_well_formed};

/// All channels, by their namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// The characters with a meaning in names.
    pub naming: Naming,
    /// Channels without a namespace.
    pub without_namespace: ChannelKind,
    /// Those of each namespace; there are no others.
    pub namespaces: BTreeMap<String, ChannelKind>,
}

/// What the channels of one namespace have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelKind {
    /// How publications are kept, if they are.
    pub kept: Option<Kept>,
    /// Who is in them can be told.
    pub has_presence: bool,
    /// What may be published.
    pub data_format: DataFormat,
    /// Deltas are made of all publications.
    pub makes_deltas: bool,
    /// Names have a pattern, to which clients are held: they need not be ASCII.
    pub has_pattern: bool,
}

/// How publications are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// So many at most.
    pub publications_max: u32,
    /// So long after the last one.
    pub ttl_s: u32,
    /// How long the position is remembered without any.
    pub meta_ttl_s: u32,
}

/// Why nothing is published to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoChannel {
    /// Its namespace is not configured.
    UnknownNamespace,
    /// It has to be ASCII.
    NotAscii,
}

impl Channels {
    /// What a channel is like.
    pub(super) fn kind(&self, name: &str) -> Result<ChannelKind, NoChannel> {
        let kind = match self.naming.namespace(name) {
            None => Some(&self.without_namespace),
            Some(namespace) => self.namespaces.get(namespace),
        };
        let kind = kind.ok_or(NoChannel::UnknownNamespace)?;
        if kind.has_pattern || is_well_formed(name) { Ok(*kind) } else { Err(NoChannel::NotAscii) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_of_the_kind_of_its_namespace() {
        let kept = Some(Kept { publications_max: 1, ttl_s: 2, meta_ttl_s: 3 });
        let keeping = ChannelKind { kept, has_pattern: true, ..ChannelKind::default() };
        let namespaces = [("ns".to_owned(), keeping)].into();
        let mut channels = Channels { namespaces, ..Channels::default() };
        let plain = ChannelKind::default();
        assert_eq!(channels.kind("a"), Ok(plain));
        assert_eq!(channels.kind("é"), Err(NoChannel::NotAscii));
        assert_eq!(channels.kind("$ns:é"), Ok(keeping));
        assert_eq!(channels.kind("other:é"), Err(NoChannel::UnknownNamespace));
        channels.naming.namespace_boundary = '/';
        assert_eq!((channels.kind("ns/a"), channels.kind("ns:a")), (Ok(keeping), Ok(plain)));
    }
}
