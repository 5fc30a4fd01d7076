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
        Self { url, client: OnceLock::new() }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
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
