//! Histograms that are counted elsewhere and are only shown here.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};

/// One histogram, as it was counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// The value of the label.
    pub label: String,
    /// Each bound with how many values are below it, in base units, ascending.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all values, in base units.
    pub sum: f64,
    /// How many values there are.
    pub count: u64,
}

/// Histograms that differ in one label.
#[derive(Debug, Clone)]
pub struct Histograms {
    label: &'static str,
    desc: Desc,
    shown: Arc<Mutex<Vec<Histogram>>>,
}

impl Histograms {
    /// # Errors
    /// When the name or the label is not valid.
    pub fn new(name: &str, help: &str, label: &'static str) -> prometheus::Result<Self> {
        let labels = vec![label.to_owned()];
        let desc =
            Desc::new(name.to_owned(), help.to_owned(), labels, std::collections::HashMap::new())?;
        Ok(Self { label, desc, shown: Arc::default() })
    }

    /// Shows these from now on.
    pub fn set(&self, histograms: Vec<Histogram>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = histograms;
    }

    fn metric(&self, histogram: &Histogram) -> proto::Metric {
        let buckets = histogram.buckets.iter().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        let mut shown = proto::Histogram::default();
        shown.set_bucket(buckets.collect());
        shown.set_sample_sum(histogram.sum);
        shown.set_sample_count(histogram.count);
        let mut label = proto::LabelPair::default();
        label.set_name(self.label.to_owned());
        label.set_value(histogram.label.clone());
        let mut metric = proto::Metric::from_label(vec![label]);
        metric.set_histogram(shown);
        metric
    }
}

impl Collector for Histograms {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(shown.iter().map(|histogram| self.metric(histogram)).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn what_was_counted_elsewhere_is_written_as_a_histogram() {
        let metrics = Metrics::new("agent", "1").unwrap();
        let waits = metrics
            .register("ringrift_wait_seconds", |name| Histograms::new(name, "Waits.", "kind"))
            .unwrap();
        assert!(!metrics.encode().unwrap().contains("ringrift_wait_seconds"), "nothing to show");
        let buckets = vec![(0.001, 1), (0.002, 3)];
        waits.set(vec![Histogram { label: "t".to_owned(), buckets, sum: 5.5, count: 4 }]);
        let text = metrics.encode().unwrap();
        for line in [
            "# TYPE ringrift_wait_seconds histogram",
            "ringrift_wait_seconds_bucket{kind=\"t\",le=\"0.002\"} 3",
            "ringrift_wait_seconds_bucket{kind=\"t\",le=\"+Inf\"} 4",
            "ringrift_wait_seconds_sum{kind=\"t\"} 5.5",
            "ringrift_wait_seconds_count{kind=\"t\"} 4",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}
