//! Which fetches there are, and who waits for them, by a clock that goes on when all wait.

use std::collections::VecDeque;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::token::rig::{Signer, key_set};

const ANN: &str = r#"{"sub":"ann"}"#;
const SECOND: Duration = Duration::from_secs(1);

/// Answers by a script, the last of it for ever; each time after a second.
#[derive(Default)]
struct Script {
    answers: StdMutex<VecDeque<Option<KeySet>>>,
    count: AtomicUsize,
}

impl Provider for Script {
    fn name(&self) -> &'static str {
        "a script"
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        sleep(SECOND).await;
        let mut answers = self.answers.lock().expect("nobody panics with it");
        let is_last = answers.len() == 1;
        let answer = if is_last { answers[0].clone() } else { answers.pop_front().flatten() };
        answer.ok_or(FetchError::TooLong)
    }
}

/// A provider whose sets are these, one after the other; `None` is that it fails.
fn source(sets: &[Option<&[Value]>]) -> Arc<KeySource<Script>> {
    let answers = sets.iter().map(|set| set.map(key_set)).collect();
    KeySource::new(Script { answers: StdMutex::new(answers), ..Script::default() })
}

fn count(source: &KeySource<Script>) -> usize {
    source.provider.count.load(Ordering::Relaxed)
}

/// What comes of so many who ask at once for the key of one token.
async fn ask(
    source: &Arc<KeySource<Script>>,
    token: &str,
    asking: usize,
) -> Vec<Option<TokenError>> {
    let mut all = JoinSet::new();
    for _ in 0..asking {
        let (source, token) = (Arc::clone(source), token.to_owned());
        all.spawn(async move {
            let jwt = Jwt::new(&token).expect("a token");
            source.key(&jwt).await.err()
        });
    }
    all.join_all().await
}

fn token(signer: &Signer, id: &str) -> String {
    let header = serde_json::json!({ "alg": signer.algorithm, "kid": id }).to_string();
    signer.token_with(&header, ANN)
}

fn pair() -> (Signer, Signer) {
    (Signer::curve("ES256"), Signer::curve("ES256"))
}

#[tokio::test(start_paused = true)]
async fn a_crowd_costs_one_fetch() {
    let (signer, _) = pair();
    let source = source(&[Some(&[signer.jwk("a")])]);
    let of_a = token(&signer, "a");
    let crowd = ask(&source, &of_a, 10 * KEY_SET_WAITERS_MAX).await;
    assert!(crowd.iter().all(Option::is_none), "all wait for the first set");
    assert_eq!((ask(&source, &of_a, 1).await, count(&source)), (vec![None], 1));
}

/// A client would wait longer if it were told to come again.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_new_is_found_as_soon_as_the_set_may_be_fetched_again() {
    let (old, new) = pair();
    let source = source(&[Some(&[old.jwk("a")]), Some(&[old.jwk("a"), new.jwk("b")])]);
    assert_eq!(ask(&source, &token(&old, "a"), 1).await, [None]);
    let begin = Instant::now();
    let (of_a, of_b) = (token(&old, "a"), token(&new, "b"));
    let (waited, known) = tokio::join!(ask(&source, &of_b, KEY_SET_WAITERS_MAX), async {
        let told = ask(&source, &of_a, 1).await;
        (told, begin.elapsed())
    });
    assert_eq!(known, (vec![None], Duration::ZERO), "who is known waits for nobody");
    assert!(waited.iter().all(Option::is_none));
    assert_eq!((begin.elapsed(), count(&source)), (KEY_SET_FETCH_FLOOR + SECOND, 2));
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_has_are_looked_for_now_and_then_and_keep_few_waiting() {
    let (signer, other) = pair();
    let source = source(&[Some(&[signer.jwk("a")])]);
    assert_eq!(ask(&source, &token(&signer, "a"), 1).await, [None]);
    let begin = Instant::now();
    for round in 1..=3 {
        let made_up = token(&other, &format!("made up {round}"));
        let told = ask(&source, &made_up, KEY_SET_WAITERS_MAX + 7).await;
        let with = |error| told.iter().filter(|one| **one == Some(error)).count();
        assert_eq!(with(TokenError::UnknownKey), KEY_SET_WAITERS_MAX);
        assert_eq!(with(TokenError::Unavailable), 7, "they may come again");
        assert_eq!(count(&source), 1 + round);
    }
    assert!(begin.elapsed() >= 3 * KEY_SET_FETCH_FLOOR);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_is_left_alone_for_a_while_and_nobody_waits_for_that() {
    let (signer, _) = pair();
    let source = source(&[None, Some(&[signer.jwk("a")])]);
    let of_a = token(&signer, "a");
    let unavailable = Some(TokenError::Unavailable);
    assert_eq!(ask(&source, &of_a, 2).await, [unavailable; 2]);
    let begin = Instant::now();
    assert_eq!((ask(&source, &of_a, 1).await, count(&source)), (vec![unavailable], 1));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    sleep(KEY_SET_FETCH_FLOOR).await;
    assert_eq!((ask(&source, &of_a, 1).await, count(&source)), (vec![None], 2));
}

#[tokio::test(start_paused = true)]
async fn an_old_set_is_fetched_behind_those_who_use_it() {
    let (old, new) = pair();
    let source = source(&[Some(&[old.jwk("a")]), Some(&[new.jwk("b")])]);
    let (of_a, of_b) = (token(&old, "a"), token(&new, "b"));
    assert_eq!(ask(&source, &of_a, 1).await, [None]);
    sleep(KEY_SET_REFRESH).await;
    assert_eq!(ask(&source, &of_a, 2).await, [None; 2], "it is there still");
    assert!(source.is_current());
    sleep(2 * SECOND).await;
    assert_eq!((count(&source), source.generation()), (2, 2), "once for all of them");
    assert_eq!(ask(&source, &of_b, 1).await, [None]);
    assert_eq!(ask(&source, &of_a, 1).await, [Some(TokenError::UnknownKey)]);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_too_old_is_used_no_more() {
    let (signer, _) = pair();
    let source = source(&[Some(&[signer.jwk("a")]), None]);
    let of_a = token(&signer, "a");
    assert_eq!(ask(&source, &of_a, 1).await, [None]);
    sleep(KEY_SET_AGE_MAX.saturating_sub(SECOND)).await;
    assert_eq!((ask(&source, &of_a, 1).await, source.is_current()), (vec![None], true));
    sleep(KEY_SET_FETCH_FLOOR + SECOND).await;
    assert!(!source.is_current());
    assert_eq!(ask(&source, &of_a, 1).await, [Some(TokenError::Unavailable)]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_waited_for_no_longer_than_clients_are() {
    struct Hangs;
    impl Provider for Hangs {
        fn name(&self) -> &'static str {
            "it hangs"
        }
        async fn fetch(&self) -> Result<KeySet, FetchError> {
            std::future::pending().await
        }
    }
    let source = KeySource::new(Hangs);
    let (signer, _) = pair();
    let of_a = token(&signer, "a");
    let begin = Instant::now();
    let told = source.key(&Jwt::new(&of_a).expect("a token")).await;
    assert_eq!((told.err(), begin.elapsed()), (Some(TokenError::Unavailable), KEY_SET_TIMEOUT));
}
