//! What is computed from the facts and kept beside them, so that no command scans items.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::cmp::Reverse;

use super::facts::{Facts, ForgottenKey};
use crate::id::{LockName, NodeId, RunId, WorkId};
use crate::queue::item::{Item, Needs, NewItem, State, Status};
use crate::queue::lock::Lock;
use crate::run::Run;
use crate::time::Moment;

/// Items that are remembered, by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for their time.
    pub delayed: u64,
    /// Claimable.
    pub ready: u64,
    /// Claimed, not yet started.
    pub claimed: u64,
    /// Started.
    pub running: u64,
    /// Done, as far as remembered.
    pub completed: u64,
    /// Dead, as far as remembered.
    pub dead: u64,
    /// Cancelled, as far as remembered.
    pub cancelled: u64,
}

impl Counts {
    /// Items that have not ended.
    #[must_use]
    pub const fn unfinished(&self) -> u64 {
        self.delayed + self.ready + self.claimed + self.running
    }

    /// Items that have ended and are still remembered.
    #[must_use]
    pub const fn finished(&self) -> u64 {
        self.completed + self.dead + self.cancelled
    }

    const fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Delayed => &mut self.delayed,
            Status::Ready => &mut self.ready,
            Status::Claimed => &mut self.claimed,
            Status::Running => &mut self.running,
            Status::Completed => &mut self.completed,
            Status::Dead => &mut self.dead,
            Status::Cancelled => &mut self.cancelled,
        }
    }
}

/// The place of a claimable item in line: larger priority first, then the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: Reverse<u8>,
    pub(super) id: WorkId,
}

impl Place {
    const fn of(item: &Item) -> Self {
        Self { priority: Reverse(item.request.priority), id: item.id }
    }
}

/// Unfinished items of one work type, in classes of equal needs: a claimer fits a whole class or
/// none of it, so a claim never looks at an item that does not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfType {
    pub(super) unfinished: u64,
    pub(super) classes: BTreeMap<Needs, Class>,
}

/// Unfinished items of one work type and equal needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) unfinished: u64,
    pub(super) ready: BTreeSet<Place>,
}

/// What one node holds, and how many remembered items ended there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfNode {
    pub(super) held: BTreeSet<WorkId>,
    pub(super) ended: u64,
}

/// Unfinished items of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfRun {
    /// By match-up.
    pub(super) outstanding: BTreeSet<(u16, WorkId)>,
    pub(super) running: u64,
}

/// The index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) counts: Counts,
    pub(super) types: BTreeMap<String, OfType>,
    /// Number of classes, all types together.
    pub(super) classes: usize,
    /// Items that time alone changes.
    pub(super) due: BTreeSet<(Moment, WorkId)>,
    pub(super) locks_due: BTreeSet<(Moment, LockName)>,
    /// Keys of the items that are remembered.
    pub(super) keys: BTreeMap<String, WorkId>,
    /// Keys of the others, by their number in [`Facts::forgotten`].
    pub(super) forgotten: BTreeMap<String, u64>,
    pub(super) nodes: BTreeMap<NodeId, OfNode>,
    /// Runs with unfinished items.
    pub(super) runs: BTreeMap<RunId, OfRun>,
    /// Finished items by their end.
    pub(super) finished: BTreeSet<(Moment, WorkId)>,
    /// All runs by their submission.
    pub(super) submitted: BTreeSet<(Moment, RunId)>,
    pub(super) active: BTreeSet<RunId>,
    /// The other runs by their end.
    pub(super) ended: BTreeSet<(Moment, RunId)>,
}

impl Index {
    /// The index over these facts.
    pub(super) fn of(facts: &Facts) -> Self {
        let mut index = Self::default();
        for item in facts.items.values() {
            if item.state.ended().is_none() {
                index.admit(item);
            }
            index.remember_key(item);
            index.enter(item);
        }
        for (number, ForgottenKey { key, .. }) in &facts.forgotten {
            index.forgotten.insert(key.clone(), *number);
        }
        for (name, Lock { expires, .. }) in &facts.locks {
            index.locks_due.insert((*expires, name.clone()));
        }
        for run in facts.runs.values() {
            index.enter_run(run);
        }
        index
    }

    /// Counts an unfinished item among its kind and its run, until [`Self::retire`].
    pub(super) fn admit(&mut self, item: &Item) {
        let NewItem { work_type, needs, .. } = &item.request;
        if !self.types.contains_key(work_type) {
            self.types.insert(work_type.clone(), OfType::default());
        }
        if let Some(of_type) = self.types.get_mut(work_type) {
            of_type.unfinished += 1;
            if let Some(class) = of_type.classes.get_mut(needs) {
                class.unfinished += 1;
            } else {
                let class = Class { unfinished: 1, ready: BTreeSet::new() };
                of_type.classes.insert(needs.clone(), class);
                self.classes += 1;
            }
        }
        if let Some(origin) = item.origin() {
            let of_run = self.runs.entry(origin.run.clone()).or_default();
            of_run.outstanding.insert((origin.matchup, item.id));
        }
    }

    /// Takes an item that ends out of its kind and its run.
    pub(super) fn retire(&mut self, item: &Item) {
        let NewItem { work_type, needs, .. } = &item.request;
        if let Some(of_type) = self.types.get_mut(work_type) {
            of_type.unfinished = of_type.unfinished.saturating_sub(1);
            if let Some(class) = of_type.classes.get_mut(needs) {
                class.unfinished = class.unfinished.saturating_sub(1);
                if class.unfinished == 0 {
                    of_type.classes.remove(needs);
                    self.classes = self.classes.saturating_sub(1);
                }
            }
            if of_type.unfinished == 0 {
                self.types.remove(work_type);
            }
        }
        if let Some(origin) = item.origin()
            && let Some(of_run) = self.runs.get_mut(&origin.run)
        {
            of_run.outstanding.remove(&(origin.matchup, item.id));
            if of_run.outstanding.is_empty() {
                self.runs.remove(&origin.run);
            }
        }
    }

    /// Records the key of an item that is remembered from now on.
    pub(super) fn remember_key(&mut self, item: &Item) {
        if let Some(key) = &item.request.key {
            self.keys.insert(key.clone(), item.id);
        }
    }

    /// Records the state of an item.
    pub(super) fn enter(&mut self, item: &Item) {
        *self.counts.of(item.status()) += 1;
        if let Some(due) = item.due() {
            self.due.insert((due, item.id));
        }
        match &item.state {
            State::Ready => {
                if let Some(class) = self.class(&item.request) {
                    class.ready.insert(Place::of(item));
                }
            }
            State::Claimed(lease) => {
                self.node(&lease.node).held.insert(item.id);
                if lease.started.is_some()
                    && let Some(of_run) = item.origin().and_then(|o| self.runs.get_mut(&o.run))
                {
                    of_run.running += 1;
                }
            }
            State::Completed { at, .. } | State::Dead { at, .. } | State::Cancelled { at } => {
                self.finished.insert((*at, item.id));
                if let Some(node) = &item.last_node {
                    self.node(node).ended += 1;
                }
            }
            State::Delayed { .. } => {}
        }
    }

    /// Undoes [`Self::enter`], while the item is still as it was entered.
    pub(super) fn leave(&mut self, item: &Item) {
        let count = self.counts.of(item.status());
        *count = count.saturating_sub(1);
        if let Some(due) = item.due() {
            self.due.remove(&(due, item.id));
        }
        match &item.state {
            State::Ready => {
                if let Some(class) = self.class(&item.request) {
                    class.ready.remove(&Place::of(item));
                }
            }
            State::Claimed(lease) => {
                self.node(&lease.node).held.remove(&item.id);
                self.drop_idle(&lease.node);
                if lease.started.is_some()
                    && let Some(of_run) = item.origin().and_then(|o| self.runs.get_mut(&o.run))
                {
                    of_run.running = of_run.running.saturating_sub(1);
                }
            }
            State::Completed { at, .. } | State::Dead { at, .. } | State::Cancelled { at } => {
                self.finished.remove(&(*at, item.id));
                if let Some(node) = &item.last_node {
                    let of_node = self.node(node);
                    of_node.ended = of_node.ended.saturating_sub(1);
                    self.drop_idle(node);
                }
            }
            State::Delayed { .. } => {}
        }
    }

    fn class(&mut self, request: &NewItem) -> Option<&mut Class> {
        self.types.get_mut(&request.work_type)?.classes.get_mut(&request.needs)
    }

    fn node(&mut self, node: &NodeId) -> &mut OfNode {
        self.nodes.entry(node.clone()).or_default()
    }

    fn drop_idle(&mut self, node: &NodeId) {
        if self.nodes.get(node).is_some_and(|of| of.held.is_empty() && of.ended == 0) {
            self.nodes.remove(node);
        }
    }

    /// Records a run.
    pub(super) fn enter_run(&mut self, run: &Run) {
        self.submitted.insert((run.submitted, run.id.clone()));
        match run.ended {
            None => self.active.insert(run.id.clone()),
            Some(at) => self.ended.insert((at, run.id.clone())),
        };
    }

    /// Undoes [`Self::enter_run`], while the run is still as it was entered.
    pub(super) fn leave_run(&mut self, run: &Run) {
        self.submitted.remove(&(run.submitted, run.id.clone()));
        match run.ended {
            None => self.active.remove(&run.id),
            Some(at) => self.ended.remove(&(at, run.id.clone())),
        };
    }
}
