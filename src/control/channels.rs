//! What back ends may publish to, and what of it is kept.

use std::collections::BTreeMap;

use crate::protocol::channel;

/// How a channel's publications are kept, in the terms of the configuration: `history_size`,
/// `history_ttl`, `history_meta_ttl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// So many at most.
    pub publications_max: u32,
    /// Seconds after the last one.
    pub ttl_s: u32,
    /// Seconds for which the stream outlives them.
    pub meta_ttl_s: u32,
}

/// The namespaces that are configured, each with what is kept of the publications there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Of channels without a namespace.
    pub without_namespace: Option<Retention>,
    /// Of those in a namespace.
    pub namespaces: BTreeMap<String, Option<Retention>>,
}

/// The channel's namespace is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownNamespace;

impl Channels {
    /// What is kept of a publication to `channel`.
    pub(super) fn retention(&self, channel: &str) -> Result<Option<Retention>, UnknownNamespace> {
        match channel::namespace(channel) {
            None => Ok(self.without_namespace),
            Some(namespace) => self.namespaces.get(namespace).copied().ok_or(UnknownNamespace),
        }
    }
}
