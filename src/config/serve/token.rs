//! `client.token` and `client.subscription_token`: how the tokens of clients are verified.

use std::path::PathBuf;

use super::{Pattern, Serve};
use crate::config::key::Kind;
use crate::config::raw::Reader;
use crate::config::section::section;
use crate::config::setting::{Secret, Setting};
use crate::config::value::Value;
use crate::token::PublicKey;

/// A section of these keys, and those of its own.
macro_rules! token_section {
    ($(#[$about:meta])* $name:ident in $prefix:literal { $($own:tt)* }) => {
        section! {
            $(#[$about])*
            pub struct $name in $prefix {
                $($own)*
                /// The key that a back end signs tokens with: JWTs of the algorithms HS256, HS384
                /// and HS512. Without any key a client that brings a token is refused.
                hmac_secret_key: Secret = Secret::default();
                /// A file with the key in it, in place of `hmac_secret_key`.
                hmac_secret_key_file: PathBuf = PathBuf::new();
                /// The key before the present one, so that tokens signed with it are still taken.
                hmac_previous_secret_key: Secret = Secret::default();
                /// A file with the previous key in it, in place of `hmac_previous_secret_key`.
                hmac_previous_secret_key_file: PathBuf = PathBuf::new();
                /// Until when the previous key is taken, in seconds since 1970; 0 sets no end.
                hmac_previous_secret_key_valid_until: u32 = 0;
                /// The public half of an RSA key, in PEM, for tokens of the algorithms RS256, RS384
                /// and RS512. Empty for none.
                rsa_public_key: RsaKey = RsaKey(String::new());
                /// The public half of a key of the curves P-256, P-384 or P-521, in PEM, for tokens
                /// of the algorithms ES256, ES384 or ES512. Empty for none.
                ecdsa_public_key: EcdsaKey = EcdsaKey(String::new());
                /// The URL of a JSON Web Key Set with the public keys of whoever signs tokens.
                /// Empty for none.
                jwks_public_endpoint: KeySetUrl = KeySetUrl(String::new());
                /// What a token must name in its claim `aud`. Empty for anything.
                audience: String = String::new();
                /// A regular expression that a part of the claim `aud` must match, in place of
                /// `audience`.
                audience_regex: Pattern = Pattern(String::new());
                /// What the claim `iss` of a token must be. Empty for anything.
                issuer: String = String::new();
                /// A regular expression that a part of the claim `iss` must match, in place of
                /// `issuer`.
                issuer_regex: Pattern = Pattern(String::new());
                /// The claim with the user's id. Empty for `sub`.
                user_id_claim: String = String::new();
            }
        }
    };
}

token_section! {
    /// How the tokens of clients are verified.
    Token in "client.token." {}
}

token_section! {
    /// How the tokens of subscriptions are verified, where it is not as those of clients.
    SubscriptionToken in "client.subscription_token." {
        /// Whether these keys count: if not, tokens of subscriptions are verified as those of
        /// clients.
        enabled: bool = false;
    }
}

impl SubscriptionToken {
    /// Its keys, without the one of its own.
    pub fn keys(&self) -> Token {
        let own = self.clone();
        Token {
            hmac_secret_key: own.hmac_secret_key,
            hmac_secret_key_file: own.hmac_secret_key_file,
            hmac_previous_secret_key: own.hmac_previous_secret_key,
            hmac_previous_secret_key_file: own.hmac_previous_secret_key_file,
            hmac_previous_secret_key_valid_until: own.hmac_previous_secret_key_valid_until,
            rsa_public_key: own.rsa_public_key,
            ecdsa_public_key: own.ecdsa_public_key,
            jwks_public_endpoint: own.jwks_public_endpoint,
            audience: own.audience,
            audience_regex: own.audience_regex,
            issuer: own.issuer,
            issuer_regex: own.issuer_regex,
            user_id_claim: own.user_id_claim,
        }
    }
}

impl Serve {
    /// Finds claims that would have to be two things.
    pub(super) fn agree_on_tokens(&self, reader: &mut Reader<'_>) {
        let sections = [
            ("client.token", self.token.clone()),
            ("client.subscription_token", self.subscription_token.keys()),
        ];
        for (section, keys) in sections {
            for (name, exact, pattern) in [
                ("audience", &keys.audience, &keys.audience_regex),
                ("issuer", &keys.issuer, &keys.issuer_regex),
            ] {
                if let Some(pattern) = pattern.text()
                    && !exact.is_empty()
                {
                    reader.contradiction(
                        format!("{section}.{name} is {exact:?}, and {name}_regex {pattern:?}"),
                        "remove one of them".to_owned(),
                    );
                }
            }
        }
    }
}

/// A public key in PEM, or nothing.
macro_rules! pem_setting {
    ($(#[$about:meta])* $name:ident, $parse:path, $what:literal) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The key, if there is one.
            pub fn key(&self) -> Option<PublicKey> {
                let is_set = !self.0.is_empty();
                is_set.then(|| $parse(&self.0).expect("it was parsed when it was read"))
            }
        }

        impl Setting for $name {
            const KIND: Kind = Kind::Text($what);

            fn read(value: &Value) -> Result<Self, String> {
                let text = value.text()?;
                if !text.is_empty() {
                    $parse(text).map_err(|error| error.to_string())?;
                }
                Ok(Self(text.to_owned()))
            }

            fn write(&self) -> Value {
                Value::Text(self.0.clone())
            }
        }
    };
}

pem_setting! {
    /// The public half of an RSA key.
    RsaKey, PublicKey::rsa, "an RSA public key in PEM, or nothing"
}

pem_setting! {
    /// The public half of an ECDSA key.
    EcdsaKey, PublicKey::ecdsa, "an ECDSA public key in PEM, or nothing"
}

/// The place of a key set, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetUrl(String);

impl KeySetUrl {
    /// The URL, if there is one.
    pub fn url(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl Setting for KeySetUrl {
    const KIND: Kind = Kind::Text("a URL such as https://id.example.com/keys, or nothing");

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.text()?;
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_url = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control());
        if !is_url && !text.is_empty() {
            return Err("a URL begins with https:// or http://, and has a host".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> Value {
        Value::Text(self.0.clone())
    }
}
