//! The passing of time: delays end, leases end, attempts run out, locks free themselves.

use alloc::format;
use alloc::string::String;

use super::{Machine, digest};
use crate::id::WorkId;
use crate::limits;
use crate::queue::item::{Item, Lease, State};
use crate::time::{Moment, Span};

impl Machine {
    /// Settles what is due, oldest first and up to a bound, and answers how many leases ended.
    pub(super) fn elapse(&mut self) -> u32 {
        let mut expired = 0;
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let Some((due, id)) = self.index.due.first().copied() else {
                break;
            };
            if due > self.facts.now {
                break;
            }
            expired += u32::from(self.settle(id));
        }
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let Some((due, name)) = self.index.locks_due.first().cloned() else {
                break;
            };
            if due > self.facts.now {
                break;
            }
            self.free_lock(&name);
        }
        expired
    }

    /// Brings one item up to date, and answers whether a lease ended. Whoever presents a token
    /// calls this first, so that what is said about a lease never depends on how far the bounded
    /// work of [`Self::elapse`] has come.
    pub(super) fn settle(&mut self, id: WorkId) -> bool {
        let now = self.facts.now;
        let Some(item) = self.facts.items.get(&id) else {
            return false;
        };
        if item.due().is_none_or(|due| due > now) {
            return false;
        }
        let State::Claimed(lease) = &item.state else {
            self.alter(id, |item| item.state = State::Ready);
            return false;
        };
        self.facts.totals.expired += 1;
        let Some(started) = lease.started else {
            self.alter(id, |item| item.state = State::Ready);
            return true;
        };
        let timeout = item.request.attempt_timeout;
        let ran_out = started.after(timeout) <= lease.deadline;
        let error = if ran_out {
            format!("attempt {} took longer than {timeout} on node {}", item.attempts, lease.node)
        } else {
            let Lease { node, deadline, .. } = lease;
            let silence = now.since(*deadline);
            format!("node {node} did not renew its lease, which ended {silence} ago")
        };
        if item.attempts >= item.request.attempts_max {
            self.bury(id, error);
        } else if ran_out {
            self.postpone(id, error);
        } else {
            // The node is at fault, not the item: another node takes it at once. The count of
            // attempts bounds the harm of an item that kills its nodes.
            self.alter(id, |item| {
                item.state = State::Ready;
                item.last_error = Some(error);
            });
        }
        true
    }

    /// Puts an item back with a growing delay, and answers its end.
    pub(super) fn postpone(&mut self, id: WorkId, error: String) -> Moment {
        let now = self.facts.now;
        let until = now.after(self.facts.items.get(&id).map_or_else(Span::default, backoff));
        self.alter(id, |item| {
            item.state = State::Delayed { until };
            item.last_error = Some(error);
        });
        until
    }

    /// Changes one item and keeps the index in step.
    pub(super) fn alter(&mut self, id: WorkId, change: impl FnOnce(&mut Item)) {
        let Some(item) = self.facts.items.get_mut(&id) else {
            return;
        };
        self.index.leave(item);
        let was_unfinished = item.state.ended().is_none();
        change(item);
        if was_unfinished && item.state.ended().is_some() {
            self.index.retire(item);
        }
        self.index.enter(item);
    }
}

/// The delay before the next attempt: doubled with each attempt, capped, and between half and all of
/// that by a chance that is the same on every replica. A claim that was given back before its start
/// is no attempt, so there the deliveries count: an item that nobody can start must not spin.
fn backoff(item: &Item) -> Span {
    let started = matches!(&item.state, State::Claimed(Lease { started: Some(_), .. }));
    let round = if started { item.attempts } else { item.deliveries };
    let doublings = round.saturating_sub(1).min(limits::BACKOFF_DOUBLINGS_MAX);
    let whole = (limits::BACKOFF_BASE.0 << doublings).min(limits::BACKOFF_CAP.0);
    let half = whole / 2;
    let jitter = digest::chance(item.id.0, u64::from(round)) % (whole - half + 1);
    Span(half + jitter)
}

const _: () = assert!(
    limits::BACKOFF_BASE.0 << limits::BACKOFF_DOUBLINGS_MAX >= limits::BACKOFF_CAP.0
        && limits::BACKOFF_BASE.0.leading_zeros() > limits::BACKOFF_DOUBLINGS_MAX
);
