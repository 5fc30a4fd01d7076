//! Back ends that are asked: how each kind of question reaches one, and which questions do.
//!
//! `client.proxy`, `channel.proxy` and `rpc.proxy` are the usual ones; `proxies` are others, which
//! namespaces name. They have the same keys.

use std::time::Duration;

use super::channel::Mark;
use super::client::HeaderName;
use super::endpoint::{Endpoint, StaticHeader, Transforms};
use super::table;
use crate::config::key::Kind;
use crate::config::section::section;
use crate::config::setting::Setting;
use crate::config::value::Value;
use crate::limits::{BACKEND_TIMEOUT_DEFAULT, BACKEND_TIMEOUT_MAX_MS};

/// One section of these keys.
macro_rules! proxy_section {
    ($(#[doc = $about:literal])+ $name:ident in $prefix:literal { $($own:tt)* }) => {
        section! {
            $(#[doc = $about])+
            pub struct $name in $prefix {
                $($own)*
                /// Where it is: a URL, or several, of which the next is asked when one fails.
                endpoint: Vec<Endpoint> = Vec::new();
                /// Time for an answer, all tries together.
                timeout: Duration = BACKEND_TIMEOUT_DEFAULT, in 1..=BACKEND_TIMEOUT_MAX_MS;
                /// Headers of the client's upgrade request that are passed on.
                http_headers: Vec<HeaderName> = Vec::new();
                /// Headers that the client has put into its connect command, for want of real
                /// ones, and that are passed on.
                emulated_headers: Vec<HeaderName> = Vec::new();
                /// Headers of every request, each as `Name: value`.
                static_headers: Vec<StaticHeader> = Vec::new();
                /// Whether it is told what `meta` the connection has.
                include_connection_meta: bool = false;
                /// Whether what clients send goes as base64, in `b64data`, and may be any bytes.
                binary_encoding: bool = false;
                /// What clients are told for a status other than 200. For all others it is 100.
                status_to_code_transforms: Transforms = Transforms(Vec::new());
            }
        }

        impl $name {
            /// Its keys without its own name.
            pub fn keys(&self) -> ProxyKeys {
                ProxyKeys {
                    endpoint: self.endpoint.clone(),
                    timeout: self.timeout,
                    http_headers: self.http_headers.clone(),
                    emulated_headers: self.emulated_headers.clone(),
                    static_headers: self.static_headers.clone(),
                    include_connection_meta: self.include_connection_meta,
                    binary_encoding: self.binary_encoding,
                    status_to_code_transforms: self.status_to_code_transforms.clone(),
                }
            }
        }
    };
}

/// What all of them have.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the sections say what they mean")]
pub struct ProxyKeys {
    pub endpoint: Vec<Endpoint>,
    pub timeout: Duration,
    pub http_headers: Vec<HeaderName>,
    pub emulated_headers: Vec<HeaderName>,
    pub static_headers: Vec<StaticHeader>,
    pub include_connection_meta: bool,
    pub binary_encoding: bool,
    pub status_to_code_transforms: Transforms,
}

proxy_section! {
    /// The back end that says who a client is that brings no token.
    ConnectProxy in "client.proxy.connect." {
        /// Whether clients without a token are asked about.
        enabled: bool = false;
    }
}

proxy_section! {
    /// The back end that says whether a connection goes on that expires.
    RefreshProxy in "client.proxy.refresh." {
        /// Whether connections that expire are asked about, and clients need not bring tokens.
        enabled: bool = false;
    }
}

proxy_section! {
    /// The back end that says who may subscribe, where a namespace names no other.
    SubscribeProxy in "channel.proxy.subscribe." {}
}

proxy_section! {
    /// The back end that says what may be published, where a namespace names no other.
    PublishProxy in "channel.proxy.publish." {}
}

proxy_section! {
    /// The back end that says whether subscriptions go on, where a namespace names no other.
    SubRefreshProxy in "channel.proxy.sub_refresh." {}
}

proxy_section! {
    /// The back end that runs procedures, where a namespace names no other.
    RpcProxy in "rpc.proxy." {}
}

section! {
    /// Procedures that clients call.
    pub struct Rpc in "rpc." {
        /// What stands between the name of a namespace and the rest of a procedure's name.
        namespace_boundary: Mark = Mark(':');
        /// The namespaces of procedures: the names of these begin with it and a colon.
        namespaces: RpcNamespaces = RpcNamespaces(Vec::new());
    }
}

section! {
    /// Procedures without a namespace. The keys of a namespace are the same.
    pub struct RpcWithoutNamespace in "rpc.without_namespace." {
        /// Whether there are any.
        proxy_enabled: bool = false;
        /// Who runs them: the name of one of `proxies`, or default for `rpc.proxy`.
        proxy_name: String = DEFAULT_PROXY.to_owned();
    }
}

/// The name of the usual back end of each kind of question.
pub const DEFAULT_PROXY: &str = "default";

/// `proxies`: back ends that namespaces name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proxies(pub Vec<(String, ProxyKeys)>);

impl Setting for Proxies {
    const KIND: Kind = Kind::Tables(
        "a list of tables, each with a name and the keys of rpc.proxy; in the environment and in \
         flags as JSON",
    );

    fn read(value: &Value) -> Result<Self, String> {
        let named = table::named(value, "rpc.proxy.", RpcProxy::KEYS, RpcProxy::read)?;
        let all = named.into_iter().map(|(name, proxy)| (name, proxy.keys()));
        Ok(Self(all.collect()))
    }

    /// The default is none, and nothing else is ever written.
    fn write(&self) -> Value {
        Value::List(Vec::new())
    }
}

/// `rpc.namespaces`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RpcNamespaces(pub Vec<(String, RpcWithoutNamespace)>);

impl Setting for RpcNamespaces {
    const KIND: Kind = Kind::Tables(
        "a list of tables, each with a name and the keys of rpc.without_namespace; in the \
         environment and in flags as JSON",
    );

    fn read(value: &Value) -> Result<Self, String> {
        let (keys, read) = (RpcWithoutNamespace::KEYS, RpcWithoutNamespace::read);
        table::named(value, "rpc.without_namespace.", keys, read).map(Self)
    }

    fn write(&self) -> Value {
        Value::List(Vec::new())
    }
}

section! {
    /// Back ends beside the usual ones.
    pub struct BackEnds in "" {
        /// Back ends that namespaces name, beside the usual ones.
        proxies: Proxies = Proxies(Vec::new());
    }
}
