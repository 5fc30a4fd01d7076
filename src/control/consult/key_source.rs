//! The keys that a provider of tokens publishes: fetched when they are needed, kept, and fetched
//! anew.
//!
//! ```text
//!   token ─▶ key in the set? ─yes─▶ it; a set that grows old is fetched anew behind it
//!                  └─no─▶ fetch, once for all who wait, and not soon after the last ─▶ look again
//! ```
//!
//! A key that has left the set is left out from the next fetch on. A provider that cannot be
//! reached costs nobody the connection whose key is known; those of others may be there in a
//! moment, so their clients are told to try again.

use std::fmt;
use std::sync::{Arc, OnceLock};

use reqwest::{Client, StatusCode, redirect};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use crate::limits::{
    KEY_SET_AGE_MAX, KEY_SET_BYTES_MAX, KEY_SET_FETCH_FLOOR, KEY_SET_REFRESH, KEY_SET_TIMEOUT,
};
use crate::token::{Found, Jwt, KeySet, KeySetError, PublicKey, TokenError};

/// The keys of one provider.
pub(super) struct KeySource {
    url: String,
    client: OnceLock<Option<Client>>,
    fetched: watch::Sender<Option<Fetched>>,
    /// When the last fetch began. Held while one is under way.
    began: Mutex<Option<Instant>>,
}

/// What there was at the last fetch that brought something.
#[derive(Clone)]
struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
    /// Counts the sets that were not the same as the one before.
    generation: u64,
}

/// What a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The set is younger than what was seen.
    Anew,
    /// It is as it was: the last attempt is not long ago, or this one has failed.
    AsBefore,
}

/// Why there is no new set.
#[derive(Debug)]
enum FetchError {
    /// The log says why nothing can be fetched.
    NoClient,
    Late,
    Http(reqwest::Error),
    Status(StatusCode),
    TooLong,
    NoKeySet(KeySetError),
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

impl KeySource {
    pub(super) fn new(url: String) -> Arc<Self> {
        let (client, fetched) = (OnceLock::new(), watch::Sender::new(None));
        Arc::new(Self { url, client, fetched, began: Mutex::new(None) })
    }

    /// Counts the sets that there were.
    pub(super) fn generation(&self) -> u64 {
        self.fetched.borrow().as_ref().map_or(0, |fetched| fetched.generation)
    }

    /// The key of a token.
    pub(super) async fn key(self: &Arc<Self>, jwt: &Jwt<'_>) -> Result<PublicKey, TokenError> {
        let seen = self.usable();
        if let Some(key) = self.look(seen.as_ref(), jwt)? {
            return Ok(key);
        }
        // Whoever waits may go, and the fetch goes on for the others.
        let (source, seen) = (Arc::clone(self), seen.map(|seen| seen.at));
        let fetched = tokio::spawn(async move { source.fetch_anew(seen).await }).await;
        if fetched.ok() != Some(Outcome::Anew) {
            return Err(TokenError::Unavailable);
        }
        let seen = self.usable();
        self.look(seen.as_ref(), jwt)?.ok_or(TokenError::UnknownKey)
    }

    fn usable(&self) -> Option<Fetched> {
        let fetched = self.fetched.borrow().clone();
        fetched.filter(|fetched| fetched.at.elapsed() < KEY_SET_AGE_MAX)
    }

    /// The key, if the set has it.
    fn look(
        self: &Arc<Self>,
        seen: Option<&Fetched>,
        jwt: &Jwt<'_>,
    ) -> Result<Option<PublicKey>, TokenError> {
        let Some(seen) = seen else { return Ok(None) };
        match seen.keys.find(jwt) {
            Found::Unknown => Ok(None),
            Found::OtherAlgorithm => Err(TokenError::Algorithm),
            Found::Key(key) => {
                self.refresh(seen.at);
                Ok(Some(key.clone()))
            }
        }
    }

    /// Whether what was checked by the set that there is may still be believed: not for longer than
    /// the set itself. One that is not new any more is fetched meanwhile.
    pub(super) fn is_current(self: &Arc<Self>) -> bool {
        let Some(at) = self.fetched.borrow().as_ref().map(|fetched| fetched.at) else {
            return true; // nothing was checked by it
        };
        self.refresh(at);
        at.elapsed() < KEY_SET_AGE_MAX
    }

    /// Fetches the set that was fetched `at` this time, if it is time, and nobody does.
    fn refresh(self: &Arc<Self>, at: Instant) {
        if at.elapsed() >= KEY_SET_REFRESH && self.began.try_lock().is_ok() {
            let source = Arc::clone(self);
            drop(tokio::spawn(async move { source.fetch_anew(Some(at)).await }));
        }
    }

    /// Fetches the set, unless somebody has since it was `seen`, or tried to a moment ago.
    async fn fetch_anew(&self, seen: Option<Instant>) -> Outcome {
        let mut began = self.began.lock().await;
        let now = self.usable().map(|fetched| fetched.at);
        if now.is_some() && now != seen {
            return Outcome::Anew;
        }
        if began.is_some_and(|began| began.elapsed() < KEY_SET_FETCH_FLOOR) {
            return Outcome::AsBefore;
        }
        *began = Some(Instant::now());
        let fetched = timeout(KEY_SET_TIMEOUT, self.fetch()).await;
        // Those who have waited for it do not each try again.
        *began = Some(Instant::now());
        match fetched.unwrap_or(Err(FetchError::Late)) {
            Ok(keys) => {
                self.take(keys);
                Outcome::Anew
            }
            Err(error) => {
                tracing::warn!(url = self.url, %error, "a key set cannot be fetched");
                Outcome::AsBefore
            }
        }
    }

    fn take(&self, keys: KeySet) {
        let before = self.fetched.borrow().clone();
        let (at, count) = (Instant::now(), keys.len());
        let fetched = match before {
            Some(before) if *before.keys == keys => Fetched { at, ..before },
            before => {
                tracing::info!(url = self.url, keys = count, "a key set was fetched");
                let generation = before.map_or(0, |before| before.generation) + 1;
                Fetched { keys: Arc::new(keys), at, generation }
            }
        };
        self.fetched.send_replace(Some(fetched));
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let client = self.client.get_or_init(|| {
            let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build();
            client.inspect_err(|error| tracing::error!(%error, "no key set can be fetched")).ok()
        });
        let client = client.as_ref().ok_or(FetchError::NoClient)?;
        let mut response = client.get(&self.url).send().await.map_err(FetchError::Http)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(FetchError::Http)? {
            if text.len() + chunk.len() > KEY_SET_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            text.extend_from_slice(&chunk);
        }
        KeySet::read(&text).map_err(FetchError::NoKeySet)
    }
}
