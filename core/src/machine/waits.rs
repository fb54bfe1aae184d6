//! How long items wait for their first claim, by work type.

use alloc::string::String;

use super::Machine;
use crate::id::WorkId;
use crate::limits;
use crate::queue::item::State;
use crate::queue::waits::Waits;

/// Stands for all further types once there are as many as are told apart. No work type is empty.
pub const OTHER_TYPES: &str = "";

impl Machine {
    /// Counts how long an item waited that is about to be claimed for the first time.
    pub(super) fn count_wait(&mut self, id: WorkId) {
        let Some(item) = self.facts.items.get(&id).filter(|item| item.deliveries == 0) else {
            return;
        };
        let State::Ready { since } = item.state else {
            return;
        };
        let wait = self.facts.now.since(since);
        let waits = &mut self.facts.waits;
        if let Some(known) = waits.get_mut(&item.request.work_type) {
            known.count(wait);
            return;
        }
        let has_room = waits.len() < limits::WAIT_TYPES_MAX;
        let name = if has_room { item.request.work_type.as_str() } else { OTHER_TYPES };
        waits.entry(String::from(name)).or_default().count(wait);
    }

    /// How long items waited for their first claim since the cluster began, by work type.
    pub fn waits(&self) -> impl Iterator<Item = (&str, &Waits)> {
        self.facts.waits.iter().map(|(work_type, waits)| (work_type.as_str(), waits))
    }
}
