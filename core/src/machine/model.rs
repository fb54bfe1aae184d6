//! A second opinion: the rules of the machine once more, as simply as they can be said. Lists and
//! linear scans, no index, no code of the machine; only the types of commands are shared.

mod admission;
mod answer;
mod arrays;
mod claims;
mod clock;
mod events;
mod locks;
mod runs;
mod sessions;
mod stops;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};

use self::admission::bytes;
use self::sessions::Sessions;
use self::stops::Stop;
use self::tenants::{Lane, Room};
use super::bounds::Bounds;
use crate::event::Event;
use crate::id::{Position, RunId, Token, WorkId};
use crate::queue::command::{Batch, Command, PairResult};
use crate::queue::item::{Cause, NewItem, Origin, Payload, Status};
use crate::queue::resources::{Capacity, Teller};
use crate::run::{Outcome, RunSpec};

/// A reply without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Enqueued(Vec<(u64, bool)>),
    /// Number, token, deadline, attempts, deliveries.
    Claimed(Vec<(u64, Token, u64, u32, u32)>),
    Renewed(u32, Vec<u64>),
    RetryAt(Option<u64>),
    Locked(Token, u64),
    Queued(u32, u64),
    Run(bool),
    Ticked(u32),
    Completed(Vec<(u64, bool)>),
    Session(u64),
    Done,
    Refused(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting {
        until: u64,
    },
    /// For whom it waits, and whether only their completion will do.
    Behind(BTreeMap<u64, bool>),
    Open {
        since: u64,
    },
    Held {
        node: String,
        token: Token,
        deadline: u64,
        started: Option<u64>,
        room: Room,
    },
    Done {
        token: Token,
        /// What followed.
        then: Vec<(u64, bool)>,
    },
    Dead,
    Cancelled,
    /// Cancelled with its array before it had a record.
    Gone,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    id: u64,
    request: NewItem,
    pub(super) standing: Standing,
    attempts: u32,
    deliveries: u32,
    claims_lost: u32,
    created: u64,
    /// Whom it was told to wait for, and whether only their completion would do.
    awaited: Vec<(u64, bool)>,
    /// False while it is one of many of an array.
    recorded: bool,
}

impl Row {
    fn unfinished(&self) -> bool {
        use Standing::{Behind, Held, Open, Waiting};
        matches!(self.standing, Waiting { .. } | Behind(_) | Open { .. } | Held { .. })
    }

    fn is_held(&self) -> bool {
        matches!(self.standing, Standing::Held { .. })
    }

    fn group(&self) -> Option<(&str, &str)> {
        let group = self.request.group.as_ref()?;
        Some((self.request.queue.as_str(), group.as_str()))
    }

    /// Since when it stands in line after a pause: an item of an array since the array began.
    fn begins_again(&self, pause_ends: u64) -> u64 {
        let of_array = matches!(self.request.payload, Payload::OfArray(_));
        if of_array { self.created + self.request.delay.0 } else { pause_ends }
    }

    fn origin(&self) -> Option<Origin> {
        match &self.request.payload {
            Payload::OfRun(origin) => Some(origin.clone()),
            Payload::Opaque(_) | Payload::OfArray(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldLock {
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) token: Token,
    pub(super) expires: u64,
    /// Who was told of it.
    pub(super) told: BTreeSet<u64>,
    /// Owner, time to live, end of the wait.
    pub(super) line: Vec<(String, u64, u64)>,
}

/// What can be seen of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunRow {
    pub(super) id: RunId,
    pub(super) queue: String,
    spec: RunSpec,
    pub(super) version: u64,
    /// (match-up, index, item).
    pub(super) pairs: Vec<(u16, u32, u64)>,
    pub(super) tasks: (u32, u32),
    pub(super) fallen: Vec<Origin>,
    pub(super) failures: u64,
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    now: u64,
    pub(super) bounds: Bounds,
    pub(super) rows: Vec<Row>,
    pub(super) stops: Vec<Stop>,
    pub(super) locks: Vec<HeldLock>,
    pub(super) runs: Vec<RunRow>,
    /// First item, count, request.
    arrays: Vec<(u64, u32, NewItem)>,
    lanes: BTreeMap<String, Lane>,
    /// What they have, and who says so.
    nodes: BTreeMap<String, (Capacity, Teller)>,
    sessions: Sessions,
    /// Work type and milliseconds of each first claim.
    pub(super) waits: Vec<(String, u64)>,
    grants: u32,
    at: Position,
    /// The time and what happened, from the first on.
    pub(super) events: Vec<(u64, Event)>,
}

impl Model {
    pub(super) fn apply(&mut self, position: Position, batch: &Batch) -> Vec<Answer> {
        self.now = self.now.max(batch.now.0);
        if self.at.term != position.term {
            self.tell(Event::TermBegan { term: position.term });
        }
        self.at = position;
        self.grants = 0;
        if batch.commands.is_empty() {
            self.pass_time();
        }
        batch.commands.iter().map(|command| self.one(command)).collect()
    }

    /// Delayed, blocked, ready, claimed, running, completed, dead, cancelled.
    pub(super) fn counts(&self) -> [u64; 8] {
        let mut counts = [0; 8];
        for row in &self.rows {
            counts[match row.standing {
                Standing::Waiting { .. } => 0,
                Standing::Behind(_) => 1,
                Standing::Open { .. } => 2,
                Standing::Held { started: None, .. } => 3,
                Standing::Held { started: Some(_), .. } => 4,
                Standing::Done { .. } => 5,
                Standing::Dead => 6,
                Standing::Cancelled => 7,
                Standing::Gone => continue,
            }] += 1;
        }
        counts
    }

    fn one(&mut self, command: &Command) -> Answer {
        let expired = self.pass_time();
        self.carry_out(command, expired)
    }

    fn carry_out(&mut self, command: &Command, expired: u32) -> Answer {
        if let Command::Start { work_id, token }
        | Command::Complete { work_id, token, .. }
        | Command::Fail { work_id, token, .. }
        | Command::Release { work_id, token, .. } = command
        {
            self.hear(work_id.0, *token);
        }
        match command {
            Command::Enqueue(requests) => self.enqueue(requests, By::Submitter),
            Command::EnqueueArray { request, count } => self.enqueue_array(request, *count),
            Command::Claim(claim) => self.claim(claim),
            Command::Start { work_id, token } => match self.held(work_id.0, *token) {
                Err(refused) => refused,
                Ok(at) => {
                    self.begin(at);
                    Answer::Done
                }
            },
            Command::Heartbeat { node, claims, lease } => {
                self.heartbeat(node.as_str(), claims, lease.0)
            }
            Command::Complete { work_id, token, result, then } => {
                self.complete(work_id.0, *token, result.pair.as_ref(), then)
            }
            Command::Fail { work_id, token, error: _, retry } => match self.held(work_id.0, *token)
            {
                Err(refused) => refused,
                Ok(at) => Answer::RetryAt(self.fail(at, *retry)),
            },
            Command::Release { work_id, token, delay } => {
                self.give_back(work_id.0, *token, delay.0)
            }
            Command::Cancel { work_id } => self.cancel(work_id.0),
            Command::CancelArray { array } => self.cancel_array(array.0),
            Command::Redrive { work_id } => self.redrive(work_id.0),
            Command::SetQueue { queue, settings } => self.set_queue(queue, *settings),
            Command::RemoveQueue { queue } => self.remove_queue(queue),
            Command::SetCapacity { node, capacity, by } => {
                self.set_capacity(node.as_str(), capacity.as_ref(), *by)
            }
            Command::ExpireNode { node } => {
                let claims = self.expire_node(node.as_str());
                self.nodes.retain(|name, (_, by)| *by == Teller::Operator || name != node.as_str());
                self.tell(Event::NodeGone { node: node.clone(), claims });
                Answer::Ticked(claims)
            }
            Command::OpenSession => self.open_session(),
            Command::CloseSession { session } => self.close_session(*session),
            Command::InSession { session, seq, acknowledged, command } => {
                self.in_session(*session, *seq, *acknowledged, command, expired)
            }
            Command::LockAcquire { name, owner, ttl, wait, asker } => {
                self.lock(name.as_str(), owner, ttl.0, wait.map(|wait| wait.0), asker.0)
            }
            Command::LockLeave { name, owner, asker } => {
                self.leave(name.as_str(), owner, asker.map(|asker| asker.0))
            }
            Command::LockRelease { name, token } => self.release(name.as_str(), *token),
            Command::SubmitRun { run, queue, spec } => self.submit(run, queue.as_str(), spec),
            Command::AdvanceRun { run, version, advance } => self.advance(run, *version, advance),
            Command::CancelRun { run } => self.cancel_run(run),
            Command::Tick => Answer::Ticked(expired),
            Command::InitCluster { .. } | Command::ChangeMembers { .. } => Answer::Done,
        }
    }

    fn grant(&mut self) -> Token {
        self.grants += 1;
        Token { mode_epoch: 0, term: self.at.term, index: self.at.index, n: self.grants - 1 }
    }

    fn held(&self, id: u64, wanted: Token) -> Result<usize, Answer> {
        let at = self.rows.iter().position(|row| row.id == id && row.recorded);
        let at = at.ok_or(Answer::Refused("UnknownWork"))?;
        match &self.rows[at].standing {
            Standing::Held { token, .. } if *token == wanted => Ok(at),
            _ => Err(Answer::Refused("Fenced")),
        }
    }

    fn begin(&mut self, at: usize) {
        let now = self.now;
        let row = &mut self.rows[at];
        if let Standing::Held { started: started @ None, .. } = &mut row.standing {
            *started = Some(now);
            row.attempts += 1;
        }
    }

    fn heartbeat(&mut self, node: &str, claims: &[(WorkId, Token)], lease: u64) -> Answer {
        if !(1_000..=3_600_000).contains(&lease) {
            return Answer::Refused("Invalid");
        }
        let (mut renewed, mut lost) = (0, vec![]);
        for (id, token) in claims {
            let until = self.now + lease;
            match self.held(id.0, *token).ok().map(|at| &mut self.rows[at].standing) {
                Some(Standing::Held { node: by, deadline, .. }) if by == node => {
                    *deadline = until;
                    renewed += 1;
                }
                _ => {
                    self.tell_holder(node, id.0, *token);
                    lost.push(id.0);
                }
            }
        }
        Answer::Renewed(renewed, lost)
    }

    fn complete(
        &mut self,
        id: u64,
        token: Token,
        brought: Option<&PairResult>,
        then: &[NewItem],
    ) -> Answer {
        let row = self.rows.iter().find(|row| row.id == id).map(|row| &row.standing);
        if let Some(Standing::Done { token: by, then }) = row
            && *by == token
        {
            return Answer::Completed(then.clone());
        }
        let at = match self.held(id, token) {
            Err(refused) => return refused,
            Ok(at) => at,
        };
        let standing = self.rows[at].standing.clone();
        let ending = bytes(&self.rows[at].request);
        let added = match self.enqueue_for(then, By::Worker, ending) {
            Answer::Enqueued(added) => added,
            refused => return refused,
        };
        self.rows[at].standing = standing;
        self.begin(at);
        self.rows[at].standing = Standing::Done { token, then: added.clone() };
        // What follows came behind the completion: it never waited for it.
        for (new, _) in added.iter().filter(|(_, fresh)| *fresh) {
            self.stop_waiting(*new, id);
        }
        self.tell_end(at, Status::Completed);
        self.bring(at, brought);
        Answer::Completed(added)
    }

    fn fail(&mut self, at: usize, retry: bool) -> Option<u64> {
        let row = &self.rows[at];
        if !retry || row.attempts >= row.request.attempts_max {
            self.die(at, if retry { Cause::AttemptsFailed } else { Cause::Final });
            return None;
        }
        Some(self.wait(at))
    }

    /// Back to its place in line, or later, as if it had not begun.
    fn give_back(&mut self, id: u64, token: Token, delay: u64) -> Answer {
        let at = match self.held(id, token) {
            Err(refused) => return refused,
            Ok(at) => at,
        };
        if delay > crate::limits::DELAY_MAX.0 {
            return Answer::Refused("Invalid");
        }
        let row = &mut self.rows[at];
        let started = matches!(row.standing, Standing::Held { started: Some(_), .. });
        row.attempts -= u32::from(started);
        row.standing = match delay {
            0 => Standing::Open { since: row.created },
            _ => Standing::Waiting { until: self.now + delay },
        };
        Answer::Done
    }

    fn cancel_run(&mut self, run: &RunId) -> Answer {
        let Some(at) = self.runs.iter().position(|row| row.id == *run) else {
            return Answer::Refused("UnknownRun");
        };
        match &self.runs[at].outcome {
            Some(Outcome::Cancelled) => Answer::Done,
            Some(_) => Answer::Refused("RunEnded"),
            None => {
                self.runs[at].version += 1;
                self.end_run(at, Outcome::Cancelled);
                Answer::Done
            }
        }
    }

    fn cancel(&mut self, id: u64) -> Answer {
        let Some(at) = self.rows.iter().position(|row| row.id == id) else {
            return Answer::Refused("UnknownWork");
        };
        if self.rows[at].standing == Standing::Gone {
            return Answer::Refused("UnknownWork");
        }
        self.rows[at].recorded = true;
        if self.rows[at].unfinished() {
            self.stop(at);
            self.rows[at].standing = Standing::Cancelled;
            self.tell_end(at, Status::Cancelled);
            self.lose(at);
            return Answer::Done;
        }
        let cancelled = self.rows[at].standing == Standing::Cancelled;
        if cancelled { Answer::Done } else { Answer::Refused("Ended") }
    }

    /// Unfinished items by type.
    pub(super) fn by_type(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.unfinished()) {
            *counts.entry(row.request.work_type.as_str()).or_insert(0) += 1;
        }
        counts
    }
}

/// Who adds items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Submitter,
    Planner,
    Worker,
}

/// SplitMix64, by its definition.
fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
