//! Looks at both sides while a run goes on, and shows a person how far it is.
//!
//! Invariant: what cannot be read keeps its last value. Whoever is quoted is read by the meter, at
//! its marks, where an error ends the run.

use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::process::{self, Process};
use super::timeline::{Progress, Sample, Timeline};

/// Samples of one run, taken by its first thread.
pub(super) struct Sampler {
    timeline: Timeline,
    last: Sample,
    server: Option<Process>,
    own: Process,
    /// Hidden where nobody looks at a terminal.
    bar: ProgressBar,
}

impl Sampler {
    /// Samples of a run of so many sessions.
    pub(super) fn new(server_pid: Option<u32>, sessions: u32) -> io::Result<Self> {
        let bar = ProgressBar::new(sessions.into());
        let style = ProgressStyle::with_template("{elapsed} [{bar:30}] {pos}/{len} sessions {msg}");
        bar.set_style(style.expect("the template is a constant").progress_chars("=> "));
        Ok(Self {
            timeline: Timeline::default(),
            last: Sample::default(),
            server: server_pid.map(Process::open).transpose()?,
            own: Process::open(std::process::id())?,
            bar,
        })
    }

    /// Takes a sample, if it is time for one.
    pub(super) fn look(&mut self, now: Duration, progress: &Progress) {
        if !self.timeline.is_due(now) {
            return;
        }
        let before = self.last;
        let last = &mut self.last;
        last.at_s = now.as_secs_f64();
        (last.standing, last.delivered) = (progress.standing(), progress.delivered());
        let seconds = |time: io::Result<Duration>| time.ok().map(|time| time.as_secs_f64());
        if let Some(server) = &mut self.server {
            last.server_cpu_s = seconds(server.cpu_time()).unwrap_or(last.server_cpu_s);
            last.server_bytes = server.anonymous_bytes().unwrap_or(last.server_bytes);
        }
        last.generator_cpu_s = seconds(self.own.cpu_time()).unwrap_or(last.generator_cpu_s);
        last.slab_bytes = process::slab_bytes().unwrap_or(last.slab_bytes);
        last.socket_bytes = process::socket_buffer_bytes().unwrap_or(last.socket_bytes);
        let period = (last.at_s - before.at_s).max(1e-3);
        self.bar.set_position(last.standing);
        #[allow(clippy::cast_precision_loss)] // Publications of one run are below 2^53.
        let rate = last.delivered.saturating_sub(before.delivered) as f64 / period;
        self.bar.set_message(format!("{rate:.0} deliveries/s"));
        self.timeline.push(now, self.last);
    }

    /// All samples; the bar goes.
    pub(super) fn into_samples(self) -> Vec<Sample> {
        self.bar.finish_and_clear();
        self.timeline.into_samples()
    }
}
