//! Openings that follow from a seed and a pair index, the same on every machine and for every
//! match-up.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood, 2014), written out here so that no library
//! update can change a run's openings. The moves are drawn from the sorted list of legal moves.

use crate::chess::Game;

/// The step of the generator, and the distance between the streams of neighbouring pairs.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// Fresh draws when an opening ran into the end of its game. Of 8 random plies fewer than one in a
/// hundred does so, of 64 a few in a hundred.
const ATTEMPTS_MAX: u32 = 64;

/// SplitMix64.
#[derive(Debug, Clone)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An index below `len`, which is far below 2^32: the bias is beyond any measurement.
    fn below(&mut self, len: usize) -> usize {
        let product = u128::from(self.next()) * (len as u128);
        usize::try_from(product >> 64).unwrap_or(0)
    }
}

/// The opening of one pair: `plies` random legal moves after which the game still goes on.
///
/// Should every attempt run into the end of its game, the longest one is cut before that end.
#[must_use]
pub fn draw(seed: u64, index: u32, plies: u16) -> Game {
    // Two rounds of the generator part the streams: neighbouring seeds and neighbouring indices
    // must not share openings.
    let stream = SplitMix64(seed).next() ^ u64::from(index).wrapping_mul(GOLDEN);
    let mut chance = SplitMix64(SplitMix64(stream).next());
    let mut longest = Game::default();
    for _ in 0..ATTEMPTS_MAX {
        let game = walk(&mut chance, plies);
        if game.plies() == usize::from(plies) {
            return game;
        }
        if game.plies() > longest.plies() {
            longest = game;
        }
    }
    longest
}

/// Random moves until the opening is complete or a move would end the game.
fn walk(chance: &mut SplitMix64, plies: u16) -> Game {
    let mut game = Game::default();
    for _ in 0..plies {
        let moves = game.legal_moves();
        let before = game.clone();
        let drawn = &moves[chance.below(moves.len())];
        if game.play(drawn).is_err() || game.ending().is_some() {
            return before;
        }
    }
    game
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The published first outputs for the seed 1234567.
        let mut chance = SplitMix64(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| chance.next()).collect();
        assert_eq!(
            drawn,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn openings_never_change() {
        // A run that goes on after an update must meet the openings that it began with.
        assert_eq!(draw(1, 0, 8).to_string(), "f2f4 h7h6 d2d3 g7g6 c1e3 g8f6 g1h3 c7c5");
        assert_eq!(draw(1, 1, 8).to_string(), "b2b4 h7h6 h2h4 h8h7 a2a4 d7d6 b4b5 b8c6");
        assert_eq!(draw(2, 0, 4).to_string(), "a2a4 f7f5 e2e3 c7c6");
    }

    #[test]
    fn openings_are_playable_and_differ() {
        for plies in [0, 1, 2, 8, 64] {
            let mut seen = BTreeSet::new();
            for index in 0..200 {
                let game = draw(20_261_120, index, plies);
                assert_eq!(game.plies(), usize::from(plies));
                assert_eq!(game.ending(), None);
                assert_eq!(draw(20_261_120, index, plies).to_string(), game.to_string());
                seen.insert(game.to_string());
            }
            if plies >= 8 {
                assert!(seen.len() >= 199, "{plies}: {}", seen.len());
            }
        }
    }

    #[test]
    fn neighbours_share_nothing() {
        let of_seed = |seed| (0..100).map(move |i| draw(seed, i, 8).to_string());
        let first: BTreeSet<String> = of_seed(1).collect();
        assert_eq!(of_seed(2).filter(|opening| first.contains(opening)).count(), 0);
    }
}
