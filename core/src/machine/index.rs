//! What is computed from the facts and kept beside them, so that no command scans items.

mod keys;
mod upkeep;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use self::keys::Keys;
pub(super) use self::upkeep::group_of;
use super::class::{Class, Place};
use super::facts::{Facts, ForgottenKey};
use crate::id::{GroupName, LockName, NodeId, QueueName, RunId, SessionId, WorkId};
use crate::queue::item::{Needs, NewItem, State, Status};
use crate::queue::lock::{Lock, Waiter};
use crate::queue::resources::Reserved;
use crate::queue::session::Answer;
use crate::time::Moment;

/// Items that are remembered, by status. Unclaimed items of arrays count too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for their time.
    pub delayed: u64,
    /// Waiting for other items.
    pub blocked: u64,
    /// Claimable, or held up by their group.
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
        self.delayed + self.blocked + self.ready + self.claimed + self.running
    }

    /// Items that have ended and are still remembered.
    #[must_use]
    pub const fn finished(&self) -> u64 {
        self.completed + self.dead + self.cancelled
    }

    const fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Delayed => &mut self.delayed,
            Status::Blocked => &mut self.blocked,
            Status::Ready => &mut self.ready,
            Status::Claimed => &mut self.claimed,
            Status::Running => &mut self.running,
            Status::Completed => &mut self.completed,
            Status::Dead => &mut self.dead,
            Status::Cancelled => &mut self.cancelled,
        }
    }
}

/// Classes of equal needs, by queue.
pub(super) type Lanes = BTreeMap<QueueName, BTreeMap<Needs, Class>>;

/// Unfinished items of one work type, in classes of equal queue and needs: a claimer fits a whole
/// class or none of it, so a claim never looks at an item that does not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfType {
    pub(super) unfinished: u64,
    pub(super) lanes: Lanes,
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueLoad {
    /// Items that wait: ready, delayed or blocked.
    pub queued: u64,
    /// Items that are held.
    pub held: u64,
    /// Thousandths of GPU devices that held items take.
    pub gpu_milli: u64,
}

/// What one node holds, and how many remembered items ended there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfNode {
    pub(super) held: BTreeSet<WorkId>,
    pub(super) ended: u64,
    /// Items that have ended and whose holder, this node, has yet to hear of it.
    pub(super) stops: BTreeSet<WorkId>,
    pub(super) reserved: Reserved,
}

impl OfNode {
    fn is_idle(&self) -> bool {
        self.held.is_empty() && self.stops.is_empty() && self.ended == 0
    }
}

/// Unfinished items of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfRun {
    /// By match-up.
    pub(super) outstanding: BTreeSet<(u16, WorkId)>,
    pub(super) running: u64,
}

/// Items of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfGroup {
    /// Held items, and ended ones whose holder has yet to hear of it.
    pub(super) held: u64,
    pub(super) ready: BTreeSet<Place>,
    /// The one that stands in line for all: the first, while none is held.
    pub(super) front: Option<WorkId>,
}

/// What has not ended of one array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OfArray {
    /// The ranges of its unclaimed items, by their first.
    pub(super) ranges: BTreeSet<WorkId>,
    /// Claimed and retried items.
    pub(super) outstanding: BTreeSet<WorkId>,
}

/// The index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) counts: Counts,
    /// Items that were never claimed and have no record of their own.
    pub(super) in_ranges: u64,
    /// Bytes of unfinished items with a record of their own, and of arrays.
    pub(super) bytes: u64,
    /// Bytes of [`Self::finished`] and of [`Self::dead`].
    pub(super) finished_bytes: u64,
    pub(super) dead_bytes: u64,
    pub(super) types: BTreeMap<String, OfType>,
    /// Number of classes, all types together.
    pub(super) classes: usize,
    /// Items that time alone changes.
    pub(super) due: BTreeSet<(Moment, WorkId)>,
    pub(super) stops_due: BTreeSet<(Moment, WorkId)>,
    pub(super) ranges_due: BTreeSet<(Moment, WorkId)>,
    pub(super) locks_due: BTreeSet<(Moment, LockName)>,
    /// Owners that wait for locks, by the end of their wait.
    pub(super) waits_due: BTreeSet<(Moment, LockName, String)>,
    /// Sessions by when they were last heard of.
    pub(super) heard: BTreeSet<(Moment, SessionId)>,
    /// Answers that all sessions keep.
    pub(super) answers: usize,
    /// Numbers of items in them.
    pub(super) answer_ids: usize,
    /// Keys of the items that are remembered.
    pub(super) keys: Keys<WorkId>,
    /// Keys of the others, by their number in [`Facts::forgotten`].
    pub(super) forgotten: Keys<u64>,
    pub(super) queues: BTreeMap<QueueName, QueueLoad>,
    pub(super) groups: BTreeMap<(QueueName, GroupName), OfGroup>,
    /// Items that wait for others, by those others.
    pub(super) dependents: BTreeMap<WorkId, BTreeSet<WorkId>>,
    /// The others that have ended, while somebody has still to be told.
    pub(super) resolvable: BTreeSet<WorkId>,
    pub(super) arrays: BTreeMap<WorkId, OfArray>,
    pub(super) nodes: BTreeMap<NodeId, OfNode>,
    /// Runs with unfinished items.
    pub(super) runs: BTreeMap<RunId, OfRun>,
    /// Completed and cancelled items by their end.
    pub(super) finished: BTreeSet<(Moment, WorkId)>,
    /// Dead items by their end.
    pub(super) dead: BTreeSet<(Moment, WorkId)>,
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
        for (id, stop) in &facts.stops {
            index.enter_stop(id, stop);
        }
        for (first, array) in &facts.arrays {
            index.bytes += array.request.bytes();
            if let Some(key) = &array.request.key {
                index.keys.insert(&array.request.queue, key, *first);
            }
        }
        for (first, range) in &facts.ranges {
            if let Some(array) = facts.arrays.get(&range.array) {
                index.enter_range(*first, *range, &array.request);
            }
        }
        for (number, ForgottenKey { queue, key, .. }) in &facts.forgotten {
            index.forgotten.insert(queue, key, number);
        }
        for (name, lock) in &facts.locks {
            index.enter_lock(name, lock);
        }
        for (id, session) in &facts.sessions {
            index.heard.insert((session.heard, id));
            index.answers += session.answers.len();
            index.answer_ids += session.answers.values().map(Answer::ids).sum::<usize>();
        }
        for run in facts.runs.values() {
            index.enter_run(run);
        }
        let ended = |id: &WorkId| facts.items.get(id).is_none_or(|i| i.state.ended().is_some());
        index.resolvable = index.dependents.keys().copied().filter(ended).collect();
        let groups: BTreeSet<_> = index.groups.keys().cloned().collect();
        for group in &groups {
            index.reseat(facts, group);
        }
        index
    }

    /// Unfinished items with a record of their own, and ended ones whose holder has yet to hear of it.
    pub(super) fn records(&self) -> u64 {
        let unfinished = self.counts.unfinished().saturating_sub(self.in_ranges);
        unfinished.saturating_add(self.stops_due.len() as u64)
    }

    /// Items of an array that are held or retried.
    pub(super) fn outstanding(&self, array: WorkId) -> usize {
        self.arrays.get(&array).map_or(0, |of_array| of_array.outstanding.len())
    }

    /// The classes of a work type in a queue, while unfinished items are in any.
    pub(super) fn classes_of(
        &self,
        work_type: &str,
        queue: &QueueName,
    ) -> Option<&BTreeMap<Needs, Class>> {
        self.types.get(work_type)?.lanes.get(queue)
    }

    /// The class of a request, while unfinished items are in it.
    pub(super) fn class(&mut self, request: &NewItem) -> Option<&mut Class> {
        let lanes = &mut self.types.get_mut(&request.work_type)?.lanes;
        lanes.get_mut(&request.queue)?.get_mut(&request.needs)
    }

    /// A lock is held from now on, and these wait for it.
    pub(super) fn enter_lock(&mut self, name: &LockName, lock: &Lock) {
        self.locks_due.insert((lock.expires, name.clone()));
        for Waiter { owner, until, ttl: _ } in &lock.waiters {
            self.waits_due.insert((*until, name.clone(), owner.clone()));
        }
    }

    /// A lock is held no longer, and nobody waits for it.
    pub(super) fn leave_lock(&mut self, name: &LockName, lock: &Lock) {
        self.locks_due.remove(&(lock.expires, name.clone()));
        for Waiter { owner, until, ttl: _ } in &lock.waiters {
            self.waits_due.remove(&(*until, name.clone(), owner.clone()));
        }
    }

    /// What a queue holds.
    pub(super) fn load(&self, queue: &QueueName) -> QueueLoad {
        self.queues.get(queue).copied().unwrap_or_default()
    }

    fn node(&mut self, node: &NodeId) -> &mut OfNode {
        self.nodes.entry(node.clone()).or_default()
    }

    fn drop_idle(&mut self, node: &NodeId) {
        if self.nodes.get(node).is_some_and(|of| of.is_idle()) {
            self.nodes.remove(node);
        }
    }

    /// Puts the first of a group in line while none of the group is held, and only that one.
    pub(super) fn reseat(&mut self, facts: &Facts, group: &(QueueName, GroupName)) {
        let Some(of_group) = self.groups.get(group) else {
            return;
        };
        let first = of_group.ready.first().copied().filter(|_| of_group.held == 0);
        let (before, wanted) = (of_group.front, first.map(|place| place.id));
        if before == wanted {
            return;
        }
        for (id, enters) in [(before, false), (wanted, true)] {
            let Some(item) = id.and_then(|id| facts.items.get(&id)) else {
                continue;
            };
            let State::Ready { since } = item.state else {
                continue;
            };
            if let Some(class) = self.class(&item.request) {
                let place = Place::of(item, since);
                if enters { class.join(place) } else { class.quit(place) }
            }
        }
        if let Some(of_group) = self.groups.get_mut(group) {
            of_group.front = wanted;
        }
    }
}
