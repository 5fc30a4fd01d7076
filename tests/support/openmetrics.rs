//! A strict reader of the text that `/metrics` answers.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels.
///
/// Every family is declared before its samples, once; every sample belongs to the family it stands
/// under and has a name that its type allows; the buckets of a histogram ascend, and the last one,
/// without a bound, holds as many as were counted.
pub(crate) fn read(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let (mut seen, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut kind) = ("", "");
    let mut ladder = Ladder::default();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(!help.is_empty() && seen.insert(name), "{line}");
            family = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            kind = rest.strip_prefix(family).expect("of the same family").trim();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let unit = rest.strip_prefix(family).expect("of the same family").trim();
            assert!(family.ends_with(unit), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let suffix = name.split('{').next().unwrap().strip_prefix(family).expect(line);
            let fits = match kind {
                "counter" => suffix == "_total",
                "gauge" => suffix.is_empty(),
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => false,
            };
            assert!(fits, "{line} in a {kind}");
            let value = value.parse().expect(line);
            if kind == "histogram" {
                ladder.climb(line, suffix, name, value);
            }
            assert!(samples.insert(name.to_owned(), value).is_none(), "{line} twice");
        }
    }
    samples
}

/// Where the buckets of a histogram stand: the last bound and its count.
#[derive(Default)]
struct Ladder {
    last: Option<(f64, f64)>,
    count: f64,
}

impl Ladder {
    /// The next sample of a histogram: its sum and count come first, then its buckets.
    fn climb(&mut self, line: &str, suffix: &str, name: &str, value: f64) {
        match suffix {
            "_sum" => {
                assert!(self.last.is_none(), "{line} before the last bucket of another");
                assert!(value >= 0.0, "{line}");
            }
            "_count" => self.count = value,
            _ => {
                let (_, bound) = name.split_once("le=\"").expect("a bound");
                let bound: f64 = bound.split('"').next().unwrap().parse().expect(line);
                let (last, below) = self.last.unwrap_or((f64::NEG_INFINITY, 0.0));
                assert!(last < bound && below <= value, "{line} does not ascend");
                self.last = bound.is_finite().then_some((bound, value));
                assert!(
                    bound.is_finite() || value.total_cmp(&self.count).is_eq(),
                    "{line} is not all"
                );
            }
        }
    }
}
