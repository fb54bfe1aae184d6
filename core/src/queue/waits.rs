//! How long items wait until they are claimed, as counts by powers of two.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// Bounds of the counts: 1 ms, 2 ms, 4 ms and so on up to 24 days; longer waits are in the last too.
pub const BOUNDS: usize = 32;

/// The waits of the items of one work type: from when each could first be claimed until it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// How many waited less than the bound of the same place, and not less than the one before it.
    buckets: [u64; BOUNDS],
    total: Span,
    longest: Span,
}

impl Waits {
    /// Counts one more.
    pub fn count(&mut self, wait: Span) {
        let place = (u64::BITS - wait.0.leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get_mut(place.min(BOUNDS - 1)) {
            *bucket = bucket.saturating_add(1);
        }
        self.total = Span(self.total.0.saturating_add(wait.0));
        self.longest = self.longest.max(wait);
    }

    /// How many waits were counted.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Whether none was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of all waits.
    #[must_use]
    pub const fn total(&self) -> Span {
        self.total
    }

    /// The longest wait.
    #[must_use]
    pub const fn longest(&self) -> Span {
        self.longest
    }

    /// Each bound with how many waits were shorter. The last bound is beyond all.
    pub fn cumulative(&self) -> impl Iterator<Item = (Span, u64)> {
        let mut sum: u64 = 0;
        (0_u32..).zip(&self.buckets).map(move |(place, count)| {
            sum = sum.saturating_add(*count);
            (Span(1 << place), sum)
        })
    }

    /// What so many of a thousand waits did not exceed: the bound above it, or the longest wait when
    /// that is less. Nothing when none was counted.
    #[must_use]
    pub fn quantile(&self, per_mille: u16) -> Option<Span> {
        let wanted = self.len().saturating_mul(u64::from(per_mille)).div_ceil(1_000).max(1);
        let (bound, _) = self.cumulative().find(|(_, sum)| *sum >= wanted)?;
        Some(bound.min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_in_the_first_bound_above_it() {
        for (wait, bound) in [(0, 1), (1, 2), (2, 4), (3, 4), (4, 8), (1_000, 1_024)] {
            let mut waits = Waits::default();
            waits.count(Span(wait));
            let first = waits.cumulative().find(|(_, sum)| *sum == 1);
            assert_eq!(first, Some((Span(bound), 1)), "{wait} ms");
        }
        let mut waits = Waits::default();
        waits.count(Span(u64::MAX));
        assert_eq!(waits.cumulative().last(), Some((Span(1 << 31), 1)));
    }

    #[test]
    fn a_quantile_is_at_most_the_bound_above_it() {
        let mut waits = Waits::default();
        assert_eq!((waits.quantile(500), waits.is_empty()), (None, true));
        for wait in 1..=100 {
            waits.count(Span(wait));
        }
        assert_eq!((waits.len(), waits.total(), waits.longest()), (100, Span(5_050), Span(100)));
        assert_eq!(waits.quantile(500), Some(Span(64)), "the 50th waited 50 ms");
        assert_eq!(waits.quantile(0), Some(Span(2)), "the first waited 1 ms");
        assert_eq!(waits.quantile(990), Some(Span(100)), "nobody waited longer");
    }
}
