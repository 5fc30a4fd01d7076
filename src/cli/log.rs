//! Logs: `tracing` events to lines on standard error, as text for people or JSON for machines.
//!
//! Lines leave by a bounded queue and a thread of their own, because standard error may be a pipe
//! that nobody reads, and a shard that waits for it serves nobody. What does not fit is dropped,
//! counted, and the count is the last line.

use std::io::{self, Write};

use clap::Args;
use longwire::config::serve::{Filter, Log as Settings, LogFormat};
use longwire::config::{Raw, Serve, keys};
use longwire::limits::LOG_LINES_MAX;
use longwire::sys::signal;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, reload};

/// How the process logs.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LogArgs {
    /// How a line looks
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_parser = ["text", "json"],
        env = "LONGWIRE_LOG_FORMAT"
    )]
    log_format: Option<String>,

    /// What is logged: error, warn, info, debug, trace or off; or by module:
    /// `info,longwire::shard=debug`. By default info
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        value_parser = filter,
        env = "LONGWIRE_LOG_LEVEL"
    )]
    log_level: Option<String>,
}

impl LogArgs {
    /// Lays them over weaker sources.
    pub(crate) fn lay(&self, raw: &mut Raw) {
        for (path, value) in [("log.format", &self.log_format), ("log.level", &self.log_level)] {
            if let Some(value) = value {
                let key = keys().find(|key| key.path == path).expect("a key");
                raw.lay_flag(key, vec![value.clone()]);
            }
        }
    }

    /// The settings of commands that have no other configuration.
    pub(crate) fn settings(&self) -> Settings {
        let mut raw = Raw::new();
        self.lay(&mut raw);
        Serve::new(raw).expect("checked when they were parsed").log
    }
}

fn filter(text: &str) -> Result<String, String> {
    Filter::new(text).map(|filter| filter.as_str().to_owned())
}

/// The running log; keep it until the last event, then [`finish`](Self::finish).
#[must_use = "a log that is dropped writes nothing more"]
pub(crate) struct Log {
    worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl Log {
    /// Makes the log of this process. Fails if there is one already.
    pub(crate) fn start(
        settings: &Settings,
    ) -> Result<(Self, Refilter), tracing::subscriber::SetGlobalDefaultError> {
        let (worker, writer) = worker(io::stderr());
        let dropped = writer.error_counter();
        let (subscriber, refilter) = subscriber(settings, writer);
        tracing::subscriber::set_global_default(subscriber)?;
        Ok((Self { worker, dropped }, refilter))
    }

    /// Writes what waits, and says on standard error how many lines did not fit.
    pub(crate) fn finish(self) {
        let Self { worker, dropped } = self;
        drop(worker);
        match dropped.dropped_lines() {
            0 => {}
            count => eprintln!("longwire: {count} log lines were dropped: nobody read fast enough"),
        }
    }
}

/// Where lines are written, and what they are handed to.
fn worker(sink: impl Write + Send + 'static) -> (WorkerGuard, NonBlocking) {
    let builder = NonBlockingBuilder::default()
        .buffered_lines_limit(LOG_LINES_MAX)
        .lossy(true)
        .thread_name("log");
    // The server blocks its signals later; a thread that had not would die of the first one.
    let (writer, worker) = signal::shielded(|| builder.finish(sink));
    (worker, writer)
}

/// Exchanges the filter of a running log.
pub(crate) struct Refilter(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl Refilter {
    /// Logs by this filter from now on.
    pub(crate) fn set(&self, filter: &Filter) {
        if let Err(error) = (self.0)(env_filter(filter)) {
            tracing::error!(%error, "the filter of the log stays as it is");
        }
    }
}

fn subscriber<W>(settings: &Settings, writer: W) -> (Box<dyn Subscriber + Send + Sync>, Refilter)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(env_filter(&settings.level))
        .with_writer(writer)
        .with_thread_names(true)
        .with_ansi(false);
    match settings.format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(lines.finish()), reloading(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            (Box::new(lines.finish()), reloading(move |filter| handle.reload(filter)))
        }
    }
}

fn reloading(
    reload: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static,
) -> Refilter {
    Refilter(Box::new(reload))
}

fn env_filter(filter: &Filter) -> EnvFilter {
    EnvFilter::try_new(filter.as_str()).expect("checked when it was read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use tracing::subscriber::with_default;

    /// A sink that hands each line to the test, and waits for it where the test wants a slow one.
    struct Lines {
        sent: Sender<String>,
        gate: Option<Receiver<()>>,
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(gate) = self.gate.take() {
                gate.recv().expect("the test opens the gate");
            }
            self.sent.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings(format: LogFormat, filter: &str) -> Settings {
        Settings { level: Filter::new(filter).unwrap(), format }
    }

    fn lines_of(format: LogFormat, filter: &str, events: impl FnOnce(&Refilter)) -> Vec<String> {
        let (sent, lines) = channel();
        let (worker, writer) = worker(Lines { sent, gate: None });
        let (subscriber, refilter) = subscriber(&settings(format, filter), writer);
        with_default(subscriber, || events(&refilter));
        drop(worker);
        lines.iter().collect()
    }

    #[test]
    fn json_lines_are_objects_with_their_fields() {
        let lines = lines_of(LogFormat::Json, "info", |_| tracing::info!(shard = 3, "ready"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "ready");
        assert_eq!(line["shard"], 3);
    }

    #[test]
    fn text_lines_carry_level_message_and_fields_without_colours() {
        let lines = lines_of(LogFormat::Text, "info", |_| tracing::warn!(shard = 3, "slow"));
        assert!(lines[0].contains("WARN") && lines[0].contains("slow shard=3"), "{lines:?}");
        assert!(!lines[0].contains('\u{1b}'));
    }

    #[test]
    fn events_below_the_level_are_left_out() {
        let events = |_: &Refilter| {
            tracing::debug!("too fine");
            tracing::error!("kept");
        };
        let lines = lines_of(LogFormat::Text, "info", events);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }

    #[test]
    fn a_log_that_nobody_reads_stops_no_thread_and_counts_what_it_drops() {
        let (sent, lines) = channel();
        let (open, gate) = channel();
        let (worker, writer) = worker(Lines { sent, gate: Some(gate) });
        let dropped = writer.error_counter();
        let (subscriber, _) = subscriber(&settings(LogFormat::Text, "info"), writer);
        let wanted = 2 * LOG_LINES_MAX;
        with_default(subscriber, || {
            for number in 0..wanted {
                tracing::info!(number, "line");
            }
        });
        // All events have returned while the sink still waits for its first line.
        assert!(dropped.dropped_lines() >= wanted - LOG_LINES_MAX - 1);
        open.send(()).unwrap();
        drop(worker);
        assert_eq!(lines.iter().count() + dropped.dropped_lines(), wanted);
    }

    #[test]
    fn the_filter_of_a_running_log_is_exchanged() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = lines_of(format, "info", |refilter| {
                tracing::debug!("before");
                refilter.set(&Filter::new("debug").unwrap());
                tracing::debug!("after");
            });
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("after"), "{lines:?}");
        }
    }
}
