//! Sequential probability ratio tests: stop as soon as the record has decided.

use libm::{expm1, fabs, log};

use super::NELO_SCALE;
use super::counts::Counts;
use super::likelihood::{self, Llr};
use crate::run::{Sprt, SprtModel};

/// What the log-likelihood ratio must leave for a decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Below it the lower hypothesis is accepted.
    pub lower: f64,
    /// Above it the upper hypothesis is accepted.
    pub upper: f64,
}

impl Bounds {
    /// The bounds for these probabilities of error (A. Wald, "Sequential Analysis"); nothing unless
    /// both are positive and their sum is below 1.
    #[must_use]
    pub fn wald(alpha: f64, beta: f64) -> Option<Self> {
        (alpha > 0.0 && beta > 0.0 && alpha + beta < 1.0)
            .then(|| Self { lower: log(beta / (1.0 - alpha)), upper: log((1.0 - beta) / alpha) })
    }
}

/// A test, ready to be asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    model: SprtModel,
    elo0: f64,
    elo1: f64,
    bounds: Bounds,
}

/// What a test says about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The upper hypothesis holds.
    AcceptH1,
    /// The lower hypothesis holds.
    AcceptH0,
    /// The record has to grow.
    Continue,
}

/// How a test ends, and after how many pairs, when the true difference is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectation {
    /// Probability of accepting the upper hypothesis.
    pub pass: f64,
    /// Expected number of pairs.
    pub pairs: f64,
}

impl TryFrom<&Sprt> for Test {
    type Error = InvalidTest;

    fn try_from(spec: &Sprt) -> Result<Self, InvalidTest> {
        let parts = |millionths: u32| f64::from(millionths) / 1e6;
        let (elo0, elo1) = (f64::from(spec.elo0_milli) / 1e3, f64::from(spec.elo1_milli) / 1e3);
        let bounds = Bounds::wald(parts(spec.alpha_ppm), parts(spec.beta_ppm));
        match bounds {
            Some(bounds) if elo0 < elo1 => Ok(Self { model: spec.model, elo0, elo1, bounds }),
            Some(_) | None => Err(InvalidTest),
        }
    }
}

/// A test that could not decide anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a test needs elo0 below elo1, and alpha and beta above 0 with a sum below 1")]
pub struct InvalidTest;

impl Test {
    /// Its bounds.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The log-likelihood ratio of a record; nothing while nothing was counted.
    #[must_use]
    pub fn llr<const K: usize>(&self, counts: &Counts<K>) -> Option<Llr> {
        likelihood::llr(self.model, self.elo0, self.elo1, counts)
    }

    /// What the test says about a record. A ratio that lies on a bound decides nothing.
    #[must_use]
    pub fn status<const K: usize>(&self, counts: &Counts<K>) -> Status {
        match self.llr(counts) {
            Some(llr) if llr.value > self.bounds.upper => Status::AcceptH1,
            Some(llr) if llr.value < self.bounds.lower => Status::AcceptH0,
            Some(_) | None => Status::Continue,
        }
    }

    /// How the test ends at a true difference of `nelo`; nothing for a logistic test, whose length
    /// depends on the draw ratio too. The ratio is taken as a Brownian motion that stops exactly at
    /// its bounds (Wald's identities; M. Van den Bergh, "Random walks"), so real tests take a
    /// little longer and err a little less.
    #[must_use]
    pub fn expectation(&self, nelo: f64) -> Option<Expectation> {
        match self.model {
            SprtModel::Logistic => None,
            SprtModel::Normalized => Some(self.expectation_normalized(nelo)),
        }
        .filter(|expected| expected.pass.is_finite() && expected.pairs.is_finite())
    }

    fn expectation_normalized(&self, nelo: f64) -> Expectation {
        let Bounds { lower, upper } = self.bounds;
        let scale = core::f64::consts::SQRT_2 / NELO_SCALE;
        let distance = scale * (self.elo1 - self.elo0);
        let variance = distance * distance;
        let drift = distance * scale * (nelo - f64::midpoint(self.elo0, self.elo1));
        let tilt = -2.0 * drift / variance;
        if fabs(tilt) * (upper - lower) < DRIFTLESS {
            let pass = -lower / (upper - lower);
            return Expectation { pass, pairs: -lower * upper / variance };
        }
        // One formula, with the growing exponential divided out, so that neither sign overflows.
        let pass = if tilt > 0.0 {
            -expm1(tilt * lower) / (expm1(tilt * upper) - expm1(tilt * lower))
        } else {
            expm1(-tilt * lower) / expm1(tilt * (upper - lower))
        };
        Expectation { pass, pairs: (lower * (1.0 - pass) + upper * pass) / drift }
    }
}

/// Below this drift, in units of the bounds, the formula for drift loses its digits and the one
/// without drift is right to as many.
const DRIFTLESS: f64 = 1e-7;
