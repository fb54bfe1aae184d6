//! Keeping the index in step: what enters when a fact appears, and leaves before it changes.

use alloc::collections::BTreeSet;

use super::{Index, OfGroup, OfType};
use crate::id::{GroupName, QueueName, WorkId};
use crate::machine::class::{Class, Place};
use crate::machine::facts::{Range, Stop};
use crate::queue::item::{Item, Lease, NewItem, State};
use crate::run::Run;
use crate::time::Moment;

/// The group of an item, as the index names it.
pub(in crate::machine) fn group_of(request: &NewItem) -> Option<(QueueName, GroupName)> {
    request.group.as_ref().map(|group| (request.queue.clone(), group.clone()))
}

impl Index {
    /// Counts an unfinished item among its kind and its run, until [`Self::retire`].
    pub(in crate::machine) fn admit(&mut self, item: &Item) {
        self.admit_many(&item.request, 1);
        self.bytes += item.request.bytes();
        if let Some(origin) = item.origin() {
            let of_run = self.runs.entry(origin.run.clone()).or_default();
            of_run.outstanding.insert((origin.matchup, item.id));
        }
        if let Some(element) = item.element() {
            self.arrays.entry(element.array).or_default().outstanding.insert(item.id);
        }
    }

    /// Takes an item that ends out of its kind and its run.
    pub(in crate::machine) fn retire(&mut self, item: &Item) {
        self.retire_many(&item.request, 1);
        self.bytes = self.bytes.saturating_sub(item.request.bytes());
        if let Some(origin) = item.origin()
            && let Some(of_run) = self.runs.get_mut(&origin.run)
        {
            of_run.outstanding.remove(&(origin.matchup, item.id));
            if of_run.outstanding.is_empty() {
                self.runs.remove(&origin.run);
            }
        }
        if let Some(element) = item.element()
            && let Some(of_array) = self.arrays.get_mut(&element.array)
        {
            of_array.outstanding.remove(&item.id);
            self.drop_array(element.array);
        }
    }

    fn drop_array(&mut self, array: WorkId) {
        let idle = |of: &super::OfArray| of.outstanding.is_empty() && of.ranges.is_empty();
        if self.arrays.get(&array).is_some_and(idle) {
            self.arrays.remove(&array);
        }
    }

    fn admit_many(&mut self, request: &NewItem, count: u64) {
        let NewItem { work_type, queue, needs, .. } = request;
        if !self.types.contains_key(work_type) {
            self.types.insert(work_type.clone(), OfType::default());
        }
        let Some(of_type) = self.types.get_mut(work_type) else {
            return;
        };
        of_type.unfinished += count;
        if !of_type.lanes.contains_key(queue) {
            of_type.lanes.insert(queue.clone(), alloc::collections::BTreeMap::new());
        }
        let Some(classes) = of_type.lanes.get_mut(queue) else {
            return;
        };
        if let Some(class) = classes.get_mut(needs) {
            class.unfinished += count;
        } else {
            classes.insert(needs.clone(), Class::of(count));
            self.classes += 1;
        }
    }

    fn retire_many(&mut self, request: &NewItem, count: u64) {
        let NewItem { work_type, queue, needs, .. } = request;
        let Some(of_type) = self.types.get_mut(work_type) else {
            return;
        };
        of_type.unfinished = of_type.unfinished.saturating_sub(count);
        if let Some(classes) = of_type.lanes.get_mut(queue)
            && let Some(class) = classes.get_mut(needs)
        {
            class.unfinished = class.unfinished.saturating_sub(count);
            if class.unfinished == 0 {
                classes.remove(needs);
                self.classes = self.classes.saturating_sub(1);
            }
            if classes.is_empty() {
                of_type.lanes.remove(queue);
            }
        }
        if of_type.unfinished == 0 {
            self.types.remove(work_type);
        }
    }

    /// Records the key of an item that is remembered from now on.
    pub(in crate::machine) fn remember_key(&mut self, item: &Item) {
        if let Some(key) = &item.request.key {
            self.keys.insert(&item.request.queue, key, item.id);
        }
    }

    /// Records the state of an item. An item of a group gets its place in line by
    /// [`Self::reseat`].
    pub(in crate::machine) fn enter(&mut self, item: &Item) {
        *self.counts.of(item.status()) += 1;
        if let Some(due) = item.due() {
            self.due.insert((due, item.id));
        }
        if item.state.ended().is_none() {
            self.weigh(item, true);
        }
        match &item.state {
            State::Ready { since } => {
                let place = Place::of(item, *since);
                if let Some(group) = group_of(&item.request) {
                    self.groups.entry(group).or_default().ready.insert(place);
                } else if let Some(class) = self.class(&item.request) {
                    class.join(place);
                }
            }
            State::Claimed(lease) => self.enter_claim(item, lease),
            State::Blocked { open } => {
                for on in open.keys() {
                    self.dependents.entry(*on).or_default().insert(item.id);
                }
            }
            State::Completed(completion) => self.enter_finished(item, completion.at),
            State::Cancelled { at } => self.enter_finished(item, *at),
            State::Dead { at, .. } => {
                self.dead_bytes += kept_bytes(item);
                self.dead.insert((*at, item.id));
                self.end_on_node(item);
            }
            State::Delayed { .. } => {}
        }
        if item.state.ended().is_some() && self.dependents.contains_key(&item.id) {
            self.resolvable.insert(item.id);
        }
    }

    /// Undoes [`Self::enter`], while the item is still as it was entered.
    pub(in crate::machine) fn leave(&mut self, item: &Item) {
        let count = self.counts.of(item.status());
        *count = count.saturating_sub(1);
        if let Some(due) = item.due() {
            self.due.remove(&(due, item.id));
        }
        if item.state.ended().is_none() {
            self.weigh(item, false);
        } else {
            self.resolvable.remove(&item.id);
        }
        match &item.state {
            State::Ready { since } => self.leave_line(item, Place::of(item, *since)),
            State::Claimed(lease) => self.leave_claim(item, lease),
            State::Blocked { open } => {
                for on in open.keys() {
                    let waiting = self.dependents.get_mut(on);
                    if waiting.is_some_and(|waiting| waiting.remove(&item.id) && waiting.is_empty())
                    {
                        self.dependents.remove(on);
                        self.resolvable.remove(on);
                    }
                }
            }
            State::Completed(completion) => self.leave_finished(item, completion.at),
            State::Cancelled { at } => self.leave_finished(item, *at),
            State::Dead { at, .. } => {
                self.dead_bytes = self.dead_bytes.saturating_sub(kept_bytes(item));
                self.dead.remove(&(*at, item.id));
                self.forget_on_node(item);
            }
            State::Delayed { .. } => {}
        }
    }

    fn enter_finished(&mut self, item: &Item, at: Moment) {
        self.finished_bytes += kept_bytes(item);
        self.finished.insert((at, item.id));
        self.end_on_node(item);
    }

    fn leave_finished(&mut self, item: &Item, at: Moment) {
        self.finished_bytes = self.finished_bytes.saturating_sub(kept_bytes(item));
        self.finished.remove(&(at, item.id));
        self.forget_on_node(item);
    }

    fn leave_line(&mut self, item: &Item, place: Place) {
        let mut stands = true;
        if let Some(group) = group_of(&item.request)
            && let Some(of_group) = self.groups.get_mut(&group)
        {
            of_group.ready.remove(&place);
            stands = of_group.front == Some(item.id);
            if stands {
                of_group.front = None;
            }
            if *of_group == OfGroup::default() {
                self.groups.remove(&group);
            }
        }
        if stands && let Some(class) = self.class(&item.request) {
            class.quit(place);
        }
    }

    fn enter_claim(&mut self, item: &Item, lease: &Lease) {
        let of_node = self.node(&lease.node);
        of_node.held.insert(item.id);
        of_node.reserved.add(&lease.share);
        if let Some(group) = group_of(&item.request) {
            self.groups.entry(group).or_default().held += 1;
        }
        if lease.started.is_some()
            && let Some(of_run) = item.origin().and_then(|o| self.runs.get_mut(&o.run))
        {
            of_run.running += 1;
        }
    }

    fn leave_claim(&mut self, item: &Item, lease: &Lease) {
        let of_node = self.node(&lease.node);
        of_node.held.remove(&item.id);
        of_node.reserved.remove(&lease.share);
        self.drop_idle(&lease.node);
        if let Some(group) = group_of(&item.request) {
            self.quit_group(&group);
        }
        if lease.started.is_some()
            && let Some(of_run) = item.origin().and_then(|o| self.runs.get_mut(&o.run))
        {
            of_run.running = of_run.running.saturating_sub(1);
        }
    }

    /// Records what the process of an ended item still takes.
    pub(in crate::machine) fn enter_stop(&mut self, id: WorkId, stop: &Stop) {
        self.stops_due.insert((stop.until, id));
        let of_node = self.node(&stop.node);
        of_node.stops.insert(id);
        of_node.reserved.add(&stop.share);
        if let Some(group) = &stop.group {
            self.groups.entry(group.clone()).or_default().held += 1;
        }
    }

    /// Undoes [`Self::enter_stop`], while the facts are still as they were entered.
    pub(in crate::machine) fn leave_stop(&mut self, id: WorkId, stop: &Stop) {
        self.stops_due.remove(&(stop.until, id));
        let of_node = self.node(&stop.node);
        of_node.stops.remove(&id);
        of_node.reserved.remove(&stop.share);
        self.drop_idle(&stop.node);
        if let Some(group) = &stop.group {
            self.quit_group(group);
        }
    }

    /// One of a group is held no longer.
    fn quit_group(&mut self, group: &(QueueName, GroupName)) {
        if let Some(of_group) = self.groups.get_mut(group) {
            of_group.held = of_group.held.saturating_sub(1);
            if *of_group == OfGroup::default() {
                self.groups.remove(group);
            }
        }
    }

    /// Counts an unfinished item in its queue, or takes it out.
    fn weigh(&mut self, item: &Item, enters: bool) {
        let mut load = self.load(&item.request.queue);
        if let State::Claimed(lease) = &item.state {
            change(&mut load.held, 1, enters);
            change(&mut load.gpu_milli, lease.share.gpu_milli(), enters);
        } else {
            change(&mut load.queued, 1, enters);
        }
        self.set_load(&item.request.queue, load);
    }

    fn set_load(&mut self, queue: &QueueName, load: super::QueueLoad) {
        if load == super::QueueLoad::default() {
            self.queues.remove(queue);
        } else if let Some(held) = self.queues.get_mut(queue) {
            *held = load;
        } else {
            self.queues.insert(queue.clone(), load);
        }
    }

    fn end_on_node(&mut self, item: &Item) {
        if let Some(node) = &item.last_node {
            self.node(node).ended += 1;
        }
    }

    fn forget_on_node(&mut self, item: &Item) {
        if let Some(node) = &item.last_node {
            let of_node = self.node(node);
            of_node.ended = of_node.ended.saturating_sub(1);
            self.drop_idle(node);
        }
    }

    /// Records items that were never claimed.
    pub(in crate::machine) fn enter_range(&mut self, first: WorkId, range: Range, of: &NewItem) {
        let count = range.len(first);
        self.admit_many(of, count);
        self.in_ranges += count;
        self.arrays.entry(range.array).or_default().ranges.insert(first);
        let mut load = self.load(&of.queue);
        load.queued += count;
        self.set_load(&of.queue, load);
        if range.ready {
            self.counts.ready += count;
            if let Some(class) = self.class(of) {
                class.join(Place::new(of.priority, range.since, first));
            }
        } else {
            self.counts.delayed += count;
            self.ranges_due.insert((range.since, first));
        }
    }

    /// Undoes [`Self::enter_range`], while the range is still as it was entered.
    pub(in crate::machine) fn leave_range(&mut self, first: WorkId, range: Range, of: &NewItem) {
        let count = range.len(first);
        if range.ready {
            self.counts.ready = self.counts.ready.saturating_sub(count);
            if let Some(class) = self.class(of) {
                class.quit(Place::new(of.priority, range.since, first));
            }
        } else {
            self.counts.delayed = self.counts.delayed.saturating_sub(count);
            self.ranges_due.remove(&(range.since, first));
        }
        let mut load = self.load(&of.queue);
        change(&mut load.queued, count, false);
        self.set_load(&of.queue, load);
        if let Some(of_array) = self.arrays.get_mut(&range.array) {
            of_array.ranges.remove(&first);
            self.drop_array(range.array);
        }
        self.in_ranges = self.in_ranges.saturating_sub(count);
        self.retire_many(of, count);
    }

    /// Records a run.
    pub(in crate::machine) fn enter_run(&mut self, run: &Run) {
        self.submitted.insert((run.submitted, run.id.clone()));
        match run.ended {
            None => self.active.insert(run.id.clone()),
            Some(at) => self.ended.insert((at, run.id.clone())),
        };
    }

    /// Undoes [`Self::enter_run`], while the run is still as it was entered.
    pub(in crate::machine) fn leave_run(&mut self, run: &Run) {
        self.submitted.remove(&(run.submitted, run.id.clone()));
        match run.ended {
            None => self.active.remove(&run.id),
            Some(at) => self.ended.remove(&(at, run.id.clone())),
        };
    }

    /// Who waits for an item.
    pub(in crate::machine) fn waiting_for(&self, id: WorkId) -> Option<&BTreeSet<WorkId>> {
        self.dependents.get(&id)
    }
}

/// Bytes of an item that has ended, with what came out of it.
fn kept_bytes(item: &Item) -> u64 {
    let result = match &item.state {
        State::Completed(completion) => completion.result.len(),
        State::Dead { error, .. } => error.len(),
        State::Delayed { .. }
        | State::Blocked { .. }
        | State::Ready { .. }
        | State::Claimed(_)
        | State::Cancelled { .. } => 0,
    };
    item.request.bytes().saturating_add(result as u64)
}

const fn change(sum: &mut u64, by: u64, enters: bool) {
    *sum = if enters { sum.saturating_add(by) } else { sum.saturating_sub(by) };
}
