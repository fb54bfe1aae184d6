//! Latencies, and what is said of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::milliseconds;
use crate::system::Failure;

/// The longest latency that is told apart, in microseconds: beyond it a request has long failed.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Significant digits: p50 and p99.9 alike to a thousandth of their value.
const DIGITS: u8 = 3;

/// Latencies as they come, from many workers.
#[derive(Debug)]
pub(crate) struct Latencies(Mutex<Histogram<u64>>);

impl Latencies {
    /// None yet.
    pub(crate) fn new() -> Result<Self, Failure> {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS);
        let histogram = histogram.map_err(|error| Failure::Setup(error.to_string()))?;
        Ok(Self(Mutex::new(histogram)))
    }

    /// One more.
    pub(crate) fn record(&self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(microseconds);
    }

    /// What they were.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at =
            |quantile| milliseconds(Duration::from_micros(histogram.value_at_quantile(quantile)));
        Quantiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: milliseconds(Duration::from_micros(histogram.max())),
        }
    }
}

/// Quantiles of a latency, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    /// How many were measured.
    pub(crate) count: u64,
    /// Half of them took at most this.
    pub(crate) p50: f64,
    /// 90 of 100.
    pub(crate) p90: f64,
    /// 99 of 100.
    pub(crate) p99: f64,
    /// 999 of 1,000.
    pub(crate) p999: f64,
    /// The slowest.
    pub(crate) max: f64,
}

/// Few values, each of them kept: a fail-over or a leave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    /// How many were measured.
    pub(crate) count: usize,
    /// Half of them took at most this, in milliseconds.
    pub(crate) p50: f64,
    /// 90 of 100.
    pub(crate) p90: f64,
    /// 99 of 100: with fewer values than 100 the slowest.
    pub(crate) p99: f64,
    /// The slowest.
    pub(crate) max: f64,
    /// All of them, sorted.
    pub(crate) values: Vec<f64>,
}

impl Distribution {
    /// Of these values, by nearest rank.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or(0.0)
        };
        Self { count: values.len(), p50: at(50), p90: at(90), p99: at(99), max: at(100), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest_ones_and_never_better_than_what_was_seen() {
        let hundred = Distribution::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((hundred.p50, hundred.p90, hundred.p99, hundred.max), (50.0, 90.0, 99.0, 100.0));
        let three = Distribution::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((three.p50, three.p99, three.max), (2.0, 3.0, 3.0));
        assert_eq!(Distribution::of(Vec::new()), Distribution::default());
    }

    #[test]
    fn latencies_keep_three_digits() {
        let latencies = Latencies::new().unwrap();
        for millisecond in 1..=1_000 {
            latencies.record(Duration::from_millis(millisecond));
        }
        let quantiles = latencies.quantiles();
        assert_eq!(quantiles.count, 1_000);
        assert!((quantiles.p50 - 500.0).abs() <= 0.5, "{quantiles:?}");
        assert!((quantiles.p999 - 999.0).abs() <= 1.0, "{quantiles:?}");
    }
}
