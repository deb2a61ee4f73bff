//! The text form of metrics: one function for each kind of metric family.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Writes families, each with all its series at once. The values of labels are names of ours, never
/// of a tenant.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    /// A number that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: usize) -> Result<(), Error> {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    /// Numbers that go up and down, one for each set of labels.
    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, usize)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A duration; `_seconds` is appended to the name.
    pub(super) fn seconds(&mut self, name: &str, help: &str, value: Duration) -> Result<(), Error> {
        let unit = Some(&Unit::Seconds);
        let metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value.as_secs_f64()).encode(metric)
    }

    /// A number that only grows; `_total` is appended to the name.
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) -> Result<(), Error> {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(metric)
    }

    /// A size in bytes; `_bytes` is appended to the name.
    pub(super) fn bytes(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        let unit = Some(&Unit::Bytes);
        let metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    /// One of several states: 1 for the current state, 0 for the others.
    pub(super) fn state<S: PartialEq>(
        &mut self,
        name: &str,
        help: &str,
        states: &[S],
        current: &S,
        name_of: fn(&S) -> &'static str,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for state in states {
            let holds = ConstGauge::new(usize::from(state == current));
            holds.encode(metric.encode_family(&[("state", name_of(state))])?)?;
        }
        Ok(())
    }

    /// Numbers that only grow, one for each set of labels; `_total` is appended to the name.
    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl Iterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in counts {
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Facts that do not change while the process lives; `_info` is appended to the name.
    pub(super) fn info(
        &mut self,
        name: &str,
        help: &str,
        label: (&str, impl EncodeLabelValue),
    ) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        metric.encode_info(&[label])
    }
}
