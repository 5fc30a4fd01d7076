//! Which tokens are taken: by whose signature, from whom, for whom.

use std::time::Duration;

use super::algorithm::Algorithm;
use super::claims::{Claims, ConnectionToken, SubscriptionToken};
use super::error::TokenError;
use super::expected::Expected;
use super::hmac_key::HmacKey;
use super::jwt::{Fingerprint, Jwt, SignedClaims};
use super::public_key::PublicKey;
use super::revoked::Revoked;

/// How tokens are verified. Without a key none is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// The key of new tokens (`client.token.hmac_secret_key`).
    pub key: Option<HmacKey>,
    /// The key before it, for tokens that are still about
    /// (`client.token.hmac_previous_secret_key`).
    pub previous_key: Option<HmacKey>,
    /// Until when the previous key counts, since the Unix epoch; `None` sets no end
    /// (`client.token.hmac_previous_secret_key_valid_until`).
    pub previous_key_until: Option<Duration>,
    /// The other halves of keys that tokens are signed with (`client.token.rsa_public_key`,
    /// `client.token.ecdsa_public_key`).
    pub public_keys: Vec<PublicKey>,
    /// Where more of them are to be had (`client.token.jwks_public_endpoint`).
    pub key_set_url: Option<String>,
    /// What `aud` must name (`client.token.audience`, `client.token.audience_regex`).
    pub audience: Expected,
    /// What `iss` must be (`client.token.issuer`, `client.token.issuer_regex`).
    pub issuer: Expected,
    /// The claim with the user's id; `sub` if it is empty (`client.token.user_id_claim`).
    pub user_id_claim: String,
}

/// What is known of a token at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Its signature is right.
    Signed(SignedClaims),
    /// It is signed by a public key, which takes too long to check here.
    Ask,
}

impl TokenRules {
    /// Checks the signature at `now`, the time since the Unix epoch, if that takes no time worth
    /// speaking of.
    pub fn check(&self, token: &str, now: Duration) -> Result<Check, TokenError> {
        let jwt = Jwt::new(token)?;
        if let Algorithm::Public(_) = jwt.algorithm() {
            self.admit(&jwt)?;
            return Ok(Check::Ask);
        }
        let is_over = self.previous_key_until.is_some_and(|until| until <= now);
        let previous = self.previous_key.as_ref().filter(|_| !is_over);
        let mut keys = self.key.iter().chain(previous).peekable();
        keys.peek().ok_or(self.no_such_key())?;
        if !keys.any(|key| jwt.is_signed_by_secret(key)) {
            return Err(TokenError::Signature);
        }
        jwt.signed_claims().map(Check::Signed)
    }

    /// Whether there may be public keys at all.
    pub fn has_public_keys(&self) -> bool {
        !self.public_keys.is_empty() || self.key_set_url.is_some()
    }

    /// Whether the signature of this token is one that takes long to check.
    pub fn asks(&self, token: &str) -> bool {
        self.has_public_keys() && Jwt::new(token).is_ok_and(|jwt| self.admit(&jwt).is_ok())
    }

    /// The claims of a token whose signature was found to be right elsewhere.
    pub fn claims_of(&self, token: &str, known: Fingerprint) -> Result<SignedClaims, TokenError> {
        if Fingerprint::of(token) != known {
            return Err(TokenError::Signature);
        }
        Jwt::new(token)?.signed_claims()
    }

    /// Whether there may be a public key for such a token.
    pub fn admit(&self, jwt: &Jwt<'_>) -> Result<(), TokenError> {
        let algorithm = jwt.public_algorithm().ok_or(self.no_such_key())?;
        if self.key_set_url.is_some() || self.public_keys.iter().any(|key| key.fits(algorithm)) {
            Ok(())
        } else {
            Err(self.no_such_key())
        }
    }

    /// Whether one of the keys that are always there has signed it.
    pub fn is_signed(&self, jwt: &Jwt<'_>) -> bool {
        self.public_keys.iter().any(|key| jwt.is_signed_by(key))
    }

    /// The keys that are always there, and may have signed it.
    pub fn keys_for(&self, jwt: &Jwt<'_>) -> Vec<PublicKey> {
        let algorithm = jwt.public_algorithm();
        let fits = |key: &&PublicKey| algorithm.is_some_and(|algorithm| key.fits(algorithm));
        self.public_keys.iter().filter(fits).cloned().collect()
    }

    /// What a connection token says, if it is to be believed at `now`. That it was revoked comes
    /// before all else that may be wrong with it.
    pub fn connection(
        &self,
        claims: &SignedClaims,
        revoked: &Revoked,
        now: Duration,
    ) -> Result<ConnectionToken, TokenError> {
        let claims = Claims::read(&claims.0)?;
        claims.check_is_of_connection()?;
        claims.check_is_not_revoked(self.user_claim(), revoked, now)?;
        self.check_claims(&claims, now)?;
        claims.connection(self.user_claim())
    }

    /// What a subscription token says, if it is to be believed at `now`.
    pub fn subscription(
        &self,
        claims: &SignedClaims,
        revoked: &Revoked,
        now: Duration,
    ) -> Result<SubscriptionToken, TokenError> {
        let claims = Claims::read(&claims.0)?;
        claims.check_is_not_revoked(self.user_claim(), revoked, now)?;
        self.check_claims(&claims, now)?;
        claims.subscription(self.user_claim())
    }

    fn check_claims(&self, claims: &Claims<'_>, now: Duration) -> Result<(), TokenError> {
        claims.check_origin(&self.audience, &self.issuer)?;
        claims.check_time(now)
    }

    /// Why a token finds no key: there is none at all, or none of its algorithm.
    fn no_such_key(&self) -> TokenError {
        let has_secret = self.key.is_some() || self.previous_key.is_some();
        if has_secret || self.has_public_keys() { TokenError::Algorithm } else { TokenError::NoKey }
    }

    fn user_claim(&self) -> &str {
        if self.user_id_claim.is_empty() { "sub" } else { &self.user_id_claim }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::rig::{KEY, signed, signed_with};
    use super::*;
    use crate::limits::USER_ID_BYTES_MAX;

    const NOW: Duration = Duration::from_secs(1_000_000);
    fn base64(text: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(text).unwrap()
    }

    const HEADER: &str = r#"{"alg":"HS256"}"#;

    fn rules() -> TokenRules {
        TokenRules { key: HmacKey::new(KEY), ..TokenRules::default() }
    }

    impl TokenRules {
        fn verify(&self, token: &str, now: Duration) -> Result<ConnectionToken, TokenError> {
            match self.check(token, now)? {
                Check::Signed(claims) => self.connection(&claims, &Revoked::default(), now),
                Check::Ask => panic!("{token}: it is signed by a secret"),
            }
        }
    }

    fn verify(token: &str) -> Result<ConnectionToken, TokenError> {
        rules().verify(token, NOW)
    }

    fn claims(claims: &str) -> Result<ConnectionToken, TokenError> {
        verify(&signed(claims))
    }

    #[test]
    fn the_example_of_the_standard_is_verified() {
        // RFC 7515, A.1.
        let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAz\
                   Zr1Z9CAow";
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMD\
                     A4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-m\
                     B92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let key = HmacKey::new(&base64(key));
        let rules = TokenRules { key, issuer: Expected::name("joe"), ..TokenRules::default() };
        let end = Duration::new(1_300_819_380, 0);
        let read = rules.verify(token, Duration::new(1_300_819_379, 0)).expect("it is valid");
        assert_eq!((&*read.user, read.expires), ("", Some(end)));
        assert_eq!(rules.verify(token, end), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_that_no_key_has_signed_is_refused() {
        let token = signed(r#"{"sub":"ann"}"#);
        assert!(verify(&token).is_ok());
        let other = signed_with(b"another key", HEADER, r#"{"sub":"ann"}"#);
        assert_eq!(verify(&other), Err(TokenError::Signature));
        // Signed as ann, claimed as bob.
        let bob = signed_with(b"another key", HEADER, r#"{"sub":"bob"}"#);
        let (claimed, _) = bob.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{claimed}.{signature}")), Err(TokenError::Signature));
        let cut = &token[..token.len() - 4];
        assert_eq!(verify(cut), Err(TokenError::Signature), "a part of the signature");
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{unsigned}.")), Err(TokenError::Signature), "none");
        for key in [None, HmacKey::new(b"")] {
            let keyless = TokenRules { key, ..rules() };
            let empty = signed_with(b"", HEADER, "{}");
            assert_eq!(keyless.verify(&empty, NOW), Err(TokenError::NoKey));
        }
    }

    #[test]
    fn the_algorithm_is_the_servers_choice() {
        for alg in ["none", "None", "", "hs256", "PS256", "RS256", "ES256", "EdDSA"] {
            let token = signed_with(KEY, &format!(r#"{{"alg":"{alg}"}}"#), r#"{"sub":"ann"}"#);
            assert_eq!(verify(&token), Err(TokenError::Algorithm), "{alg}");
            let (unsigned, _) = token.rsplit_once('.').unwrap();
            assert_eq!(verify(&format!("{unsigned}.")), Err(TokenError::Algorithm), "{alg}");
        }
        let critical = signed_with(KEY, r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, "{}");
        assert_eq!(verify(&critical), Err(TokenError::Critical));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let token = signed("{}");
        let padded = format!("{token}=");
        let longer = format!("{token}.e30");
        let headless = signed_with(KEY, "{}", "{}");
        for text in ["", ".", "..", "a.b", "a.b.c", "ü.ü.ü", &padded, &longer, &headless] {
            assert_eq!(verify(text), Err(TokenError::Malformed), "{text}");
        }
    }

    #[test]
    fn the_previous_key_counts_until_its_end() {
        let old = signed_with(b"old", HEADER, "{}");
        let previous_key = HmacKey::new(b"old");
        let until = |previous_key_until| TokenRules {
            previous_key: previous_key.clone(),
            previous_key_until,
            ..rules()
        };
        let second = Duration::from_secs(1);
        for (end, is_ok) in [(None, true), (Some(NOW + second), true), (Some(NOW), false)] {
            let rules = until(end);
            assert_eq!(rules.verify(&old, NOW).is_ok(), is_ok, "{end:?}");
            assert!(rules.verify(&signed("{}"), NOW).is_ok());
        }
    }

    #[test]
    fn a_token_is_valid_from_its_beginning_to_its_end() {
        for (text, is_valid) in [
            (r#"{"exp":1000001}"#, true),
            (r#"{"exp":1000000.5}"#, true),
            (r#"{"exp":1e300}"#, true),
            (r#"{"exp":null,"nbf":null}"#, true),
            (r#"{"exp":1000000}"#, false),
            (r#"{"exp":0}"#, false),
            (r#"{"exp":-1e300}"#, false),
            (r#"{"nbf":1000000}"#, true),
            (r#"{"nbf":1000001}"#, false),
            (r#"{"iat":2000000}"#, true),
        ] {
            let expected = if is_valid { None } else { Some(TokenError::Expired) };
            assert_eq!(claims(text).err(), expected, "{text}");
        }
    }

    #[test]
    fn audience_and_issuer_are_asked_for_by_the_rules_alone() {
        let strict =
            TokenRules { audience: Expected::name("us"), issuer: Expected::name("idp"), ..rules() };
        for (text, expected) in [
            (r#"{"aud":"us","iss":"idp"}"#, None),
            (r#"{"aud":["them","us"],"iss":"idp"}"#, None),
            (r#"{"aud":"them","iss":"idp"}"#, Some(TokenError::Audience)),
            (r#"{"aud":["them"],"iss":"idp"}"#, Some(TokenError::Audience)),
            (r#"{"aud":[],"iss":"idp"}"#, Some(TokenError::Audience)),
            (r#"{"iss":"idp"}"#, Some(TokenError::Audience)),
            (r#"{"aud":"us"}"#, Some(TokenError::Issuer)),
            (r#"{"aud":"us","iss":"idp2"}"#, Some(TokenError::Issuer)),
            // A new token would not do either, so that it has expired is not what is wrong.
            (r#"{"aud":"them","iss":"idp","exp":1}"#, Some(TokenError::Audience)),
        ] {
            assert_eq!(strict.verify(&signed(text), NOW).err(), expected, "{text}");
        }
        assert!(claims(r#"{"aud":"them","iss":"anybody"}"#).is_ok());
    }

    #[test]
    fn the_user_is_in_the_claim_that_is_configured() {
        let text = r#"{"sub":"ann","user_id":"42"}"#;
        let custom = TokenRules { user_id_claim: "user_id".into(), ..rules() };
        let user = |rules: &TokenRules| rules.verify(&signed(text), NOW).unwrap().user;
        assert_eq!((&*user(&rules()), &*user(&custom)), ("ann", "42"));
        let named = |bytes| claims(&format!(r#"{{"sub":"{}"}}"#, "u".repeat(bytes)));
        assert!(named(USER_ID_BYTES_MAX).is_ok());
        assert_eq!(named(USER_ID_BYTES_MAX + 1), Err(TokenError::UserTooLong));
    }

    #[test]
    fn claims_of_another_type_or_purpose_are_refused() {
        let wrong = [
            "",
            "[]",
            "1",
            "{",
            r#"{"sub":42}"#,
            r#"{"exp":"tomorrow"}"#,
            r#"{"nbf":"x"}"#,
            r#"{"iat":[]}"#,
            r#"{"jti":1}"#,
            r#"{"iss":1}"#,
            r#"{"expire_at":1.5}"#,
            r#"{"b64info":"***"}"#,
            r#"{"channels":"news"}"#,
        ];
        for text in wrong {
            assert_eq!(claims(text), Err(TokenError::Claims), "{text}");
        }
        assert_eq!(claims(r#"{"sub":"a","channel":"b"}"#), Err(TokenError::Channel));
        assert_eq!(claims(r#"{"channels":[""]}"#), Err(TokenError::ChannelName));
    }

    #[test]
    fn a_key_is_not_shown() {
        let shown = format!("{:?}", rules());
        assert!(shown.contains("hidden") && !shown.contains("a key of tests"), "{shown}");
    }
}
