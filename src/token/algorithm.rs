//! How tokens may be signed. An algorithm belongs to one kind of key by its type: what a token
//! says can never make a public key the secret of an HMAC.

/// A way to sign that is served. There is no "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// By a secret that signer and server share: HS256, HS384, HS512.
    Hmac(Digest),
    /// By a key whose public half the server has.
    Public(PublicAlgorithm),
}

/// A way to sign that takes a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAlgorithm {
    /// RSASSA-PKCS1-v1_5: RS256, RS384, RS512.
    Rsa(Digest),
    /// ES256.
    P256,
    /// ES384.
    P384,
    /// ES512.
    P521,
    /// `EdDSA`.
    Ed25519,
}

/// The hash under a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

const NAMES: [(&str, Algorithm); 10] = [
    ("HS256", Algorithm::Hmac(Digest::Sha256)),
    ("HS384", Algorithm::Hmac(Digest::Sha384)),
    ("HS512", Algorithm::Hmac(Digest::Sha512)),
    ("RS256", Algorithm::Public(PublicAlgorithm::Rsa(Digest::Sha256))),
    ("RS384", Algorithm::Public(PublicAlgorithm::Rsa(Digest::Sha384))),
    ("RS512", Algorithm::Public(PublicAlgorithm::Rsa(Digest::Sha512))),
    ("ES256", Algorithm::Public(PublicAlgorithm::P256)),
    ("ES384", Algorithm::Public(PublicAlgorithm::P384)),
    ("ES512", Algorithm::Public(PublicAlgorithm::P521)),
    ("EdDSA", Algorithm::Public(PublicAlgorithm::Ed25519)),
];

impl Algorithm {
    /// The one of this name (RFC 7518 §3.1, RFC 8037 §3.1). Names are told apart by case.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let known = NAMES.iter().find(|(_, algorithm)| *algorithm == self);
        known.map(|(name, _)| *name).expect("all are in the list")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_has_one_name_and_others_have_none() {
        for (name, algorithm) in NAMES {
            assert_eq!((Algorithm::named(name), algorithm.name()), (Some(algorithm), name));
        }
        for name in ["none", "None", "", "hs256", "HS1", "PS256", "ES256K", "RS256 ", "dir"] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }
}
