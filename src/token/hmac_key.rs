//! Secrets that a back end shares with the server.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha384, Sha512};

use super::algorithm::Digest;

/// A key of HMAC. It is not shown, nor is its length.
#[derive(Clone, PartialEq, Eq)]
pub struct HmacKey(Box<[u8]>);

impl HmacKey {
    /// The bytes as the key; `None` if there are none, for then anybody could sign.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (!bytes.is_empty()).then(|| Self(bytes.into()))
    }

    /// Whether this key has signed it. Takes a time that says nothing about where they differ.
    pub(super) fn has_signed(&self, digest: Digest, signed: &[u8], signature: &[u8]) -> bool {
        macro_rules! check {
            ($hash:ty) => {
                Hmac::<$hash>::new_from_slice(&self.0)
                    .expect("HMAC takes keys of any length")
                    .chain_update(signed)
                    .verify_slice(signature)
                    .is_ok()
            };
        }
        match digest {
            Digest::Sha256 => check!(Sha256),
            Digest::Sha384 => check!(Sha384),
            Digest::Sha512 => check!(Sha512),
        }
    }

    /// Its signature of a text.
    pub fn sign(&self, digest: Digest, text: &[u8]) -> Vec<u8> {
        macro_rules! sign {
            ($hash:ty) => {
                Hmac::<$hash>::new_from_slice(&self.0)
                    .expect("HMAC takes keys of any length")
                    .chain_update(text)
                    .finalize()
                    .into_bytes()
                    .to_vec()
            };
        }
        match digest {
            Digest::Sha256 => sign!(Sha256),
            Digest::Sha384 => sign!(Sha384),
            Digest::Sha512 => sign!(Sha512),
        }
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HmacKey(hidden)")
    }
}
