//! Chance for tests: the same seed gives the same tests for ever, whatever `rand` does.

use crate::run::Score;

/// Results of pairs between equals in self-play: lost twice, lost and drawn, level, won and drawn,
/// won twice (vdbergh/pentanomial).
pub(crate) const SELF_PLAY: [f64; 5] = [0.0159, 0.2189, 0.5303, 0.2189, 0.0159];

/// SplitMix64 (G. Steele and others, "Fast splittable pseudorandom number generators").
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, 1 excluded.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 to `end`, `end` excluded.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// A pair drawn from `law`.
    pub(crate) fn pair_of(&mut self, law: &[f64; 5]) -> [Score; 2] {
        let mut rest = self.unit() * law.iter().sum::<f64>();
        let category = law.iter().position(|p| {
            rest -= p;
            rest < 0.0
        });
        match category.unwrap_or(4) {
            0 => [Score::Loss, Score::Loss],
            1 => [Score::Loss, Score::Draw],
            2 => [Score::Draw, Score::Draw],
            3 => [Score::Win, Score::Draw],
            _ => [Score::Win, Score::Win],
        }
    }

    /// A pair between equals.
    pub(crate) fn pair(&mut self) -> [Score; 2] {
        self.pair_of(&SELF_PLAY)
    }
}
