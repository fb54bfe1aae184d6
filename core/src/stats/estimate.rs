//! How strong the first contestant is, with 95 % error bars.

use libm::{erfc, log10, pow, sqrt};

use super::NELO_SCALE;
use super::counts::{Counts, moments};

/// Half the width of a 95 % interval of the normal distribution, in standard deviations.
const Z95: f64 = 1.959_963_984_540_054;

/// What a record says about the difference in strength. A field is nothing where no honest number
/// exists: a perfect score has no Elo, and a record of one single outcome has no spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Points per game, 0 to 1.
    pub score: f64,
    /// Elo difference: 400 points are odds of ten to one.
    pub elo: Option<f64>,
    /// Half the width of its 95 % interval.
    pub elo_error: Option<f64>,
    /// Difference in units of a game's standard deviation, on the scale of [`NELO_SCALE`].
    pub nelo: Option<f64>,
    /// Half the width of its 95 % interval.
    pub nelo_error: Option<f64>,
    /// Likelihood that the first contestant is the stronger, 0 to 1.
    pub los: Option<f64>,
}

/// Estimates the difference in strength; nothing when nothing was counted.
///
/// The error bars follow from the central limit theorem on counted units with the variance of the
/// sample (N, not N - 1), and the half width is the mean of both sides, as fishtest and fastchess
/// print it. Normalized Elo is from M. Van den Bergh, "Normalized Elo".
#[must_use]
pub fn estimate<const K: usize>(counts: &Counts<K>) -> Option<Estimate> {
    let total = counts.total();
    if total == 0 {
        return None;
    }
    let moments = moments(&Counts::<K>::scores(), &counts.weights(0.0));
    let mean = moments.mean.clamp(0.0, 1.0);
    // A record of one single outcome shows no spread at all; rounding must not invent one.
    let spread = (moments.variance > f64::EPSILON).then(|| sqrt(moments.variance));
    let error = spread.map(|sigma| sigma / sqrt(total as f64));
    let elo_error = error.and_then(|error| {
        let upper = elo_of_score(mean + Z95 * error)?;
        let lower = elo_of_score(mean - Z95 * error)?;
        Some((upper - lower) / 2.0)
    });
    let per_game = spread.map(|sigma| sigma * sqrt(Counts::<K>::games_per_unit()));
    let margin = mean - 0.5;
    Some(Estimate {
        score: mean,
        elo: elo_of_score(mean),
        elo_error,
        nelo: per_game.map(|sigma| margin / sigma * NELO_SCALE),
        nelo_error: error.zip(per_game).map(|(error, sigma)| Z95 * error / sigma * NELO_SCALE),
        los: error.map(|error| normal_cdf(margin / error)),
    })
}

/// Expected score of a player who is `elo` stronger (A. Elo, "The Rating of Chessplayers").
#[must_use]
pub fn score_of_elo(elo: f64) -> f64 {
    1.0 / (1.0 + pow(10.0, -elo / 400.0))
}

/// Elo difference that an expected score stands for; nothing unless it lies between 0 and 1, both
/// excluded.
#[must_use]
pub fn elo_of_score(score: f64) -> Option<f64> {
    (score > 0.0 && score < 1.0).then(|| -400.0 * log10(1.0 / score - 1.0))
}

/// Elo that `nelo` comes to at this draw ratio with a balanced book, for small differences; nothing
/// unless the ratio lies in [0, 1] (Van den Bergh, vdbergh/simul).
#[must_use]
pub fn elo_of_nelo(nelo: f64, draw_ratio: f64) -> Option<f64> {
    (0.0..=1.0).contains(&draw_ratio).then(|| nelo * sqrt(1.0 - draw_ratio))
}

/// Likelihood of superiority from wins and losses alone, as cutechess prints it; nothing without a
/// decisive game. It ignores draws and pairs: [`Estimate::los`] is the better figure.
#[must_use]
pub fn los_of_decisive_games(wins: u32, losses: u32) -> Option<f64> {
    let (wins, losses) = (f64::from(wins), f64::from(losses));
    let decisive = wins + losses;
    (decisive > 0.0).then(|| normal_cdf((wins - losses) / sqrt(decisive)))
}

/// Standard normal distribution function.
fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / core::f64::consts::SQRT_2)
}
