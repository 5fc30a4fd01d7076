//! Steps of an upgrade at which a process is held: see `src/sys/step.rs`.
#![allow(dead_code)] // each test uses a part of it

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// Names the folder of the steps at which processes are held.
pub(crate) const STEPS: &str = "STEPS_OF_LONGWIRE";

/// The folder in which a test says where processes are to be held.
pub(crate) struct Steps(pub(crate) PathBuf);

impl Steps {
    /// Makes the folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// From now on the first process that comes to a step is held there.
    pub(crate) fn hold_at(&self, step: &str) {
        std::fs::write(self.0.join(step), "").unwrap();
    }

    /// Waits until a process is held at this step.
    pub(crate) fn held_at(&self, step: &str) -> Pid {
        let pid = poll("a process comes to the step", || self.come_to(step));
        poll("it is stopped", || (state_of(pid)? == 'T').then_some(()));
        pid
    }

    /// The process that has come to this step.
    pub(crate) fn come_to(&self, step: &str) -> Option<Pid> {
        let folder = &self.0;
        let prefix = format!("{step}.");
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let name = names.into_iter().find(|name| name.starts_with(&prefix))?;
        std::fs::remove_file(folder.join(&name)).unwrap();
        Pid::from_raw(name[prefix.len()..].parse().unwrap())
    }

    /// Nobody has come to this step, and nobody is to be held there any more.
    pub(crate) fn forget(&self, step: &str) {
        let _taken = std::fs::remove_file(self.0.join(step));
    }
}

/// Looks until there is something.
pub(crate) fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}, sooner or later");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The state of a process as `proc(5)` has it; `None` if there is none any more.
pub(crate) fn state_of(pid: Pid) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    text.rsplit(") ").next()?.chars().next()
}

/// Whether a process runs no more, reaped or not.
pub(crate) fn has_ended(pid: Pid) -> bool {
    matches!(state_of(pid), None | Some('Z' | 'X'))
}
