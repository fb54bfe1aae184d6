//! Idempotency keys. Each queue has its own: a tenant's keys mean nothing to another.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::id::QueueName;

/// What is known under the keys of all queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::machine) struct Keys<V> {
    /// No queue is here without a key.
    by_queue: BTreeMap<QueueName, BTreeMap<String, V>>,
    count: usize,
}

impl<V> Default for Keys<V> {
    fn default() -> Self {
        Self { by_queue: BTreeMap::new(), count: 0 }
    }
}

impl<V: Copy> Keys<V> {
    pub(in crate::machine) fn get(&self, queue: &QueueName, key: &str) -> Option<V> {
        self.by_queue.get(queue)?.get(key).copied()
    }

    pub(in crate::machine) fn insert(&mut self, queue: &QueueName, key: &str, value: V) {
        let of_queue = self.by_queue.entry(queue.clone()).or_default();
        if of_queue.insert(key.to_owned(), value).is_none() {
            self.count += 1;
        }
    }

    pub(in crate::machine) fn remove(&mut self, queue: &QueueName, key: &str) {
        let Some(of_queue) = self.by_queue.get_mut(queue) else {
            return;
        };
        if of_queue.remove(key).is_some() {
            self.count = self.count.saturating_sub(1);
        }
        if of_queue.is_empty() {
            self.by_queue.remove(queue);
        }
    }

    /// Keys of all queues together.
    pub(in crate::machine) const fn len(&self) -> usize {
        self.count
    }

    pub(in crate::machine) fn iter(&self) -> impl Iterator<Item = (&QueueName, &str)> {
        let queues = self.by_queue.iter();
        queues.flat_map(|(queue, keys)| keys.keys().map(move |key| (queue, key.as_str())))
    }
}
