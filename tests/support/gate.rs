//! Holds a shard's thread where it is, for tests of what others do meanwhile.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// How long a test waits for a shard to stand still.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a shard stands still until the test lets it go on.
#[derive(Default)]
pub(crate) struct Gate {
    stands: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn stand(&self) {
        let mut stands = self.stands.lock().expect("no panic");
        *stands = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(stands, |stands| *stands).expect("no panic"));
    }

    pub(crate) fn wait_until_it_stands(&self) {
        let stands = self.stands.lock().expect("no panic");
        let waited = self.changed.wait_timeout_while(stands, PATIENCE, |stands| !*stands);
        assert!(!waited.expect("no panic").1.timed_out(), "the shard was asked to stand still");
    }

    pub(crate) fn go_on(&self) {
        *self.stands.lock().expect("no panic") = false;
        self.changed.notify_all();
    }
}
