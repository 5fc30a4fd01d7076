//! Connections that did not come to stand, by class.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Why connections did not come to stand, counted by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// No answer within the handshake deadline.
    pub timeout: u64,
    /// Nobody listens.
    pub refused: u64,
    /// Ended by the server before the handshake was over.
    pub reset: u64,
    /// Answered with another status than 101.
    pub http: BTreeMap<u16, u64>,
    /// Answered with something that is no acceptance: wrong accept key, no HTTP.
    pub handshake: u64,
    /// Not even tried: no descriptor, no port, no memory on our side.
    pub local: u64,
}

impl Failures {
    /// All of them.
    pub fn total(&self) -> u64 {
        let http: u64 = self.http.values().sum();
        self.timeout + self.refused + self.reset + http + self.handshake + self.local
    }

    /// Adds those of another thread.
    pub fn add(&mut self, other: &Self) {
        self.timeout += other.timeout;
        self.refused += other.refused;
        self.reset += other.reset;
        self.handshake += other.handshake;
        self.local += other.local;
        for (status, count) in &other.http {
            *self.http.entry(*status).or_default() += count;
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, refused, reset, http, handshake, local } = self;
        write!(
            f,
            "timeout {timeout}, refused {refused}, reset {reset}, handshake {handshake}, \
             local {local}"
        )?;
        for (status, count) in http {
            write!(f, ", http {status}: {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_added_and_counted_in_the_total() {
        let one = Failures {
            timeout: 1,
            refused: 2,
            reset: 4,
            http: [(503, 8)].into(),
            handshake: 16,
            local: 32,
        };
        let mut sum = Failures { http: [(500, 64)].into(), ..one.clone() };
        sum.add(&one);
        assert_eq!(one.total(), 63);
        assert_eq!(sum.total(), 63 - 8 + 64 + 63);
        assert!(sum.to_string().ends_with("local 64, http 500: 64, http 503: 8"), "{sum}");
    }
}
