//! Which questions are put to back ends, and which back end each is put to (19, 22).

use std::collections::BTreeMap;

use crate::backend::Departures;
use crate::protocol::{Entries, ErrorCode, Text};

/// What back ends decide. The names are those of [`Proxies`](crate::backend::Proxies).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Headers of upgrade requests that any of them is told of, by lower-case name.
    pub http_headers: Vec<String>,
    /// The same for headers of connect commands.
    pub emulated_headers: Vec<String>,
    /// Who a client is that brings no token (`client.proxy.connect`).
    pub connect: Option<String>,
    /// Whether a connection that expires goes on (`client.proxy.refresh`).
    pub refresh: Option<String>,
    /// Who may subscribe (`subscribe_proxy_enabled` of channels).
    pub subscribe: ChannelHooks,
    /// What may be published (`publish_proxy_enabled` of channels).
    pub publish: ChannelHooks,
    /// Whether a subscription that expires goes on (`sub_refresh_proxy_enabled` of channels).
    pub sub_refresh: ChannelHooks,
    /// The procedures that clients may call (`rpc`).
    pub rpc: RpcHooks,
    /// Of which departures a back end is told (`events`).
    pub events: Departures,
}

impl Hooks {
    /// The headers of a connect command that back ends are told of.
    pub(super) fn emulated(&self, headers: &Entries<'_, Text<'_>>) -> Vec<(String, String)> {
        let named = headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let wanted = named.filter(|(name, _)| self.emulated_headers.contains(name));
        wanted.map(|(name, value)| (name, (**value).to_owned())).collect()
    }
}

/// Who is asked about a channel, by the namespace of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelHooks {
    without_namespace: Option<String>,
    namespaces: BTreeMap<String, String>,
}

impl ChannelHooks {
    /// Asks this back end about the channels of a namespace, or about those without one.
    pub fn set(&mut self, namespace: Option<&str>, proxy: String) {
        match namespace {
            None => self.without_namespace = Some(proxy),
            Some(name) => drop(self.namespaces.insert(name.to_owned(), proxy)),
        }
    }

    /// Who is asked about the channels of a namespace, if anybody is.
    pub(super) fn of(&self, namespace: Option<&str>) -> Option<&str> {
        match namespace {
            None => self.without_namespace.as_deref(),
            Some(name) => self.namespaces.get(name).map(String::as_str),
        }
    }
}

/// Who is called for a procedure, by the namespace that its name begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RpcHooks {
    /// For those without a namespace (`rpc.without_namespace`).
    pub without_namespace: Option<String>,
    /// For those of each namespace (`rpc.namespaces`).
    pub namespaces: BTreeMap<String, Option<String>>,
    /// What stands between the name of a namespace and the rest (`rpc.namespace_boundary`).
    pub namespace_boundary: Boundary,
}

/// A character between a namespace and the rest of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary(pub char);

impl Default for Boundary {
    fn default() -> Self {
        Self(':')
    }
}

impl RpcHooks {
    /// Who is called for a procedure.
    pub(super) fn of(&self, method: &str) -> Result<&str, ErrorCode> {
        let all = self.namespaces.values().chain([&self.without_namespace]);
        if all.flatten().next().is_none() {
            return Err(ErrorCode::NotAvailable);
        }
        let proxy = match method.split_once(self.namespace_boundary.0) {
            None => self.without_namespace.as_ref(),
            Some((namespace, _)) => self.namespaces.get(namespace).and_then(Option::as_ref),
        };
        proxy.map(String::as_str).ok_or(ErrorCode::MethodNotFound)
    }
}
