//! Telling the others of a test that one of them has ended.

use std::sync::atomic::{AtomicBool, Ordering};

/// Says that it is over when it is dropped, by a panic as well.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
