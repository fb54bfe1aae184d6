//! Finding the reasons.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::OnceCell;

use super::Reason;
use crate::id::{NodeId, QueueName, WorkId};
use crate::limits;
use crate::machine::Machine;
use crate::machine::class::Place;
use crate::machine::index::group_of;
use crate::machine::line::Merge;
use crate::queue::item::{Item, Needs, NewItem, State};
use crate::queue::resources::{Demand, Reserved};
use crate::time::Moment;

/// How many items are looked at to say how far back in line one stands.
const LINE_LOOKED_AT_MAX: usize = 1_000;
/// Kinds of items that are held against all nodes when items are counted by reason.
const KINDS_EXAMINED_MAX: usize = 64;
/// The word under which items of further kinds are counted.
pub const UNEXAMINED: &str = "unexamined";

/// Who claims, as it last said of itself. The machine does not remember it: claims that find nothing
/// never come to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimer {
    /// Its node.
    pub node: NodeId,
    /// What it can do.
    pub capabilities: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Work types that it takes; empty takes any.
    pub work_types: BTreeSet<String>,
}

/// What makes items alike to all nodes: their work type and what they need.
type Kind<'a> = (&'a str, &'a Needs);

/// Explains why items wait, at one moment.
#[derive(Debug)]
pub struct Explainer<'a> {
    machine: &'a Machine,
    claimers: BTreeMap<&'a NodeId, Vec<&'a Claimer>>,
    /// Whether each node that holds something is among the claimers: only then can it be said that
    /// there is no other.
    all_known: bool,
    line: OnceCell<Vec<WorkId>>,
}

impl Machine {
    /// Explains why items wait, with what is known of those who claim.
    #[must_use]
    pub fn explain<'a>(&'a self, claimers: &'a [Claimer]) -> Explainer<'a> {
        let mut by_node: BTreeMap<&NodeId, Vec<&Claimer>> = BTreeMap::new();
        for claimer in claimers {
            by_node.entry(&claimer.node).or_default().push(claimer);
        }
        let mut holders = self.index.nodes.iter().filter(|(_, of)| !of.held.is_empty());
        let all_known = !claimers.is_empty() && holders.all(|(node, _)| by_node.contains_key(node));
        Explainer { machine: self, claimers: by_node, all_known, line: OnceCell::new() }
    }
}

impl Explainer<'_> {
    /// Why an item waits, the most telling reason first; empty when it does not wait or is unknown.
    #[must_use]
    pub fn why(&self, id: WorkId) -> Vec<Reason> {
        let Some(item) = self.machine.find(id) else {
            return Vec::new();
        };
        match &item.state {
            State::Delayed { until } => vec![Reason::Delayed {
                until: *until,
                left: until.since(self.machine.facts.now),
                after: item.last_error.as_deref().map(String::from),
            }],
            State::Blocked { open } => {
                let first = open.keys().next().copied();
                let reason = |first| Reason::Dependencies { open: open.len(), first };
                first.map(reason).into_iter().collect()
            }
            State::Ready { since } => self.why_ready(&item, *since),
            State::Claimed(_)
            | State::Completed(_)
            | State::Dead { .. }
            | State::Cancelled { .. } => Vec::new(),
        }
    }

    /// Items that wait, counted by the first reason of their class. What stands in line counts under
    /// what holds its whole class up, if anything does; kinds beyond a bound under [`UNEXAMINED`].
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let (facts, index) = (&self.machine.facts, &self.machine.index);
        let mut counts = BTreeMap::from([
            ("delayed", index.counts.delayed),
            ("dependencies", index.counts.blocked),
        ]);
        let mut by_class: BTreeMap<(&str, &QueueName, &Needs), (&'static str, u64)> =
            BTreeMap::new();
        let mut by_kind: BTreeMap<Kind<'_>, Option<&'static str>> = BTreeMap::new();
        let types = index.types.iter();
        let lanes = types.flat_map(|(name, of)| of.lanes.iter().map(move |lane| (name, lane)));
        for (name, (queue, classes)) in lanes {
            for (needs, class) in classes.iter().filter(|(_, class)| !class.is_idle()) {
                let places = class.ready.values().map(|line| line.len() as u64).sum();
                let mut limits = self.queue_limits(queue, &needs.demand).into_iter();
                let reason = limits.next().map(|reason| reason.as_str());
                let reason = reason.or_else(|| self.word_of((name, needs), &mut by_kind));
                by_class.insert((name, queue, needs), (reason.unwrap_or("in_line"), places));
            }
        }
        let mut in_line = 0_u64;
        for (first, range) in facts.ranges.iter().filter(|(_, range)| range.ready) {
            let Some(array) = facts.arrays.get(&range.array) else {
                continue;
            };
            let request = &array.request;
            let class = (request.work_type.as_str(), &request.queue, &request.needs);
            let Some((reason, places)) = by_class.get_mut(&class) else {
                continue;
            };
            let more = range.len(*first).saturating_sub(1);
            let stays = self.must_stay(*first).filter(|_| *reason == "in_line");
            if let Some(stays) = stays {
                // All of the range, its place in the class among them.
                *places = places.saturating_sub(1);
                in_line = in_line.saturating_add(more).saturating_add(1);
                *counts.entry(stays.as_str()).or_default() += more + 1;
            } else {
                // A range takes the place of one.
                *places = places.saturating_add(more);
            }
        }
        for (reason, items) in by_class.into_values() {
            in_line = in_line.saturating_add(items);
            *counts.entry(reason).or_default() += items;
        }
        counts.insert("group_busy", index.counts.ready.saturating_sub(in_line));
        counts
    }

    /// What holds all items of a kind up, in one word, looked up or found out.
    fn word_of<'a>(
        &self,
        kind: Kind<'a>,
        known: &mut BTreeMap<Kind<'a>, Option<&'static str>>,
    ) -> Option<&'static str> {
        if let Some(word) = known.get(&kind) {
            return *word;
        }
        if known.len() >= KINDS_EXAMINED_MAX {
            return Some(UNEXAMINED);
        }
        let word = self.nodes(kind).map(|reason| reason.as_str());
        known.insert(kind, word);
        word
    }

    fn why_ready(&self, item: &Item, since: Moment) -> Vec<Reason> {
        let needs = &item.request.needs;
        let mut reasons = Vec::new();
        reasons.extend(self.busy_group(item, Place::of(item, since)));
        reasons.extend(self.queue_limits(&item.request.queue, &needs.demand));
        reasons.extend(self.nodes((&item.request.work_type, needs)));
        reasons.extend(self.must_stay(item.id));
        if reasons.is_empty() {
            let line =
                self.line.get_or_init(|| Merge::for_all(self.machine).in_order(LINE_LOOKED_AT_MAX));
            let nodes = self.machine.index.nodes.values();
            reasons.push(match line.iter().position(|other| *other == item.id) {
                Some(0) => Reason::NoClaimer {
                    busy_nodes: nodes.filter(|of| !of.held.is_empty()).count(),
                    capabilities: needs.capabilities.len(),
                    labels: needs.labels.len(),
                },
                Some(ahead) => Reason::InLine { ahead, or_more: false },
                None => Reason::InLine { ahead: line.len(), or_more: true },
            });
        }
        reasons
    }

    fn busy_group(&self, item: &Item, place: Place) -> Option<Reason> {
        let key = group_of(&item.request)?;
        let of_group = self.machine.index.groups.get(&key)?;
        let first = of_group.ready.first() == Some(&place);
        (of_group.held > 0 || !first).then_some(Reason::GroupBusy {
            group: key.1,
            held: of_group.held,
            waiting: of_group.ready.len(),
        })
    }

    /// What keeps an unclaimed item in its array.
    fn must_stay(&self, id: WorkId) -> Option<Reason> {
        let machine = self.machine;
        let (_, range) = machine.range_of(id)?;
        let (outstanding, limit) =
            (machine.index.outstanding(range.array), machine.bounds.array_outstanding);
        if outstanding >= limit {
            return Some(Reason::ArrayFull { array: range.array, outstanding, limit });
        }
        let (held, limit) = (machine.records(), machine.bounds.records);
        if held >= limit {
            return Some(Reason::Full { held, limit });
        }
        let more = machine.array_request(range.array).map_or(0, NewItem::bytes_of_element);
        let (bytes, limit) = (machine.index.bytes, machine.bounds.bytes);
        (bytes.saturating_add(more) > limit).then_some(Reason::TooHeavy { bytes, limit })
    }

    fn queue_limits(&self, queue: &QueueName, demand: &Demand) -> Vec<Reason> {
        let load = self.machine.index.load(queue);
        let queues = &self.machine.facts.queues;
        let settings = queues.get(queue).map(|queue| queue.settings).unwrap_or_default();
        let running = settings.max_running.filter(|limit| load.held >= u64::from(*limit));
        let running = running.map(|limit| Reason::QueueMaxRunning {
            queue: queue.clone(),
            held: load.held,
            limit,
        });
        let asked = demand.gpu_milli;
        let beyond = |limit: &u32| {
            asked > 0 && load.gpu_milli.saturating_add(u64::from(asked)) > u64::from(*limit)
        };
        let gpu = settings.max_gpu_milli.filter(beyond).map(|limit| Reason::QueueMaxGpu {
            queue: queue.clone(),
            taken: load.gpu_milli,
            asked,
            limit,
        });
        running.into_iter().chain(gpu).collect()
    }

    /// What about the nodes holds all items of a kind up: first what never passes, then what does.
    fn nodes(&self, kind: Kind<'_>) -> Option<Reason> {
        let demand = &kind.1.demand;
        let large = |node: &NodeId| self.is_large_enough(node, demand);
        let stated = &self.machine.facts.capacities;
        if !demand.is_nothing() && !stated.keys().any(large) {
            return Some(Reason::NoNodeLargeEnough { nodes: stated.len() });
        }
        if let Some(reason) = self.no_capable_node(kind) {
            return Some(reason);
        }
        if demand.is_nothing() {
            return None;
        }
        // Of a node that never claimed it is not known what it lacks.
        let able = |node: &NodeId| {
            let of_node = self.claimers.get(node);
            of_node.is_none_or(|of| of.iter().any(|claimer| !claimer.lacks(kind)))
        };
        let mut large_enough = 0_usize;
        for (node, has) in stated.iter().filter(|(node, _)| large(node) && able(node)) {
            large_enough = large_enough.saturating_add(1);
            let empty = Reserved::default();
            let of_node = self.machine.index.nodes.get(node);
            let reserved = of_node.map_or(&empty, |of| &of.reserved);
            if reserved.place(demand, &has.capacity).is_some() {
                return None;
            }
        }
        (large_enough > 0).then_some(Reason::NoRoom { large_enough, nodes: stated.len() })
    }

    fn is_large_enough(&self, node: &NodeId, demand: &Demand) -> bool {
        let stated = self.machine.facts.capacities.get(node);
        stated.map_or(demand.is_nothing(), |has| {
            Reserved::default().place(demand, &has.capacity).is_some()
        })
    }

    fn no_capable_node(&self, kind: Kind<'_>) -> Option<Reason> {
        if !self.all_known {
            return None;
        }
        let (mut other_types, mut lacking_capabilities) = (0_usize, 0_usize);
        let (mut lacking_labels, mut too_small) = (0_usize, 0_usize);
        for claimer in self.claimers.values().flatten() {
            let lacking = if !claimer.takes(kind.0) {
                &mut other_types
            } else if !kind.1.capabilities.is_subset(&claimer.capabilities) {
                &mut lacking_capabilities
            } else if !claimer.has_labels(kind.1) {
                &mut lacking_labels
            } else if !self.is_large_enough(&claimer.node, &kind.1.demand) {
                &mut too_small
            } else {
                return None;
            };
            *lacking = lacking.saturating_add(1);
        }
        let claimers = self.claimers.values().map(Vec::len).sum();
        Some(Reason::NoCapableNode {
            claimers,
            other_types,
            lacking_capabilities,
            lacking_labels,
            too_small,
        })
    }
}

impl Claimer {
    fn takes(&self, work_type: &str) -> bool {
        self.work_types.is_empty() || self.work_types.contains(work_type)
    }

    fn has_labels(&self, needs: &Needs) -> bool {
        needs.labels.iter().all(|(label, value)| self.labels.get(label) == Some(value))
    }

    fn lacks(&self, (work_type, needs): Kind<'_>) -> bool {
        !self.takes(work_type)
            || !needs.capabilities.is_subset(&self.capabilities)
            || !self.has_labels(needs)
    }
}

const _: () = assert!(LINE_LOOKED_AT_MAX <= limits::ITEMS_UNFINISHED_MAX);
