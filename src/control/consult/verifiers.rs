//! Signatures of tokens by public keys, checked by threads of their own.
//!
//! ```text
//!   token ─▶ known? ─yes─▶ signed
//!              └─no─▶ its key ─▶ Checkers ─▶ known from now on
//! ```
//!
//! Invariants: the same token is checked once however many ask, and again only if its keys have
//! changed since.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::{Mutex, OnceCell};

use super::checkers::Checkers;
use super::key_source::KeySource;
use crate::backend::TokenVerdict;
use crate::limits::TOKEN_FLIGHTS_LOOKED_THROUGH;
use crate::token::{Fingerprint, Jwt, Known, Purpose, TokenError, TokenRules};

/// Which tokens are taken, as the control thread goes by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenKeys {
    /// Those of connections.
    pub connection: TokenRules,
    /// Those of subscriptions, if they are others.
    pub subscription: Option<TokenRules>,
}

impl TokenKeys {
    /// Those of these rules.
    pub fn new(connection: TokenRules, subscription: Option<TokenRules>) -> Self {
        Self { connection, subscription }
    }
}

/// One verifier for each purpose.
pub(in crate::control) struct Verifiers {
    keys: TokenKeys,
    connection: Verifier,
    subscription: Option<Verifier>,
}

impl Verifiers {
    pub(in crate::control) fn new(keys: TokenKeys) -> Self {
        let checkers = Arc::new(Checkers::new());
        let of = |rules: &TokenRules| Verifier::new(rules.clone(), Arc::clone(&checkers));
        let connection = of(&keys.connection);
        let subscription = keys.subscription.as_ref().map(of);
        Self { keys, connection, subscription }
    }

    /// Whether they go by these rules.
    pub(in crate::control) fn are_of(&self, keys: &TokenKeys) -> bool {
        self.keys == *keys
    }

    pub(super) async fn verify(&self, purpose: Purpose, token: String) -> TokenVerdict {
        match (purpose, &self.subscription) {
            (Purpose::Subscription, Some(verifier)) => verifier.verify(token).await,
            _ => self.connection.verify(token).await,
        }
    }
}

type Flight = OnceCell<Result<(), TokenError>>;

struct Verifier {
    rules: TokenRules,
    source: Option<Arc<KeySource>>,
    known: Mutex<Known>,
    /// The tokens that are being checked, for those who bring the same meanwhile.
    flights: Mutex<HashMap<Fingerprint, Weak<Flight>>>,
    checkers: Arc<Checkers>,
}

impl Verifier {
    fn new(rules: TokenRules, checkers: Arc<Checkers>) -> Self {
        let source = rules.key_set_url.clone().map(KeySource::new);
        let (known, flights) = (Mutex::default(), Mutex::default());
        Self { rules, source, known, flights, checkers }
    }

    async fn verify(&self, token: String) -> TokenVerdict {
        let name = Fingerprint::of(&token);
        let is_current = self.source.as_ref().is_none_or(KeySource::is_current);
        if is_current && self.known.lock().await.holds(name, self.generation()) {
            return TokenVerdict { result: Ok(name), was_known: true };
        }
        let flight = self.flight(name).await;
        let mut was_known = true;
        let checked = flight.get_or_init(|| {
            was_known = false;
            self.check(name, token)
        });
        let result = checked.await.map(|()| name);
        self.flights.lock().await.remove(&name);
        TokenVerdict { result, was_known }
    }

    /// The check of this token that is under way, or a new one.
    async fn flight(&self, name: Fingerprint) -> Arc<Flight> {
        let mut flights = self.flights.lock().await;
        if let Some(flight) = flights.get(&name).and_then(Weak::upgrade) {
            return flight;
        }
        if flights.len() >= TOKEN_FLIGHTS_LOOKED_THROUGH {
            // Those whose clients have all gone before it was over.
            flights.retain(|_, flight| flight.strong_count() > 0);
        }
        let flight = Arc::new(Flight::new());
        flights.insert(name, Arc::downgrade(&flight));
        flight
    }

    async fn check(&self, name: Fingerprint, token: String) -> Result<(), TokenError> {
        let (mut keys, generation) = {
            let jwt = Jwt::new(&token)?;
            self.rules.admit(&jwt)?;
            (self.rules.keys_for(&jwt), self.generation())
        };
        if !keys.is_empty() && self.checkers.is_signed(&token, keys.clone()).await? {
            self.known.lock().await.add(name, generation);
            return Ok(());
        }
        let source = self.source.as_ref().ok_or(TokenError::Signature)?;
        keys = vec![source.key(&Jwt::new(&token)?).await?];
        let generation = self.generation();
        if !self.checkers.is_signed(&token, keys).await? {
            return Err(TokenError::Signature);
        }
        let mut known = self.known.lock().await;
        // Takes note of a set that has come meanwhile.
        known.holds(name, generation);
        known.add(name, generation);
        Ok(())
    }

    fn generation(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.generation())
    }
}
