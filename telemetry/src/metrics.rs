//! A Prometheus registry, and its text form. Names begin with `ringrift_`; units are base units.

mod histograms;

pub use histograms::{Histogram, Histograms};
use prometheus::core::Collector;
use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

/// Content type of the text form.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Why a metric could not be registered or written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// A name or label is not valid, or it is used twice.
    #[error("metric {name} cannot be registered: {cause}")]
    Register {
        /// The metric.
        name: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The text could not be written.
    #[error("metrics cannot be written: {cause}")]
    Encode {
        /// What is wrong.
        cause: String,
    },
}

/// The metrics of one process.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry that holds `ringrift_build_info` alone.
    ///
    /// # Errors
    /// [`MetricsError::Register`] when `component` or `version` cannot be a label's value.
    pub fn new(component: &str, version: &str) -> Result<Self, MetricsError> {
        let metrics = Self { registry: Registry::new() };
        let build_info = metrics.register("ringrift_build_info", |name| {
            let options = Opts::new(name, "What runs here; always 1.");
            IntGaugeVec::new(options, &["component", "version"])
        })?;
        build_info.with_label_values(&[component, version]).set(1);
        Ok(metrics)
    }

    /// Makes a metric and registers it.
    ///
    /// # Errors
    /// [`MetricsError::Register`] when the name is not valid or used already.
    pub fn register<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        make: impl FnOnce(&str) -> prometheus::Result<C>,
    ) -> Result<C, MetricsError> {
        let refuse = |error: prometheus::Error| MetricsError::Register {
            name: name.to_owned(),
            cause: error.to_string(),
        };
        let metric = make(name).map_err(refuse)?;
        self.registry.register(Box::new(metric.clone())).map_err(refuse)?;
        Ok(metric)
    }

    /// All metrics in Prometheus' text form.
    ///
    /// # Errors
    /// [`MetricsError::Encode`] when a metric is inconsistent.
    pub fn encode(&self) -> Result<String, MetricsError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|error| MetricsError::Encode { cause: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use prometheus::IntCounter;

    use super::*;

    #[test]
    fn what_is_registered_is_written() {
        let metrics = Metrics::new("agent", "1.2.3").unwrap();
        let seen =
            metrics.register("ringrift_seen_total", |name| IntCounter::new(name, "Seen.")).unwrap();
        seen.inc_by(3);
        let text = metrics.encode().unwrap();
        assert!(text.contains("ringrift_build_info{component=\"agent\",version=\"1.2.3\"} 1"));
        assert!(text.contains("ringrift_seen_total 3"), "{text}");
    }

    #[test]
    fn a_name_is_registered_once() {
        let metrics = Metrics::new("agent", "1").unwrap();
        let make = |name: &str| IntCounter::new(name, "Seen.");
        metrics.register("ringrift_seen_total", make).unwrap();
        let refused = metrics.register("ringrift_seen_total", make).unwrap_err();
        assert!(refused.to_string().contains("ringrift_seen_total"), "{refused}");
    }
}
