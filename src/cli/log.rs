//! Logs: `tracing` events to lines on standard error, as text for people or JSON for machines.
//!
//! Lines leave by a bounded queue and a thread of their own, because standard error may be a pipe
//! that nobody reads, and a shard that waits for it serves nobody. What does not fit is dropped,
//! counted, and the count is the last line.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use longwire::limits::LOG_LINES_MAX;
use longwire::sys::signal;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How the process logs.
#[derive(Args, Clone, Debug)]
pub(crate) struct LogArgs {
    /// How a line looks
    #[arg(long, global = true, value_enum, default_value_t, env = "LONGWIRE_LOG_FORMAT")]
    log_format: Format,

    /// What is logged: error, warn, info, debug, trace or off; or by module:
    /// `info,longwire::shard=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        default_value = "info",
        value_parser = level,
        env = "LONGWIRE_LOG_LEVEL"
    )]
    log_level: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One line for people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// The running log; keep it until the last event, then [`finish`](Self::finish).
#[must_use = "a log that is dropped writes nothing more"]
pub(crate) struct Log {
    worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl Log {
    /// Makes the log of this process. Fails if there is one already.
    pub(crate) fn start(args: &LogArgs) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (log, writer) = Self::over(io::stderr());
        let subscriber = subscriber(args, writer);
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(log)
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

    fn over(sink: impl Write + Send + 'static) -> (Self, NonBlocking) {
        let builder = NonBlockingBuilder::default()
            .buffered_lines_limit(LOG_LINES_MAX)
            .lossy(true)
            .thread_name("log");
        // The server blocks its signals later; a thread that had not would die of the first one.
        let (writer, worker) = signal::shielded(|| builder.finish(sink));
        let dropped = writer.error_counter();
        (Self { worker, dropped }, writer)
    }
}

fn level(text: &str) -> Result<String, String> {
    // `EnvFilter` takes any word for the name of a target; a single word is meant to be a level.
    let word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if word && text.parse::<tracing::level_filters::LevelFilter>().is_err() {
        return Err("not a level: use error, warn, info, debug, trace or off".to_owned());
    }
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn subscriber<W>(args: &LogArgs, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&args.log_level).expect("checked when it was parsed");
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_thread_names(true)
        .with_ansi(false);
    match args.log_format {
        Format::Text => Box::new(lines.finish()),
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
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

    fn lines_of(format: Format, filter: &str, events: impl FnOnce()) -> Vec<String> {
        let (sent, lines) = channel();
        let (log, writer) = Log::over(Lines { sent, gate: None });
        let args = LogArgs { log_format: format, log_level: filter.to_owned() };
        with_default(subscriber(&args, writer), events);
        log.finish();
        lines.iter().collect()
    }

    #[test]
    fn json_lines_are_objects_with_their_fields() {
        let lines = lines_of(Format::Json, "info", || tracing::info!(shard = 3, "ready"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "ready");
        assert_eq!(line["shard"], 3);
    }

    #[test]
    fn text_lines_carry_level_message_and_fields_without_colours() {
        let lines = lines_of(Format::Text, "info", || tracing::warn!(shard = 3, "slow"));
        assert!(lines[0].contains("WARN") && lines[0].contains("slow shard=3"), "{lines:?}");
        assert!(!lines[0].contains('\u{1b}'));
    }

    #[test]
    fn events_below_the_level_are_left_out() {
        let events = || {
            tracing::debug!("too fine");
            tracing::error!("kept");
        };
        let lines = lines_of(Format::Text, "info", events);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }

    #[test]
    fn a_log_that_nobody_reads_stops_no_thread_and_counts_what_it_drops() {
        let (sent, lines) = channel();
        let (open, gate) = channel();
        let (log, writer) = Log::over(Lines { sent, gate: Some(gate) });
        let args = LogArgs { log_format: Format::Text, log_level: "info".to_owned() };
        let wanted = 2 * LOG_LINES_MAX;
        with_default(subscriber(&args, writer), || {
            for number in 0..wanted {
                tracing::info!(number, "line");
            }
        });
        // All events have returned while the sink still waits for its first line.
        let dropped = log.dropped.clone();
        assert!(dropped.dropped_lines() >= wanted - LOG_LINES_MAX - 1);
        open.send(()).unwrap();
        log.finish();
        assert_eq!(lines.iter().count() + dropped.dropped_lines(), wanted);
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        assert!(level("info").is_ok());
        assert!(level("warn,longwire::shard=debug").is_ok());
        assert!(level("inof").is_err());
        assert!(level("longwire::shard=loud").is_err());
    }
}
