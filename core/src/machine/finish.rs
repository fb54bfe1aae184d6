//! Ends: completed, failed, dead, cancelled, and at last forgotten.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};

use super::admission::Source;
use super::facts::ForgottenKey;
use super::{Machine, clip, digest, invalid};
use crate::event::Event;
use crate::id::{Token, WorkId};
use crate::limits;
use crate::queue::command::{Refusal, Reply, WorkResult};
use crate::queue::item::{Cause, Completion, NewItem, State};
use crate::time::Moment;

impl Machine {
    /// Ends an item well and adds what follows. A repeat with the same token adds nothing and answers
    /// the same.
    pub(super) fn complete(
        &mut self,
        id: WorkId,
        token: Token,
        result: &WorkResult,
        then: &[NewItem],
    ) -> Result<Reply, Refusal> {
        let WorkResult { text, pair } = result;
        if text.len() > limits::RESULT_BYTES_MAX {
            let problem =
                format!("holds {} of at most {} bytes", text.len(), limits::RESULT_BYTES_MAX);
            return Err(invalid("result", problem));
        }
        if let Some(State::Completed(first)) = self.item(id).map(|item| &item.state)
            && first.token == token
        {
            return Ok(Reply::Completed { then: first.then.to_vec() });
        }
        let lease = self.heard_from(id, token)?;
        let ended_bytes = self.item(id).map_or(0, |item| item.request.bytes());
        let admissions = self.examine(then, Source::Worker { ended_bytes })?;
        let at = self.facts.now;
        self.alter(id, |item| {
            // Who completes has started, whether or not the word of it arrived.
            if lease.started.is_none() {
                item.attempts = item.attempts.saturating_add(1);
            }
            let (result, node) = (text.clone(), lease.node.clone());
            let then = Box::default();
            item.state = State::Completed(Box::new(Completion { result, token, node, at, then }));
        });
        self.facts.totals.completed += 1;
        self.note_end(id, |ended| ended.completed = ended.completed.saturating_add(1));
        self.record_end(id);
        self.credit(id, &lease.node, pair.as_ref());
        let then = self.admit_all(then, admissions);
        // Nothing of the index depends on it.
        if !then.is_empty()
            && let Some(State::Completed(completion)) =
                self.facts.items.get_mut(&id).map(|item| &mut item.state)
        {
            completion.then = then.as_slice().into();
        }
        Ok(Reply::Completed { then })
    }

    /// Ends an attempt badly: another one after a delay, or none.
    pub(super) fn fail(
        &mut self,
        id: WorkId,
        token: Token,
        error: &str,
        retry: bool,
    ) -> Result<Reply, Refusal> {
        self.heard_from(id, token)?;
        let error = if error.is_empty() { "no reason was given" } else { error };
        let exhausted = self.is_exhausted(id);
        if exhausted || !retry {
            let cause = if retry { Cause::AttemptsFailed } else { Cause::Final };
            self.bury(id, cause, clip(error));
            return Ok(Reply::Failed { retry_at: None });
        }
        Ok(Reply::Failed { retry_at: Some(self.postpone(id, clip(error), Moment::default())) })
    }

    /// Cancels an item whoever holds it. A repeat changes nothing.
    pub(super) fn cancel(&mut self, id: WorkId) -> Result<Reply, Refusal> {
        self.settle(id);
        if !self.facts.items.contains_key(&id) {
            self.check_parts(id)?;
            self.materialize(id);
        }
        let item = self.item(id).ok_or(Refusal::UnknownWork(id))?;
        match &item.state {
            State::Delayed { .. }
            | State::Blocked { .. }
            | State::Ready { .. }
            | State::Claimed(_) => {
                self.call_off(id);
                // Nobody else will bring this part of its run: the planner must hear of it.
                self.fall(id, "cancelled by request".to_string());
                Ok(Reply::Done)
            }
            State::Cancelled { .. } => Ok(Reply::Done),
            State::Completed(_) | State::Dead { .. } => {
                Err(Refusal::Ended { work_id: id, state: item.status().to_string() })
            }
        }
    }

    /// Gives a dead item all its attempts again, and as many claims. Its deliveries and its last error
    /// stay. It waits once more for what has not ended of what it waited for.
    pub(super) fn redrive(&mut self, id: WorkId) -> Result<Reply, Refusal> {
        let item = self.item(id).ok_or(Refusal::UnknownWork(id))?;
        if !matches!(item.state, State::Dead { .. }) {
            return Err(Refusal::Ended { work_id: id, state: item.status().to_string() });
        }
        if item.origin().is_some() {
            return Err(invalid("work_id", "is part of a run, whose planner replaces dead parts"));
        }
        let timed_out = item.total_deadline().is_some_and(|deadline| deadline <= self.facts.now);
        if timed_out {
            return Err(invalid("work_id", "is past the time in which it had to end"));
        }
        self.check_awaited(item)?;
        self.check_room(&item.request.queue, 1)?;
        let (held, limit) = (self.records(), self.bounds.records);
        if held >= limit {
            return Err(Refusal::Full { held, limit });
        }
        let (bytes, limit) = (self.index.bytes, self.bounds.bytes);
        if bytes.saturating_add(item.request.bytes()) > limit {
            return Err(Refusal::TooHeavy { bytes, limit });
        }
        let open = self.open_dependencies(&item.awaited);
        let since = Self::place_after(item, self.facts.now);
        self.alter(id, |item| {
            item.attempts = 0;
            // Its first wait is over, so the deadline for its first claim no longer counts.
            item.deliveries = item.deliveries.max(1);
            item.claims_lost = 0;
            item.state =
                if open.is_empty() { State::Ready { since } } else { State::Blocked { open } };
        });
        self.facts.totals.dead = self.facts.totals.dead.saturating_sub(1);
        self.note_end(id, |ended| ended.dead = ended.dead.saturating_sub(1));
        self.facts.totals.redriven += 1;
        Ok(Reply::Done)
    }

    /// Makes an item dead.
    pub(super) fn bury(&mut self, id: WorkId, cause: Cause, error: String) {
        let Some(item) = self.facts.items.get(&id) else {
            return;
        };
        let (work_type, attempts) = (item.request.work_type.clone(), item.attempts);
        let at = self.facts.now;
        self.alter(id, |item| {
            item.last_error = Some(error.as_str().into());
            item.state = State::Dead { cause, error: error.as_str().into(), at };
        });
        self.facts.totals.dead += 1;
        self.note_end(id, |ended| ended.dead = ended.dead.saturating_add(1));
        self.record(Event::ItemDied { work_id: id, work_type, cause, attempts });
        self.record_end(id);
        self.fall(id, error);
    }

    /// Makes an item cancelled. What its process takes stays taken until its holder has stopped it.
    pub(super) fn call_off(&mut self, id: WorkId) {
        let at = self.facts.now;
        self.stop(id);
        self.alter(id, |item| item.state = State::Cancelled { at });
        self.facts.totals.cancelled += 1;
        self.note_end(id, |ended| ended.cancelled = ended.cancelled.saturating_add(1));
        self.record_end(id);
    }

    /// Forgets finished items beyond the bound, oldest first, and remembers their keys; dead ones
    /// by their own bound and by age. The work is bounded by what the command has finished.
    pub(super) fn forget_oldest(&mut self) {
        while self.index.finished.len() > limits::ITEMS_FINISHED_MAX
            || self.index.finished_bytes > self.bounds.finished_bytes
        {
            let Some((_, id)) = self.index.finished.first().copied() else {
                return;
            };
            self.forget(id);
        }
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let Some((at, id)) = self.index.dead.first().copied() else {
                return;
            };
            let old = at.after(limits::DEAD_KEPT) <= self.facts.now;
            let many = self.index.dead.len() > limits::ITEMS_DEAD_MAX
                || self.index.dead_bytes > self.bounds.finished_bytes;
            if !old && !many {
                return;
            }
            self.forget(id);
        }
    }

    fn forget(&mut self, id: WorkId) {
        self.tell_all_of(id);
        let Some(item) = self.facts.items.remove(&id) else {
            return;
        };
        self.index.leave(&item);
        if let Some(element) = item.element() {
            self.leave_array(element.array, 1);
        }
        if let Some(key) = &item.request.key {
            let queue = &item.request.queue;
            self.index.keys.remove(queue, key);
            // A planner's step is guarded by the version of its run and never repeats a key.
            if item.origin().is_none() {
                let digest = digest::of_request(&item.request, None);
                let (queue, key) = (queue.clone(), key.clone());
                self.remember_forgotten(ForgottenKey { queue, key, work_id: id, digest });
            }
        }
    }

    pub(super) fn remember_forgotten(&mut self, forgotten: ForgottenKey) {
        let number = self.facts.forgotten.last_key().map_or(0, |last| last + 1);
        self.index.forgotten.insert(&forgotten.queue, &forgotten.key, number);
        self.facts.forgotten.insert(number, forgotten);
        if self.facts.forgotten.len() > limits::KEYS_MAX
            && let Some((_, oldest)) = self.facts.forgotten.pop_first()
        {
            self.index.forgotten.remove(&oldest.queue, &oldest.key);
        }
    }
}
