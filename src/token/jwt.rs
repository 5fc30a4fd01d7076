//! A token in its parts (RFC 7515 §7.1): header, claims, signature, each in base64url.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::algorithm::{Algorithm, PublicAlgorithm};
use super::error::TokenError;
use super::hmac_key::HmacKey;
use super::public_key::PublicKey;
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_KEY_ID_BYTES_MAX};

/// A token whose signature has yet to be checked: nobody sees its claims before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

/// The claims of a token, in JSON, whose signature was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedClaims(pub(super) Vec<u8>);

/// By what a token is known again: nobody can make another one of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// That of a token's text.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// What a header says. Whatever else it does, a key to verify with above all, counts for nothing.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart. Nothing is done with one that is too long.
    pub fn new(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if claims.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        let algorithm = Algorithm::named(&header.alg).ok_or(TokenError::Algorithm)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        if header.kid.as_ref().is_some_and(|kid| kid.len() > TOKEN_KEY_ID_BYTES_MAX) {
            return Err(TokenError::UnknownKey);
        }
        let signature = decode(signature)?;
        Ok(Self { algorithm, key_id: header.kid, signed, claims, signature })
    }

    /// How it says that it is signed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that it says it is signed with.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Whether this secret has signed it.
    pub(super) fn is_signed_by_secret(&self, key: &HmacKey) -> bool {
        let Algorithm::Hmac(digest) = self.algorithm else { return false };
        key.has_signed(digest, self.signed.as_bytes(), &self.signature)
    }

    /// Whether the other half of this key has signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Algorithm::Public(algorithm) = self.algorithm else { return false };
        key.has_signed(algorithm, self.signed.as_bytes(), &self.signature)
    }

    /// The same, if it is signed by a public key at all.
    pub fn public_algorithm(&self) -> Option<PublicAlgorithm> {
        match self.algorithm {
            Algorithm::Public(algorithm) => Some(algorithm),
            Algorithm::Hmac(_) => None,
        }
    }

    /// The claims, for those who know that the signature is right.
    pub(super) fn signed_claims(&self) -> Result<SignedClaims, TokenError> {
        decode(self.claims).map(SignedClaims)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}
