//! Samples written under their definition.
//!
//! The one place where a [`Definition`] meets the exporter's encoder: label names, unit and kind come from the
//! definition, the caller gives values in its order and cannot misspell a label.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Unit;

use super::histogram::Reading;
use super::names::{self, Definition, Kind};
use super::tally::Tally;

/// The page while it is written, family after family.
#[derive(Debug)]
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    /// Writes the head of a family, then what `samples` writes.
    pub(super) fn family(
        &mut self,
        definition: &'static Definition,
        samples: impl FnOnce(&mut Family<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let unit = definition.unit.map(|unit| match unit {
            names::Unit::Seconds => Unit::Seconds,
            names::Unit::Bytes => Unit::Bytes,
        });
        let kind = match definition.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        let encoder = self.0.encode_descriptor(definition.stem(), definition.help, unit.as_ref(), kind)?;
        samples(&mut Family { definition, encoder })
    }

    /// Writes a family of one counter without labels.
    pub(super) fn counter(&mut self, definition: &'static Definition, value: impl EncodeCounterValue) -> fmt::Result {
        self.family(definition, |family| family.counter([], value))
    }

    /// Writes a family of one gauge without labels.
    pub(super) fn gauge(&mut self, definition: &'static Definition, value: impl EncodeGaugeValue) -> fmt::Result {
        self.family(definition, |family| family.gauge([], value))
    }
}

/// One family while its samples are written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    definition: &'static Definition,
    encoder: MetricEncoder<'a>,
}

impl Family<'_> {
    /// One counter; `labels` are the values in the definition's order.
    pub(super) fn counter<const N: usize>(&mut self, labels: [&str; N], value: impl EncodeCounterValue) -> fmt::Result {
        self.sample(&labels, |encoder| encoder.encode_counter(&value, None::<&Exemplar<NoLabelSet, f64>>))
    }

    /// One gauge.
    pub(super) fn gauge<const N: usize>(&mut self, labels: [&str; N], value: impl EncodeGaugeValue) -> fmt::Result {
        self.sample(&labels, |encoder| encoder.encode_gauge(&value))
    }

    /// One histogram.
    pub(super) fn histogram<const N: usize>(&mut self, labels: [&str; N], reading: &Reading) -> fmt::Result {
        self.sample(&labels, |encoder| {
            encoder.encode_histogram::<NoLabelSet>(reading.sum, reading.count, &reading.buckets, None)
        })
    }

    /// One counter for each word, zeros too: an alert on an increase cannot see a series' first value, so a rare
    /// event must have its series before it happens. The word is the last label.
    pub(super) fn tally<const N: usize>(&mut self, labels: [&str; N], tally: &Tally) -> fmt::Result {
        let mut values = labels.to_vec();
        tally.counts().try_for_each(|(word, count)| {
            values.truncate(N);
            values.push(word);
            self.sample(&values, |encoder| encoder.encode_counter(&count, None::<&Exemplar<NoLabelSet, f64>>))
        })
    }

    /// One information; its labels are its content.
    pub(super) fn info<const N: usize>(&mut self, labels: [&str; N]) -> fmt::Result {
        let pairs = pairs(self.definition, &labels);
        self.encoder.encode_info(&pairs)
    }

    fn sample(&mut self, labels: &[&str], write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result) -> fmt::Result {
        if labels.is_empty() {
            // With an empty set the encoder writes a pair of braces.
            return write(&mut self.encoder);
        }
        let pairs = pairs(self.definition, labels);
        write(&mut self.encoder.encode_family(&pairs)?)
    }
}

fn pairs<'a>(definition: &'static Definition, values: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    definition.labels.iter().map(|label| label.name).zip(values.iter().copied()).collect()
}
