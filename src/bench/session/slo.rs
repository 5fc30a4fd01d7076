//! Objectives that a run shall meet: `connect=99.9%,p95=800ms,heartbeat=99.98%`.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

use super::summary::Summary;

/// The objectives that were named; the others are met.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slo {
    /// Share of sessions that come to stand, in percent.
    pub connect_percent: Option<f64>,
    /// 95 of 100 sessions are in their channels within so many milliseconds.
    pub p95_ms: Option<f64>,
    /// Share of pings that come, in percent.
    pub heartbeat_percent: Option<f64>,
}

/// What is no list of objectives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSlo(String);

impl fmt::Display for BadSlo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part) = self;
        write!(f, "{part:?} is none of connect=PERCENT%, p95=MILLISECONDSms, heartbeat=PERCENT%")
    }
}

impl std::error::Error for BadSlo {}

impl FromStr for Slo {
    type Err = BadSlo;

    fn from_str(text: &str) -> Result<Self, BadSlo> {
        let mut slo = Self::default();
        for part in text.split(',') {
            let bad = || BadSlo(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(bad)?;
            let (place, unit) = match name {
                "connect" => (&mut slo.connect_percent, "%"),
                "p95" => (&mut slo.p95_ms, "ms"),
                "heartbeat" => (&mut slo.heartbeat_percent, "%"),
                _ => return Err(bad()),
            };
            let number: f64 =
                value.strip_suffix(unit).ok_or_else(bad)?.parse().map_err(|_| bad())?;
            let is_share = unit == "%";
            if !number.is_finite() || number < 0.0 || is_share && number > 100.0 {
                return Err(bad());
            }
            *place = Some(number);
        }
        Ok(slo)
    }
}

impl Slo {
    /// The objectives that a run has missed, in words.
    pub fn missed(&self, summary: &Summary) -> Vec<String> {
        let mut missed = Vec::new();
        let mut at_least = |name: &str, wanted: Option<f64>, share: Option<f64>| {
            let Some(wanted) = wanted else { return };
            // What was not measured was not met.
            let percent = share.map_or(0.0, |share| share * 100.0);
            if percent < wanted {
                missed.push(format!("{name}={wanted}%: it was {percent:.4}%"));
            }
        };
        at_least("connect", self.connect_percent, Some(summary.success));
        at_least("heartbeat", self.heartbeat_percent, summary.heartbeat);
        if let Some(wanted) = self.p95_ms {
            let p95_ms = summary.begin.map_or(f64::INFINITY, |begin| begin.p95_us / 1e3);
            if p95_ms > wanted {
                missed.push(format!("p95={wanted}ms: it was {p95_ms:.2}ms"));
            }
        }
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::Found;
    use super::super::plan::tests::args;
    use super::super::{Scenario, SessionPlan};
    use super::*;
    use std::time::Duration;

    /// 100 sessions of which 99 came, within 1 to 99 ms; 95 of 100 pings.
    fn summary() -> Summary {
        let plan = SessionPlan::new(&args(Scenario::Idle)).unwrap();
        let mut found = Found { ready: 99, pings: 95, pings_due: 100, ..Found::default() };
        for time_ms in 1..100 {
            found.begin.record(Duration::from_millis(time_ms));
        }
        Summary::new(&plan, found)
    }

    #[test]
    fn each_objective_is_met_up_to_its_bound_and_missed_beyond() {
        for (met, missed) in [
            ("connect=99%", "connect=99.1%"),
            ("p95=96ms", "p95=94ms"),
            ("heartbeat=95%", "heartbeat=95.5%"),
        ] {
            assert_eq!(met.parse::<Slo>().unwrap().missed(&summary()), [] as [String; 0]);
            let told = missed.parse::<Slo>().unwrap().missed(&summary());
            assert_eq!(told.len(), 1);
            assert!(told[0].starts_with(missed), "{told:?}");
        }
        let all: Slo = "connect=100%,p95=1ms,heartbeat=100%".parse().unwrap();
        assert_eq!(all.missed(&summary()).len(), 3);
    }

    #[test]
    fn what_was_not_measured_was_not_met() {
        let plan = SessionPlan::new(&args(Scenario::Connect)).unwrap();
        let nothing = Summary::new(&plan, Found::default());
        let slo: Slo = "p95=1000ms,heartbeat=1%".parse().unwrap();
        assert_eq!(slo.missed(&nothing).len(), 2);
    }

    #[test]
    fn what_is_no_objective_is_named() {
        for text in ["", "connect", "connect=99", "p95=8s", "uptime=9%", "connect=101%", "p95=xms"]
        {
            assert_eq!(text.parse::<Slo>(), Err(BadSlo(text.to_owned())));
        }
    }
}
