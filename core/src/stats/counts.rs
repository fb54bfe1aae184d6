//! How often each score was reached.

use crate::run::Score;

/// How often each of `K` evenly spaced scores from 0 to 1 was reached, lowest score first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts<const K: usize>([u32; K]);

/// Single games: lost, drawn, won.
pub type Trinomial = Counts<3>;

/// Pairs: lost twice, lost and drawn, level, won and drawn, won twice.
pub type Pentanomial = Counts<5>;

impl<const K: usize> Default for Counts<K> {
    fn default() -> Self {
        Self([0; K])
    }
}

impl<const K: usize> From<[u32; K]> for Counts<K> {
    fn from(counts: [u32; K]) -> Self {
        Self(counts)
    }
}

impl<const K: usize> From<Counts<K>> for [u32; K] {
    fn from(counts: Counts<K>) -> Self {
        counts.0
    }
}

impl<const K: usize> Counts<K> {
    /// Number of games (trinomial) or pairs (pentanomial).
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }

    /// Games in one counted unit: 1 for single games, 2 for pairs.
    #[must_use]
    pub const fn games_per_unit() -> f64 {
        (K.saturating_sub(1) / 2) as f64
    }

    /// The `K` scores.
    pub(crate) fn scores() -> [f64; K] {
        let highest = K.saturating_sub(1).max(1) as f64;
        core::array::from_fn(|i| i as f64 / highest)
    }

    /// The counts as weights, each zero replaced by `floor`.
    pub(crate) fn weights(&self, floor: f64) -> [f64; K] {
        self.0.map(|count| if count == 0 { floor } else { f64::from(count) })
    }
}

impl Pentanomial {
    /// Counts one pair.
    pub fn add(&mut self, games: [Score; 2]) {
        let half_points = games.map(|score| match score {
            Score::Loss => 0,
            Score::Draw => 1,
            Score::Win => 2_usize,
        });
        // The sum of two values up to 2 is a valid index of five.
        if let Some(count) = self.0.get_mut(half_points[0] + half_points[1]) {
            *count = count.saturating_add(1);
        }
    }
}

/// Mean and variance of a distribution over `scores`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    /// Expected score.
    pub(crate) mean: f64,
    /// Expected squared distance from it, of one unit.
    pub(crate) variance: f64,
}

/// The moments of the distribution that `weights` gives to `scores`, in units of the total weight.
/// The total must be positive.
pub(crate) fn moments<const K: usize>(scores: &[f64; K], weights: &[f64; K]) -> Moments {
    let total: f64 = weights.iter().sum();
    let expect = |value: &dyn Fn(f64) -> f64| {
        scores.iter().zip(weights).map(|(score, weight)| weight * value(*score)).sum::<f64>()
            / total
    };
    let mean = expect(&|score| score);
    let variance = expect(&|score| (score - mean) * (score - mean));
    Moments { mean, variance }
}
