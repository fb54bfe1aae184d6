//! A tenant's queue: its weight, its limits, and how much it was served of late.

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::time::{Moment, Span};

/// What an operator sets for a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Share of the service beside other queues that have work, 1 to
    /// [`crate::limits::QUEUE_WEIGHT_MAX`].
    pub weight: u32,
    /// Items that may be held at once; nothing for no bound.
    pub max_running: Option<u32>,
    /// Items that may wait, delayed and blocked ones included; nothing for no bound of its own.
    pub max_queued: Option<u32>,
    /// Thousandths of GPU devices that its held items may take together; nothing for no bound.
    pub max_gpu_milli: Option<u32>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { weight: 1, max_running: None, max_queued: None, max_gpu_milli: None }
    }
}

/// How much a queue was served, where service counts half after each
/// [`limits::SERVICE_HALF_LIFE`].
///
/// So a queue that was idle for long is served first, but for seconds only; no credit adds up.
/// Whole numbers throughout, since replicas must agree to the last bit. Slurm's fair-share factor and
/// Kueue's admission fair sharing decay usage the same way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Millionths of items, decayed up to `at`.
    micro: u64,
    at: Moment,
}

/// One item, in the unit of [`Service`].
const ITEM_MICRO: u64 = 1_000_000;

impl Service {
    /// The service as it counts now, in millionths of items. Exact at whole half-lives, a straight
    /// line between them.
    #[must_use]
    pub fn at(&self, now: Moment) -> u64 {
        let Span(elapsed) = now.since(self.at);
        let halvings = elapsed / limits::SERVICE_HALF_LIFE.0;
        let Ok(halvings) = u32::try_from(halvings) else {
            return 0;
        };
        let begin = self.micro.checked_shr(halvings).unwrap_or(0);
        let within = elapsed % limits::SERVICE_HALF_LIFE.0;
        let drop =
            u128::from(begin / 2) * u128::from(within) / u128::from(limits::SERVICE_HALF_LIFE.0);
        begin - u64::try_from(drop).unwrap_or(begin)
    }

    /// Counts one more item.
    pub fn serve(&mut self, now: Moment) {
        *self = Self { micro: self.at(now).saturating_add(ITEM_MICRO), at: now };
    }

    /// Service and held items together, for each unit of weight: the queue with the least goes
    /// first. For short items the service decides, for long ones what is held.
    #[must_use]
    pub fn level(&self, now: Moment, weight: u32, held: u64) -> u64 {
        let held = held.saturating_mul(ITEM_MICRO);
        self.at(now).saturating_add(held) / u64::from(weight.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_halves_with_each_half_life_and_falls_in_between() {
        let mut service = Service::default();
        for _ in 0..8 {
            service.serve(Moment(1_000));
        }
        let life = limits::SERVICE_HALF_LIFE.0;
        let at = |elapsed| service.at(Moment(1_000 + elapsed));
        assert_eq!([at(0), at(life), at(3 * life)], [8_000_000, 4_000_000, 1_000_000]);
        assert_eq!(at(life / 2), 6_000_000);
        assert_eq!(at(64 * life), 0);
        assert_eq!(service.at(Moment(u64::MAX)), 0);
    }

    #[test]
    fn a_heavier_queue_stands_lower_for_the_same_service() {
        let mut service = Service::default();
        service.serve(Moment(0));
        assert_eq!(service.level(Moment(0), 4, 0), 250_000);
        assert_eq!(service.level(Moment(0), 4, 3), 1_000_000);
        assert_eq!(service.level(Moment(0), 0, 0), 1_000_000, "a weight of nothing counts as one");
    }
}
