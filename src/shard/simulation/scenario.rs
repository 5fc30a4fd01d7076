//! What the servers of the simulation are like: their channels, their users, and their bounds.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::network::Shape;
use crate::handler;
use crate::hub::StreamBounds;
use crate::limits::REQUESTS_WAITING_MAX;
use crate::session::random::Random;
use crate::session::{
    AckPolicy, ChannelOptions, Overflow, PersonalChannel, RecoveryMode, Retention, Rules,
};
use crate::shard::SessionSettings;
use crate::token::{HmacKey, TokenRules};

/// Channels that clients come to: without positions; with positions and room for all, for few, and
/// for the latest only; those where a slow client misses some, or all but the latest; and one whose
/// publications users acknowledge.
pub(super) const CHANNELS: [&str; 10] =
    ["a", "b", "kept:a", "kept:b", "brief:a", "cache:a", "lossy:a", "latest:a", "latest:b", OWED];
pub(super) const OWED: &str = "owed:a";
/// Channels that tokens put their bearers into, and the users' own.
pub(super) const BY_SERVER: [&str; 8] =
    ["s", "kept:s", "#ann", "#bob", "#cid", "own:#ann", "own:#bob", "own:#cid"];
pub(super) const USERS: [&str; 3] = ["ann", "bob", "cid"];

/// What a client that is in a channel may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// What comes, comes in order.
    Order,
    /// Nothing is missing without its being told.
    Whole,
    /// The same, but who comes back gets the latest only.
    Latest,
    /// What is missing shows in the offsets, and the last always comes.
    Last,
}

pub(super) fn promise(channel: &str) -> Promise {
    match channel.split_once(':') {
        None => Promise::Order,
        Some(("cache", _)) => Promise::Latest,
        Some(("lossy" | "latest", _)) => Promise::Last,
        Some(_) => Promise::Whole,
    }
}

/// One server.
pub(super) struct Scenario {
    pub(super) shape: Shape,
    pub(super) settings: SessionSettings,
    /// By namespace, how publications are kept.
    pub(super) kept: BTreeMap<String, handler::Retention>,
}

impl Scenario {
    /// A crowd is not told who comes and goes: there it is as much as everybody times everybody.
    pub(super) fn new(random: &mut Random, is_crowd: bool) -> Self {
        let mesh_slots = random.one_of(&[4, 8, 64]);
        let shape = Shape {
            shard_count: 1 + random.below(3),
            mesh_slots,
            requests_max: random.one_of(&[4, REQUESTS_WAITING_MAX]),
            refusals_one_in: random.one_of(&[0, 0, 2, 4, 20]),
            room_bytes: random.one_of(&[256, 4096, 65_536]),
            streams: StreamBounds {
                streams_max: random.one_of(&[3, 100, 100]),
                bytes_max: random.one_of(&[700, 5000, 1 << 20, 1 << 20]),
            },
        };
        let is_told = random.one_in(2) && !is_crowd;
        let rules = rules(random, is_told);
        let kept = |(name, options): (&String, &ChannelOptions)| {
            let Retention { publications_max, ttl_s, meta_ttl_s } = options.history?;
            Some((name.clone(), handler::Retention { publications_max, ttl_s, meta_ttl_s }))
        };
        let kept = rules.namespaces.iter().filter_map(kept).collect();
        let settings = SessionSettings {
            rules,
            ping_interval: None,
            output_bytes_max: random.one_of(&[3000, 1 << 20]),
            ..SessionSettings::default()
        };
        Self { shape, settings, kept }
    }
}

/// Everybody may do everything.
fn rules(random: &mut Random, is_told: bool) -> Rules {
    let (ttl_s, meta_ttl_s) = random.one_of(&[(600, 600), (600, 600), (1, 2)]);
    let keeping = |publications_max| ChannelOptions {
        history: Some(Retention { publications_max, ttl_s, meta_ttl_s }),
        force_recovery: true,
        presence: true,
        join_leave: is_told,
        force_push_join_leave: is_told,
        ..ChannelOptions::default()
    };
    // What tells of others is lost with what is dropped, and would be missed.
    let losing = |overflow| ChannelOptions {
        join_leave: false,
        force_push_join_leave: false,
        overflow,
        ..keeping(10_000)
    };
    let few = 1 + u32::try_from(random.below(8)).expect("it is small");
    let cache = ChannelOptions {
        recovery_mode: RecoveryMode::Cache,
        auto_cache_recover: random.one_in(2),
        ..keeping(few)
    };
    let latest = ChannelOptions {
        force_recovery: false,
        force_positioning: true,
        ..losing(Overflow::Latest)
    };
    let namespaces = [
        ("kept", keeping(10_000)),
        ("own", keeping(10_000)),
        ("brief", keeping(few)),
        ("cache", cache),
        ("lossy", losing(Overflow::DropOldest)),
        ("latest", latest),
        ("owed", ChannelOptions { acknowledged: Some(OWED_POLICY), ..keeping(10_000) }),
    ];
    let personal_channel = random.one_in(2).then(|| PersonalChannel {
        namespace: random.one_of(&["", "own"]).to_owned(),
        is_single: random.one_in(2),
    });
    Rules {
        insecure: true,
        token: TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() },
        namespaces: namespaces.map(|(name, options)| (name.to_owned(), options)).into(),
        personal_channel,
        ..Rules::default()
    }
}

/// Nothing is given up.
const OWED_POLICY: AckPolicy =
    AckPolicy { publications_max: 10_000, bytes_max: 1 << 24, ttl_s: 86_400 };

const KEY: &[u8] = b"a key of the simulation";

/// A token of this user. Half of the users are put into channels by it.
pub(super) fn token(user: &str) -> String {
    let channels = if user < "bob" { "[]" } else { r#"["s","kept:s"]"# };
    let claims = format!(r#"{{"sub":"{user}","channels":{channels}}}"#);
    let [header, claims] = [r#"{"alg":"HS256"}"#, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let token = format!("{header}.{claims}");
    let mac =
        Hmac::<Sha256>::new_from_slice(KEY).expect("any length is a key").chain_update(&token);
    format!("{token}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// The one of our channels that has this name.
pub(super) fn known(name: &str) -> &'static str {
    let mut all = CHANNELS.iter().chain(&BY_SERVER);
    all.find(|channel| **channel == name).unwrap_or_else(|| panic!("nobody is in {name}"))
}
