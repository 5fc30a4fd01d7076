//! The sessions that have a stream here, by the names that their clients say.
//!
//! Invariant: a session is known exactly as long as its stream is, and what its client says waits
//! in a queue of few frames, which the stream empties into the shard.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::limits::STREAM_FRAMES_MAX;

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    /// One thread looks at it and never waits with it in hand: the channel is not for its news,
    /// but for the interior.
    known: Arc<watch::Sender<HashMap<String, mpsc::Sender<Vec<u8>>>>>,
    places: Arc<Semaphore>,
}

/// The room of one stream.
pub(super) type Place = OwnedSemaphorePermit;

/// A session that is known; dropped with its stream.
#[derive(Debug)]
pub(super) struct Known {
    sessions: Sessions,
    name: String,
    /// What its client says.
    pub(super) frames: mpsc::Receiver<Vec<u8>>,
    _place: Place,
}

impl Sessions {
    /// Room for so many.
    pub(super) fn new(streams_max: usize) -> Self {
        let known = Arc::new(watch::Sender::new(HashMap::new()));
        Self { known, places: Arc::new(Semaphore::new(streams_max)) }
    }

    /// Room for one more, if there is any.
    pub(super) fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Makes a session known.
    pub(super) fn enter(&self, name: String, place: Place) -> Known {
        let (sender, frames) = mpsc::channel(STREAM_FRAMES_MAX);
        self.known.send_modify(|known| {
            known.insert(name.clone(), sender);
        });
        Known { sessions: self.clone(), name, frames, _place: place }
    }

    /// Where a client's frames go; `None` if there is no such session (any more).
    pub(super) fn find(&self, name: &str) -> Option<mpsc::Sender<Vec<u8>>> {
        self.known.borrow().get(name).cloned()
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.sessions.known.send_modify(|known| {
            known.remove(&self.name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_while_its_stream_lives_and_gives_its_place_back() {
        let sessions = Sessions::new(1);
        let place = sessions.place().unwrap();
        assert!(sessions.place().is_none());
        let mut known = sessions.enter("a".to_owned(), place);
        sessions.find("a").unwrap().try_send(b"{}".to_vec()).unwrap();
        assert_eq!(known.frames.try_recv().unwrap(), b"{}");
        assert!(sessions.find("b").is_none());
        drop(known);
        assert!(sessions.find("a").is_none());
        assert!(sessions.place().is_some());
    }
}
