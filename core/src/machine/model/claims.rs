//! The model's claims: all rows are looked at, for each item that is given away.

use super::stops::Stop;
use super::tenants::Room;
use super::{Answer, Model, Row, Standing};
use crate::queue::command::Claim;

impl Model {
    pub(super) fn claim(&mut self, claim: &Claim) -> Answer {
        if !(1..=256).contains(&claim.limit) || !(1_000..=3_600_000).contains(&claim.lease.0) {
            return Answer::Refused("Invalid");
        }
        // Who stands first in a group is settled before the claim: the next of the group comes
        // with the next claim.
        let excluded: Vec<bool> = (0..self.rows.len()).map(|at| self.is_excluded(at)).collect();
        let mut answer = vec![];
        while answer.len() < claim.limit as usize {
            let Some((at, room)) = self.next_for(claim, &excluded) else {
                break;
            };
            let (token, deadline) = (self.grant(), self.now + claim.lease.0);
            let now = self.now;
            let row = &mut self.rows[at];
            if let (0, Standing::Open { since }) = (row.deliveries, &row.standing) {
                self.waits.push((row.request.work_type.clone(), now - since));
            }
            row.deliveries += 1;
            row.recorded = true;
            let node = claim.node.as_str().to_owned();
            row.standing = Standing::Held { node, token, deadline, started: None, room };
            answer.push((row.id, token, deadline, row.attempts, row.deliveries));
            let queue = row.request.queue.as_str().to_owned();
            self.lanes.entry(queue).or_default().serve(now);
        }
        Answer::Claimed(answer)
    }

    /// Whether a group-mate is held, or stands before it.
    fn is_excluded(&self, at: usize) -> bool {
        let row = &self.rows[at];
        let Some(group) = row.group() else {
            return false;
        };
        let stopping = |stop: &Stop| {
            stop.group
                .as_ref()
                .is_some_and(|(queue, name)| (queue.as_str(), name.as_str()) == group)
        };
        if self.stops.iter().any(stopping) {
            return true;
        }
        self.rows.iter().any(|other| {
            other.group() == Some(group)
                && other.id != row.id
                && (other.is_held() || place(other).is_some_and(|first| Some(first) < place(row)))
        })
    }

    fn next_for(&self, claim: &Claim, excluded: &[bool]) -> Option<(usize, Room)> {
        let candidates = self.rows.iter().enumerate().filter_map(|(at, row)| {
            let request = &row.request;
            let Standing::Open { since } = row.standing else {
                return None;
            };
            let wanted =
                claim.work_types.is_empty() || claim.work_types.contains(&request.work_type);
            let needs = request.needs.capabilities.iter().all(|c| claim.capabilities.contains(c))
                && request.needs.labels.iter().all(|(l, v)| claim.labels.get(l) == Some(v));
            let queue = request.queue.as_str();
            let lane = self.lanes.get(queue).cloned().unwrap_or_default();
            if !wanted
                || !needs
                || excluded[at]
                || !self.may_leave(row)
                || !self.has_room(queue, &lane, &request.needs.demand)
            {
                return None;
            }
            let room = self.room_on(claim.node.as_str(), &request.needs.demand)?;
            let aged = (u64::from(request.priority) + 10 * ((self.now - since) / 300_000)).min(100);
            let level = lane.level(self.now, self.held_in(queue));
            let order = (100 - aged / 10 * 10, level, queue, 100 - aged, since, row.id);
            Some((order, at, room))
        });
        candidates.min_by(|one, other| one.0.cmp(&other.0)).map(|(_, at, room)| (at, room))
    }
}

/// Place in line inside a group.
fn place(row: &Row) -> Option<(u8, u64, u64)> {
    match row.standing {
        Standing::Open { since } => Some((100 - row.request.priority, since, row.id)),
        _ => None,
    }
}
