//! One family of the text format per call: its name, help, type and samples.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::metrics::Histogram;

/// Writes metrics of one value, or of one label.
pub(super) struct Metrics<'a>(DescriptorEncoder<'a>);

impl<'a> Metrics<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    fn begin<'e>(
        &'e mut self,
        name: &'e str,
        help: &'e str,
        unit: Option<&'e Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'e>, fmt::Error> {
        // The encoder ends the sentence.
        let help = help.trim().trim_end_matches('.');
        self.0.encode_descriptor(name, help, unit, kind)
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> fmt::Result {
        let encoder = self.begin(name, help, unit, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    pub(super) fn seconds(&mut self, name: &str, help: &str, microseconds: u64) -> fmt::Result {
        let encoder = self.begin(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
        let seconds = std::time::Duration::from_micros(microseconds).as_secs_f64();
        ConstCounter::new(seconds).encode(encoder)
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, None, MetricType::Counter)?;
        for (value_of_label, value) in values {
            let labels = [(label, *value_of_label)];
            ConstCounter::new(*value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A family of which each sample has the same labels.
    pub(super) fn labelled<'l, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        kind: MetricType,
        samples: impl Iterator<Item = ([(&'l str, String); N], u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, None, kind)?;
        for (labels, value) in samples {
            let encoder = encoder.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
                _ => ConstGauge::new(value).encode(encoder)?,
            }
        }
        Ok(())
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        // The encoder sums them up.
        let buckets: Vec<_> = histogram.buckets().collect();
        let (sum, count) = (histogram.sum_seconds(), histogram.count());
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> fmt::Result {
        let encoder = self.begin(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    pub(super) fn gauges<L: ToString>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(L, u64)],
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, None, MetricType::Gauge)?;
        for (value_of_label, value) in values {
            let labels = [(label, value_of_label.to_string())];
            ConstGauge::new(*value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
