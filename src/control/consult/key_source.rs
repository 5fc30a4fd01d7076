//! The keys that a provider of tokens publishes: fetched when they are needed, kept, and fetched
//! anew.
//!
//! ```text
//!   token ─▶ key in the set? ─yes─▶ it; a set that grows old is fetched anew behind it
//!                  └─no─▶ fetch, once for all who wait, and not soon after the last ─▶ look again
//! ```
//!
//! Whoever brings a key that is not in a set which has just come waits until the next may be
//! fetched: providers change keys at any time, and clients that are told to come again would come
//! later. As any name may be made up, those who wait so are bounded.
//!
//! A key that has left the set is left out from the next fetch on. A provider that cannot be
//! reached costs nobody the connection whose key is known; those of others may be there in a
//! moment, so their clients are told to try again.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::key_fetch::{FetchError, KeyFetch};
use crate::limits::{
    KEY_SET_AGE_MAX, KEY_SET_FETCH_FLOOR, KEY_SET_REFRESH, KEY_SET_TIMEOUT, KEY_SET_WAITERS_MAX,
};
use crate::token::{Found, Jwt, KeySet, PublicKey, TokenError};

/// The keys of one provider.
pub(super) struct KeySource<F = KeyFetch> {
    provider: F,
    fetched: watch::Sender<Option<Fetched>>,
    /// The last attempt. Held while one is under way.
    last: Mutex<Option<Attempt>>,
    /// Room for those who wait for a set that is newer than one which has just come.
    room: Semaphore,
}

/// Where a set comes from.
pub(super) trait Provider: Send + Sync + 'static {
    /// What people call it.
    fn name(&self) -> &str;
    /// Its keys at present.
    fn fetch(&self) -> impl Future<Output = Result<KeySet, FetchError>> + Send;
}

impl Provider for KeyFetch {
    fn name(&self) -> &str {
        self.name()
    }

    fn fetch(&self) -> impl Future<Output = Result<KeySet, FetchError>> + Send {
        KeyFetch::fetch(self)
    }
}

/// What there was at the last fetch that brought something.
#[derive(Clone)]
struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
    /// Counts the sets that were not the same as the one before.
    generation: u64,
}

/// A fetch that is over, or has begun.
#[derive(Clone, Copy)]
struct Attempt {
    at: Instant,
    has_failed: bool,
}

/// What a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The set is younger than what was seen.
    Anew,
    /// It is as it was: it could not be fetched, a moment ago or now.
    AsBefore,
}

impl<F: Provider> KeySource<F> {
    pub(super) fn new(provider: F) -> Arc<Self> {
        let (fetched, room) = (watch::Sender::new(None), Semaphore::new(KEY_SET_WAITERS_MAX));
        Arc::new(Self { provider, fetched, last: Mutex::new(None), room })
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
        // Where there is no set at all, all wait for the first.
        let room = seen.is_some().then(|| self.room.try_acquire()).transpose();
        let _room = room.map_err(|_full| TokenError::Unavailable)?;
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
        if at.elapsed() >= KEY_SET_REFRESH && self.last.try_lock().is_ok() {
            let source = Arc::clone(self);
            drop(tokio::spawn(async move { source.fetch_anew(Some(at)).await }));
        }
    }

    /// Fetches the set, unless somebody has since it was `seen`. Of two attempts the second is not
    /// made at once: after one that has failed it is not made at all, and whoever asks comes again.
    async fn fetch_anew(&self, seen: Option<Instant>) -> Outcome {
        let mut last = self.last.lock().await;
        let now = self.usable().map(|fetched| fetched.at);
        if now.is_some() && now != seen {
            return Outcome::Anew;
        }
        if let Some(Attempt { at, has_failed }) = *last {
            let next = at + KEY_SET_FETCH_FLOOR;
            if has_failed && Instant::now() < next {
                return Outcome::AsBefore;
            }
            sleep_until(next).await;
        }
        let fetched = timeout(KEY_SET_TIMEOUT, self.provider.fetch()).await;
        let fetched = fetched.unwrap_or(Err(FetchError::Late));
        // Those who have waited for it do not each try again.
        *last = Some(Attempt { at: Instant::now(), has_failed: fetched.is_err() });
        match fetched {
            Ok(keys) => {
                self.take(keys);
                Outcome::Anew
            }
            Err(error) => {
                tracing::warn!(at = self.provider.name(), %error, "a key set cannot be fetched");
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
                tracing::info!(at = self.provider.name(), keys = count, "a key set was fetched");
                let generation = before.map_or(0, |before| before.generation) + 1;
                Fetched { keys: Arc::new(keys), at, generation }
            }
        };
        self.fetched.send_replace(Some(fetched));
    }
}

#[cfg(test)]
mod tests;
