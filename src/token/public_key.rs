//! Public keys, as files and key sets bring them, ready to verify with.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::algorithm::{Digest, PublicAlgorithm};

/// A public key. It verifies what its kind of key signs, and nothing else.
#[derive(Clone)]
pub struct PublicKey(Arc<Parsed>);

enum Parsed {
    /// For each hash in the order of [`Digest`].
    Rsa([ParsedPublicKey; 3]),
    Curve(PublicAlgorithm, ParsedPublicKey),
}

/// What cannot be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// There is no PEM block of a public key.
    Pem,
    /// It is of another kind, or no key.
    Kind,
    /// An RSA key has 2,048 to 8,192 bits; with fewer, it is forged.
    RsaSize,
}

/// Bytes of the modulus of an RSA key.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

const CURVES: [(PublicAlgorithm, &dyn VerificationAlgorithm); 3] = [
    (PublicAlgorithm::P256, &ECDSA_P256_SHA256_FIXED),
    (PublicAlgorithm::P384, &ECDSA_P384_SHA384_FIXED),
    (PublicAlgorithm::P521, &ECDSA_P521_SHA512_FIXED),
];

impl PublicKey {
    /// An RSA key in PEM.
    pub fn rsa(pem: &str) -> Result<Self, KeyError> {
        let der = der(pem)?;
        let parse = |algorithm| ParsedPublicKey::new(algorithm, &der).map_err(|_| KeyError::Kind);
        let keys = [
            parse(&RSA_PKCS1_2048_8192_SHA256)?,
            parse(&RSA_PKCS1_2048_8192_SHA384)?,
            parse(&RSA_PKCS1_2048_8192_SHA512)?,
        ];
        PublicEncryptingKey::from_der(&der).map_err(|_| KeyError::RsaSize)?;
        Ok(Self(Arc::new(Parsed::Rsa(keys))))
    }

    /// A key of one of the curves in PEM.
    pub fn ecdsa(pem: &str) -> Result<Self, KeyError> {
        let der = der(pem)?;
        let of = |(algorithm, verifies)| Self::of_curve(algorithm, verifies, &der);
        CURVES.into_iter().find_map(of).ok_or(KeyError::Kind)
    }

    /// An RSA key by its numbers, big-endian.
    pub fn rsa_of(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        // Some write a leading zero, as signed numbers would have.
        let trim = |bytes: &[u8]| {
            let start = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[start..].to_vec()
        };
        let numbers = RsaPublicKeyComponents { n: trim(modulus), e: trim(exponent) };
        if !RSA_BYTES.contains(&numbers.n.len()) {
            return Err(KeyError::RsaSize);
        }
        let parse = |algorithm| numbers.to_parsed_public_key(algorithm).map_err(|_| KeyError::Kind);
        Ok(Self(Arc::new(Parsed::Rsa([
            parse(&RSA_PKCS1_2048_8192_SHA256)?,
            parse(&RSA_PKCS1_2048_8192_SHA384)?,
            parse(&RSA_PKCS1_2048_8192_SHA512)?,
        ]))))
    }

    /// A key of a curve by its point (SEC 1 §2.3.3), or by its 32 bytes for Ed25519.
    pub fn curve_of(algorithm: PublicAlgorithm, point: &[u8]) -> Result<Self, KeyError> {
        let verifies: &'static dyn VerificationAlgorithm = match algorithm {
            PublicAlgorithm::P256 => &ECDSA_P256_SHA256_FIXED,
            PublicAlgorithm::P384 => &ECDSA_P384_SHA384_FIXED,
            PublicAlgorithm::P521 => &ECDSA_P521_SHA512_FIXED,
            PublicAlgorithm::Ed25519 => &ED25519,
            PublicAlgorithm::Rsa(_) => return Err(KeyError::Kind),
        };
        Self::of_curve(algorithm, verifies, point).ok_or(KeyError::Kind)
    }

    fn of_curve(
        algorithm: PublicAlgorithm,
        verifies: &'static dyn VerificationAlgorithm,
        bytes: &[u8],
    ) -> Option<Self> {
        let key = ParsedPublicKey::new(verifies, bytes).ok()?;
        Some(Self(Arc::new(Parsed::Curve(algorithm, key))))
    }

    /// Whether signatures of this algorithm are made by such keys.
    pub fn fits(&self, algorithm: PublicAlgorithm) -> bool {
        self.of(algorithm).is_some()
    }

    /// Whether the other half of this key has signed it.
    pub(super) fn has_signed(
        &self,
        algorithm: PublicAlgorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        self.of(algorithm).is_some_and(|key| key.verify_sig(signed, signature).is_ok())
    }

    fn of(&self, algorithm: PublicAlgorithm) -> Option<&ParsedPublicKey> {
        match (&*self.0, algorithm) {
            (Parsed::Rsa([sha256, sha384, sha512]), PublicAlgorithm::Rsa(digest)) => {
                Some(match digest {
                    Digest::Sha256 => sha256,
                    Digest::Sha384 => sha384,
                    Digest::Sha512 => sha512,
                })
            }
            (Parsed::Curve(own, key), algorithm) => (*own == algorithm).then_some(key),
            (Parsed::Rsa(_), _) => None,
        }
    }

    fn bytes(&self) -> &[u8] {
        let (Parsed::Rsa([key, ..]) | Parsed::Curve(_, key)) = &*self.0;
        key.as_ref()
    }
}

/// The contents of the first PEM block (RFC 7468 §13).
fn der(pem: &str) -> Result<Vec<u8>, KeyError> {
    const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
    const END: &str = "-----END PUBLIC KEY-----";
    let (_, rest) = pem.split_once(BEGIN).ok_or(KeyError::Pem)?;
    let (body, _) = rest.split_once(END).ok_or(KeyError::Pem)?;
    // In the variables of some shells a line break is written as two characters.
    let body: String = body.replace("\\n", "").split_whitespace().collect();
    STANDARD.decode(body).map_err(|_| KeyError::Pem)
}

impl fmt::Display for KeyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Pem => "there is no block -----BEGIN PUBLIC KEY----- with a key in it",
            Self::Kind => "the key is of another kind",
            Self::RsaSize => "an RSA key has 2048 to 8192 bits",
        })
    }
}

impl std::error::Error for KeyError {}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Parsed::Rsa(_) => out.write_str("PublicKey(RSA)"),
            Parsed::Curve(algorithm, _) => write!(out, "PublicKey({algorithm:?})"),
        }
    }
}
