//! Tokens that are signed by public keys, on real sockets: keys from the configuration and from a
//! provider that is slow, huge, rotating, or gone.
//!
//! Claims: a crowd costs one fetch of the keys; who comes back with the same token is let in
//! without another check; what a provider does wrong costs clients a temporary error, and nothing
//! where the key is known; a key that has left the set lets nobody in; a public key is no secret.

use std::sync::Mutex;
use std::time::Instant;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use backend::{BackEnd, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use longwire::control::{Settings, Site, TokenKeys};
use longwire::session::Rules;
use longwire::token::{HmacKey, PublicKey, TokenRules};
use longwire::{Running, Server, SessionSettings, Sessions};
use serde_json::{Value, json};
use session::{Client, PATIENCE, config, settings};

#[path = "support/api.rs"]
mod api;
#[path = "support/backend.rs"]
mod backend;
#[path = "support/session.rs"]
mod session;
#[path = "support/tokens.rs"]
mod tokens;

/// A pair of keys of a provider.
struct Signer {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        Self { id, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key") }
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "kid": self.id });
        let [header, claims] =
            [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("it signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn of(&self, user: &str) -> String {
        self.token(&json!({ "sub": user }))
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "x": x, "y": y })
    }

    fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().expect("a form");
        let body = STANDARD.encode(der.as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }
}

fn serve(rules: TokenRules) -> Running {
    let settings =
        SessionSettings { rules: Rules { token: rules.clone(), ..Rules::default() }, ..settings() };
    let mut config = config(2);
    settings.configure(&mut config);
    let make = Sessions::for_shards(settings).expect("the settings are valid");
    let mut site = Settings::default();
    site.internal_listen = None;
    site.tokens = TokenKeys::new(rules, None);
    site.http_api.key = Some("key".to_owned());
    let site = Site::new(site).expect("no port of its own");
    Server::start_site(config, site, make).expect("it starts")
}

/// A server whose keys are those of this provider.
fn serve_keys_of(provider: &BackEnd) -> Running {
    serve(TokenRules { key_set_url: Some(provider.url("/keys")), ..TokenRules::default() })
}

/// What a client is told that connects with this token: its reply, or the code of its close.
fn connect(server: &Running, token: &str) -> Result<Value, u16> {
    let mut client = Client::dial(server.address());
    client.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    client.next().map_err(|end| end.code)
}

/// The same until it is not told to come again; a provider is not asked at every turn.
fn connect_in_the_end(server: &Running, token: &str) -> Result<Value, u16> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = connect(server, token);
        if !told.as_ref().is_ok_and(is_temporary) {
            return told;
        }
        assert!(Instant::now() < deadline, "the provider is not asked again");
    }
}

fn is_temporary(reply: &Value) -> bool {
    reply["error"]["code"] == 100 && reply["error"]["temporary"] == true
}

fn is_in(told: &Result<Value, u16>) -> bool {
    told.as_ref().is_ok_and(|reply| reply["connect"]["client"].is_string())
}

fn keys(signers: &[&Signer]) -> Reply {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    Reply::json(&json!({ "keys": keys }))
}

#[test]
fn a_crowd_costs_one_fetch_and_who_comes_back_no_check() {
    let signer = Signer::new("a");
    let set = json!({ "keys": [signer.jwk()] });
    let provider = BackEnd::start(move |_| Reply::json(&set));
    let server = serve_keys_of(&provider);
    let tokens: Vec<String> = (0..32).map(|number| signer.of(&format!("u{number}"))).collect();
    for round in 1..=2 {
        let mut crowd: Vec<Client> = Vec::new();
        for token in &tokens {
            let mut client = Client::dial(server.address());
            client.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
            crowd.push(client);
        }
        for client in &mut crowd {
            assert!(client.line()["connect"]["client"].is_string(), "round {round}");
        }
    }
    assert_eq!(provider.asked_count(), 1);
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.tokens_checked, counters.tokens_known), (32, 32));
    let forged = Signer::new("a").of("u0");
    assert_eq!(connect(&server, &forged), Err(3500));
}

/// Its signature is known to be right, and is not what is wrong.
#[test]
fn a_token_that_is_known_is_revoked_like_any_other() {
    let signer = Signer::new("a");
    let public_keys = vec![PublicKey::ecdsa(&signer.pem()).expect("a key")];
    let server = serve(TokenRules { public_keys, ..TokenRules::default() });
    let token = signer.token(&json!({ "sub": "ann", "jti": "t1" }));
    assert!(is_in(&connect(&server, &token)) && is_in(&connect(&server, &token)));
    api::command(server.address(), "revoke_token", &json!({ "uid": "t1" }));
    assert_eq!(connect(&server, &token), Err(3500));
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.tokens_checked, counters.tokens_known), (1, 2));
}

#[test]
fn a_new_key_is_found_and_an_old_one_lets_nobody_in() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let (of_old, of_new) = (old.of("ann"), new.of("ann"));
    let sets = Mutex::new(vec![json!({ "keys": [new.jwk()] }), json!({ "keys": [old.jwk()] })]);
    let provider = BackEnd::start(move |_| {
        let mut sets = sets.lock().expect("nobody panics with it");
        let next = if sets.len() > 1 { sets.pop() } else { sets.last().cloned() };
        Reply::json(&next.expect("the last stays"))
    });
    let server = serve_keys_of(&provider);
    assert!(is_in(&connect(&server, &of_old)));
    // The provider is not asked again at once: who brings a new key waits for it.
    let told = connect(&server, &of_new);
    assert!(is_in(&told), "{told:?}");
    // Its token was known; with its key it is known no more.
    assert_eq!(connect(&server, &of_old), Err(3500));
    assert_eq!(provider.asked_count(), 3);
    assert!(is_in(&connect(&server, &of_new)), "which hurts nobody else");
}

#[test]
fn a_provider_that_is_of_no_use_costs_a_temporary_error() {
    let signer = Signer::new("a");
    let token = signer.of("ann");
    let jwk = signer.jwk();
    for what in ["dies", "hangs", "floods", "fails", "garbage", "empty"] {
        let provider = BackEnd::start(move |_| match what {
            "dies" => Reply::Die,
            "hangs" => Reply::Hang,
            "floods" => Reply::Flood,
            "fails" => Reply::Say(500, String::new()),
            "garbage" => Reply::Say(200, "<html>".to_owned()),
            _ => Reply::json(&json!({ "keys": [] })),
        });
        let server = serve_keys_of(&provider);
        let told = connect(&server, &token);
        assert!(told.as_ref().is_ok_and(is_temporary), "{what}: {told:?}");
        // Whoever comes at once is told the same, and the provider is left alone.
        let again = connect(&server, &token);
        assert!(again.as_ref().is_ok_and(is_temporary), "{what}: {again:?}");
        let counters = server.snapshot().expect("it runs").counters;
        assert_eq!(counters.tokens_unavailable, 2, "{what}");
        assert!(provider.asked_count() <= 2, "{what}");
    }
    let calls = Mutex::new(0);
    let provider = BackEnd::start(move |_| {
        let mut calls = calls.lock().expect("nobody panics with it");
        *calls += 1;
        if *calls == 1 { Reply::Die } else { Reply::json(&json!({ "keys": [jwk] })) }
    });
    let server = serve_keys_of(&provider);
    assert!(is_in(&connect_in_the_end(&server, &token)), "it is asked again");
}

#[test]
fn a_known_key_needs_no_provider() {
    let signer = Signer::new("a");
    let set = keys(&[&signer]);
    let once = Mutex::new(Some(set));
    let provider = BackEnd::start(move |_| {
        let set = once.lock().expect("nobody panics with it").take();
        set.unwrap_or(Reply::Hang)
    });
    let server = serve_keys_of(&provider);
    assert!(is_in(&connect(&server, &signer.of("ann"))));
    let mut stranger = Client::dial(server.address());
    let token = Signer::new("b").of("ann");
    stranger.send(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    for number in 0..8 {
        assert!(is_in(&connect(&server, &signer.of(&format!("u{number}")))));
    }
    assert!(is_temporary(&stranger.line()), "its key may be there when the provider is");
}

#[test]
fn a_key_of_the_configuration_is_no_secret() {
    let signer = Signer::new("a");
    let pem = signer.pem();
    let public_keys = vec![PublicKey::ecdsa(&pem).expect("a key")];
    let key = HmacKey::new(tokens::KEY.as_bytes());
    let server = serve(TokenRules { key, public_keys, ..TokenRules::default() });
    let ann = json!({ "sub": "ann" });
    assert!(is_in(&connect(&server, &signer.token(&ann))));
    assert!(is_in(&connect(&server, &tokens::token(&ann))));
    assert_eq!(connect(&server, &tokens::token_by(&pem, &ann)), Err(3500));
    assert_eq!(connect(&server, &Signer::new("a").token(&ann)), Err(3500));
    let late = signer.token(&json!({ "sub": "ann", "exp": 1 }));
    let told = connect(&server, &late);
    assert!(told.as_ref().is_ok_and(|reply| reply["error"]["code"] == 109), "{told:?}");
}
