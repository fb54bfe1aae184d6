//! Questions that the machine answers without changing.

use alloc::collections::BTreeMap;

use super::line::Merge;
use super::{Counts, Machine, QueueLoad, Totals};
use crate::id::{LockName, NodeId, Position, QueueName, RunId, SessionId, WorkId};
use crate::limits;
use crate::queue::item::{Item, Status};
use crate::queue::lock::Lock;
use crate::queue::resources::{Reserved, Stated};
use crate::queue::tenant::QueueSettings;
use crate::run::Run;
pub use crate::run::report::RunItems;
use crate::time::Moment;

impl Machine {
    /// Replicated time: that of the last applied entry.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.facts.now
    }

    /// The last applied entry.
    #[must_use]
    pub const fn applied(&self) -> Position {
        self.facts.applied
    }

    /// Grows with every change of the consensus mode.
    #[must_use]
    pub const fn mode_epoch(&self) -> u32 {
        self.facts.mode_epoch
    }

    /// The name of the cluster; empty until it has one.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.facts.cluster_id
    }

    /// One item, unless it is unknown or forgotten.
    #[must_use]
    pub fn item(&self, id: WorkId) -> Option<&Item> {
        self.facts.items.get(&id)
    }

    /// One item, with a record of its own or still one of an array, unless it is unknown or
    /// forgotten.
    #[must_use]
    pub fn find(&self, id: WorkId) -> Option<Item> {
        self.item(id).cloned().or_else(|| self.unclaimed(id))
    }

    /// The remembered items by status.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.index.counts
    }

    /// Counts since the cluster began.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.facts.totals
    }

    /// Unfinished items by work type.
    #[must_use]
    pub fn counts_by_type(&self) -> BTreeMap<&str, u64> {
        let types = self.index.types.iter();
        types.map(|(name, of_type)| (name.as_str(), of_type.unfinished)).collect()
    }

    /// The first claimable items, in the order in which a claimer that fits all gets them.
    pub fn ready(&self, limit: usize) -> impl Iterator<Item = Item> {
        let ids = Merge::for_all(self).in_order(limit);
        ids.into_iter().filter_map(|id| self.find(id))
    }

    /// Items that are held, by node and age.
    pub fn held(&self, limit: usize) -> impl Iterator<Item = &Item> {
        let ids = self.index.nodes.values().flat_map(|of_node| &of_node.held);
        ids.take(limit).filter_map(|id| self.item(*id))
    }

    /// Items that one node holds, by age.
    pub fn held_by(&self, node: &NodeId) -> impl Iterator<Item = &Item> {
        let ids = self.index.nodes.get(node).into_iter().flat_map(|of_node| &of_node.held);
        ids.filter_map(|id| self.item(*id))
    }

    /// Finished items that are remembered, newest first; with a status only those.
    pub fn history(&self, limit: usize, status: Option<Status>) -> impl Iterator<Item = &Item> {
        let mut finished = self.index.finished.iter().rev().peekable();
        let mut dead = self.index.dead.iter().rev().peekable();
        let newest = core::iter::from_fn(move || match (finished.peek(), dead.peek()) {
            (Some(one), Some(other)) if one >= other => finished.next(),
            (Some(_), None) => finished.next(),
            (_, Some(_)) => dead.next(),
            (None, None) => None,
        });
        let items = newest.filter_map(|(_, id)| self.item(*id));
        items.filter(move |item| status.is_none_or(|wanted| item.status() == wanted)).take(limit)
    }

    /// Queues with their settings and what they hold, by name. The default queue is always there.
    #[must_use]
    pub fn queues(&self) -> BTreeMap<QueueName, (QueueSettings, QueueLoad)> {
        let settings = self.facts.queues.iter();
        let mut queues: BTreeMap<_, _> = settings
            .map(|(name, queue)| (name.clone(), (queue.settings, self.index.load(name))))
            .collect();
        let default = QueueName::default();
        let load = self.index.load(&default);
        queues.entry(default).or_insert((QueueSettings::default(), load));
        queues
    }

    /// Nodes that said what they have, with what is reserved of it.
    pub fn capacities(&self) -> impl Iterator<Item = (&NodeId, &Stated, Reserved)> {
        self.facts.capacities.iter().map(|(node, stated)| {
            let of_node = self.index.nodes.get(node);
            (node, stated, of_node.map(|of| of.reserved.clone()).unwrap_or_default())
        })
    }

    /// An open session: the number below which its client has all answers, and the answers kept.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<(u64, usize)> {
        self.facts.sessions.get(&id).map(|session| (session.floor, session.answers.len()))
    }

    /// Whether a request of a session, sent again, is only told what is known: its answer, that it is
    /// out of date, or that there is no such session.
    #[must_use]
    pub fn has_answered(&self, id: SessionId, seq: u64) -> bool {
        let session = self.facts.sessions.get(&id);
        session.is_none_or(|it| seq < it.floor || it.answers.contains_key(&seq))
    }

    /// For each node the items that it holds, and those together with the ones that ended there as
    /// far as remembered.
    #[must_use]
    pub fn node_totals(&self) -> BTreeMap<&NodeId, (u64, u64)> {
        let nodes = self.index.nodes.iter();
        nodes
            .map(|(node, of_node)| {
                let active = of_node.held.len() as u64;
                (node, (active, active.saturating_add(of_node.ended)))
            })
            .collect()
    }

    /// One run, unless it is unknown or forgotten.
    #[must_use]
    pub fn run(&self, id: &RunId) -> Option<&Run> {
        self.facts.runs.get(id).map(|run| &**run)
    }

    /// All remembered runs, newest first.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.index.submitted.iter().rev().filter_map(|(_, id)| self.run(id))
    }

    /// The runs that have not ended, by id.
    pub fn active_runs(&self) -> impl Iterator<Item = &Run> {
        self.index.active.iter().filter_map(|id| self.run(id))
    }

    /// Unfinished items of a run.
    #[must_use]
    pub fn run_items(&self, id: &RunId) -> RunItems {
        let of_run = self.index.runs.get(id);
        let crowded = |run: &Run| run.ended.is_none() && self.room_for(run) == 0;
        RunItems {
            outstanding: of_run.map_or(0, |of_run| of_run.outstanding.len() as u64),
            running: of_run.map_or(0, |of_run| of_run.running),
            crowded: self.run(id).is_some_and(crowded),
        }
    }

    /// The first unfinished item of a run, while none of them runs.
    #[must_use]
    pub fn run_waits(&self, id: &RunId) -> Option<WorkId> {
        let of_run = self.index.runs.get(id).filter(|of_run| of_run.running == 0)?;
        of_run.outstanding.first().map(|(_, item)| *item)
    }

    /// A lock, while it is held, with those who wait for it. Some of them may have waited long
    /// enough: they go with the next entry.
    #[must_use]
    pub fn lock(&self, name: &LockName) -> Option<&Lock> {
        self.facts.locks.get(name).filter(|lock| lock.expires > self.facts.now)
    }

    /// How often owners left the line before a lock, with the lock or without: as long as it stays the
    /// same, whoever waits for a lock waits on.
    #[must_use]
    pub const fn lines_moved(&self) -> u64 {
        self.facts.lines_moved
    }

    /// The number of the last event.
    #[must_use]
    pub const fn last_event(&self) -> u64 {
        self.facts.events.last
    }

    /// The earliest moment at which a [`crate::queue::command::Command::Tick`] changes something.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        if !self.index.resolvable.is_empty() {
            return Some(self.facts.now);
        }
        let item = self.index.due.first().map(|(due, _)| *due);
        let stop = self.index.stops_due.first().map(|(due, _)| *due);
        let range = self.index.ranges_due.first().map(|(due, _)| *due);
        let session = self.index.heard.first().map(|(heard, _)| heard.after(limits::SESSION_TTL));
        let lock = self.index.locks_due.first().map(|(due, _)| *due);
        let wait = self.index.waits_due.first().map(|(until, _, _)| *until);
        item.into_iter().chain(stop).chain(range).chain(session).chain(lock).chain(wait).min()
    }
}
