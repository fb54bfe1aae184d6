//! What a match result proves: Elo with error bars, and sequential tests.
//!
//! The unit of evidence is the pair: two games from one opening with sides swapped. Games of a pair
//! are correlated, so counting pairs gives the right error bars where counting games does not.
//!
//! Every function here is total. It ends, and it answers nothing (or a marked approximation) where
//! no honest number exists; it never answers NaN or infinity. All transcendental functions come
//! from `libm`, so that every machine computes the same bits.

pub mod counts;
pub mod estimate;
pub mod likelihood;
pub mod sprt;

pub use counts::{Counts, Pentanomial, Trinomial};
pub use estimate::{Estimate, estimate};
pub use likelihood::{Llr, Method};
pub use sprt::{Bounds, Status, Test};

/// One nElo is this many times smaller than one standard deviation of a game's score: 800 / ln 10,
/// the factor that makes nElo and Elo agree for a small difference without draws (Van den Bergh,
/// "Normalized Elo").
pub const NELO_SCALE: f64 = 347.435_585_522_601_5;

#[cfg(test)]
mod tests;
