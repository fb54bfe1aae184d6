//! Tenants' queues: their settings, their limits, their service.

use alloc::format;

use super::facts::Queue;
use super::{Machine, QueueLoad, invalid};
use crate::event::Event;
use crate::id::{DEFAULT_QUEUE, QueueName};
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::queue::tenant::QueueSettings;
use crate::run::Run;

impl Machine {
    /// Makes a queue or changes its settings. What it holds stays, even beyond a new limit.
    pub(super) fn set_queue(
        &mut self,
        name: &QueueName,
        settings: QueueSettings,
    ) -> Result<Reply, Refusal> {
        if !(1..=limits::QUEUE_WEIGHT_MAX).contains(&settings.weight) {
            return Err(invalid("weight", format!("must be 1 to {}", limits::QUEUE_WEIGHT_MAX)));
        }
        if !self.facts.queues.contains_key(name) && self.facts.queues.len() >= limits::QUEUES_MAX {
            let problem = format!("would be one more than the {} queues", limits::QUEUES_MAX);
            return Err(invalid("queue", problem));
        }
        let known = self.facts.queues.get(name).map(|queue| queue.settings);
        self.facts.queues.entry(name.clone()).or_default().settings = settings;
        // Who says the same again and again changes nothing.
        if known != Some(settings) {
            self.record(Event::QueueSet { queue: name.clone(), settings });
        }
        Ok(Reply::Done)
    }

    /// Removes a queue that holds nothing. A repeat is refused as unknown.
    pub(super) fn remove_queue(&mut self, name: &QueueName) -> Result<Reply, Refusal> {
        if !self.facts.queues.contains_key(name) {
            return Err(Refusal::UnknownQueue(name.clone()));
        }
        let QueueLoad { queued, held, gpu_milli: _ } = self.index.load(name);
        // A run between two steps holds nothing, and still needs its queue for the next.
        let runs = self.active_runs().filter(|run| run.queue == *name).count() as u64;
        if queued + held + runs > 0 {
            let (queue, held) = (name.clone(), queued + held);
            return Err(Refusal::QueueInUse { queue, held, runs });
        }
        self.facts.queues.remove(name);
        self.record(Event::QueueRemoved { queue: name.clone() });
        Ok(Reply::Done)
    }

    /// Whether so many more items may wait in a queue.
    pub(super) fn check_room(&self, name: &QueueName, more: u64) -> Result<(), Refusal> {
        if name.as_str() != DEFAULT_QUEUE && !self.facts.queues.contains_key(name) {
            return Err(Refusal::UnknownQueue(name.clone()));
        }
        let held = self.index.load(name).queued;
        let settings = self.facts.queues.get(name).map(|queue| queue.settings);
        match settings.and_then(|settings| settings.max_queued).map(u64::from) {
            Some(limit) if more > 0 && held.saturating_add(more) > limit => {
                Err(Refusal::QueueFull { queue: name.clone(), held, limit })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How many more items a queue takes now: what a planner may ask for.
    #[must_use]
    pub fn room(&self, name: &QueueName) -> u64 {
        if self.check_room(name, 0).is_err() {
            return 0;
        }
        let records = self.bounds.records.saturating_sub(self.records());
        let bytes = self.bounds.bytes.saturating_sub(self.index.bytes);
        let in_all = records.min(bytes / limits::RECORD_BYTES);
        let settings = self.facts.queues.get(name).map(|queue| queue.settings);
        let queued = self.index.load(name).queued;
        let own = settings.and_then(|settings| settings.max_queued).map(u64::from);
        own.map_or(in_all, |limit| limit.saturating_sub(queued).min(in_all))
    }

    /// The same for the items of a run: none while the unfinished items are of too many kinds and its
    /// own are of none of them.
    #[must_use]
    pub fn room_for(&self, run: &Run) -> u64 {
        let is_known = || {
            let classes = self.index.classes_of(run.spec.work_type(), &run.queue);
            classes.is_some_and(|classes| classes.contains_key(&run.spec.needs()))
        };
        if self.index.classes >= limits::CLASSES_MAX && !is_known() {
            return 0;
        }
        self.room(&run.queue)
    }

    /// Counts one item that was given away.
    pub(super) fn count_service(&mut self, name: &QueueName) {
        let now = self.facts.now;
        if let Some(queue) = self.facts.queues.get_mut(name) {
            queue.service.serve(now);
        } else if name.as_str() == DEFAULT_QUEUE {
            let mut queue = Queue::default();
            queue.service.serve(now);
            self.facts.queues.insert(name.clone(), queue);
        }
    }
}
