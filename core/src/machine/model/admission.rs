//! What the model lets in, and what that counts.

use std::collections::BTreeMap;

use super::{Answer, By, Model, Row, Standing};
use crate::queue::item::{NewItem, Payload, Predecessor};

impl Model {
    pub(super) fn enqueue(&mut self, requests: &[NewItem], by: By) -> Answer {
        self.enqueue_for(requests, by, 0)
    }

    /// `ending` are the bytes of the item that ends with it.
    pub(super) fn enqueue_for(&mut self, requests: &[NewItem], by: By, ending: u64) -> Answer {
        let before = self.rows.clone();
        let mut answer = vec![];
        let mut added = BTreeMap::new();
        for (place, request) in requests.iter().enumerate() {
            match self.enqueue_one(place, request, by, &answer, before.len()) {
                Ok((id, fresh)) => {
                    answer.push((id, fresh));
                    *added.entry(request.queue.as_str()).or_insert(0) += u64::from(fresh);
                }
                Err(refused) => {
                    self.rows = before;
                    return refused;
                }
            }
        }
        let full = added.iter().any(|(queue, more)| {
            let limit = self.lanes.get(*queue).and_then(|lane| lane.settings.max_queued);
            let limit = limit.filter(|_| *more > 0 && by != By::Worker);
            limit.is_some_and(|limit| self.queued(queue) > u64::from(limit))
        });
        if full {
            self.rows = before;
            return Answer::Refused("QueueFull");
        }
        // The item that ends is still among the records.
        let (spared, spare) = if by == By::Worker { (1, self.bounds.follow_ups) } else { (0, 0) };
        let more = added.values().sum::<u64>();
        if more > spared && self.records() - spared > self.bounds.records + spare {
            self.rows = before;
            return Answer::Refused("Full");
        }
        let spare = if by == By::Worker { self.bounds.follow_up_bytes } else { 0 };
        let brought: u64 = self.rows[before.len()..].iter().map(|row| bytes(&row.request)).sum();
        if brought > ending && self.bytes() - ending > self.bounds.bytes + spare {
            self.rows = before;
            return Answer::Refused("TooHeavy");
        }
        Answer::Enqueued(answer)
    }

    fn enqueue_one(
        &mut self,
        place: usize,
        request: &NewItem,
        by: By,
        earlier: &[(u64, bool)],
        before: usize,
    ) -> Result<(u64, bool), Answer> {
        let of_run = matches!(request.payload, Payload::OfRun(_));
        if request.priority > 100
            || !(1..=100).contains(&request.attempts_max)
            || of_run != (by == By::Planner)
        {
            return Err(Answer::Refused("Invalid"));
        }
        let queue = request.queue.as_str();
        if queue != "default" && !self.lanes.contains_key(queue) {
            return Err(Answer::Refused("UnknownQueue"));
        }
        let key = request.key.as_deref();
        let known = key.and_then(|key| self.known(key, request, None, before));
        if let Some((id, same, id_is_new)) = known {
            return match (same, id_is_new) {
                (true, _) => Ok((id, false)),
                (false, true) => Err(Answer::Refused("Invalid")),
                (false, false) => Err(Answer::Refused("KeyConflict")),
            };
        }
        let awaited = self.awaited(place, request, earlier, before)?;
        let behind = self.behind(&awaited);
        let standing = match request.delay.0 {
            _ if !behind.is_empty() => Standing::Behind(behind),
            0 => Standing::Open { since: self.now },
            delay => Standing::Waiting { until: self.now + delay },
        };
        let id = self.rows.len() as u64 + 1;
        self.rows.push(Row {
            id,
            request: request.clone(),
            standing,
            attempts: 0,
            deliveries: 0,
            claims_lost: 0,
            created: self.now,
            awaited,
            recorded: true,
        });
        Ok((id, true))
    }

    /// Those of them who have not ended.
    pub(super) fn behind(&self, awaited: &[(u64, bool)]) -> BTreeMap<u64, bool> {
        let mut behind = BTreeMap::new();
        for (on, ok) in awaited {
            if self.rows.iter().any(|row| row.id == *on && row.unfinished()) {
                *behind.entry(*on).or_insert(false) |= ok;
            }
        }
        behind
    }

    /// For whom a request has to wait.
    fn awaited(
        &self,
        place: usize,
        request: &NewItem,
        earlier: &[(u64, bool)],
        before: usize,
    ) -> Result<Vec<(u64, bool)>, Answer> {
        let mut awaited = vec![];
        for dependency in &request.after {
            let on = match dependency.on {
                Predecessor::Earlier(other) if (other as usize) < place => {
                    self.rows.iter().find(|row| row.id == earlier[other as usize].0)
                }
                Predecessor::Earlier(_) => return Err(Answer::Refused("Invalid")),
                Predecessor::Item(on) => {
                    let known =
                        |row: &&Row| row.id == on.0 && row.recorded && row.id <= before as u64;
                    let row = self.rows.iter().find(known);
                    let of_many = |row: &Row| row.id == on.0 && !row.recorded && row.unfinished();
                    if self.rows.iter().any(of_many) {
                        return Err(Answer::Refused("Invalid"));
                    }
                    let row = row.ok_or(Answer::Refused("UnknownWork"))?;
                    let badly = matches!(row.standing, Standing::Dead | Standing::Cancelled);
                    if dependency.ok && badly {
                        return Err(Answer::Refused("Invalid"));
                    }
                    Some(row)
                }
            };
            awaited.extend(on.map(|row| (row.id, dependency.ok)));
        }
        Ok(awaited)
    }

    /// Who has the key, whether it asked for the same, and whether that was in this very batch.
    pub(super) fn known(
        &self,
        key: &str,
        request: &NewItem,
        count: Option<u32>,
        before: usize,
    ) -> Option<(u64, bool, bool)> {
        let of_arrays = self.arrays.iter().map(|(first, of, known)| (*first, Some(*of), known));
        let of_rows = self.rows.iter().map(|row| (row.id, None, &row.request));
        let mut all = of_arrays.chain(of_rows);
        let (id, of, known) = all.find(|(_, _, known)| {
            known.queue == request.queue && known.key.as_deref() == Some(key)
        })?;
        Some((id, known == request && of == count, id > before as u64))
    }

    /// Unfinished items that are no longer one of many, and those that are being stopped.
    pub(super) fn records(&self) -> u64 {
        let rows = self.rows.iter().filter(|row| row.recorded && row.unfinished());
        (rows.count() + self.stops.len()) as u64
    }

    /// Whether an item that is one of many may become one by itself.
    pub(super) fn may_leave(&self, row: &Row) -> bool {
        let Payload::OfArray(element) = &row.request.payload else {
            return true;
        };
        let mate = |other: &&Row| match &other.request.payload {
            Payload::OfArray(other) => other.array == element.array,
            Payload::Opaque(_) | Payload::OfRun(_) => false,
        };
        let mates = self.rows.iter().filter(mate);
        let outstanding = mates.filter(|row| row.recorded && row.unfinished()).count();
        row.recorded
            || outstanding < self.bounds.array_outstanding
                && self.records() < self.bounds.records
                && self.bytes() + bytes(&row.request) <= self.bounds.bytes
    }

    /// What unfinished items take that are no longer one of many, and arrays.
    pub(super) fn bytes(&self) -> u64 {
        let rows = self.rows.iter().filter(|row| row.recorded && row.unfinished());
        let arrays = self.arrays.iter().filter(|(first, count, _)| !self.is_gone(*first, *count));
        rows.map(|row| bytes(&row.request)).sum::<u64>()
            + arrays.map(|(_, _, request)| bytes(request)).sum::<u64>()
    }
}

/// What a record takes, and what is written in it.
pub(super) fn bytes(request: &NewItem) -> u64 {
    let mut texts = vec![request.work_type.as_str(), request.key.as_deref().unwrap_or("")];
    if let Payload::Opaque(text) = &request.payload {
        texts.push(text);
    }
    texts.extend(request.needs.capabilities.iter().map(String::as_str));
    texts.extend(request.needs.labels.iter().flat_map(|(label, value)| [&**label, &**value]));
    let after = 24 * request.after.len();
    (704 + after + texts.concat().len()) as u64
}
