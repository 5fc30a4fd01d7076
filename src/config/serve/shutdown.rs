//! `shutdown`: the end.

use std::time::Duration;

use crate::config::section::{DAY_MS, section};
use crate::limits::DRAIN_DEFAULT;

section! {
    /// How the server ends.
    pub struct Shutdown in "shutdown." {
        /// Time for open connections to end after SIGTERM.
        timeout: Duration = DRAIN_DEFAULT, in 0..=DAY_MS;
    }
}
