//! What the controller counts. Labels are bounded: kinds and outcomes, never names of objects.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};
use ringrift_telemetry::metrics::{Metrics as Registry, MetricsError};

/// A reconcile asks the agents and the API server once or twice each.
const DURATION_BUCKETS_SECONDS: [f64; 10] =
    [0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// How a reconcile ended, as a label.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// As it should.
    Success,
    /// It is tried again.
    Error,
    /// The object could not be read.
    Malformed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Malformed => "malformed",
        }
    }
}

/// The controller's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    durations: HistogramVec,
    status_writes: IntCounterVec,
    abandoned: IntCounterVec,
    leader: IntGauge,
}

impl Metrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// [`MetricsError`] when two have one name.
    pub(crate) fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new("controller", env!("CARGO_PKG_VERSION"))?;
        let by_kind = |name: &str, help: &str, labels: &[&str]| {
            registry.register(name, |name| IntCounterVec::new(Opts::new(name, help), labels))
        };
        let reconciles = by_kind(
            "ringrift_controller_reconciles_total",
            "Objects looked at, by kind and outcome.",
            &["kind", "outcome"],
        )?;
        let status_writes = by_kind(
            "ringrift_controller_status_writes_total",
            "Statuses written, by kind.",
            &["kind"],
        )?;
        let abandoned = by_kind(
            "ringrift_controller_abandoned_runs_total",
            "Runs whose object was let go although no agent could be told to cancel, by kind.",
            &["kind"],
        )?;
        let durations = registry.register("ringrift_controller_reconcile_seconds", |name| {
            let options = HistogramOpts::new(name, "Time that a look at an object took, by kind.")
                .buckets(DURATION_BUCKETS_SECONDS.to_vec());
            HistogramVec::new(options, &["kind"])
        })?;
        let leader = registry.register("ringrift_controller_leader", |name| {
            IntGauge::new(name, "1 on the replica that writes.")
        })?;
        Ok(Self { registry, reconciles, durations, status_writes, abandoned, leader })
    }

    pub(crate) fn reconciled(&self, kind: &str, outcome: Outcome, took: Duration) {
        self.reconciles.with_label_values(&[kind, outcome.as_str()]).inc();
        self.durations.with_label_values(&[kind]).observe(took.as_secs_f64());
    }

    pub(crate) fn status_written(&self, kind: &str) {
        self.status_writes.with_label_values(&[kind]).inc();
    }

    pub(crate) fn run_abandoned(&self, kind: &str) {
        self.abandoned.with_label_values(&[kind]).inc();
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics in Prometheus' text form.
    ///
    /// # Errors
    /// [`MetricsError`] when a metric is inconsistent.
    pub(crate) fn encode(&self) -> Result<String, MetricsError> {
        self.registry.encode()
    }
}
