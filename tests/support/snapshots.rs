//! What a server in this process counts, waited for.

use std::thread;
use std::time::{Duration, Instant};

use longwire::{Running, Snapshot};

/// Far beyond what anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until the server's counts are as asked, and returns them.
pub(crate) fn wait_for(
    server: &Running,
    what: &str,
    reached: impl Fn(&Snapshot) -> bool,
) -> Snapshot {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let snapshot = server.snapshot().expect("it runs");
        if reached(&snapshot) {
            return snapshot;
        }
        assert!(Instant::now() < deadline, "not reached: {what}\n{snapshot:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}
