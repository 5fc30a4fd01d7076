//! Sets of public keys as providers of tokens publish them (RFC 7517).
//!
//! A set may hold keys that are of no use here, for encryption or of other curves: they are passed
//! over. A key that says what it is for is used for nothing else.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::algorithm::{Algorithm, PublicAlgorithm};
use super::jwt::Jwt;
use super::public_key::PublicKey;
use crate::limits::{KEY_SET_KEYS_MAX, TOKEN_KEY_ID_BYTES_MAX};

/// The keys of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Named>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<PublicAlgorithm>,
    key: PublicKey,
}

/// What a set has for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Its key.
    Key(&'a PublicKey),
    /// The key is there, and is not for this algorithm.
    OtherAlgorithm,
    /// There is no key of that name.
    Unknown,
}

/// Why a text is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetError {
    /// It is no JSON of a key set.
    Json,
    /// It has more keys than are looked at.
    TooMany {
        /// So many.
        count: usize,
    },
    /// None of its keys is one that tokens are signed with.
    NoKey,
}

#[derive(Deserialize)]
struct Text {
    keys: Vec<Key>,
}

/// One key; what it does not say is empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    #[serde(rename = "key_ops")]
    operations: Option<Vec<String>>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

impl KeySet {
    /// Reads a key set.
    pub fn read(json: &[u8]) -> Result<Self, KeySetError> {
        let Text { keys } = serde_json::from_slice(json).map_err(|_| KeySetError::Json)?;
        if keys.len() > KEY_SET_KEYS_MAX {
            return Err(KeySetError::TooMany { count: keys.len() });
        }
        let keys: Vec<Named> = keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(Self { keys }) }
    }

    /// The key for a token. Without a name there has to be one only that would do.
    pub fn find(&self, jwt: &Jwt<'_>) -> Found<'_> {
        let Some(algorithm) = jwt.public_algorithm() else { return Found::OtherAlgorithm };
        let id = jwt.key_id();
        let mut fitting = self.keys.iter().filter(|one| one.fits(algorithm));
        let Some(id) = id else {
            return match (fitting.next(), fitting.next()) {
                (Some(one), None) => Found::Key(&one.key),
                _ => Found::Unknown,
            };
        };
        let is_named = |one: &&Named| one.id.as_deref() == Some(id);
        match fitting.find(is_named) {
            Some(one) => Found::Key(&one.key),
            None if self.keys.iter().any(|one| is_named(&one)) => Found::OtherAlgorithm,
            None => Found::Unknown,
        }
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Named {
    fn fits(&self, algorithm: PublicAlgorithm) -> bool {
        self.key.fits(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

impl Key {
    /// The key, if it is one that tokens are signed with.
    fn read(self) -> Option<Named> {
        let is_for_signatures = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let may_verify =
            self.operations.as_ref().is_none_or(|names| names.iter().any(|name| name == "verify"));
        let has_long_id = self.kid.as_ref().is_some_and(|id| id.len() > TOKEN_KEY_ID_BYTES_MAX);
        if !is_for_signatures || !may_verify || has_long_id {
            return None;
        }
        let algorithm = match self.alg.as_deref().map(Algorithm::named) {
            None => None,
            Some(Some(Algorithm::Public(algorithm))) => Some(algorithm),
            Some(_) => return None,
        };
        let key = self.key()?;
        Some(Named { id: self.kid, algorithm, key })
    }

    fn key(&self) -> Option<PublicKey> {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        match (&*self.kty, &*self.crv) {
            ("RSA", _) => PublicKey::rsa_of(&bytes(&self.n)?, &bytes(&self.e)?).ok(),
            ("EC", curve) => {
                let (algorithm, size) = match curve {
                    "P-256" => (PublicAlgorithm::P256, 32),
                    "P-384" => (PublicAlgorithm::P384, 48),
                    "P-521" => (PublicAlgorithm::P521, 66),
                    _ => return None,
                };
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                let is_of_size = x.len() == size && y.len() == size;
                let point = [&[4][..], &x, &y].concat(); // not compressed
                is_of_size.then(|| PublicKey::curve_of(algorithm, &point).ok())?
            }
            ("OKP", "Ed25519") => {
                PublicKey::curve_of(PublicAlgorithm::Ed25519, &bytes(&self.x)?).ok()
            }
            _ => None,
        }
    }
}

impl fmt::Display for KeySetError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json => out.write_str("it is no JSON Web Key Set"),
            Self::TooMany { count } => {
                write!(out, "it has {count} keys, and {KEY_SET_KEYS_MAX} are looked at")
            }
            Self::NoKey => out.write_str("it has no key that tokens are signed with"),
        }
    }
}

impl std::error::Error for KeySetError {}
