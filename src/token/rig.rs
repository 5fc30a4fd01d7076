//! Tokens for tests.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::KeySet;

/// The key that the tokens of tests are signed with.
pub(crate) const KEY: &[u8] = b"a key of tests";

/// These claims as a token that [`KEY`] has signed.
pub(crate) fn signed(claims: &str) -> String {
    signed_with(KEY, r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

pub(crate) fn signed_with(key: &[u8], header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let token = format!("{header}.{claims}");
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(&token);
    format!("{token}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A pair of keys of tests, and how it signs.
pub(crate) struct Signer {
    pub(crate) algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Making an RSA key takes long: all tests of a process share two.
static RSA: [LazyLock<RsaKeyPair>; 2] = [const { LazyLock::new(rsa_pair) }; 2];

fn rsa_pair() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")
}

impl Signer {
    /// An RSA pair: the same for the same number.
    pub(crate) fn rsa(number: usize, algorithm: &'static str) -> Self {
        let encoding: &'static dyn RsaEncoding = match algorithm {
            "RS256" => &RSA_PKCS1_SHA256,
            "RS384" => &RSA_PKCS1_SHA384,
            "RS512" => &RSA_PKCS1_SHA512,
            other => panic!("{other}"),
        };
        Self { algorithm, pair: Pair::Rsa(&RSA[number], encoding) }
    }

    /// A new pair.
    pub(crate) fn curve(algorithm: &'static str) -> Self {
        let ecdsa = |curve| Pair::Ecdsa(EcdsaKeyPair::generate(curve).expect("a key"));
        let pair = match algorithm {
            "ES256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "ES512" => ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING),
            "EdDSA" => Pair::Ed25519(Ed25519KeyPair::generate().expect("a key")),
            other => panic!("{other}"),
        };
        Self { algorithm, pair }
    }

    /// One of each algorithm.
    pub(crate) fn all() -> Vec<Self> {
        let rsa = ["RS256", "RS384", "RS512"].map(|name| Self::rsa(0, name));
        let curves = ["ES256", "ES384", "ES512", "EdDSA"].map(Self::curve);
        rsa.into_iter().chain(curves).collect()
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, text, &mut signature).expect("it signs");
                signature
            }
            Pair::Ecdsa(pair) => pair.sign(&random, text).expect("it signs").as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
        }
    }

    /// These claims as a token.
    pub(crate) fn token(&self, claims: &str) -> String {
        self.token_with(&format!(r#"{{"alg":"{}"}}"#, self.algorithm), claims)
    }

    pub(crate) fn token_with(&self, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// The public half in PEM.
    pub(crate) fn pem(&self) -> String {
        let der = match &self.pair {
            Pair::Rsa(pair, _) => AsDer::<PublicKeyX509Der>::as_der(pair.public_key()),
            Pair::Ecdsa(pair) => AsDer::<PublicKeyX509Der>::as_der(pair.public_key()),
            Pair::Ed25519(pair) => AsDer::<PublicKeyX509Der>::as_der(pair.public_key()),
        };
        let body = STANDARD.encode(der.expect("it has a form").as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    /// The public half as a key of a set.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair, _) => {
                // A sequence of two numbers (RFC 8017 A.1.1); the first begins with a zero.
                let der = pair.public_key().as_ref();
                let (n, e) = (text(&der[9..9 + pair.public_modulus_len()]), "AQAB");
                json!({ "kty": "RSA", "kid": id, "use": "sig", "n": n, "e": e })
            }
            Pair::Ecdsa(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match self.algorithm {
                    "ES256" => "P-256",
                    "ES384" => "P-384",
                    _ => "P-521",
                };
                json!({ "kty": "EC", "kid": id, "crv": curve, "x": text(x), "y": text(y) })
            }
            Pair::Ed25519(pair) => {
                let x = text(pair.public_key().as_ref());
                json!({ "kty": "OKP", "kid": id, "crv": "Ed25519", "x": x })
            }
        }
    }
}

/// A key set of these.
pub(crate) fn key_set(keys: &[Value]) -> KeySet {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).expect("a key set")
}
