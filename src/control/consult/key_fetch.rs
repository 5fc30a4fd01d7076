//! Fetching a set of keys from the provider of tokens, as far as it is short and a set of keys. It
//! is asked directly, and nobody that it may refer to.

use std::fmt;
use std::sync::OnceLock;

use reqwest::{Client, StatusCode, redirect};

use crate::limits::{KEY_SET_BYTES_MAX, KEY_SET_TIMEOUT};
use crate::token::{KeySet, KeySetError};

/// Where the set is.
pub(super) struct KeyFetch {
    url: String,
    name: String,
    client: OnceLock<Option<Client>>,
}

/// Why there is no new set.
#[derive(Debug)]
pub(super) enum FetchError {
    /// The log says why nothing can be fetched.
    NoClient,
    Late,
    Http(reqwest::Error),
    Status(StatusCode),
    TooLong,
    NoKeySet(KeySetError),
}

impl FetchError {
    /// Without the URL, which may hold a secret.
    fn of(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClient => out.write_str("nothing can be fetched"),
            Self::Late => write!(out, "it took longer than {KEY_SET_TIMEOUT:?}"),
            Self::Http(error) => error.fmt(out),
            Self::Status(status) => write!(out, "it answered {status}"),
            Self::TooLong => write!(out, "it has more than {KEY_SET_BYTES_MAX} bytes"),
            Self::NoKeySet(error) => error.fmt(out),
        }
    }
}

impl KeyFetch {
    pub(super) fn new(url: String) -> Self {
        let name = name_of(&url);
        Self { url, name, client: OnceLock::new() }
    }

    /// Where it is fetched, for logs: without what may be a secret.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn fetch(&self) -> Result<KeySet, FetchError> {
        let client = self.client.get_or_init(|| {
            let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build();
            client.inspect_err(|error| tracing::error!(%error, "no key set can be fetched")).ok()
        });
        let client = client.as_ref().ok_or(FetchError::NoClient)?;
        let mut response = client.get(&self.url).send().await.map_err(FetchError::of)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(FetchError::of)? {
            if text.len() + chunk.len() > KEY_SET_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            text.extend_from_slice(&chunk);
        }
        KeySet::read(&text).map_err(FetchError::NoKeySet)
    }
}

/// The host and path of a URL: user, password and query may be secrets.
fn name_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let name = parsed.and_then(|url| Some(format!("{}{}", url.host_str()?, url.path())));
    name.unwrap_or_else(|| "a URL that is none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_no_secret_of_a_url() {
        let name = name_of("https://me:secret@keys.example:8443/sets/1?token=secret#secret");
        assert_eq!(name, "keys.example/sets/1");
        assert!(!name_of("me:secret").contains("secret"));
    }
}
