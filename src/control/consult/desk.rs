//! The questions that are open, and the tasks that work on them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::{Calls, Verifiers};
use crate::backend::{Question, Verdict};
use crate::control::api::Press;

/// How a task ended.
type Ended = Result<(Id, Option<Verdict>), JoinError>;

/// Answers questions within a runtime of tokio. `K` is how those who ask tell them apart.
pub struct Desk<K> {
    calls: Arc<Calls>,
    press: Press,
    verifiers: watch::Receiver<Arc<Verifiers>>,
    tasks: JoinSet<Option<Verdict>>,
    open: HashMap<K, AbortHandle>,
    keys: HashMap<Id, K>,
}

impl<K: Copy + Eq + Hash> Desk<K> {
    pub(in crate::control) fn new(
        (calls, press): (Arc<Calls>, Press),
        verifiers: watch::Receiver<Arc<Verifiers>>,
    ) -> Self {
        let (tasks, open, keys) = (JoinSet::new(), HashMap::new(), HashMap::new());
        Self { calls, press, verifiers, tasks, open, keys }
    }

    /// Begins to work on a question; no other with this key may be open. One whose answer is
    /// known is answered at once: those who come back in a storm take no task each.
    pub fn ask(&mut self, key: K, question: &[u8]) -> Option<Box<[u8]>> {
        let question = Question::decode(question);
        let calls = Arc::clone(&self.calls);
        let verifiers = Arc::clone(&self.verifiers.borrow());
        if let Some(Question::Token { purpose, token }) = &question
            && let Some(verdict) = verifiers.known(*purpose, token)
        {
            return Some(Verdict::Token(verdict).encode());
        }
        let press = self.press.clone();
        let task = self.tasks.spawn(async move {
            match question? {
                Question::Call(call) => calls.call(&call).await,
                Question::Publish(wanted) => press.publish(*wanted).await,
                Question::Token { purpose, token } => {
                    Some(Verdict::Token(verifiers.verify(purpose, token).await))
                }
            }
        });
        self.keys.insert(task.id(), key);
        self.open.insert(key, task);
        None
    }

    /// Nobody waits for this answer any more.
    pub fn call_off(&mut self, key: &K) {
        if let Some(task) = self.open.remove(key) {
            task.abort();
        }
    }

    /// The next answer, as soon as there is one; `None` for a question that has none.
    pub async fn answered(&mut self) -> (K, Option<Box<[u8]>>) {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else {
                return std::future::pending().await;
            };
            if let Some(answered) = self.ended(ended) {
                return answered;
            }
        }
    }

    /// The next answer, if there is one already.
    pub fn try_answered(&mut self) -> Option<(K, Option<Box<[u8]>>)> {
        loop {
            let ended = self.tasks.try_join_next_with_id()?;
            if let Some(answered) = self.ended(ended) {
                return Some(answered);
            }
        }
    }

    /// What a task that has ended answers, if somebody still waits for it.
    fn ended(&mut self, ended: Ended) -> Option<(K, Option<Box<[u8]>>)> {
        let (task, verdict) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a question ended by a panic");
                }
                (error.id(), None)
            }
        };
        let key = self.keys.remove(&task).expect("every task has a key");
        // One that was called off may have been answered before it heard of it.
        if self.open.get(&key).is_none_or(|open| open.id() != task) {
            return None;
        }
        self.open.remove(&key);
        Some((key, verdict.map(|verdict| verdict.encode())))
    }
}
