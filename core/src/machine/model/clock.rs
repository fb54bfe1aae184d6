//! The model's passing of time.

use super::{Model, Row, Standing, split_mix};
use crate::id::WorkId;
use crate::queue::item::Cause;

impl Model {
    pub(super) fn pass_time(&mut self) -> u32 {
        let now = self.now;
        self.end_holds();
        self.sessions.end_silent(now);
        self.stops.retain(|stop| stop.until > now);
        let mut expired = 0;
        while let Some((_, _, at)) = self.next_due().filter(|(due, _, _)| *due <= now) {
            expired += u32::from(self.come_due(at));
        }
        while self.tell_one() {}
        expired
    }

    /// When, which item, at which place.
    fn next_due(&self) -> Option<(u64, u64, usize)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(at, row)| Some((due(row)?, row.id, at))).min()
    }

    /// Answers whether a lease ended.
    fn come_due(&mut self, at: usize) -> bool {
        let now = self.now;
        let row = &mut self.rows[at];
        let was_held = row.is_held();
        if row.request.total_timeout.is_some_and(|span| row.created + span.0 <= now) {
            self.stop(at);
            self.die(at, Cause::TotalTimeout);
            return was_held;
        }
        if let Standing::Held { .. } = &row.standing {
            self.lose_lease(at);
            return true;
        }
        let pending = row.request.pending_timeout.filter(|_| row.deliveries == 0);
        if pending.is_some_and(|span| row.created + span.0 <= now) {
            self.die(at, Cause::PendingTimeout);
        } else if let Standing::Waiting { until } = row.standing {
            row.standing = Standing::Open { since: row.begins_again(until) };
        }
        false
    }

    /// The holder did not keep its claim, or is gone.
    pub(super) fn lose_lease(&mut self, at: usize) {
        let now = self.now;
        let row = &mut self.rows[at];
        let Standing::Held { deadline, started, .. } = row.standing else {
            panic!("only a held item has a lease");
        };
        let back = Standing::Open { since: row.created };
        let Some(started) = started else {
            row.claims_lost += 1;
            if row.claims_lost >= self.bounds.claims_lost {
                self.die(at, Cause::NeverStarted);
            } else {
                row.standing = back;
            }
            return;
        };
        let ends = started + row.request.attempt_timeout.0;
        let ran_out = ends <= deadline && ends <= now;
        if row.attempts >= row.request.attempts_max {
            self.die(at, if ran_out { Cause::AttemptTimeout } else { Cause::NodeLost });
        } else if ran_out {
            // The holder runs on until it is told: a lease at most, and no more than 30 s.
            let until = self.wait(at).max(deadline.min(now + 30_000));
            self.rows[at].standing = Standing::Waiting { until };
        } else {
            row.standing = back;
        }
    }

    /// 1 s doubled each time, at most 300 s, half of it left to chance.
    pub(super) fn wait(&mut self, at: usize) -> u64 {
        let row = &mut self.rows[at];
        let started = matches!(row.standing, Standing::Held { started: Some(_), .. });
        let round = if started { row.attempts } else { row.deliveries };
        let mut whole = 1_000_u64;
        for _ in 1..round {
            whole = (whole * 2).min(300_000);
        }
        let chance = split_mix(split_mix(row.id).wrapping_add(u64::from(round)));
        let until = self.now + whole / 2 + chance % (whole - whole / 2 + 1);
        row.standing = Standing::Waiting { until };
        until
    }

    /// The first of those that wait for the first that has ended.
    fn tell_one(&mut self) -> bool {
        let ended = |id: u64| self.rows.iter().any(|row| row.id == id && !row.unfinished());
        let waits = self.rows.iter().enumerate().filter_map(|(at, row)| match &row.standing {
            Standing::Behind(behind) => Some((behind, row.id, at)),
            _ => None,
        });
        let told = waits.flat_map(|(behind, id, at)| behind.keys().map(move |on| (*on, id, at)));
        let Some((on, _, at)) = told.filter(|(on, _, _)| ended(*on)).min() else {
            return false;
        };
        let well = self
            .rows
            .iter()
            .any(|row| row.id == on && matches!(row.standing, Standing::Done { .. }));
        let Standing::Behind(behind) = &self.rows[at].standing else {
            panic!("it waits");
        };
        if behind.get(&on) == Some(&true) && !well {
            self.die(at, Cause::Dependency(WorkId(on)));
        } else {
            self.stop_waiting(self.rows[at].id, on);
        }
        true
    }

    /// An item waits no longer for another, if it did.
    pub(super) fn stop_waiting(&mut self, id: u64, on: u64) {
        let now = self.now;
        let waits = self.rows.iter_mut().filter(|row| row.id == id);
        for row in waits {
            let Standing::Behind(behind) = &mut row.standing else { continue };
            behind.remove(&on);
            if behind.is_empty() {
                let begin = row.created + row.request.delay.0;
                row.standing = if begin > now {
                    Standing::Waiting { until: begin }
                } else {
                    Standing::Open { since: now }
                };
            }
        }
    }
}

fn due(row: &Row) -> Option<u64> {
    if !row.unfinished() {
        return None;
    }
    let own = match &row.standing {
        Standing::Waiting { until } => Some(*until),
        Standing::Held { deadline, started: None, .. } => Some(*deadline),
        Standing::Held { deadline, started: Some(started), .. } => {
            Some((*deadline).min(started + row.request.attempt_timeout.0))
        }
        _ => None,
    };
    let pending = row.request.pending_timeout.filter(|_| row.deliveries == 0);
    let deadlines = [pending, row.request.total_timeout];
    own.into_iter().chain(deadlines.into_iter().flatten().map(|span| row.created + span.0)).min()
}
