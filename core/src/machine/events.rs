//! The events: what is recorded with a change, and what consumers read of it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Machine;
use crate::event::{Event, EventKind, Recorded};
use crate::id::WorkId;
use crate::limits;
use crate::pages::Pages;
use crate::time::Moment;

/// The newest events, numbered without gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Events {
    pub(super) kept: Pages<u64, Recorded>,
    /// The number of the last one.
    pub(super) last: u64,
}

/// What a consumer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage<'a> {
    /// Events that it asked for, in order.
    pub events: Vec<&'a Recorded>,
    /// The cursor for its next question.
    pub next: u64,
    /// The number of the first event that is kept, or that will be.
    pub first_kept: u64,
    /// Events after its cursor were forgotten: it was away for too long, and must look at the cluster
    /// itself for what it missed.
    pub gap: bool,
}

impl Events {
    fn add(&mut self, at: Moment, event: Event) {
        self.last = self.last.saturating_add(1);
        self.kept.insert(self.last, Recorded { seq: self.last, at, event });
        if self.kept.len() > limits::EVENTS_MAX {
            self.kept.pop_first();
        }
    }

    /// Begins with numbers that no cluster of an earlier epoch reaches, without its events: their
    /// numbers may mean others there by now.
    pub(super) fn begin_epoch(&mut self, mode_epoch: u32) {
        self.kept = Pages::default();
        self.last = self.last.max(u64::from(mode_epoch).saturating_mul(limits::EVENTS_OF_EPOCH));
    }

    pub(super) fn first_kept(&self) -> u64 {
        self.kept.first_key().unwrap_or_else(|| self.last.saturating_add(1))
    }
}

impl Machine {
    /// Records what the entry that is being applied has brought about.
    pub(super) fn record(&mut self, event: Event) {
        let at = self.facts.now;
        self.facts.events.add(at, event);
    }

    /// Records the end of an item, if its submitter wants to be told.
    pub(super) fn record_end(&mut self, id: WorkId) {
        let Some(item) = self.facts.items.get(&id).filter(|item| item.request.notify) else {
            return;
        };
        let (work_type, status) = (item.request.work_type.clone(), item.status());
        self.record(Event::ItemEnded { work_id: id, work_type, status });
    }

    /// The first events after a number, at most so many; of these kinds, or of all when there are
    /// none. A replica that is behind the consumer's cursor has nothing for it yet.
    #[must_use]
    pub fn events(&self, after: u64, max: usize, kinds: &BTreeSet<EventKind>) -> EventPage<'_> {
        let Events { kept, last } = &self.facts.events;
        let first_kept = self.facts.events.first_kept();
        let mut page = EventPage {
            events: Vec::new(),
            next: after.max(*last),
            first_kept,
            gap: after.saturating_add(1) < first_kept,
        };
        // Numbers have no gaps, so each has its event.
        for seq in first_kept.max(after.saturating_add(1))..=*last {
            if page.events.len() >= max {
                page.next = seq.saturating_sub(1);
                break;
            }
            let recorded = kept.get(&seq);
            page.events.extend(
                recorded
                    .filter(|recorded| kinds.is_empty() || kinds.contains(&recorded.event.kind())),
            );
        }
        page
    }
}
