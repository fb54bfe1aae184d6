//! Arrays: items that are alike but for their index, in the room of one until they are claimed.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;

use super::admission::{Admission, Source};
use super::facts::{Array, ArrayEnds, Range};
use super::{Machine, invalid};
use crate::event::Event;
use crate::id::WorkId;
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::queue::item::{Element, Item, NewItem, Payload, State};
use crate::time::{Moment, Span};

/// How an array stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrayStatus {
    /// Items in all.
    pub count: u32,
    /// Items that were never claimed.
    pub unclaimed: u64,
    /// Items that were claimed and have not ended.
    pub outstanding: u64,
    /// How the others have ended.
    pub ended: ArrayEnds,
}

impl Machine {
    /// Adds an array. Costs the same for one item as for a million.
    pub(super) fn enqueue_array(
        &mut self,
        request: &NewItem,
        count: u32,
    ) -> Result<Reply, Refusal> {
        check_array(request, count)?;
        let source = Source::OfArray { count };
        let admissions = self.examine(core::slice::from_ref(request), source)?;
        if let Some(Admission::Repeats(first)) = admissions.first() {
            return Ok(Reply::Enqueued(vec![(*first, false)]));
        }
        if self.facts.arrays.len() >= limits::ARRAYS_MAX {
            let problem = format!("would be one more than the {} arrays", limits::ARRAYS_MAX);
            return Err(invalid("count", problem));
        }
        self.check_room(&request.queue, u64::from(count))?;
        let now = self.facts.now;
        let first = WorkId(self.facts.totals.enqueued + 1);
        self.facts.totals.enqueued += u64::from(count);
        let last = WorkId(self.facts.totals.enqueued);
        let (request, ended) = (Arc::new(request.clone()), ArrayEnds::default());
        let array =
            Array { request: Arc::clone(&request), created: now, count, left: count, ended };
        if let Some(key) = &request.key {
            self.index.keys.insert(&request.queue, key, first);
        }
        self.index.bytes += array.request.bytes();
        self.facts.arrays.insert(first, array);
        let since = now.after(request.delay);
        let ready = request.delay == Span::default();
        self.put_range(first, Range { array: first, last, since, ready });
        Ok(Reply::Enqueued(vec![(first, true)]))
    }

    /// Cancels what has not ended of an array.
    pub(super) fn cancel_array(&mut self, array: WorkId) -> Result<Reply, Refusal> {
        if !self.facts.arrays.contains_key(&array) {
            return Err(Refusal::UnknownWork(array));
        }
        let before = self.facts.totals.cancelled;
        let of_array = self.index.arrays.get(&array).cloned().unwrap_or_default();
        for first in of_array.ranges {
            let Some(range) = self.take_range(first) else {
                continue;
            };
            let count = range.len(first);
            self.facts.totals.cancelled += count;
            self.note_ends(array, |ended| {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                ended.cancelled = ended.cancelled.saturating_add(count);
            });
            self.leave_array(array, count);
        }
        for id in of_array.outstanding {
            self.call_off(id);
        }
        let items = self.facts.totals.cancelled.saturating_sub(before);
        if items > 0 {
            self.record(Event::ArrayCancelled { array, items });
        }
        Ok(Reply::Done)
    }

    /// How an array stands; nothing when it is unknown or all of it is forgotten.
    #[must_use]
    pub fn array(&self, id: WorkId) -> Option<ArrayStatus> {
        let array = self.facts.arrays.get(&id)?;
        let of_array = self.index.arrays.get(&id);
        let ranges = of_array.into_iter().flat_map(|of_array| &of_array.ranges);
        let unclaimed = ranges.filter_map(|first| Some(self.facts.ranges.get(first)?.len(*first)));
        let outstanding = self.index.outstanding(id) as u64;
        let (count, ended) = (array.count, array.ended);
        Some(ArrayStatus { count, unclaimed: unclaimed.sum(), outstanding, ended })
    }

    /// What the items of an array are.
    #[must_use]
    pub fn array_request(&self, id: WorkId) -> Option<&NewItem> {
        self.facts.arrays.get(&id).map(|array| &*array.request)
    }

    /// An item that was never claimed, as it would be if it had a record of its own.
    #[must_use]
    pub fn unclaimed(&self, id: WorkId) -> Option<Item> {
        let (first, range) = self.range_of(id)?;
        let array = self.facts.arrays.get(&range.array)?;
        debug_assert!(first <= id && id <= range.last);
        Some(element_of(array, range, id))
    }

    /// Where an item stands that was put off: at the moment when that is over. One that has left its
    /// array goes before those that have not: behind them it would count as outstanding until the
    /// last of them was claimed.
    pub(super) fn place_after(item: &Item, put_off: Moment) -> Moment {
        match item.element() {
            Some(_) => item.created.after(item.request.delay),
            None => put_off,
        }
    }

    pub(super) fn range_of(&self, id: WorkId) -> Option<(WorkId, Range)> {
        let (first, range) = self.facts.ranges.range(..=id).next_back()?;
        (id <= range.last).then_some((*first, *range))
    }

    /// Whether an item may be taken out of its range.
    pub(super) fn check_parts(&self, id: WorkId) -> Result<(), Refusal> {
        let Some((first, range)) = self.range_of(id) else {
            return Ok(());
        };
        let parts = self.index.arrays.get(&range.array).map_or(0, |of_array| of_array.ranges.len());
        if parts < limits::ARRAY_PARTS_MAX || id == first || id == range.last {
            return Ok(());
        }
        let array = range.array;
        let problem = format!(
            "would cut the unclaimed items of array {array} into more than {parts} parts; cancel \
             neighbours, or the array"
        );
        Err(invalid("work_id", problem))
    }

    /// Gives an item of a range a record of its own; false when it is in none. Whoever lets it wait
    /// sees to [`super::bounds::Bounds::let_leave`].
    pub(super) fn materialize(&mut self, id: WorkId) -> bool {
        let Some((first, range)) = self.range_of(id) else {
            return false;
        };
        let Some(item) = self.facts.arrays.get(&range.array).map(|a| element_of(a, range, id))
        else {
            return false;
        };
        self.take_range(first);
        if first < id {
            self.put_range(first, Range { last: WorkId(id.0 - 1), ..range });
        }
        if id < range.last {
            self.put_range(WorkId(id.0 + 1), range);
        }
        self.index.admit(&item);
        self.index.enter(&item);
        self.facts.items.insert(id, item);
        true
    }

    /// The delay of a range is over.
    pub(super) fn open_range(&mut self, first: WorkId) {
        if let Some(range) = self.take_range(first) {
            self.put_range(first, Range { ready: true, ..range });
        }
    }

    /// Notes how an item ended that may be part of an array.
    pub(super) fn note_end(&mut self, id: WorkId, note: impl FnOnce(&mut ArrayEnds)) {
        if let Some(element) = self.item(id).and_then(Item::element) {
            self.note_ends(element.array, note);
        }
    }

    fn note_ends(&mut self, array: WorkId, note: impl FnOnce(&mut ArrayEnds)) {
        if let Some(array) = self.facts.arrays.get_mut(&array) {
            note(&mut array.ended);
        }
    }

    fn put_range(&mut self, first: WorkId, range: Range) {
        if let Some(array) = self.facts.arrays.get(&range.array) {
            self.index.enter_range(first, range, &array.request);
            self.facts.ranges.insert(first, range);
        }
    }

    fn take_range(&mut self, first: WorkId) -> Option<Range> {
        let range = self.facts.ranges.remove(&first)?;
        if let Some(array) = self.facts.arrays.get(&range.array) {
            self.index.leave_range(first, range, &array.request);
        }
        Some(range)
    }

    /// So many items of an array are gone from memory; with the last of them the array goes too.
    /// Answers the array when it went.
    pub(super) fn leave_array(&mut self, id: WorkId, count: u64) -> Option<Array> {
        let array = self.facts.arrays.get_mut(&id)?;
        array.left = array.left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        if array.left > 0 {
            return None;
        }
        let array = self.facts.arrays.remove(&id)?;
        self.index.bytes = self.index.bytes.saturating_sub(array.request.bytes());
        if let Some(key) = &array.request.key {
            let queue = &array.request.queue;
            self.index.keys.remove(queue, key);
            let digest = super::digest::of_request(&array.request, Some(array.count));
            self.remember_forgotten(super::facts::ForgottenKey {
                queue: queue.clone(),
                key: key.clone(),
                work_id: id,
                digest,
            });
        }
        Some(array)
    }
}

/// The record that an item of a range gets.
fn element_of(array: &Array, range: Range, id: WorkId) -> Item {
    let index = u32::try_from(id.0.saturating_sub(range.array.0)).unwrap_or(u32::MAX);
    let payload = Payload::OfArray(Element { array: range.array, index });
    let state = if range.ready {
        State::Ready { since: range.since }
    } else {
        State::Delayed { until: range.since }
    };
    Item {
        id,
        // The key names the array, not one of its items.
        request: NewItem {
            key: None,
            payload,
            after: Box::default(),
            ..NewItem::clone(&array.request)
        },
        awaited: Box::default(),
        state,
        attempts: 0,
        deliveries: 0,
        claims_lost: 0,
        created: array.created,
        last_error: None,
        last_node: None,
    }
}

fn check_array(request: &NewItem, count: u32) -> Result<(), Refusal> {
    if !(1..=limits::ARRAY_ITEMS_MAX).contains(&count) {
        return Err(invalid("count", format!("must be 1 to {}", limits::ARRAY_ITEMS_MAX)));
    }
    let NewItem { group, after, pending_timeout, total_timeout, notify, .. } = request;
    // Each of these would need a record for each item.
    let absent = [
        ("group", group.is_none()),
        ("after", after.is_empty()),
        ("pending_timeout", pending_timeout.is_none()),
        ("total_timeout", total_timeout.is_none()),
        ("notify", !notify),
    ];
    match absent.into_iter().find(|(_, absent)| !absent) {
        Some((field, _)) => Err(invalid(field, "must be absent in an array")),
        None => Ok(()),
    }
}
