//! The text format of Prometheus, version 0.0.4, and the values that are written in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::{Mutex, PoisonError};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names and values of the labels of one series. Values are words of ours, and few: never an id, a name or a text of
/// a message.
pub(super) type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// A document while it is written.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family. Its samples follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one sample of the family that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{label}=\"{value}\"");
        }
        self.0.push_str(if labels.is_empty() { "" } else { "}" });
        let _ = writeln!(self.0, " {value}");
    }

    /// Writes a family of one gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

/// The series of one name.
struct Family<V> {
    name: &'static str,
    help: &'static str,
    series: Mutex<BTreeMap<Labels, V>>,
}

impl<V: Clone> Family<V> {
    fn change(&self, labels: Labels, new: impl FnOnce() -> V, change: impl FnOnce(&mut V)) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        change(series.entry(labels).or_insert_with(new));
    }

    fn series(&self) -> Vec<(Labels, V)> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.iter().map(|(labels, value)| (labels.clone(), value.clone())).collect()
    }
}

fn borrowed(labels: &Labels) -> Vec<(&str, &str)> {
    labels.iter().map(|(label, value)| (*label, value.as_ref())).collect()
}

/// A value that only grows.
pub(super) struct Counter(Family<u64>);

impl Counter {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Self(Family { name, help, series: Mutex::default() })
    }

    /// Adds to a series. Adding zero makes the series visible.
    pub(super) fn add(&self, labels: Labels, count: u64) {
        self.0.change(labels, || 0, |value| *value += count);
    }

    pub(super) fn write(&self, text: &mut Text) {
        text.family(self.0.name, "counter", self.0.help);
        for (labels, value) in self.0.series() {
            text.sample(self.0.name, &borrowed(&labels), value);
        }
    }
}

/// A value that goes up and down.
pub(super) struct Gauge(Family<u64>);

impl Gauge {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Self(Family { name, help, series: Mutex::default() })
    }

    pub(super) fn set(&self, labels: Labels, to: u64) {
        self.0.change(labels, || 0, |value| *value = to);
    }

    pub(super) fn write(&self, text: &mut Text) {
        text.family(self.0.name, "gauge", self.0.help);
        for (labels, value) in self.0.series() {
            text.sample(self.0.name, &borrowed(&labels), value);
        }
    }
}

#[derive(Clone)]
struct Observed {
    /// For each bound, how many durations were up to it.
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

/// Durations in seconds, by bucket.
pub(super) struct Histogram {
    family: Family<Observed>,
    /// The upper bounds, in ascending order.
    bounds: &'static [f64],
}

impl Histogram {
    pub(super) fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { family: Family { name, help, series: Mutex::default() }, bounds }
    }

    pub(super) fn observe(&self, labels: Labels, seconds: f64) {
        let new = || Observed { buckets: vec![0; self.bounds.len()], count: 0, sum: 0.0 };
        self.family.change(labels, new, |observed| {
            for (bucket, bound) in observed.buckets.iter_mut().zip(self.bounds) {
                *bucket += u64::from(seconds <= *bound);
            }
            observed.count += 1;
            observed.sum += seconds;
        });
    }

    pub(super) fn write(&self, text: &mut Text) {
        let name = self.family.name;
        text.family(name, "histogram", self.family.help);
        for (labels, observed) in self.family.series() {
            let labels = borrowed(&labels);
            let bounds = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(observed.buckets.iter().chain([&observed.count])) {
                let mut labels = labels.clone();
                labels.push(("le", &bound));
                text.sample(&format!("{name}_bucket"), &labels, count);
            }
            text.sample(&format!("{name}_sum"), &labels, observed.sum);
            text.sample(&format!("{name}_count"), &labels, observed.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let counter = Counter::new("a_total", "Counts.");
        counter.add(vec![("kind", "x\"y\\z\n".into())], 2);
        counter.add(vec![], 1);
        let histogram = Histogram::new("b_seconds", "Takes.", &[0.1, 1.0]);
        histogram.observe(vec![("of", "it".into())], 0.5);
        histogram.observe(vec![("of", "it".into())], 7.0);
        let mut text = Text::default();
        counter.write(&mut text);
        histogram.write(&mut text);
        text.gauge("c", "Is.", 1);
        let expected = "# HELP a_total Counts.\n# TYPE a_total counter\na_total 1\na_total{kind=\"x\\\"y\\\\z\\n\"} 2\n\
                        # HELP b_seconds Takes.\n# TYPE b_seconds histogram\n\
                        b_seconds_bucket{of=\"it\",le=\"0.1\"} 0\nb_seconds_bucket{of=\"it\",le=\"1\"} 1\n\
                        b_seconds_bucket{of=\"it\",le=\"+Inf\"} 2\nb_seconds_sum{of=\"it\"} 7.5\n\
                        b_seconds_count{of=\"it\"} 2\n# HELP c Is.\n# TYPE c gauge\nc 1\n";
        assert_eq!(text.finish(), expected);
    }
}
