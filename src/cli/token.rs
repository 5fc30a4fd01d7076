//! `longwire token`: makes tokens as a back end would, and says what the server would make of one.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use longwire::config::{Secret, serve};
use longwire::sys::clock;
use longwire::token::{Check, Digest, Fingerprint, HmacKey, Jwt, Revoked, TokenError, TokenRules};
use serde_json::{Map, Value, json};

use super::load::Sources;
use super::log::LogArgs;
use super::parts::token_keys;
use super::{failure, print};

/// What is to be done.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write a token (HS256) that is signed with the key of the configuration
    Make(MakeArgs),
    /// Say whether the server would take a token; exit code 1 if not
    Check(CheckArgs),
}

#[derive(Args, Debug)]
struct MakeArgs {
    /// The user; without one it is nobody's
    #[arg(long, default_value = "")]
    user: String,

    /// The channel of a subscription token; without one it is a connection token
    #[arg(long)]
    channel: Option<String>,

    /// Seconds until it expires; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    life: u64,

    #[command(flatten)]
    sources: Sources,
}

#[derive(Args, Debug)]
struct CheckArgs {
    /// The token
    token: String,

    /// It is for a subscription
    #[arg(long)]
    subscription: bool,

    #[command(flatten)]
    sources: Sources,
}

/// Makes a token, or checks one.
pub(crate) fn run(args: &TokenArgs, log: &LogArgs) -> ExitCode {
    match &args.action {
        Action::Make(args) => make(args, log),
        Action::Check(args) => check(args, log),
    }
}

fn make(args: &MakeArgs, log: &LogArgs) -> ExitCode {
    let serve = match args.sources.load(log) {
        Ok(serve) => serve,
        Err(error) => return failure(&error),
    };
    let has_own = args.channel.is_some() && serve.subscription_token.enabled;
    let keys = if has_own { serve.subscription_token.keys() } else { serve.token };
    let Some(key) = secret(&keys.hmac_secret_key) else {
        return failure(&"there is no hmac_secret_key to sign with\nmend: set one");
    };
    print(&format!("{}\n", sign(&key, &claims(args, &keys, clock::since_epoch()))))
}

fn secret(secret: &Secret) -> Option<HmacKey> {
    HmacKey::new(secret.reveal()?.as_bytes())
}

/// What the token says: what was asked for, and what the configuration asks of tokens.
fn claims(args: &MakeArgs, keys: &serve::Token, now: Duration) -> Value {
    let user = if keys.user_id_claim.is_empty() { "sub" } else { &keys.user_id_claim };
    let mut claims = Map::from_iter([(user.to_owned(), json!(args.user))]);
    claims.insert("iat".to_owned(), json!(now.as_secs()));
    if args.life > 0 {
        claims.insert("exp".to_owned(), json!(now.as_secs().saturating_add(args.life)));
    }
    for (name, value) in [("aud", &keys.audience), ("iss", &keys.issuer)] {
        if !value.is_empty() {
            claims.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(channel) = &args.channel {
        claims.insert("channel".to_owned(), json!(channel));
    }
    Value::Object(claims)
}

fn sign(key: &HmacKey, claims: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let text = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(Digest::Sha256, text.as_bytes()));
    format!("{text}.{signature}")
}

fn check(args: &CheckArgs, log: &LogArgs) -> ExitCode {
    let serve = match args.sources.load(log) {
        Ok(serve) => serve,
        Err(error) => return failure(&error),
    };
    let keys = token_keys(&serve);
    let own = keys.subscription.as_ref().filter(|_| args.subscription);
    let rules = own.unwrap_or(&keys.connection);
    match read(rules, &args.token, args.subscription, clock::since_epoch()) {
        Ok(said) => print(&format!("{said}\n")),
        Err(refused) => failure(&refused),
    }
}

/// What a token says, or why it is refused.
fn read(
    rules: &TokenRules,
    token: &str,
    is_subscription: bool,
    now: Duration,
) -> Result<String, Refused> {
    let claims = match rules.check(token, now)? {
        Check::Signed(claims) => claims,
        Check::Ask if rules.is_signed(&Jwt::new(token)?) => {
            rules.claims_of(token, Fingerprint::of(token))?
        }
        Check::Ask if rules.key_set_url.is_some() => return Err(Refused::KeySet),
        Check::Ask => return Err(TokenError::Signature.into()),
    };
    // What was revoked only the server knows that was told.
    let none = Revoked::default();
    let (user, about, expires) = if is_subscription {
        let token = rules.subscription(&claims, &none, now)?;
        (token.user, format!("channel {:?}", token.claimed.channel), token.expires)
    } else {
        let token = rules.connection(&claims, &none, now)?;
        (token.user, "a connection".to_owned(), token.expires)
    };
    let life = expires.map_or_else(
        || "never expires".to_owned(),
        |end| format!("expires in {} s", end.saturating_sub(now).as_secs()),
    );
    Ok(format!("valid: user {user:?}, for {about}, {life}"))
}

/// Why a token is not taken.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Token(TokenError),
    /// Its key is in the key set, which only the server fetches.
    KeySet,
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(TokenError::Expired) => {
                out.write_str("invalid token: it has expired, or is not valid yet")
            }
            Self::Token(error) => out.write_str(error.reason()),
            Self::KeySet => out.write_str(
                "no key of the configuration has signed it, and only the server fetches the key \
                 set\nmend: connect with it",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn made(channel: Option<&str>, life: u64) -> String {
        let keys = serve::Token {
            hmac_secret_key: Secret::new("key"),
            audience: "us".to_owned(),
            ..serve::Token::default()
        };
        let channel = channel.map(str::to_owned);
        let sources = Sources::default();
        let args = MakeArgs { user: "ann".to_owned(), channel, life, sources };
        let key = secret(&keys.hmac_secret_key).expect("a key");
        sign(&key, &claims(&args, &keys, NOW))
    }

    fn read_with(key: &str, token: &str, is_subscription: bool) -> Result<String, Refused> {
        let audience = longwire::token::Expected::name("us");
        let key = HmacKey::new(key.as_bytes());
        let rules = TokenRules { key, audience, ..TokenRules::default() };
        read(&rules, token, is_subscription, NOW)
    }

    #[test]
    fn what_is_made_is_taken_as_what_it_is_for() {
        let told = read_with("key", &made(None, 60), false);
        let expected = "valid: user \"ann\", for a connection, expires in 60 s";
        assert_eq!(told.as_deref(), Ok(expected));
        let told = read_with("key", &made(Some("$a"), 0), true);
        let expected = "valid: user \"ann\", for channel \"$a\", never expires";
        assert_eq!(told.as_deref(), Ok(expected));
    }

    #[test]
    fn what_is_not_taken_says_why() {
        let connection = made(None, 60);
        for (key, token, is_subscription, error) in [
            ("other", &*connection, false, TokenError::Signature),
            ("key", &connection, true, TokenError::ChannelName),
            ("key", &made(Some("$a"), 60), false, TokenError::Channel),
            ("key", "nothing", false, TokenError::Malformed),
        ] {
            assert_eq!(read_with(key, token, is_subscription), Err(error.into()));
        }
    }
}
