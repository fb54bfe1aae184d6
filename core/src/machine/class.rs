//! Items that are alike to every claimer, and their places in line.

use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;

use crate::id::WorkId;
use crate::limits;
use crate::queue::item::Item;
use crate::time::Moment;

/// The place of a claimable item, or of a range of them, inside its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: Reverse<u8>,
    pub(super) since: Moment,
    pub(super) id: WorkId,
}

impl Place {
    pub(super) const fn new(priority: u8, since: Moment, id: WorkId) -> Self {
        Self { priority: Reverse(priority), since, id }
    }

    pub(super) const fn of(item: &Item, since: Moment) -> Self {
        Self::new(item.request.priority, since, item.id)
    }

    /// The priority as it counts now: waiting raises it.
    pub(super) fn aged(&self, now: Moment) -> u8 {
        let steps = now.since(self.since).0 / limits::AGING_STEP.0;
        let raised = steps.saturating_mul(u64::from(limits::BAND_WIDTH));
        let aged = raised.saturating_add(u64::from(self.priority.0));
        u8::try_from(aged).unwrap_or(u8::MAX).min(limits::PRIORITY_MAX)
    }
}

/// Unfinished items of one work type, one queue and equal needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) unfinished: u64,
    pub(super) ready: BTreeMap<Reverse<u8>, BTreeSet<Place>>,
}

impl Class {
    /// A class of so many items, none of them in line.
    pub(super) const fn of(unfinished: u64) -> Self {
        Self { unfinished, ready: BTreeMap::new() }
    }

    pub(super) fn join(&mut self, place: Place) {
        self.ready.entry(place.priority).or_default().insert(place);
    }

    pub(super) fn quit(&mut self, place: Place) {
        if let Some(line) = self.ready.get_mut(&place.priority) {
            line.remove(&place);
            if line.is_empty() {
                self.ready.remove(&place.priority);
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }
}
