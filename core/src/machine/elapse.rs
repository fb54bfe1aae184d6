//! The passing of time: delays end, leases end, holders have stopped, attempts run out, deadlines pass, who waited for
//! others is told, locks go to who waits for them or free themselves, sessions end.

use alloc::format;
use alloc::string::String;

use super::{Grants, Machine, digest};
use crate::id::WorkId;
use crate::limits;
use crate::queue::item::{Cause, Item, Lease, State};
use crate::time::{Moment, Span};

impl Machine {
    /// Settles what is due, oldest first and each kind up to a bound, and answers how many leases
    /// ended.
    pub(super) fn elapse(&mut self, grants: &mut Grants) -> u32 {
        let now = self.facts.now;
        let mut expired = 0;
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let Some((_, id)) = self.index.due.first().copied().filter(|(due, _)| *due <= now)
            else {
                break;
            };
            expired += u32::from(self.settle(id));
        }
        self.elapse_stops();
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let due = self.index.ranges_due.first().copied().filter(|(due, _)| *due <= now);
            let Some((_, first)) = due else {
                break;
            };
            self.open_range(first);
        }
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            if !self.tell_one() {
                break;
            }
        }
        self.elapse_locks(grants);
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let silent = |heard: Moment| heard.after(limits::SESSION_TTL) <= now;
            let heard = self.index.heard.first().copied().filter(|(heard, _)| silent(*heard));
            let Some((_, session)) = heard else {
                break;
            };
            self.drop_session(session);
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
        let held = matches!(item.state, State::Claimed(_));
        if item.total_deadline().is_some_and(|deadline| deadline <= now) {
            let limit = item.request.total_timeout.unwrap_or_default();
            self.facts.totals.expired += u64::from(held);
            self.stop(id);
            self.bury(id, Cause::TotalTimeout, format!("did not end within {limit}"));
            return held;
        }
        let State::Claimed(lease) = &item.state else {
            if item.pending_deadline().is_some_and(|deadline| deadline <= now) {
                let limit = item.request.pending_timeout.unwrap_or_default();
                self.bury(id, Cause::PendingTimeout, format!("was not claimed within {limit}"));
            } else if let State::Delayed { until } = item.state {
                let since = Self::place_after(item, until);
                self.alter(id, |item| item.state = State::Ready { since });
            }
            return false;
        };
        let lease = Lease::clone(lease);
        self.end_lease(id, &lease);
        true
    }

    /// Ends a claim whose holder did not keep it.
    pub(super) fn end_lease(&mut self, id: WorkId, lease: &Lease) {
        self.facts.totals.expired += 1;
        let Some(item) = self.facts.items.get(&id) else {
            return;
        };
        let Some(started) = lease.started else {
            self.lose_claim(id, lease);
            return;
        };
        let timeout = item.request.attempt_timeout;
        let ran_out =
            lease.due(timeout) <= self.facts.now && started.after(timeout) <= lease.deadline;
        let error = if ran_out {
            format!("attempt {} took longer than {timeout} on node {}", item.attempts, lease.node)
        } else if lease.deadline <= self.facts.now {
            let Lease { node, deadline, .. } = lease;
            let silence = self.facts.now.since(*deadline);
            format!("node {node} did not renew its lease, which ended {silence} ago")
        } else {
            format!("node {} is gone", lease.node)
        };
        if self.is_exhausted(id) {
            self.bury(id, if ran_out { Cause::AttemptTimeout } else { Cause::NodeLost }, error);
        } else if ran_out {
            // Its holder may run it on until it hears of this, at the latest at its lease's end.
            // Longer than the usual lease nobody waits for that.
            let heard = lease.deadline.min(self.facts.now.after(limits::LEASE_DEFAULT));
            self.postpone(id, error, heard);
        } else {
            // The node is at fault, not the item: another node takes it at once. The count of
            // attempts bounds the harm of an item that kills its nodes.
            self.put_back(id, Some(error));
        }
    }

    /// Makes an item claimable again whose holder fell silent before the start. No attempt counts, so
    /// the count of such claims bounds the harm of an item that kills whoever claims it.
    fn lose_claim(&mut self, id: WorkId, lease: &Lease) {
        self.put_back(id, None);
        self.alter(id, |item| item.claims_lost = item.claims_lost.saturating_add(1));
        let lost = self.item(id).map_or(0, |item| item.claims_lost);
        if lost >= self.bounds.claims_lost {
            let last = &lease.node;
            let error =
                format!("was claimed {lost} times and never started, the last time by {last}");
            self.bury(id, Cause::NeverStarted, error);
        }
    }

    /// Puts an item back with a growing delay that ends no sooner than `earliest`, and answers its
    /// end.
    pub(super) fn postpone(&mut self, id: WorkId, error: String, earliest: Moment) -> Moment {
        let now = self.facts.now;
        let delay = self.item(id).map_or_else(Span::default, backoff);
        let until = now.after(delay).max(earliest);
        self.alter(id, |item| {
            item.state = State::Delayed { until };
            item.last_error = Some(error.into());
        });
        until
    }

    /// Changes one item and keeps the index in step.
    pub(super) fn alter(&mut self, id: WorkId, change: impl FnOnce(&mut Item)) {
        let Some(item) = self.facts.items.get_mut(&id) else {
            return;
        };
        self.index.leave(item);
        let had_ended = item.state.ended().is_some();
        change(item);
        match (had_ended, item.state.ended().is_some()) {
            (false, true) => self.index.retire(item),
            (true, false) => self.index.admit(item),
            (true, true) | (false, false) => {}
        }
        self.index.enter(item);
        if let Some(group) = super::index::group_of(&item.request) {
            self.index.reseat(&self.facts, &group);
        }
    }
}

/// The delay before the next attempt: doubled with each attempt, capped, and between half and all of
/// that by a chance that is the same on every replica. A claim that was given back before its start
/// is no attempt, so there the deliveries count: an item that nobody can start must not spin.
fn backoff(item: &Item) -> Span {
    let started = matches!(&item.state, State::Claimed(lease) if lease.started.is_some());
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
