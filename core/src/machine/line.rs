//! Who is next: priority bands with aging; inside a band the queues by weighted service; inside a
//! queue the more urgent item, and of equal ones the older.
//!
//! The heads of the classes that fit are merged, so a claim looks at what it takes and at one head
//! for each class and priority, however long the lines are.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::Machine;
use super::bounds::Bounds;
use super::class::Place;
use super::facts::{Facts, Queue};
use super::index::{Index, Lanes, QueueLoad};
use crate::id::{QueueName, WorkId};
use crate::limits;
use crate::queue::command::Claim;
use crate::queue::item::Needs;
use crate::queue::resources::{Capacity, Demand, Reserved, Share};
use crate::time::Moment;

/// A line of one class and one priority, and the item that stands first in it.
struct Line<'a> {
    places: alloc::collections::btree_set::Iter<'a, Place>,
    demand: &'a Demand,
    /// The range that is being taken.
    range: Option<Rest>,
}

/// What is left of a range, the head of its line included.
#[derive(Debug, Clone, Copy)]
struct Rest {
    place: Place,
    last: WorkId,
    array: WorkId,
    /// Of one item of it.
    bytes: u64,
}

impl Line<'_> {
    fn next(&mut self, facts: &Facts) -> Option<Place> {
        if let Some(Rest { place, last, array, bytes }) = self.range.take()
            && place.id < last
        {
            let place = Place { id: WorkId(place.id.0 + 1), ..place };
            self.range = Some(Rest { place, last, array, bytes });
            return Some(place);
        }
        let place = *self.places.next()?;
        self.range = facts.ranges.get(&place.id).map(|range| {
            let of = facts.arrays.get(&range.array);
            let bytes = of.map_or(0, |array| array.request.bytes_of_element());
            Rest { place, last: range.last, array: range.array, bytes }
        });
        Some(place)
    }
}

/// The first of a line, in the order in which one queue gives its items away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    aged: Reverse<u8>,
    since: Moment,
    id: WorkId,
    line: usize,
}

/// One queue's lines that the claimer fits.
struct Lane<'a> {
    name: &'a QueueName,
    queue: Queue,
    load: QueueLoad,
    lines: Vec<Line<'a>>,
    heads: BTreeSet<Head>,
}

impl Lane<'_> {
    fn band(&self) -> Option<Reverse<u8>> {
        self.heads.first().map(|head| Reverse(head.aged.0 / limits::BAND_WIDTH))
    }

    fn is_full(&self) -> bool {
        let most = self.queue.settings.max_running;
        most.is_some_and(|most| self.load.held >= u64::from(most))
    }

    fn allows(&self, demand: &Demand) -> bool {
        let most = self.queue.settings.max_gpu_milli;
        demand.gpu_milli == 0
            || most.is_none_or(|most| {
                self.load.gpu_milli.saturating_add(u64::from(demand.gpu_milli)) <= u64::from(most)
            })
    }
}

/// Items that a claimer gets, with what each reserves, and the queues' service afterwards.
pub(super) struct Choice {
    pub(super) items: Vec<(WorkId, Share)>,
    pub(super) served: Vec<QueueName>,
}

/// The order of giving away, for one claimer.
pub(super) struct Merge<'a> {
    facts: &'a Facts,
    index: &'a Index,
    bounds: Bounds,
    lanes: Vec<Lane<'a>>,
    /// Items that have left their array, held and retried ones, by array, as far as it was looked at.
    outstanding: BTreeMap<WorkId, usize>,
    /// Unfinished items with a record, those included that get one here.
    records: u64,
    /// The same of their bytes.
    bytes: u64,
    /// The lanes with work, next first: band, service for each unit of weight, name.
    order: BTreeSet<(Reverse<u8>, u64, usize)>,
    capacity: Option<&'a Capacity>,
    reserved: Reserved,
}

impl<'a> Merge<'a> {
    /// All that fits a claimer.
    pub(super) fn for_claim(machine: &'a Machine, claim: &'a Claim) -> Self {
        let Machine { facts, index, bounds: _ } = machine;
        let types: Vec<&Lanes> = if claim.work_types.is_empty() {
            index.types.values().map(|of_type| &of_type.lanes).collect()
        } else {
            let named = claim.work_types.iter().filter_map(|name| index.types.get(name));
            named.map(|of_type| &of_type.lanes).collect()
        };
        let reserved = index.nodes.get(&claim.node).map(|of_node| of_node.reserved.clone());
        let mut merge = Self {
            capacity: facts.capacities.get(&claim.node).map(|stated| &stated.capacity),
            reserved: reserved.unwrap_or_default(),
            ..Self::empty(machine)
        };
        merge.fill(&types, |needs| fits(needs, claim));
        merge
    }

    /// Everything claimable, for a claimer that fits all.
    pub(super) fn for_all(machine: &'a Machine) -> Self {
        let types = machine.index.types.values().map(|of_type| &of_type.lanes);
        let types: Vec<&Lanes> = types.collect();
        let mut merge = Self::empty(machine);
        merge.fill(&types, |_| true);
        merge
    }

    fn empty(machine: &'a Machine) -> Self {
        let Machine { facts, index, bounds } = machine;
        Self {
            facts,
            index,
            bounds: *bounds,
            lanes: Vec::new(),
            outstanding: BTreeMap::new(),
            records: index.records(),
            bytes: index.bytes,
            order: BTreeSet::new(),
            capacity: None,
            reserved: Reserved::default(),
        }
    }

    fn fill(&mut self, types: &[&'a Lanes], fits: impl Fn(&Needs) -> bool) {
        let mut found: BTreeMap<&QueueName, Vec<Line<'a>>> = BTreeMap::new();
        for (name, classes) in types.iter().flat_map(|lanes| lanes.iter()) {
            let fitting = classes.iter().filter(|(needs, class)| !class.is_idle() && fits(needs));
            for (needs, class) in fitting {
                let lines = class.ready.values().map(|line| Line {
                    places: line.iter(),
                    demand: &needs.demand,
                    range: None,
                });
                found.entry(name).or_default().extend(lines);
            }
        }
        for (name, lines) in found {
            let queue = self.facts.queues.get(name).copied().unwrap_or_default();
            let heads = BTreeSet::new();
            self.lanes.push(Lane { name, queue, load: self.index.load(name), lines, heads });
            let lane = self.lanes.len() - 1;
            for line in 0..self.lanes[lane].lines.len() {
                self.advance(lane, line);
            }
            self.enqueue(lane);
        }
    }

    /// Brings the next of a line to its head.
    fn advance(&mut self, lane: usize, line: usize) {
        let Some(lane) = self.lanes.get_mut(lane) else {
            return;
        };
        if let Some(place) = lane.lines.get_mut(line).and_then(|line| line.next(self.facts)) {
            let aged = Reverse(place.aged(self.facts.now));
            lane.heads.insert(Head { aged, since: place.since, id: place.id, line });
        }
    }

    fn enqueue(&mut self, at: usize) {
        if let Some(lane) = self.lanes.get(at)
            && let Some(band) = lane.band()
            && !lane.is_full()
        {
            let Queue { settings, service } = lane.queue;
            let level = service.level(self.facts.now, settings.weight, lane.load.held);
            self.order.insert((band, level, at));
        }
    }

    /// The share of the claimer's node that the demand gets; nothing when it does not fit.
    fn place(&self, demand: &Demand) -> Option<Share> {
        match self.capacity {
            Some(capacity) => self.reserved.place(demand, capacity),
            None => demand.is_nothing().then(Share::default),
        }
    }

    /// The first of the next lane, with the range that it has to leave first. An array that can give
    /// away no more steps aside for what stands behind it: its own retried items may be there.
    fn pop(&mut self) -> Option<(usize, Head, Option<Rest>)> {
        // One round for each range that steps aside, and one for each lane that has nothing.
        while let Some((_, _, at)) = self.order.pop_first() {
            let Some(lane) = self.lanes.get_mut(at) else {
                continue;
            };
            let Some(head) = lane.heads.pop_first() else {
                continue;
            };
            let range = lane.lines.get_mut(head.line).and_then(|line| line.range.as_mut());
            let Some(rest) = range else {
                return Some((at, head, None));
            };
            let known = || self.index.outstanding(rest.array);
            let outstanding = *self.outstanding.entry(rest.array).or_insert_with(known);
            let bytes = self.bytes.saturating_add(rest.bytes);
            if self.bounds.let_leave(outstanding, self.records, bytes) {
                return Some((at, head, Some(*rest)));
            }
            rest.place.id = rest.last;
            self.advance(at, head.line);
            self.enqueue(at);
        }
        None
    }

    /// Notes that an item leaves its array.
    fn note_leaving(&mut self, range: Option<Rest>) {
        if let Some(Rest { place: _, last: _, array, bytes }) = range
            && let Some(outstanding) = self.outstanding.get_mut(&array)
        {
            *outstanding += 1;
            self.records += 1;
            self.bytes += bytes;
        }
    }

    /// Takes the next item that fits the node and its queue's limits.
    fn take(&mut self) -> Option<(WorkId, Share, usize)> {
        // A head that does not fit takes its whole line with it: at most one round for each line.
        while let Some((at, head, range)) = self.pop() {
            let Some(lane) = self.lanes.get_mut(at) else {
                continue;
            };
            let demand = lane.lines.get(head.line).map(|line| *line.demand).unwrap_or_default();
            let share = lane.allows(&demand).then(|| self.place(&demand)).flatten();
            if let Some(share) = share {
                self.reserved.add(&share);
                self.note_leaving(range);
                if let Some(lane) = self.lanes.get_mut(at) {
                    lane.load.held += 1;
                    lane.load.gpu_milli += share.gpu_milli();
                    lane.queue.service.serve(self.facts.now);
                }
                self.advance(at, head.line);
                self.enqueue(at);
                return Some((head.id, share, at));
            }
            self.enqueue(at);
        }
        None
    }

    /// Whether there is anything to take.
    pub(super) fn has_any(mut self) -> bool {
        self.take().is_some()
    }

    /// Takes up to so many.
    pub(super) fn choose(mut self, limit: usize) -> Choice {
        let mut choice = Choice { items: Vec::new(), served: Vec::new() };
        while choice.items.len() < limit
            && let Some((id, share, at)) = self.take()
        {
            choice.items.push((id, share));
            choice.served.extend(self.lanes.get(at).map(|lane| lane.name.clone()));
        }
        choice
    }

    /// The items in order, whatever they demand and whatever limits their queues have.
    pub(super) fn in_order(mut self, limit: usize) -> Vec<WorkId> {
        let mut ids = Vec::new();
        for lane in &mut self.lanes {
            lane.queue.settings.max_running = None;
        }
        self.order.clear();
        for at in 0..self.lanes.len() {
            self.enqueue(at);
        }
        while ids.len() < limit
            && let Some((at, head, range)) = self.pop()
        {
            ids.push(head.id);
            self.note_leaving(range);
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.load.held += 1;
                lane.queue.service.serve(self.facts.now);
            }
            self.advance(at, head.line);
            self.enqueue(at);
        }
        ids
    }
}

/// Whether a claimer has all that the items of a class need, but for room.
pub(super) fn fits(needs: &Needs, claim: &Claim) -> bool {
    needs.capabilities.is_subset(&claim.capabilities)
        && needs.labels.iter().all(|(label, value)| claim.labels.get(label) == Some(value))
}
