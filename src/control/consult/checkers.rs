//! The threads that check signatures by public keys.
//!
//! ```text
//!   token, keys ─▶ room ─▶ channel ─▶ thread: check ─▶ reply
//! ```
//!
//! Invariants: they run below the shards in priority, so that a storm of tokens takes what time
//! the shards leave; what waits in the channel is bounded by the room, so nobody waits to send; a
//! check that panics costs its token and not the thread; one that nobody waits for any more is
//! left out.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::limits::{TOKEN_CHECKS_WAITING_MAX, TOKEN_CORES_PER_THREAD, TOKEN_THREAD_NICE};
use crate::sys::cpu;
use crate::token::{Jwt, PublicKey, TokenError};

type Reply = oneshot::Sender<Result<bool, TokenError>>;

/// One token whose signature is asked for.
struct Check {
    token: String,
    keys: Vec<PublicKey>,
    reply: Reply,
    room: OwnedSemaphorePermit,
}

impl Check {
    fn run(self) {
        if self.reply.is_closed() {
            return;
        }
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let jwt = Jwt::new(&self.token)?;
            Ok(self.keys.iter().any(|key| jwt.is_signed_by(key)))
        }));
        drop(self.room);
        let _gone_meanwhile = self.reply.send(checked.unwrap_or(Err(TokenError::Unavailable)));
    }
}

/// The threads: there from the first check on, until this is dropped.
pub(super) struct Checkers {
    room: Arc<Semaphore>,
    /// Set once they run.
    checks: OnceLock<Sender<Check>>,
}

impl Checkers {
    pub(super) fn new() -> Self {
        let room = Arc::new(Semaphore::new(TOKEN_CHECKS_WAITING_MAX));
        Self { room, checks: OnceLock::new() }
    }

    /// Whether one of the keys has signed the token, when there is room for one more.
    pub(super) async fn is_signed(
        &self,
        token: &str,
        keys: Vec<PublicKey>,
    ) -> Result<bool, TokenError> {
        let room = Arc::clone(&self.room).acquire_owned().await.expect("it is never closed");
        let (reply, checked) = oneshot::channel();
        let check = Check { token: token.to_owned(), keys, reply, room };
        let checks = self.running().map_err(|error| {
            tracing::error!(%error, "no thread for the signatures of tokens");
            TokenError::Unavailable
        })?;
        checks.try_send(check).map_err(|_| TokenError::Unavailable)?;
        checked.await.unwrap_or(Err(TokenError::Unavailable))
    }

    /// Keeps all who come from being checked, until the result is dropped.
    #[cfg(test)]
    pub(super) async fn hold_up(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(TOKEN_CHECKS_WAITING_MAX).expect("few");
        Arc::clone(&self.room).acquire_many_owned(all).await.expect("it is never closed")
    }

    /// Starts them, if nobody has.
    fn running(&self) -> io::Result<&Sender<Check>> {
        if let Some(checks) = self.checks.get() {
            return Ok(checks);
        }
        let (sender, checks) = bounded(TOKEN_CHECKS_WAITING_MAX);
        for number in 0..thread_count() {
            let checks = checks.clone();
            let thread = thread::Builder::new().name(format!("longwire-token-{number}"));
            thread.spawn(move || run(&checks))?;
        }
        Ok(self.checks.get_or_init(|| sender))
    }
}

fn run(checks: &Receiver<Check>) {
    if let Err(error) = cpu::give_way(TOKEN_THREAD_NICE) {
        tracing::warn!(%error, "signatures are checked at the priority of the shards");
    }
    for check in checks {
        check.run();
    }
}

/// One in some of the cores, so that the others go on as if nothing were.
fn thread_count() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores / TOKEN_CORES_PER_THREAD).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::rig::Signer;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    #[test]
    fn many_more_than_there_is_room_for_are_all_answered() {
        let (checkers, signer) = (Arc::new(Checkers::new()), Signer::curve("ES256"));
        let key = PublicKey::ecdsa(&signer.pem()).expect("a key");
        let other = PublicKey::ecdsa(&Signer::curve("ES256").pem()).expect("a key");
        let token = signer.token(r#"{"sub":"42"}"#);
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime(), async {
            let mut all = tokio::task::JoinSet::new();
            for number in 0..TOKEN_CHECKS_WAITING_MAX * 3 {
                let is_right = number % 2 == 0;
                let key = if is_right { key.clone() } else { other.clone() };
                let (checkers, token) = (Arc::clone(&checkers), token.clone());
                all.spawn_local(
                    async move { (is_right, checkers.is_signed(&token, vec![key]).await) },
                );
            }
            while let Some(one) = all.join_next().await {
                let (is_right, checked) = one.expect("no panic");
                assert_eq!(checked.expect("there is a thread"), is_right);
            }
        });
        assert_eq!(checkers.room.available_permits(), TOKEN_CHECKS_WAITING_MAX);
    }

    #[test]
    fn who_has_gone_is_not_checked_for_and_gives_its_room_back() {
        let room = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&room).try_acquire_owned().expect("room");
        let (reply, checked) = oneshot::channel();
        drop(checked);
        let check = Check { token: String::new(), keys: Vec::new(), reply, room: permit };
        check.run();
        assert_eq!(room.available_permits(), 1);
    }
}
