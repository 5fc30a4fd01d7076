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
use super::key_fetch::KeyFetch;
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

    /// The verdict on a token that was checked before.
    pub(super) fn known(&self, purpose: Purpose, token: &str) -> Option<TokenVerdict> {
        self.of(purpose).known(Fingerprint::of(token))
    }

    pub(super) async fn verify(&self, purpose: Purpose, token: String) -> TokenVerdict {
        self.of(purpose).verify(token).await
    }

    fn of(&self, purpose: Purpose) -> &Verifier {
        match (purpose, &self.subscription) {
            (Purpose::Subscription, Some(verifier)) => verifier,
            _ => &self.connection,
        }
    }
}

type Flight = OnceCell<Result<(), TokenError>>;

/// Tokens that are being checked.
#[derive(Default)]
struct Flights {
    all: HashMap<Fingerprint, Weak<Flight>>,
    /// How many were alive when they were last looked through.
    alive_count: usize,
}

impl Flights {
    /// The check of this token that is under way, or a new one.
    fn of(&mut self, name: Fingerprint) -> Arc<Flight> {
        if let Some(flight) = self.all.get(&name).and_then(Weak::upgrade) {
            return flight;
        }
        // Those whose clients have all gone before it was over; seldom enough to cost nothing.
        if self.all.len() >= TOKEN_FLIGHTS_LOOKED_THROUGH.max(2 * self.alive_count) {
            self.all.retain(|_, flight| flight.strong_count() > 0);
            self.alive_count = self.all.len();
        }
        let flight = Arc::new(Flight::new());
        self.all.insert(name, Arc::downgrade(&flight));
        flight
    }
}

struct Verifier {
    rules: TokenRules,
    source: Option<Arc<KeySource>>,
    known: Mutex<Known>,
    /// The tokens that are being checked, for those who bring the same meanwhile.
    flights: Mutex<Flights>,
    checkers: Arc<Checkers>,
}

impl Verifier {
    fn new(rules: TokenRules, checkers: Arc<Checkers>) -> Self {
        let source = rules.key_set_url.clone().map(|url| KeySource::new(KeyFetch::new(url)));
        let (known, flights) = (Mutex::default(), Mutex::default());
        Self { rules, source, known, flights, checkers }
    }

    /// Of one that has to wait for a look, nothing is known yet.
    fn known(&self, name: Fingerprint) -> Option<TokenVerdict> {
        let mut known = self.known.try_lock().ok()?;
        let is_current = self.source.as_ref().is_none_or(KeySource::is_current);
        let is_known = is_current && known.holds(name, self.generation());
        is_known.then_some(TokenVerdict { result: Ok(name), was_known: true })
    }

    async fn verify(&self, token: String) -> TokenVerdict {
        let name = Fingerprint::of(&token);
        let is_current = self.source.as_ref().is_none_or(KeySource::is_current);
        if is_current && self.known.lock().await.holds(name, self.generation()) {
            return TokenVerdict { result: Ok(name), was_known: true };
        }
        let flight = self.flights.lock().await.of(name);
        let mut was_known = true;
        let checked = flight.get_or_init(|| {
            was_known = false;
            self.check(name, token)
        });
        let result = checked.await.map(|()| name);
        self.flights.lock().await.all.remove(&name);
        TokenVerdict { result, was_known }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::PublicKey;
    use crate::token::rig::Signer;

    /// Two clients that come at once, and one that comes after them.
    #[tokio::test]
    async fn one_token_is_checked_once_however_many_bring_it() {
        let signer = Signer::curve("ES256");
        let public_keys = vec![PublicKey::ecdsa(&signer.pem()).expect("a key")];
        let rules = TokenRules { public_keys, ..TokenRules::default() };
        let checkers = Arc::new(Checkers::new());
        let verifier = Arc::new(Verifier::new(rules, Arc::clone(&checkers)));
        let held_up = checkers.hold_up().await;
        let token = signer.token(r#"{"sub":"ann"}"#);
        let mut both = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let (verifier, token) = (Arc::clone(&verifier), token.clone());
            both.spawn(async move { verifier.verify(token).await });
        }
        // Both are under way, and no thread is free to check anything.
        while verifier.flights.lock().await.all.values().all(|flight| flight.strong_count() < 2) {
            tokio::task::yield_now().await;
        }
        drop(held_up);
        let mut told = both.join_all().await;
        told.sort_by_key(|verdict| verdict.was_known);
        let name = Fingerprint::of(&token);
        let verdict = |was_known| TokenVerdict { result: Ok(name), was_known };
        assert_eq!(told, [verdict(false), verdict(true)]);
        assert_eq!(verifier.verify(token).await, verdict(true));
        assert_eq!(verifier.known(name), Some(verdict(true)), "at once");
        assert_eq!(verifier.known(Fingerprint::of("another")), None);
        assert_eq!(verifier.flights.lock().await.all.len(), 0, "nothing is left of them");
    }

    #[test]
    fn those_whose_clients_have_gone_do_not_pile_up() {
        let mut flights = Flights::default();
        let name = |number: usize| Fingerprint::of(&number.to_string());
        let held: Vec<_> = (0..10).map(|number| flights.of(name(number))).collect();
        for number in 10..100 * TOKEN_FLIGHTS_LOOKED_THROUGH {
            flights.of(name(number));
            assert!(flights.all.len() <= TOKEN_FLIGHTS_LOOKED_THROUGH, "{number}");
        }
        assert!(
            held.iter().zip(0..).all(|(one, number)| Arc::ptr_eq(one, &flights.of(name(number))))
        );
    }
}
