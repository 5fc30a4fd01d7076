//! The configuration of `longwire serve`, valid by type; one file per section.
//!
//! Keys have Centrifugo's names and places where they mean the same.

mod back_ends;
mod channel;
mod client;
mod consistency;
mod endpoint;
mod events;
mod host;
mod http_api;
mod http_server;
mod log;
mod namespace;
mod options;
mod personal;
mod proxy;
mod shares;
mod shutdown;
mod streams;
pub(super) mod table;
mod token;
mod websocket;

pub use channel::{Channel, Mark};
pub use client::{Client, HeaderName, Origin};
pub use endpoint::{Endpoint, StaticHeader, Told, Transform, Transforms};
pub use events::{EventType, Events};
pub use host::Host;
pub use http_api::{ErrorMode, HttpApi};
pub use http_server::{Host as HostName, HttpServer};
pub use log::{Filter, Format as LogFormat, Log};
pub use namespace::{Namespace, Namespaces};
pub use options::{DataFormat, DeltaType, Overflow, Pattern, RecoveryMode, WithoutNamespace};
pub use personal::Personal;
pub use proxy::{
    BackEnds, ConnectProxy, DEFAULT_PROXY, Proxies, ProxyKeys, PublishProxy, RefreshProxy, Rpc,
    RpcNamespaces, RpcProxy, RpcWithoutNamespace, SubRefreshProxy, SubscribeProxy,
};
pub use shutdown::Shutdown;
pub use streams::{Emulation, HttpStream, Sse};
pub use token::{EcdsaKey, KeySetUrl, RsaKey, SubscriptionToken, Token};
pub use websocket::{UrlPath, WebSocket};

use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::change::Changes;
use super::fault::Fault;
use super::key::Key;
use super::listen::Listen;
use super::raw::{Raw, Reader};

/// All that `longwire serve` is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Serve {
    /// What stands outside of any section.
    pub host: Host,
    /// `http_server`.
    pub http_server: HttpServer,
    /// `client`.
    pub client: Client,
    /// `client.token`.
    pub token: Token,
    /// `client.subscription_token`.
    pub subscription_token: SubscriptionToken,
    /// `client.subscribe_to_user_personal_channel`.
    pub personal: Personal,
    /// `channel`.
    pub channel: Channel,
    /// `channel.without_namespace`.
    pub without_namespace: WithoutNamespace,
    /// `proxies`.
    pub back_ends: BackEnds,
    /// `client.proxy.connect`.
    pub connect_proxy: ConnectProxy,
    /// `client.proxy.refresh`.
    pub refresh_proxy: RefreshProxy,
    /// `channel.proxy.subscribe`.
    pub subscribe_proxy: SubscribeProxy,
    /// `channel.proxy.publish`.
    pub publish_proxy: PublishProxy,
    /// `channel.proxy.sub_refresh`.
    pub sub_refresh_proxy: SubRefreshProxy,
    /// `rpc`.
    pub rpc: Rpc,
    /// `rpc.proxy`.
    pub rpc_proxy: RpcProxy,
    /// `rpc.without_namespace`.
    pub rpc_without_namespace: RpcWithoutNamespace,
    /// `events`.
    pub events: Events,
    /// `websocket`.
    pub websocket: WebSocket,
    /// `http_stream`.
    pub http_stream: HttpStream,
    /// `sse`.
    pub sse: Sse,
    /// `emulation`.
    pub emulation: Emulation,
    /// `http_api`.
    pub http_api: HttpApi,
    /// `log`.
    pub log: Log,
    /// `shutdown`.
    pub shutdown: Shutdown,
}

/// Every key, section by section.
pub fn keys() -> impl Iterator<Item = &'static Key> + Clone {
    let sections = [
        Host::KEYS,
        BackEnds::KEYS,
        HttpServer::KEYS,
        Client::KEYS,
        Token::KEYS,
        SubscriptionToken::KEYS,
        Personal::KEYS,
        ConnectProxy::KEYS,
        RefreshProxy::KEYS,
        Channel::KEYS,
        WithoutNamespace::KEYS,
        SubscribeProxy::KEYS,
        PublishProxy::KEYS,
        SubRefreshProxy::KEYS,
        Rpc::KEYS,
        RpcProxy::KEYS,
        RpcWithoutNamespace::KEYS,
        Events::KEYS,
        WebSocket::KEYS,
        HttpStream::KEYS,
        Sse::KEYS,
        Emulation::KEYS,
        HttpApi::KEYS,
        Log::KEYS,
        Shutdown::KEYS,
    ];
    sections.into_iter().flatten()
}

impl Serve {
    /// Reads the layers, or tells all that is wrong with them.
    pub fn new(raw: Raw) -> Result<Self, Vec<Fault>> {
        raw.read(|reader| {
            let serve = Self {
                host: Host::read(reader),
                http_server: HttpServer::read(reader),
                client: Client::read(reader),
                token: Token::read(reader),
                subscription_token: SubscriptionToken::read(reader),
                personal: Personal::read(reader),
                channel: Channel::read(reader),
                without_namespace: WithoutNamespace::read(reader),
                back_ends: BackEnds::read(reader),
                connect_proxy: ConnectProxy::read(reader),
                refresh_proxy: RefreshProxy::read(reader),
                subscribe_proxy: SubscribeProxy::read(reader),
                publish_proxy: PublishProxy::read(reader),
                sub_refresh_proxy: SubRefreshProxy::read(reader),
                rpc: Rpc::read(reader),
                rpc_proxy: RpcProxy::read(reader),
                rpc_without_namespace: RpcWithoutNamespace::read(reader),
                events: Events::read(reader),
                websocket: WebSocket::read(reader),
                http_stream: HttpStream::read(reader),
                sse: Sse::read(reader),
                emulation: Emulation::read(reader),
                http_api: HttpApi::read(reader),
                log: Log::read(reader),
                shutdown: Shutdown::read(reader),
            };
            serve.agree(reader);
            serve.agree_on_tokens(reader);
            serve
        })
    }

    /// What no single key can be wrong about.
    fn agree(&self, reader: &mut Reader<'_>) {
        let Client { ping_interval, pong_timeout, .. } = self.client;
        if let Some(interval) = ping_interval.time()
            && interval <= pong_timeout
        {
            reader.contradiction(
                format!(
                    "client.pong_timeout is {pong_timeout:?}, and client.ping_interval {interval:?}"
                ),
                "a pong must be due before the next ping: set the timeout to less".to_owned(),
            );
        }
        self.agree_on_paths(reader);
        let internal = self.internal_listen();
        let listens = self.listens();
        if let Some(address) = internal
            && address.port() != 0
            && listens.contains(&Listen::tcp(address))
        {
            reader.contradiction(
                format!("{address} is both public and internal"),
                "set http_server.internal_port to another port, or to off".to_owned(),
            );
        }
        for (index, listen) in listens.iter().enumerate() {
            let is_free_port = matches!(listen, Listen::Tcp { address, .. } if address.port() == 0);
            if !is_free_port && listens[..index].contains(listen) {
                reader.contradiction(
                    format!("listen names {listen} twice"),
                    "remove one of them".to_owned(),
                );
            }
        }
    }

    /// A path that means two things would mean one of them only.
    fn agree_on_paths(&self, reader: &mut Reader<'_>) {
        let paths = [
            ("websocket", &self.websocket.handler_prefix),
            ("http_stream", &self.http_stream.handler_prefix),
            ("sse", &self.sse.handler_prefix),
            ("emulation", &self.emulation.handler_prefix),
        ];
        for (index, (section, path)) in paths.iter().enumerate() {
            let same = paths[..index].iter().find(|(_, other)| other == path);
            let path = path.as_str();
            if let Some((other, _)) = same {
                reader.contradiction(
                    format!("{other}.handler_prefix and {section}.handler_prefix are both {path}"),
                    "give each endpoint a path of its own".to_owned(),
                );
            }
            let is_streams = ["http_stream", "sse", "emulation"].contains(section);
            if is_streams && is_taken(path) {
                reader.contradiction(
                    format!("{section}.handler_prefix is {path}, where something else is served"),
                    "give it a path that does not begin like the API, /health or /dev".to_owned(),
                );
            }
        }
    }

    /// Takes over from `new` what a running server can take over, and tells what that is.
    pub fn adopt(&mut self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        self.host.adopt(&new.host, &mut changes);
        self.http_server.adopt(&new.http_server, &mut changes);
        self.client.adopt(&new.client, &mut changes);
        self.token.adopt(&new.token, &mut changes);
        self.subscription_token.adopt(&new.subscription_token, &mut changes);
        self.personal.adopt(&new.personal, &mut changes);
        self.channel.adopt(&new.channel, &mut changes);
        self.without_namespace.adopt(&new.without_namespace, &mut changes);
        self.back_ends.adopt(&new.back_ends, &mut changes);
        self.connect_proxy.adopt(&new.connect_proxy, &mut changes);
        self.refresh_proxy.adopt(&new.refresh_proxy, &mut changes);
        self.subscribe_proxy.adopt(&new.subscribe_proxy, &mut changes);
        self.publish_proxy.adopt(&new.publish_proxy, &mut changes);
        self.sub_refresh_proxy.adopt(&new.sub_refresh_proxy, &mut changes);
        self.rpc.adopt(&new.rpc, &mut changes);
        self.rpc_proxy.adopt(&new.rpc_proxy, &mut changes);
        self.rpc_without_namespace.adopt(&new.rpc_without_namespace, &mut changes);
        self.events.adopt(&new.events, &mut changes);
        self.websocket.adopt(&new.websocket, &mut changes);
        self.http_stream.adopt(&new.http_stream, &mut changes);
        self.sse.adopt(&new.sse, &mut changes);
        self.emulation.adopt(&new.emulation, &mut changes);
        self.http_api.adopt(&new.http_api, &mut changes);
        self.log.adopt(&new.log, &mut changes);
        self.shutdown.adopt(&new.shutdown, &mut changes);
        changes
    }

    /// Opens everything to everybody, for development, but not to every page of the web: whoever
    /// visits one would let it in. Pages of other hosts are for `client.allowed_origins` to name.
    pub fn open_up(&mut self) {
        self.client.insecure = true;
        self.client.allow_anonymous_connect_without_token = true;
        self.http_api.insecure = true;
    }

    /// The public addresses: `listen`, or else `http_server.address` and `.port`.
    pub fn listens(&self) -> Vec<Listen> {
        if self.host.listen.is_empty() {
            let HttpServer { address, port, .. } = self.http_server;
            vec![Listen::tcp(SocketAddr::new(address.0, port))]
        } else {
            self.host.listen.clone()
        }
    }

    /// The internal address, if there is to be one.
    pub fn internal_listen(&self) -> Option<SocketAddr> {
        let HttpServer { internal_address, internal_port, .. } = self.http_server;
        internal_port.0.map(|port| SocketAddr::new(internal_address.0, port))
    }

    /// Connections at most: the smaller of the two keys that say so.
    pub fn connections_max(&self) -> Option<u32> {
        let limit = (self.client.connection_limit > 0).then_some(self.client.connection_limit);
        let wanted = self.host.max_connections.map(NonZeroU32::get);
        limit.into_iter().chain(wanted).min()
    }
}

/// Whether the public port serves something there, whatever is configured.
fn is_taken(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    ["api", "health", "dev"].contains(&first)
}
