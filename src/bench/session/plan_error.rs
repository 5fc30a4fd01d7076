//! Why arguments make no run over the client protocol.
#![forbid(unsafe_code)]

use std::fmt;

use super::parcel::PARCEL_BYTES_MIN;
use crate::limits;

/// Why arguments make no run. The text names the argument, its value, the bound and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionPlanError {
    /// `--connections` is 0 or beyond what one generator holds.
    Connections(u32),
    /// `--channels` is 0 or beyond the sessions.
    Channels(u32),
    /// `--channel-prefix` is too long, or holds what would have to be escaped.
    Prefix(String),
    /// `--publishers` is 0 or beyond the channels: each has one of its own.
    Publishers(u32),
    /// `--publications` is 0, beyond the bound, or not of a fan-out.
    Publications(u32),
    /// `--bare` without what it takes.
    Bare,
    /// `--echo-connections` beside a scenario that has none, or with a rate or time of 0.
    Echo,
    /// `--size` leaves no room for number and time, or is beyond the largest message.
    Size(usize),
    /// A rate of 0.
    NoRate,
    /// `--seconds 0`.
    NoTime,
    /// `--alpha` is below 0, or no number.
    Alpha,
    /// A path must start with a slash and hold printable ASCII only.
    Path(String),
}

impl fmt::Display for SessionPlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(count) => write!(
                f,
                "--connections {count} is outside 1..={}; for more start several generators",
                limits::BENCH_CONNECTIONS_MAX
            ),
            Self::Channels(count) => {
                write!(f, "--channels {count} must be at least 1 and at most --connections")
            }
            Self::Prefix(prefix) => write!(
                f,
                "--channel-prefix {prefix:?} must be at most {} letters, digits, and `-_.:`",
                limits::BENCH_PREFIX_BYTES_MAX
            ),
            Self::Publishers(count) => write!(
                f,
                "--publishers {count} must be at least 1 and at most --channels: each publishes \
                 into a channel of its own"
            ),
            Self::Publications(count) => write!(
                f,
                "--publications {count} must be 1..={} and goes with `fanout`",
                limits::BENCH_ROUNDS_MAX
            ),
            Self::Bare => write!(
                f,
                "--bare goes with `fanout --publications N --channels 1` and without \
                 --echo-connections: a plain loop knows no channels"
            ),
            Self::Echo => write!(
                f,
                "--echo-connections goes with `idle` and `fanout`, and with an --echo-rate and \
                 --echo-seconds of at least 1"
            ),
            Self::Size(size) => write!(
                f,
                "--size {size} is outside {PARCEL_BYTES_MIN}..={}; what is published names its \
                 number and time",
                limits::BENCH_PAYLOAD_BYTES_MAX / 2
            ),
            Self::NoRate => write!(f, "a rate of 0 does nothing; leave it out to go full speed"),
            Self::NoTime => write!(f, "--seconds 0 measures nothing; give at least 1"),
            Self::Alpha => write!(f, "--alpha must be 0 or more"),
            Self::Path(path) => {
                write!(f, "path {path:?} must start with `/` and hold visible ASCII only")
            }
        }
    }
}

impl std::error::Error for SessionPlanError {}
