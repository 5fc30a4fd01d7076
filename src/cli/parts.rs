//! The settings of the parts of a server, from its one configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longwire::config::{Bytes, Secret, Serve, serve};
use longwire::control::{
    self, ChannelKind, Channels, Endpoint, ErrorMode, HttpApi, Kept, Pages, StreamTerms, Streaming,
    TokenKeys,
};
use longwire::protocol::channel::Naming;
use longwire::session::{
    AckPolicy, ChannelOptions, DataFormat, Overflow, Pattern, Patterns, PersonalChannel,
    RecoveryMode, Retention, Rules,
};
use longwire::token::{Expected, HmacKey, TokenRules};
use longwire::{Config, Limits, SessionSettings};

use super::VERSION;
use super::back_ends::{hooks, proxies};
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
    config.balance_difference =
        (serve.host.balance_difference > 0).then_some(serve.host.balance_difference);
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
        subscription_token: serve
            .subscription_token
            .enabled
            .then(|| token_rules(&serve.subscription_token.keys())),
        expired_close_delay: client.expired_close_delay,
        expired_sub_close_delay: client.expired_sub_close_delay,
        user_connection_limit: client.user_connection_limit,
        channel_limit: client.channel_limit,
        channel_bytes_max: serve.channel.max_length.0,
        version: VERSION.to_owned(),
        recovery_publications_max: client.recovery_max_publication_limit,
        history_publications_max: client.history_max_publication_limit,
        personal_channel: serve.personal.enabled.then(|| PersonalChannel {
            namespace: serve.personal.personal_channel_namespace.clone(),
            is_single: serve.personal.single_connection,
        }),
        hooks: hooks(serve),
        naming: naming(&serve.channel),
        patterns: patterns(serve),
        without_namespace: channel_options(serve, &serve.without_namespace),
        namespaces: namespaces(serve),
        ..Rules::default()
    }
}

fn token_rules(token: &serve::Token) -> TokenRules {
    let key = |secret: &Secret| HmacKey::new(secret.reveal().unwrap_or_default().as_bytes());
    let expected = |exact: &str, pattern: &serve::Pattern| match pattern.text() {
        Some(text) => Expected::pattern(text).expect("it was compiled when it was read"),
        None => Expected::name(exact),
    };
    let public_keys = [token.rsa_public_key.key(), token.ecdsa_public_key.key()];
    let until_s = u64::from(token.hmac_previous_secret_key_valid_until);
    TokenRules {
        key: key(&token.hmac_secret_key),
        previous_key: key(&token.hmac_previous_secret_key),
        previous_key_until: (until_s > 0).then(|| Duration::from_secs(until_s)),
        public_keys: public_keys.into_iter().flatten().collect(),
        key_set_url: token.jwks_public_endpoint.url().map(str::to_owned),
        audience: expected(&token.audience, &token.audience_regex),
        issuer: expected(&token.issuer, &token.issuer_regex),
        user_id_claim: token.user_id_claim.clone(),
    }
}

fn naming(channel: &serve::Channel) -> Naming {
    Naming {
        private_prefix: channel.private_prefix.0,
        namespace_boundary: channel.namespace_boundary.0,
        user_boundary: channel.user_boundary.0,
        user_separator: channel.user_separator.0,
    }
}

fn patterns(serve: &Serve) -> Patterns {
    let pattern = |options: &serve::WithoutNamespace| {
        let text = options.channel_regex.text()?;
        Some(Pattern::new(text).expect("it was compiled when it was read"))
    };
    let all = serve.channel.namespaces.0.iter();
    let all = all.filter_map(|one| Some((one.name.clone(), pattern(&one.options)?)));
    Patterns { without_namespace: pattern(&serve.without_namespace), namespaces: all.collect() }
}

fn namespaces(serve: &Serve) -> BTreeMap<String, ChannelOptions> {
    let all = serve.channel.namespaces.0.iter();
    all.map(|one| (one.name.clone(), channel_options(serve, &one.options))).collect()
}

fn channel_options(serve: &Serve, options: &serve::WithoutNamespace) -> ChannelOptions {
    ChannelOptions {
        allow_subscribe_for_client: options.allow_subscribe_for_client,
        allow_subscribe_for_anonymous: options.allow_subscribe_for_anonymous,
        allow_publish_for_client: options.allow_publish_for_client,
        allow_publish_for_subscriber: options.allow_publish_for_subscriber,
        allow_publish_for_anonymous: options.allow_publish_for_anonymous,
        presence: options.presence,
        allow_presence_for_client: options.allow_presence_for_client,
        allow_presence_for_subscriber: options.allow_presence_for_subscriber,
        allow_presence_for_anonymous: options.allow_presence_for_anonymous,
        join_leave: options.join_leave,
        force_push_join_leave: options.force_push_join_leave,
        history: retention(serve, options),
        allow_history_for_client: options.allow_history_for_client,
        allow_history_for_subscriber: options.allow_history_for_subscriber,
        allow_history_for_anonymous: options.allow_history_for_anonymous,
        force_positioning: options.force_positioning,
        allow_positioning: options.allow_positioning,
        force_recovery: options.force_recovery,
        allow_recovery: options.allow_recovery,
        recovery_mode: match options.force_recovery_mode {
            serve::RecoveryMode::Stream => RecoveryMode::Stream,
            serve::RecoveryMode::Cache => RecoveryMode::Cache,
        },
        auto_cache_recover: options.auto_cache_recover,
        allow_delta: options.allowed_delta_types.contains(&serve::DeltaType::Fossil),
        delta_publish: options.delta_publish,
        allow_tags_filter: options.allow_tags_filter,
        acknowledged: options.acknowledged.then_some(AckPolicy {
            publications_max: options.acknowledged_size,
            bytes_max: u32::try_from(options.acknowledged_bytes.0).unwrap_or(u32::MAX),
            ttl_s: options.acknowledged_ttl.0,
        }),
        allow_user_limited_channels: options.allow_user_limited_channels,
        data_format: data_format(serve, options),
        overflow: match options.overflow {
            serve::Overflow::Disconnect => Overflow::Disconnect,
            serve::Overflow::DropOldest => Overflow::DropOldest,
            serve::Overflow::Latest => Overflow::Latest,
        },
    }
}

/// What is kept of a channel, if anything is.
fn retention(serve: &Serve, options: &serve::WithoutNamespace) -> Option<Retention> {
    let meta_ttl_s = match options.history_meta_ttl.0 {
        0 => serve.channel.history_meta_ttl.0,
        own => own,
    };
    options.has_history().then_some(Retention {
        publications_max: options.history_size,
        ttl_s: options.history_ttl.0,
        meta_ttl_s,
    })
}

fn data_format(serve: &Serve, options: &serve::WithoutNamespace) -> DataFormat {
    let format = match options.publication_data_format {
        serve::DataFormat::NotEmpty => serve.channel.publication_data_format,
        own => own,
    };
    match format {
        serve::DataFormat::NotEmpty => DataFormat::NotEmpty,
        serve::DataFormat::Json => DataFormat::Json,
        serve::DataFormat::JsonObject => DataFormat::JsonObject,
        serve::DataFormat::Binary => DataFormat::Binary,
    }
}

/// What back ends may publish to.
fn channels(serve: &Serve) -> Channels {
    let kind = |options: &serve::WithoutNamespace| ChannelKind {
        kept: retention(serve, options).map(|Retention { publications_max, ttl_s, meta_ttl_s }| {
            Kept { publications_max, ttl_s, meta_ttl_s }
        }),
        has_presence: options.presence,
        data_format: data_format(serve, options),
        makes_deltas: options.delta_publish,
        has_pattern: options.channel_regex.text().is_some(),
    };
    let all = serve.channel.namespaces.0.iter();
    Channels {
        naming: naming(&serve.channel),
        without_namespace: kind(&serve.without_namespace),
        namespaces: all.map(|one| (one.name.clone(), kind(&one.options))).collect(),
    }
}

fn site(serve: &Serve, is_dev: bool) -> control::Settings {
    let mut site = control::Settings::default();
    site.dev = is_dev;
    VERSION.clone_into(&mut site.version);
    serve.websocket.handler_prefix.as_str().clone_into(&mut site.websocket_path);
    site.internal_listen = serve.internal_listen();
    site.http_api = http_api(serve);
    site.tokens = token_keys(serve);
    site.proxies = proxies(serve);
    site.streaming = streaming(serve);
    site
}

/// Clients that cannot have a WebSocket.
fn streaming(serve: &Serve) -> Streaming {
    let endpoint = |is_on: bool, path: &serve::UrlPath, bytes: Bytes| {
        is_on.then(|| {
            let mut endpoint = Endpoint::new(path.as_str());
            endpoint.body_bytes_max = bytes.0;
            endpoint
        })
    };
    let mut streaming = Streaming::default();
    let http_stream = &serve.http_stream;
    streaming.http_stream = endpoint(
        http_stream.enabled,
        &http_stream.handler_prefix,
        http_stream.max_request_body_size,
    );
    let sse = &serve.sse;
    streaming.sse = endpoint(sse.enabled, &sse.handler_prefix, sse.max_request_body_size);
    serve.emulation.handler_prefix.as_str().clone_into(&mut streaming.emulation_path);
    streaming.streams_max = serve.emulation.stream_limit as usize;
    streaming.terms = stream_terms(serve);
    streaming
}

/// What holds for streams as it does for each WebSocket, and can be exchanged like it.
pub(crate) fn stream_terms(serve: &Serve) -> StreamTerms {
    let origins = origins(&serve.client).expect("checked when they were read");
    StreamTerms {
        pages: Pages::new(move |origin, host| origins.admits(origin, host)),
        message_bytes_max: serve.websocket.message_size_limit.0,
    }
}

/// Which tokens are taken: as the sessions go by it, for those that they ask about.
pub(crate) fn token_keys(serve: &Serve) -> TokenKeys {
    let Rules { token, subscription_token, .. } = rules(serve);
    TokenKeys::new(token, subscription_token)
}

/// The HTTP API, which can be exchanged while the server runs.
pub(crate) fn http_api(serve: &Serve) -> HttpApi {
    let settings = &serve.http_api;
    let mut api = HttpApi::default();
    api.channels = Arc::new(channels(serve));
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
    use longwire::config::{Format, Kind, Raw, keys};

    use super::*;

    /// The rules of a server that keeps publications, with one key set.
    fn rules_with(path: &str, value: &str) -> Rules {
        let mut raw = Raw::new();
        let kept = [("history_size", "5"), ("history_ttl", "60s")];
        let kept = kept.map(|(name, value)| (format!("{OPTIONS}{name}"), value));
        let acknowledged = path.starts_with(ACKNOWLEDGED).then_some((ACKNOWLEDGED, "true"));
        let all = kept.iter().map(|(path, value)| (path.as_str(), *value)).chain(acknowledged);
        for (path, value) in all.filter(|(kept, _)| *kept != path).chain([(path, value)]) {
            let key = keys().find(|key| key.path == path).expect("a key");
            raw.lay_flag(key, vec![value.to_owned()]);
        }
        rules(&Serve::new(raw).unwrap_or_else(|faults| panic!("{}", faults[0])))
    }

    const OPTIONS: &str = "channel.without_namespace.";
    /// What its other keys say something of.
    const ACKNOWLEDGED: &str = "channel.without_namespace.acknowledged";

    #[test]
    fn every_key_of_channels_reaches_the_rules() {
        let usual = rules_with("channel.max_length", "255");
        let of_back_ends = [
            "channel.proxy.",
            "channel.without_namespace.subscribe_proxy",
            "channel.without_namespace.publish_proxy",
            "channel.without_namespace.sub_refresh_proxy",
        ];
        let is_of_back_ends = |path: &str| of_back_ends.iter().any(|begin| path.starts_with(begin));
        let all = keys().filter(|key| key.path.starts_with("channel."));
        for key in all.filter(|key| !is_of_back_ends(key.path)) {
            let value = match key.kind {
                _ if key.path.ends_with("allowed_delta_types") => "fossil",
                _ if key.path.ends_with("acknowledged_bytes") => "2048",
                Kind::Switch => "true",
                Kind::Time => "59s",
                Kind::Word(words) => words[1],
                Kind::Text(_) => "!",
                Kind::List(_) => "fossil",
                Kind::Tables(_) => r#"[{"name":"chat"}]"#,
                _ => "77",
            };
            let rules = rules_with(key.path, value);
            assert_ne!(rules, usual, "{}", key.path);
            if key.path.starts_with(ACKNOWLEDGED) && key.path != ACKNOWLEDGED {
                assert_ne!(rules, rules_with(ACKNOWLEDGED, "true"), "{}", key.path);
            }
        }
    }

    #[test]
    fn the_options_of_a_namespace_fall_back_to_those_of_all_channels() {
        let text = "[channel]\nhistory_meta_ttl = \"2h\"\npublication_data_format = \"json\"\n\
                    [[channel.namespaces]]\nname = \"own\"\nhistory_size = 1\n\
                    history_ttl = \"1s\"\nhistory_meta_ttl = \"3h\"\n\
                    publication_data_format = \"binary\"\n\
                    [[channel.namespaces]]\nname = \"all\"\nhistory_size = 1\n\
                    history_ttl = \"1s\"\n";
        let mut raw = Raw::new();
        raw.lay_file("c.toml", Format::Toml, text);
        let rules = rules(&Serve::new(raw).unwrap_or_else(|faults| panic!("{}", faults[0])));
        for (name, meta_ttl_s, format) in
            [("own", 3 * 3600, DataFormat::Binary), ("all", 2 * 3600, DataFormat::Json)]
        {
            let options = &rules.namespaces[name];
            assert_eq!(options.history.map(|kept| kept.meta_ttl_s), Some(meta_ttl_s), "{name}");
            assert_eq!(options.data_format, format, "{name}");
        }
    }

    #[test]
    fn the_personal_channel_is_in_its_namespace_where_it_is_enabled() {
        let mut serve = Serve::default();
        serve.personal.personal_channel_namespace = "own".to_owned();
        assert_eq!(rules(&serve).personal_channel, None);
        serve.personal.enabled = true;
        serve.personal.single_connection = true;
        let namespace = "own".to_owned();
        let expected = PersonalChannel { namespace, is_single: true };
        assert_eq!(rules(&serve).personal_channel, Some(expected));
    }

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
            audience: Expected::name("us"),
            issuer: Expected::name("idp"),
            user_id_claim: "id".to_owned(),
            ..TokenRules::default()
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

    #[test]
    fn subscription_tokens_have_rules_of_their_own_where_they_are_enabled() {
        let set = |enabled: &str| {
            let text = format!(
                "[client.token]\naudience_regex = \"^us\"\nissuer_regex = \"idp\"\n\
                 jwks_public_endpoint = \"http://127.0.0.1/keys\"\n\
                 [client.subscription_token]\nenabled = {enabled}\n\
                 hmac_secret_key = \"own\"\naudience = \"us\"\n"
            );
            let mut raw = Raw::new();
            raw.lay_file("c.toml", Format::Toml, &text);
            rules(&Serve::new(raw).unwrap_or_else(|faults| panic!("{}", faults[0])))
        };
        let rules = set("true");
        assert_eq!(rules.token.audience, Expected::pattern("^us").expect("an expression"));
        assert_eq!(rules.token.issuer, Expected::pattern("idp").expect("an expression"));
        assert_eq!(rules.token.key_set_url.as_deref(), Some("http://127.0.0.1/keys"));
        let own = TokenRules {
            key: HmacKey::new(b"own"),
            audience: Expected::name("us"),
            ..TokenRules::default()
        };
        assert_eq!(rules.subscription_token, Some(own));
        assert_eq!(set("false").subscription_token, None);
    }
}
