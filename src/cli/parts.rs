//! The settings of the parts of a server, from its one configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use longwire::config::{Secret, Serve, serve};
use longwire::control::{self, ErrorMode, HttpApi};
use longwire::session::{ChannelOptions, HmacKey, Rules, TokenRules};
use longwire::{Config, Limits, SessionSettings};

use super::VERSION;
use super::load::origins;

/// What `longwire serve` is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) sessions: SessionSettings,
    pub(crate) site: control::Settings,
}

impl Parts {
    pub(crate) fn of(serve: &Serve, is_dev: bool) -> Self {
        let sessions = sessions(serve);
        let mut config = config(serve);
        sessions.configure(&mut config);
        Self { config, sessions, site: site(serve, is_dev) }
    }
}

fn config(serve: &Serve) -> Config {
    let mut config = Config::new(([127, 0, 0, 1], 0).into());
    config.listen = serve.listens();
    config.trusted_proxies.clone_from(&serve.host.trusted_proxies);
    config.shards = serve.host.shards.map(std::num::NonZeroU32::get);
    config.max_connections = serve.connections_max();
    config.handshake_timeout = serve.host.handshake_timeout;
    config.http_connections_max = serve.http_server.connection_limit;
    config.backlog_bytes_max = serve.host.max_unsent.0;
    config.partial_bytes_max = serve.host.max_partial.0;
    config.write_timeout = serve.websocket.write_timeout;
    config.close_timeout = serve.websocket.close_timeout;
    config.drain_timeout = serve.shutdown.timeout;
    config
}

fn sessions(serve: &Serve) -> SessionSettings {
    let mut sessions = SessionSettings::default();
    serve.websocket.handler_prefix.as_str().clone_into(&mut sessions.path);
    sessions.limits = Limits {
        message_bytes_max: serve.websocket.message_size_limit.0,
        origins: origins(&serve.client).expect("checked when they were read"),
        ..sessions.limits
    };
    sessions.output_bytes_max = serve.client.queue_max_size.0;
    sessions.ping_interval = serve.client.ping_interval.time();
    sessions.pong_timeout = serve.client.pong_timeout;
    sessions.stale_close_delay = serve.client.stale_close_delay;
    sessions.user_id_http_header = serve.client.user_id_http_header.name().map(str::to_owned);
    sessions.rules = rules(serve);
    sessions
}

fn rules(serve: &Serve) -> Rules {
    let client = &serve.client;
    Rules {
        allow_anonymous_connect_without_token: client.allow_anonymous_connect_without_token,
        insecure: client.insecure,
        disallow_anonymous_connection_tokens: client.disallow_anonymous_connection_tokens,
        token: token_rules(&serve.token),
        expired_close_delay: client.expired_close_delay,
        user_connection_limit: client.user_connection_limit,
        channel_limit: client.channel_limit,
        channel_bytes_max: serve.channel.max_length.0,
        version: VERSION.to_owned(),
        without_namespace: channel_options(&serve.without_namespace),
        namespaces: namespaces(serve),
        ..Rules::default()
    }
}

fn token_rules(token: &serve::Token) -> TokenRules {
    let key = |secret: &Secret| HmacKey::new(secret.reveal().unwrap_or_default().as_bytes());
    let until_s = u64::from(token.hmac_previous_secret_key_valid_until);
    TokenRules {
        key: key(&token.hmac_secret_key),
        previous_key: key(&token.hmac_previous_secret_key),
        previous_key_until: (until_s > 0).then(|| Duration::from_secs(until_s)),
        audience: token.audience.clone(),
        issuer: token.issuer.clone(),
        user_id_claim: token.user_id_claim.clone(),
    }
}

fn namespaces(serve: &Serve) -> BTreeMap<String, ChannelOptions> {
    let all = serve.channel.namespaces.0.iter();
    all.map(|one| (one.name.clone(), channel_options(&one.options))).collect()
}

fn channel_options(options: &serve::WithoutNamespace) -> ChannelOptions {
    ChannelOptions {
        allow_subscribe_for_client: options.allow_subscribe_for_client,
        allow_subscribe_for_anonymous: options.allow_subscribe_for_anonymous,
        allow_publish_for_client: options.allow_publish_for_client,
        allow_publish_for_subscriber: options.allow_publish_for_subscriber,
        allow_publish_for_anonymous: options.allow_publish_for_anonymous,
        ..ChannelOptions::default()
    }
}

/// What back ends publish to.
fn published(serve: &Serve) -> control::Channels {
    let kept = |options: &ChannelOptions| {
        options.history.map(|retention| control::Retention {
            publications_max: retention.publications_max,
            ttl_s: retention.ttl_s,
            meta_ttl_s: retention.meta_ttl_s,
        })
    };
    let namespaces = namespaces(serve).into_iter().map(|(name, options)| (name, kept(&options)));
    control::Channels {
        without_namespace: kept(&channel_options(&serve.without_namespace)),
        namespaces: namespaces.collect(),
    }
}

fn site(serve: &Serve, is_dev: bool) -> control::Settings {
    let mut site = control::Settings::default();
    site.dev = is_dev;
    VERSION.clone_into(&mut site.version);
    serve.websocket.handler_prefix.as_str().clone_into(&mut site.websocket_path);
    site.internal_listen = serve.internal_listen();
    site.channels = published(serve);
    site.http_api = http_api(&serve.http_api);
    site
}

/// The HTTP API, which can be exchanged while the server runs.
pub(crate) fn http_api(settings: &serve::HttpApi) -> HttpApi {
    let mut api = HttpApi::default();
    api.key = settings.key.reveal().map(str::to_owned);
    api.insecure = settings.insecure;
    api.error_mode = match settings.error_mode {
        serve::ErrorMode::Body => ErrorMode::Body,
        serve::ErrorMode::Transport => ErrorMode::Transport,
    };
    api
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_tokens_reach_the_rules() {
        let token = serve::Token {
            hmac_secret_key: Secret::new("new"),
            hmac_previous_secret_key: Secret::new("old"),
            hmac_previous_secret_key_valid_until: 7,
            audience: "us".to_owned(),
            issuer: "idp".to_owned(),
            user_id_claim: "id".to_owned(),
            ..serve::Token::default()
        };
        let expected = TokenRules {
            key: HmacKey::new(b"new"),
            previous_key: HmacKey::new(b"old"),
            previous_key_until: Some(Duration::from_secs(7)),
            audience: "us".to_owned(),
            issuer: "idp".to_owned(),
            user_id_claim: "id".to_owned(),
        };
        let mut serve = Serve { token, ..Serve::default() };
        serve.client.disallow_anonymous_connection_tokens = true;
        serve.client.expired_close_delay = Duration::from_secs(3);
        let rules = rules(&serve);
        assert_eq!(rules.token, expected);
        assert!(rules.disallow_anonymous_connection_tokens);
        assert_eq!(rules.expired_close_delay, Duration::from_secs(3));
        assert_eq!(token_rules(&serve::Token::default()), TokenRules::default());
    }
}
