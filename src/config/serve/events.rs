//! `events`: what a back end is told without being asked.

use std::time::Duration;

use super::endpoint::{Endpoint, StaticHeader};
use crate::config::section::section;
use crate::config::setting::Item;
use crate::limits::{BACKEND_TIMEOUT_MAX_MS, EVENTS_TIMEOUT_DEFAULT};

section! {
    /// The back end that is told who is gone.
    pub struct Events in "events." {
        /// Whether there is one, and it is told.
        enabled: bool = false;
        /// Where it is: a URL, or several, of which the next is told when one fails.
        endpoint: Vec<Endpoint> = Vec::new();
        /// What it is told of: `disconnect`, when a client is gone, and `unsubscribe`, when one is
        /// out of a channel and stays connected.
        types: Vec<EventType> = vec![EventType::Disconnect, EventType::Unsubscribe];
        /// Time for the answer to a batch of events, all tries together. Any status from 200 to
        /// 299 says that it is taken; what is not taken is posted again.
        timeout: Duration = EVENTS_TIMEOUT_DEFAULT, in 1..=BACKEND_TIMEOUT_MAX_MS;
        /// Headers of every request, each as `Name: value`.
        static_headers: Vec<StaticHeader> = Vec::new();
    }
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// A client is gone.
    Disconnect,
    /// A client is out of a channel.
    Unsubscribe,
}

impl Item for EventType {
    const WHAT: &str = "kinds of events: disconnect, unsubscribe";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "disconnect" => Ok(Self::Disconnect),
            "unsubscribe" => Ok(Self::Unsubscribe),
            _ => Err("there is no such kind of event".to_owned()),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Disconnect => "disconnect".to_owned(),
            Self::Unsubscribe => "unsubscribe".to_owned(),
        }
    }
}
