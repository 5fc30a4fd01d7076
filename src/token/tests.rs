//! The table of tokens: who signed what with which key, and what comes of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::rig::{KEY, Signer, key_set, signed, signed_with};
use super::*;
use crate::limits::{KEY_SET_KEYS_MAX, TOKEN_BYTES_MAX, TOKEN_ID_BYTES_MAX};

const NOW: Duration = Duration::from_secs(1_000_000);
const ANN: &str = r#"{"sub":"ann"}"#;

fn of_key(signer: &Signer) -> PublicKey {
    let pem = signer.pem();
    PublicKey::rsa(&pem).or_else(|_| PublicKey::ecdsa(&pem)).expect("a key")
}

/// Rules with this public key, and nothing else.
fn rules_with(signer: &Signer) -> TokenRules {
    TokenRules { public_keys: vec![of_key(signer)], ..TokenRules::default() }
}

/// What a token comes to with public keys that are always there.
fn verify(rules: &TokenRules, token: &str) -> Result<ConnectionToken, TokenError> {
    let claims = match rules.check(token, NOW)? {
        Check::Signed(claims) => claims,
        Check::Ask if rules.is_signed(&Jwt::new(token)?) => {
            rules.claims_of(token, Fingerprint::of(token))?
        }
        Check::Ask => return Err(TokenError::Signature),
    };
    rules.connection(&claims, &Revoked::default(), NOW)
}

#[test]
fn each_algorithm_takes_tokens_of_its_own_key_and_of_no_other() {
    let signers = Signer::all();
    let static_keys = signers.iter().filter(|signer| signer.algorithm != "EdDSA");
    for own in static_keys {
        let rules = rules_with(own);
        for signer in &signers {
            let result = verify(&rules, &signer.token(ANN));
            if own.pem() == signer.pem() {
                assert_eq!(result.map(|token| token.user).as_deref(), Ok("ann"));
            } else {
                let expected = Err(TokenError::Algorithm);
                assert_eq!(result, expected, "{} by {}", signer.algorithm, own.algorithm);
            }
        }
    }
    let [own, other] = [0, 1].map(|number| Signer::rsa(number, "RS256"));
    assert_eq!(verify(&rules_with(&own), &other.token(ANN)), Err(TokenError::Signature));
    let [own, other] = [(), ()].map(|()| Signer::curve("ES256"));
    assert_eq!(verify(&rules_with(&own), &other.token(ANN)), Err(TokenError::Signature));
}

#[test]
fn a_public_key_is_never_a_secret() {
    for signer in [Signer::rsa(0, "RS256"), Signer::curve("ES256")] {
        let pem = signer.pem();
        let der = STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
        let with_secret = TokenRules { key: HmacKey::new(KEY), ..rules_with(&signer) };
        for key in [pem.as_bytes(), pem.trim().as_bytes(), &der] {
            for name in ["HS256", "HS384", "HS512"] {
                let forged = signed_with(key, &format!(r#"{{"alg":"{name}"}}"#), ANN);
                assert_eq!(verify(&rules_with(&signer), &forged), Err(TokenError::Algorithm));
                assert_eq!(verify(&with_secret, &forged), Err(TokenError::Signature));
            }
        }
        // The other way round: signed by the secret, and said to be by the key.
        let forged = signed_with(KEY, &format!(r#"{{"alg":"{}"}}"#, signer.algorithm), ANN);
        assert_eq!(verify(&with_secret, &forged), Err(TokenError::Signature));
        assert_eq!(verify(&with_secret, &signed(ANN)).map(|token| token.user), Ok("ann".into()));
    }
}

#[test]
fn a_signature_is_of_this_text_and_of_its_own_form() {
    for signer in Signer::all() {
        let set = key_set(&[signer.jwk("a")]);
        let check = |token: &str| match Jwt::new(token) {
            Ok(jwt) => matches!(set.find(&jwt), Found::Key(key) if jwt.is_signed_by(key)),
            Err(_) => false,
        };
        let token = signer.token(ANN);
        assert!(check(&token), "{}", signer.algorithm);
        let (text, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let cut = [&bytes[..0], &bytes[..bytes.len() - 1]].map(<[u8]>::to_vec);
        let zero = [vec![0; bytes.len()], [&[0], &bytes[..]].concat()];
        for wrong in cut.into_iter().chain(zero) {
            let forged = format!("{text}.{}", URL_SAFE_NO_PAD.encode(wrong));
            assert!(!check(&forged), "{} {forged}", signer.algorithm);
        }
        let (header, _) = text.split_once('.').unwrap();
        let bob = URL_SAFE_NO_PAD.encode(r#"{"sub":"bob"}"#);
        assert!(!check(&format!("{header}.{bob}.{signature}")), "{}", signer.algorithm);
    }
}

#[test]
fn headers_decide_nothing_but_the_name_of_the_key() {
    let signer = Signer::rsa(0, "RS256");
    let own = Signer::rsa(1, "RS256");
    let rules = rules_with(&own);
    let key = signer.jwk("own").to_string();
    for header in [
        format!(r#"{{"alg":"RS256","jwk":{key}}}"#),
        r#"{"alg":"RS256","jku":"http://127.0.0.1/keys"}"#.to_owned(),
        r#"{"alg":"RS256","x5u":"http://127.0.0.1/keys","x5c":["MIIB"]}"#.to_owned(),
    ] {
        let forged = signer.token_with(&header, ANN);
        assert_eq!(verify(&rules, &forged), Err(TokenError::Signature), "{header}");
        assert!(verify(&rules, &own.token_with(&header, ANN)).is_ok(), "{header}");
    }
    let crit = own.token_with(r#"{"alg":"RS256","crit":["exp"]}"#, ANN);
    assert_eq!(verify(&rules, &crit), Err(TokenError::Critical));
    for header in [
        r#"{"alg":"none","alg":"RS256"}"#,
        r#"{"alg":["RS256"]}"#,
        r#"{"alg":"RS256","kid":1}"#,
        r#"{"alg":"RS256","kid":["a"]}"#,
        "[]",
        "",
    ] {
        let token = own.token_with(header, ANN);
        assert_eq!(verify(&rules, &token), Err(TokenError::Malformed), "{header}");
    }
}

#[test]
fn a_key_id_is_a_name_in_the_set_and_nothing_else() {
    let [first, second] = [0, 1].map(|number| Signer::rsa(number, "RS256"));
    let set = key_set(&[first.jwk("a"), second.jwk("b")]);
    let find = |signer: &Signer, kid: &str| {
        let header = json!({ "alg": "RS256", "kid": kid }).to_string();
        let token = signer.token_with(&header, ANN);
        let jwt = Jwt::new(&token).map_err(|error| format!("{error:?}"))?;
        match set.find(&jwt) {
            Found::Key(key) => Ok(jwt.is_signed_by(key)),
            other => Err(format!("{other:?}")),
        }
    };
    assert_eq!((find(&first, "a"), find(&second, "b")), (Ok(true), Ok(true)));
    assert_eq!((find(&first, "b"), find(&second, "a")), (Ok(false), Ok(false)));
    for kid in ["", "A", "a ", "a\0", "../a", "' OR 1=1 --", "/dev/null", "http://127.0.0.1/a"] {
        assert_eq!(find(&first, kid), Err("Unknown".to_owned()), "{kid}");
    }
    assert_eq!(find(&first, &"a".repeat(257)), Err("UnknownKey".to_owned()));
}

#[test]
fn without_a_key_id_there_has_to_be_one_key_that_would_do() {
    let [rsa, other] = [0, 1].map(|number| Signer::rsa(number, "RS256"));
    let curve = Signer::curve("ES256");
    let token = rsa.token(ANN);
    let jwt = Jwt::new(&token).unwrap();
    let alone = key_set(&[curve.jwk("c"), rsa.jwk("a")]);
    assert!(matches!(alone.find(&jwt), Found::Key(key) if jwt.is_signed_by(key)));
    let among_others = key_set(&[rsa.jwk("a"), other.jwk("b")]);
    assert_eq!(among_others.find(&jwt), Found::Unknown);
}

#[test]
fn a_key_is_used_for_what_it_says_it_is_for() {
    let signer = Signer::rsa(0, "RS256");
    let token = signer.token_with(r#"{"alg":"RS256","kid":"a"}"#, ANN);
    let jwt = Jwt::new(&token).unwrap();
    let with = |more: Value| {
        let mut key = signer.jwk("a");
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // Another one beside it, so that the set is not empty without it.
        let text = json!({ "keys": [key, Signer::curve("ES384").jwk("z")] }).to_string();
        KeySet::read(text.as_bytes()).unwrap()
    };
    for fine in [
        json!({}),
        json!({ "alg": "RS256" }),
        json!({ "key_ops": ["verify"] }),
        json!({ "use": null, "x5t": "x", "x5c": ["y"] }),
    ] {
        assert!(matches!(with(fine.clone()).find(&jwt), Found::Key(_)), "{fine}");
    }
    for (wrong, expected) in [
        (json!({ "alg": "RS512" }), Found::OtherAlgorithm),
        (json!({ "alg": "HS256" }), Found::Unknown),
        (json!({ "alg": "RSA-OAEP" }), Found::Unknown),
        (json!({ "use": "enc" }), Found::Unknown),
        (json!({ "key_ops": ["sign"] }), Found::Unknown),
        (json!({ "kty": "oct", "k": "AAAA" }), Found::Unknown),
        (json!({ "n": "AQAB" }), Found::Unknown),
        (json!({ "n": "***" }), Found::Unknown),
    ] {
        assert_eq!(with(wrong.clone()).find(&jwt), expected, "{wrong}");
    }
}

#[test]
fn what_is_no_key_set_is_refused() {
    for text in ["", "[]", "{}", r#"{"keys":1}"#, r#"{"keys":[1]}"#, "<html>"] {
        assert_eq!(KeySet::read(text.as_bytes()), Err(KeySetError::Json), "{text}");
    }
    for text in [r#"{"keys":[]}"#, r#"{"keys":[{}]}"#, r#"{"keys":[{"kty":"EC","crv":"P-256"}]}"#] {
        assert_eq!(KeySet::read(text.as_bytes()), Err(KeySetError::NoKey), "{text}");
    }
    let many = json!({ "keys": vec![json!({}); KEY_SET_KEYS_MAX + 1] }).to_string();
    let count = KEY_SET_KEYS_MAX + 1;
    assert_eq!(KeySet::read(many.as_bytes()), Err(KeySetError::TooMany { count }));
}

#[test]
fn what_is_no_key_of_its_kind_is_refused_before_it_is_used() {
    let (rsa, curve) = (Signer::rsa(0, "RS256"), Signer::curve("ES256"));
    let ed25519 = Signer::curve("EdDSA");
    for pem in ["", "key", "-----BEGIN PUBLIC KEY-----", &rsa.pem().replace("PUBLIC", "PRIVATE")] {
        assert_eq!(PublicKey::rsa(pem), Err(KeyError::Pem), "{pem}");
        assert_eq!(PublicKey::ecdsa(pem), Err(KeyError::Pem), "{pem}");
    }
    assert_eq!(PublicKey::rsa(&curve.pem()), Err(KeyError::Kind));
    assert_eq!(PublicKey::ecdsa(&rsa.pem()), Err(KeyError::Kind));
    assert_eq!(PublicKey::ecdsa(&ed25519.pem()), Err(KeyError::Kind));
    // An RSA key of 1,024 bits, made for this test.
    let short = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDPpjRO6Y9xHvhjz2Aq8F2qKiMW
2Ac1WvwkAgwapgTj+WV6Or+zgLJnpq1Q+PgmdPukOcjy9ordi7u/mvkrzHn2D/3X
Mut0PKg0L6yPM+YOkAZ8eOlY8I95YagTWO5T/ppLbjCg67zuERAO/YfwMhQq1BFh
e3X5P3+Snvy1kAYgewIDAQAB
-----END PUBLIC KEY-----";
    assert_eq!(PublicKey::rsa(short), Err(KeyError::RsaSize));
    let one_line = rsa.pem().replace('\n', "\\n");
    assert_eq!(PublicKey::rsa(&one_line), PublicKey::rsa(&rsa.pem()), "as in a variable");
}

#[test]
fn a_long_token_is_refused_whatever_it_is() {
    let long = |bytes: usize| {
        let info = "x".repeat(bytes * 3 / 4);
        signed(&format!(r#"{{"sub":"ann","other":"{info}"}}"#))
    };
    let rules = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
    let token = long(TOKEN_BYTES_MAX - 256);
    assert!(token.len() <= TOKEN_BYTES_MAX && verify(&rules, &token).is_ok(), "{}", token.len());
    assert_eq!(verify(&rules, &long(TOKEN_BYTES_MAX)), Err(TokenError::TooLong));
    assert_eq!(verify(&rules, &"x".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
}

#[test]
fn who_says_that_a_token_is_signed_says_it_of_that_token() {
    let signer = Signer::rsa(0, "RS256");
    let rules = rules_with(&signer);
    let (ann, bob) = (signer.token(ANN), signer.token(r#"{"sub":"bob"}"#));
    assert!(rules.claims_of(&ann, Fingerprint::of(&ann)).is_ok());
    assert_eq!(rules.claims_of(&bob, Fingerprint::of(&ann)), Err(TokenError::Signature));
}

#[test]
fn audience_and_issuer_match_as_names_or_patterns() {
    let rules = TokenRules {
        key: HmacKey::new(KEY),
        audience: Expected::pattern("^(web|app)-[a-z]+$").unwrap(),
        issuer: Expected::pattern("idp").unwrap(),
        ..TokenRules::default()
    };
    for (text, expected) in [
        (r#"{"aud":"web-eu","iss":"https://idp.example"}"#, None),
        (r#"{"aud":["x","app-us"],"iss":"idp"}"#, None),
        (r#"{"aud":"web-EU","iss":"idp"}"#, Some(TokenError::Audience)),
        (r#"{"aud":"xweb-eu","iss":"idp"}"#, Some(TokenError::Audience)),
        (r#"{"iss":"idp"}"#, Some(TokenError::Audience)),
        (r#"{"aud":"web-eu"}"#, Some(TokenError::Issuer)),
        (r#"{"aud":"web-eu","iss":"other"}"#, Some(TokenError::Issuer)),
        (r#"{"aud":1,"iss":"idp"}"#, Some(TokenError::Claims)),
    ] {
        assert_eq!(verify(&rules, &signed(text)).err(), expected, "{text}");
    }
    assert!(Expected::pattern("(").is_err() && Expected::pattern("(a{500}){500}").is_err());
}

#[test]
fn a_subscription_token_says_who_may_be_where_and_for_how_long() {
    let rules = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
    let read = |text: &str| match rules.check(&signed(text), NOW) {
        Ok(Check::Signed(claims)) => rules.subscription(&claims, &Revoked::default(), NOW),
        other => panic!("{other:?}"),
    };
    let token = read(
        r#"{"sub":"ann","channel":"$a","client":"c","exp":1000009,"iat":999999,"jti":"t1",
            "info":{"n":1},"b64data":"Nw==","override":{"presence":{"value":true}}}"#,
    )
    .unwrap();
    assert_eq!((&*token.user, &*token.client, &*token.id), ("ann", "c", "t1"));
    assert_eq!(token.expires, Some(Duration::from_secs(1_000_009)));
    assert_eq!(token.issued, Some(Duration::from_secs(999_999)));
    let Claimed { channel, info, data, overrides } = token.claimed;
    assert_eq!((&*channel, &*info, &*data), ("$a", &br#"{"n":1}"#[..], &b"7"[..]));
    assert_eq!(overrides.presence, Some(Override { value: true }));
    for (text, expected) in [
        (r#"{"sub":"ann"}"#, TokenError::ChannelName),
        (r#"{"channel":""}"#, TokenError::ChannelName),
        (r#"{"channel":1}"#, TokenError::Claims),
        (r#"{"channel":"a","client":1}"#, TokenError::Claims),
        (r#"{"channel":"a","exp":1000000}"#, TokenError::Expired),
        (r#"{"channel":"a","nbf":1000001}"#, TokenError::Expired),
        (r#"{"channel":"a","override":true}"#, TokenError::Claims),
    ] {
        assert_eq!(read(text), Err(expected), "{text}");
    }
    let forever = read(r#"{"channel":"a","exp":1000009,"expire_at":0}"#).unwrap();
    assert_eq!((forever.expires, &*forever.user), (None, ""));
}

#[test]
fn what_is_kept_with_a_connection_has_a_bound() {
    let rules = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
    let id = |bytes| verify(&rules, &signed(&format!(r#"{{"jti":"{}"}}"#, "x".repeat(bytes))));
    assert!(id(TOKEN_ID_BYTES_MAX).is_ok());
    assert_eq!(id(TOKEN_ID_BYTES_MAX + 1), Err(TokenError::IdTooLong));
    let meta = |bytes| verify(&rules, &signed(&format!(r#"{{"meta":"{}"}}"#, "x".repeat(bytes))));
    assert_eq!(meta(1).map(|token| token.meta), Ok(br#""x""#.to_vec()));
    assert_eq!(meta(4096), Err(TokenError::InfoTooLong));
}

#[test]
fn a_revoked_token_is_refused_before_anything_else_is_said_of_it() {
    let rules = TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() };
    let mut revoked = Revoked::default();
    revoked.revoke("t1", Revoked::FOR_EVER, NOW).expect("room");
    let old = Duration::from_secs(500_000);
    revoked.revoke_before(("bob", ""), old, Revoked::FOR_EVER, NOW).expect("room");
    revoked.revoke_before(("cho", "a"), old, Revoked::FOR_EVER, NOW).expect("room");
    let of_connection = |text: &str| {
        let Ok(Check::Signed(claims)) = rules.check(&signed(text), NOW) else { panic!("{text}") };
        rules.connection(&claims, &revoked, NOW).map(drop)
    };
    let of_subscription = |text: &str| {
        let Ok(Check::Signed(claims)) = rules.check(&signed(text), NOW) else { panic!("{text}") };
        rules.subscription(&claims, &revoked, NOW).map(drop)
    };
    let gone = Err(TokenError::Revoked);
    for (text, expected) in [
        (r#"{"sub":"ann","jti":"t1"}"#, gone),
        (r#"{"sub":"ann","jti":"t1","exp":1}"#, gone),
        (r#"{"sub":"ann","jti":"t2"}"#, Ok(())),
        (r#"{"sub":"bob"}"#, gone),
        (r#"{"sub":"bob","iat":499999,"exp":1}"#, gone),
        (r#"{"sub":"bob","iat":500000}"#, Ok(())),
        (r#"{"sub":"bob","iat":500000,"exp":1}"#, Err(TokenError::Expired)),
        (r#"{"sub":"cho"}"#, Ok(())),
    ] {
        assert_eq!(of_connection(text), expected, "{text}");
        let in_channel = text.replace("\"sub\"", "\"channel\":\"b\",\"sub\"");
        assert_eq!(of_subscription(&in_channel), expected, "{text}");
    }
    assert_eq!(of_subscription(r#"{"sub":"cho","channel":"a"}"#), gone);
    assert_eq!(of_subscription(r#"{"sub":"cho","channel":"a","iat":500000}"#), Ok(()));
}
