//! Reports of the shards, on their way into the site's mailbox.

use std::time::Instant;

use crate::control::{EventCounts, Mailbox};
use crate::limits::EVENTS_STOP_GRACE;
use crate::metrics::Counters;

/// The way from the shards to whoever is told of events.
pub(super) struct Reporting {
    /// There is none where there is no site: nobody wants to know then.
    mailbox: Option<Mailbox>,
    /// Those that came all the same.
    unwanted: u64,
}

impl Reporting {
    pub(super) fn new(mailbox: Option<Mailbox>) -> Self {
        Self { mailbox, unwanted: 0 }
    }

    pub(super) fn take(&mut self, reports: Box<[Box<[u8]>]>) {
        match &self.mailbox {
            Some(mailbox) => mailbox.put(reports),
            None => self.unwanted += reports.len() as u64,
        }
    }

    /// The server stops: the shards have until `drained`, and their last reports a while more.
    pub(super) fn stop(&self, drained: Instant) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.stop(drained + EVENTS_STOP_GRACE);
        }
    }

    /// The shards have ended, and all that they had to report has come.
    pub(super) fn close(&self) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.close();
        }
    }

    /// The server ends: what was not delivered until now will not be.
    pub(super) fn give_up(&self) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.give_up();
        }
    }

    /// Sets what has become of them.
    pub(super) fn count_into(&self, counters: &mut Counters) {
        let counts = self.mailbox.as_ref().map(Mailbox::counts).unwrap_or_default();
        let EventCounts { delivered, lost, retries, .. } = counts;
        counters.events_delivered = delivered;
        counters.events_lost = lost + self.unwanted;
        counters.events_retries = retries;
    }
}
