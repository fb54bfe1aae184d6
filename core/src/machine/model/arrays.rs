//! The model's arrays: as many rows as they have items.

use super::admission::bytes;
use super::{Answer, Model, Row, Standing};
use crate::event::Event;
use crate::id::WorkId;
use crate::queue::item::{Element, NewItem, Payload};

impl Model {
    pub(super) fn enqueue_array(&mut self, request: &NewItem, count: u32) -> Answer {
        let odd = request.group.is_some()
            || !request.after.is_empty()
            || request.pending_timeout.is_some()
            || request.total_timeout.is_some()
            || request.notify;
        if odd
            || !(1..=10_000_000).contains(&count)
            || request.priority > 100
            || !(1..=100).contains(&request.attempts_max)
        {
            return Answer::Refused("Invalid");
        }
        let queue = request.queue.as_str();
        if queue != "default" && !self.lanes.contains_key(queue) {
            return Answer::Refused("UnknownQueue");
        }
        let key = request.key.as_deref();
        let known = key.and_then(|key| self.known(key, request, Some(count), self.rows.len()));
        if let Some((id, same, _)) = known {
            return if same {
                Answer::Enqueued(vec![(id, false)])
            } else {
                Answer::Refused("KeyConflict")
            };
        }
        let limit = self.lanes.get(queue).and_then(|lane| lane.settings.max_queued);
        let takes = |more: u32| {
            limit.is_none_or(|limit| self.queued(queue) + u64::from(more) <= limit.into())
        };
        if takes(1) && self.records() >= self.bounds.records {
            return Answer::Refused("Full");
        }
        if takes(1) && self.bytes() + bytes(request) > self.bounds.bytes {
            return Answer::Refused("TooHeavy");
        }
        if !takes(count) {
            return Answer::Refused("QueueFull");
        }
        let first = self.rows.len() as u64 + 1;
        for index in 0..count {
            let payload = Payload::OfArray(Element { array: WorkId(first), index });
            self.rows.push(Row {
                id: first + u64::from(index),
                request: NewItem { key: None, payload, ..request.clone() },
                standing: match request.delay.0 {
                    0 => Standing::Open { since: self.now },
                    delay => Standing::Waiting { until: self.now + delay },
                },
                attempts: 0,
                deliveries: 0,
                claims_lost: 0,
                created: self.now,
                awaited: vec![],
                recorded: false,
            });
        }
        self.arrays.push((first, count, request.clone()));
        Answer::Enqueued(vec![(first, true)])
    }

    fn of_array(&self, first: u64, count: u32) -> std::ops::Range<usize> {
        let begin = usize::try_from(first - 1).expect("few");
        begin..begin + count as usize
    }

    pub(super) fn is_gone(&self, first: u64, count: u32) -> bool {
        self.rows[self.of_array(first, count)].iter().all(|row| row.standing == Standing::Gone)
    }

    pub(super) fn cancel_array(&mut self, first: u64) -> Answer {
        let known = self.arrays.iter().find(|(id, _, _)| *id == first);
        let Some(count) = known.map(|(_, count, _)| *count).filter(|c| !self.is_gone(first, *c))
        else {
            return Answer::Refused("UnknownWork");
        };
        let mut items = 0;
        for at in self.of_array(first, count) {
            self.stop(at);
            let row = &mut self.rows[at];
            if row.unfinished() {
                row.standing = if row.recorded { Standing::Cancelled } else { Standing::Gone };
                items += 1;
            }
        }
        if items > 0 {
            self.tell(Event::ArrayCancelled { array: WorkId(first), items });
        }
        Answer::Done
    }

    pub(super) fn redrive(&mut self, id: u64) -> Answer {
        let at = self.rows.iter().position(|row| row.id == id && row.recorded);
        let Some(at) = at else {
            return Answer::Refused("UnknownWork");
        };
        let row = &self.rows[at];
        if row.standing != Standing::Dead {
            return Answer::Refused("Ended");
        }
        let late = row.request.total_timeout.is_some_and(|span| row.created + span.0 <= self.now);
        let lost = |(on, ok): &(u64, bool)| {
            let ended_badly = |row: &Row| {
                row.id == *on && matches!(row.standing, Standing::Dead | Standing::Cancelled)
            };
            *ok && self.rows.iter().any(ended_badly)
        };
        if row.origin().is_some() || late || row.awaited.iter().any(lost) {
            return Answer::Refused("Invalid");
        }
        let queue = row.request.queue.as_str();
        if queue != "default" && !self.lanes.contains_key(queue) {
            return Answer::Refused("UnknownQueue");
        }
        let limit = self.lanes.get(queue).and_then(|lane| lane.settings.max_queued);
        if limit.is_some_and(|limit| self.queued(queue) >= limit.into()) {
            return Answer::Refused("QueueFull");
        }
        if self.records() >= self.bounds.records {
            return Answer::Refused("Full");
        }
        if self.bytes() + bytes(&self.rows[at].request) > self.bounds.bytes {
            return Answer::Refused("TooHeavy");
        }
        let since = self.rows[at].begins_again(self.now);
        let behind = self.behind(&self.rows[at].awaited);
        let row = &mut self.rows[at];
        row.attempts = 0;
        row.deliveries = row.deliveries.max(1);
        row.claims_lost = 0;
        row.standing =
            if behind.is_empty() { Standing::Open { since } } else { Standing::Behind(behind) };
        Answer::Done
    }
}
