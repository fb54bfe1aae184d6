//! Tenants' queues: their settings, their limits, their service.

use alloc::format;

use super::facts::Queue;
use super::{Machine, QueueLoad, invalid};
use crate::event::Event;
use crate::id::{DEFAULT_QUEUE, QueueName};
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::queue::tenant::QueueSettings;

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
        if queued + held > 0 {
            return Err(Refusal::QueueInUse { queue: name.clone(), held: queued + held });
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
