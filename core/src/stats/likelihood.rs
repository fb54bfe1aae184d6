//! Log-likelihood ratios of a record under two hypotheses about strength.
//!
//! Neither hypothesis names a full distribution of pair results, only its mean (logistic) or its
//! mean over its standard deviation (normalized). So each is represented by the distribution that
//! fits the record best among those it allows: a generalized likelihood ratio.

use libm::{fabs, log, log1p, sqrt};

use super::NELO_SCALE;
use super::counts::{Counts, moments};
use super::estimate::score_of_elo;
use crate::run::SprtModel;

/// Weight of an outcome that was not seen: without it a constrained fit may not exist. The value is
/// fishtest's and fastchess', so that records can be compared.
const UNSEEN_WEIGHT: f64 = 0.001;
/// Rounds of the fixed-point iteration of [`fit_normalized`]: 2 to 7 reach [`ROUND_CHANGE_MIN`] on
/// records from practice.
const ROUNDS_MAX: usize = 10;
/// A round that moves no probability by more than this is the last.
const ROUND_CHANGE_MIN: f64 = 1e-9;
/// Steps of the root search: each one halves the bracket at least, so that 100 exhaust a double.
const ROOT_STEPS_MAX: usize = 100;

/// A log-likelihood ratio: positive speaks for the upper hypothesis. Always finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llr {
    /// In natural logarithms.
    pub value: f64,
    /// How it was computed.
    pub method: Method,
}

/// How a log-likelihood ratio was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Exact maximum likelihood under both hypotheses.
    Exact,
    /// Closed form, since a hypothesis has no exact fit to this record.
    ClosedForm,
}

/// The log-likelihood ratio of `counts` for `elo1` against `elo0` on the scale of `model`; nothing
/// when nothing was counted, or when a bound is so far out that no arithmetic holds it.
#[must_use]
pub fn llr<const K: usize>(
    model: SprtModel,
    elo0: f64,
    elo1: f64,
    counts: &Counts<K>,
) -> Option<Llr> {
    if counts.total() == 0 {
        return None;
    }
    let record = Record::new(counts);
    let hypotheses = targets::<K>(model, [elo0, elo1]);
    let cost = |target: f64| match model {
        SprtModel::Logistic => record.fit_mean(target),
        SprtModel::Normalized => record.fit_normalized(target),
    };
    let [cost0, cost1] = hypotheses.map(cost);
    let exact = cost0.zip(cost1).map(|(cost0, cost1)| record.total * (cost0 - cost1));
    let (value, method) = match exact.filter(|value| value.is_finite()) {
        Some(value) => (value, Method::Exact),
        None => (record.closed_form(model, hypotheses), Method::ClosedForm),
    };
    value.is_finite().then_some(Llr { value, method })
}

/// What the hypotheses say about one unit: its mean, or its mean above 1/2 in standard deviations.
fn targets<const K: usize>(model: SprtModel, elo: [f64; 2]) -> [f64; 2] {
    elo.map(|elo| match model {
        SprtModel::Logistic => score_of_elo(elo),
        SprtModel::Normalized => elo / NELO_SCALE * sqrt(Counts::<K>::games_per_unit()),
    })
}

/// The closed form alone, so that tests can hold it against published figures too.
#[cfg(test)]
pub(super) fn closed_form_of<const K: usize>(
    model: SprtModel,
    elo: [f64; 2],
    counts: &Counts<K>,
) -> f64 {
    Record::new(counts).closed_form(model, targets::<K>(model, elo))
}

/// A record with unseen outcomes filled in.
struct Record<const K: usize> {
    scores: [f64; K],
    probabilities: [f64; K],
    total: f64,
}

impl<const K: usize> Record<K> {
    fn new(counts: &Counts<K>) -> Self {
        let weights = counts.weights(UNSEEN_WEIGHT);
        let total: f64 = weights.iter().sum();
        let probabilities = weights.map(|weight| weight / total);
        Self { scores: Counts::<K>::scores(), probabilities, total }
    }

    /// What one unit loses in log-likelihood when the mean score must be `target`: the empirical
    /// distribution against its best fit p / (1 + theta (a - target)) (M. Van den Bergh, "The
    /// generalized maximum likelihood ratio for the expectation value of a distribution",
    /// Proposition 1.1). Nothing when no distribution over the scores has that mean.
    fn fit_mean(&self, target: f64) -> Option<f64> {
        let distances = self.scores.map(|score| score - target);
        let theta = tilt(&self.probabilities, &distances)?;
        Some(self.cost(theta, &distances))
    }

    /// The same when mean - 1/2 must be `target` standard deviations: a fixed-point iteration from
    /// the uniform distribution, each round with the constraint made linear at the last one
    /// (M. Van den Bergh, "Normalized Elo in practice", section 4.1; fishtest, `MLE_t_value`).
    /// Nothing when a round has no solution: this happens far from the record.
    fn fit_normalized(&self, target: f64) -> Option<f64> {
        let mut fit = [1.0 / K as f64; K];
        let mut cost = None;
        for _ in 0..ROUNDS_MAX {
            let now = moments(&self.scores, &fit);
            let sigma = sqrt(now.variance);
            if sigma <= f64::EPSILON {
                return None;
            }
            let constraint = self.scores.map(|score| {
                let z = (score - now.mean) / sigma;
                score - 0.5 - target * sigma * (1.0 + z * z) / 2.0
            });
            let theta = tilt(&self.probabilities, &constraint)?;
            let next: [f64; K] =
                core::array::from_fn(|i| self.probabilities[i] / (1.0 + theta * constraint[i]));
            let change = next.iter().zip(&fit).map(|(a, b)| fabs(a - b)).fold(0.0, f64::max);
            fit = next;
            cost = Some(self.cost(theta, &constraint));
            if change < ROUND_CHANGE_MIN {
                break;
            }
        }
        cost
    }

    /// Mean of ln(1 + theta x): what the tilted distribution loses against the empirical one.
    fn cost(&self, theta: f64, distances: &[f64; K]) -> f64 {
        self.probabilities.iter().zip(distances).map(|(p, x)| p * log1p(theta * x)).sum()
    }

    /// Closed forms that are close to the exact value in normal use and finite everywhere.
    /// Logistic: Van den Bergh, Proposition 2.1 of the paper above. Normalized: "Normalized Elo in
    /// practice", per game.
    fn closed_form(&self, model: SprtModel, targets: [f64; 2]) -> f64 {
        let observed = moments(&self.scores, &self.probabilities);
        let games = Counts::<K>::games_per_unit();
        match model {
            SprtModel::Logistic => {
                let [spread0, spread1] = targets.map(|target| {
                    let offset = observed.mean - target;
                    observed.variance + offset * offset
                });
                self.total / 2.0 * log(spread0 / spread1)
            }
            SprtModel::Normalized => {
                let margin = (observed.mean - 0.5) / sqrt(observed.variance * games);
                let [spread0, spread1] = targets.map(|target| {
                    let offset = margin - target / sqrt(games);
                    1.0 + offset * offset
                });
                self.total * games / 2.0 * log(spread0 / spread1)
            }
        }
    }
}

/// The theta at which the mean of x / (1 + theta x) is zero with every 1 + theta x positive; nothing
/// unless x takes both signs. The function falls strictly between its poles, so that Newton's step
/// kept inside a shrinking bracket always arrives.
fn tilt<const K: usize>(probabilities: &[f64; K], distances: &[f64; K]) -> Option<f64> {
    let largest = distances.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = distances.iter().copied().fold(f64::INFINITY, f64::min);
    if !(smallest < 0.0 && largest > 0.0) {
        return None;
    }
    let (mut low, mut high) = (-1.0 / largest, -1.0 / smallest);
    if !(low.is_finite() && high.is_finite()) {
        return None;
    }
    let (mut theta, mut step) = (0.0, high - low);
    for _ in 0..ROOT_STEPS_MAX {
        let (mut value, mut slope) = (0.0, 0.0);
        for (p, x) in probabilities.iter().zip(distances) {
            let term = x / (1.0 + theta * x);
            value += p * term;
            slope -= p * term * term;
        }
        if value > 0.0 {
            low = theta;
        } else {
            high = theta;
        }
        // Newton creeps beside a pole: a step must stay inside and halve, or it is a bisection.
        let newton = theta - value / slope;
        let fast = newton > low && newton < high && fabs(newton - theta) <= step / 2.0;
        let next = if fast { newton } else { low + (high - low) / 2.0 };
        step = fabs(next - theta);
        theta = next;
        if step <= f64::EPSILON * fabs(theta) {
            break;
        }
    }
    Some(theta)
}
