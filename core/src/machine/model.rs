//! A second opinion: the rules of the machine once more, as simply as they can be said. Lists and
//! linear scans, no index, no code of the machine; only the types of commands are shared.

mod answer;
mod locks;
mod runs;

use std::collections::BTreeMap;

use crate::id::{Position, RunId, Token, WorkId};
use crate::queue::command::{Batch, Claim, Command, PairResult};
use crate::queue::item::{NewItem, Origin, Payload};
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
    Run(bool),
    Ticked(u32),
    Done,
    Refused(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Waiting { until: u64 },
    Open,
    Held { node: String, token: Token, deadline: u64, started: Option<u64> },
    Done { token: Token },
    Dead,
    Cancelled,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    id: u64,
    request: NewItem,
    pub(super) standing: Standing,
    attempts: u32,
    deliveries: u32,
}

impl Row {
    fn unfinished(&self) -> bool {
        matches!(self.standing, Standing::Waiting { .. } | Standing::Open | Standing::Held { .. })
    }

    fn origin(&self) -> Option<Origin> {
        match &self.request.payload {
            Payload::OfRun(origin) => Some(origin.clone()),
            Payload::Opaque(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
struct HeldLock {
    name: String,
    owner: String,
    token: Token,
    expires: u64,
}

/// What can be seen of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunRow {
    pub(super) id: RunId,
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
    pub(super) rows: Vec<Row>,
    locks: Vec<HeldLock>,
    pub(super) runs: Vec<RunRow>,
    grants: u32,
    at: Position,
}

impl Model {
    pub(super) fn apply(&mut self, position: Position, batch: &Batch) -> Vec<Answer> {
        self.now = self.now.max(batch.now.0);
        self.at = position;
        self.grants = 0;
        if batch.commands.is_empty() {
            self.pass_time();
        }
        batch.commands.iter().map(|command| self.one(command)).collect()
    }

    /// Delayed, ready, claimed, running, completed, dead, cancelled.
    pub(super) fn counts(&self) -> [u64; 7] {
        let mut counts = [0; 7];
        for row in &self.rows {
            counts[match row.standing {
                Standing::Waiting { .. } => 0,
                Standing::Open => 1,
                Standing::Held { started: None, .. } => 2,
                Standing::Held { started: Some(_), .. } => 3,
                Standing::Done { .. } => 4,
                Standing::Dead => 5,
                Standing::Cancelled => 6,
            }] += 1;
        }
        counts
    }

    fn one(&mut self, command: &Command) -> Answer {
        let expired = self.pass_time();
        match command {
            Command::Enqueue(requests) => self.enqueue(requests, false),
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
            Command::Complete { work_id, token, result } => {
                self.complete(work_id.0, *token, result.pair.as_ref())
            }
            Command::Fail { work_id, token, error: _, retry } => match self.held(work_id.0, *token)
            {
                Err(refused) => refused,
                Ok(at) => Answer::RetryAt(self.fail(at, *retry)),
            },
            Command::Cancel { work_id } => self.cancel(work_id.0),
            Command::LockAcquire { name, owner, ttl } => self.lock(name.as_str(), owner, ttl.0),
            Command::LockRelease { name, token } => self.release(name.as_str(), *token),
            Command::SubmitRun { run, spec } => self.submit(run, spec),
            Command::AdvanceRun { run, version, advance } => self.advance(run, *version, advance),
            Command::CancelRun { run } => match self.runs.iter().position(|row| row.id == *run) {
                None => Answer::Refused("UnknownRun"),
                Some(at) => match &self.runs[at].outcome {
                    Some(Outcome::Cancelled) => Answer::Done,
                    Some(_) => Answer::Refused("RunEnded"),
                    None => {
                        self.runs[at].version += 1;
                        self.end_run(at, Outcome::Cancelled);
                        Answer::Done
                    }
                },
            },
            Command::Tick => Answer::Ticked(expired),
            Command::InitCluster { .. } => Answer::Done,
        }
    }

    fn pass_time(&mut self) -> u32 {
        self.locks.retain(|lock| lock.expires > self.now);
        let mut expired = 0;
        loop {
            let due = |row: &Row| match &row.standing {
                Standing::Waiting { until } => Some(*until),
                Standing::Held { deadline, started: None, .. } => Some(*deadline),
                Standing::Held { deadline, started: Some(started), .. } => {
                    Some((*deadline).min(started + row.request.attempt_timeout.0))
                }
                _ => None,
            };
            let rows = self.rows.iter().enumerate();
            let next = rows.filter_map(|(at, row)| Some((due(row)?, row.id, at))).min();
            let Some((_, _, at)) = next.filter(|(due, _, _)| *due <= self.now) else {
                return expired;
            };
            let row = &mut self.rows[at];
            match row.standing.clone() {
                Standing::Waiting { .. } => row.standing = Standing::Open,
                Standing::Held { started: None, .. } => {
                    row.standing = Standing::Open;
                    expired += 1;
                }
                Standing::Held { deadline, started: Some(started), .. } => {
                    expired += 1;
                    if row.attempts >= row.request.attempts_max {
                        row.standing = Standing::Dead;
                        self.lose(at);
                    } else if started + row.request.attempt_timeout.0 <= deadline {
                        self.wait(at);
                    } else {
                        row.standing = Standing::Open;
                    }
                }
                _ => unreachable!("only these are due"),
            }
        }
    }

    fn grant(&mut self) -> Token {
        self.grants += 1;
        Token { mode_epoch: 0, term: self.at.term, index: self.at.index, n: self.grants - 1 }
    }

    fn held(&self, id: u64, wanted: Token) -> Result<usize, Answer> {
        let at = self.rows.iter().position(|row| row.id == id);
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
                _ => lost.push(id.0),
            }
        }
        Answer::Renewed(renewed, lost)
    }

    fn complete(&mut self, id: u64, token: Token, brought: Option<&PairResult>) -> Answer {
        let done = Standing::Done { token };
        if self.rows.iter().any(|row| row.id == id && row.standing == done) {
            return Answer::Done;
        }
        match self.held(id, token) {
            Err(refused) => refused,
            Ok(at) => {
                self.begin(at);
                self.rows[at].standing = done;
                self.bring(at, brought);
                Answer::Done
            }
        }
    }

    fn fail(&mut self, at: usize, retry: bool) -> Option<u64> {
        let row = &mut self.rows[at];
        if !retry || row.attempts >= row.request.attempts_max {
            row.standing = Standing::Dead;
            self.lose(at);
            return None;
        }
        Some(self.wait(at))
    }

    /// 1 s doubled each time, at most 300 s, half of it left to chance.
    fn wait(&mut self, at: usize) -> u64 {
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

    fn enqueue(&mut self, requests: &[NewItem], planner: bool) -> Answer {
        let mut rows = self.rows.clone();
        let mut answer = vec![];
        for request in requests {
            let of_run = matches!(request.payload, Payload::OfRun(_));
            if request.priority > 100
                || !(1..=100).contains(&request.attempts_max)
                || of_run != planner
            {
                return Answer::Refused("Invalid");
            }
            let known =
                rows.iter().find(|row| row.request.key.is_some() && row.request.key == request.key);
            if let Some(row) = known {
                if row.request == *request {
                    answer.push((row.id, false));
                    continue;
                }
                let from_this_batch = row.id > self.rows.len() as u64;
                return Answer::Refused(if from_this_batch { "Invalid" } else { "KeyConflict" });
            }
            let id = rows.len() as u64 + 1;
            let standing = match request.delay.0 {
                0 => Standing::Open,
                delay => Standing::Waiting { until: self.now + delay },
            };
            let request = request.clone();
            rows.push(Row { id, request, standing, attempts: 0, deliveries: 0 });
            answer.push((id, true));
        }
        self.rows = rows;
        Answer::Enqueued(answer)
    }

    fn claim(&mut self, claim: &Claim) -> Answer {
        if !(1..=256).contains(&claim.limit) || !(1_000..=3_600_000).contains(&claim.lease.0) {
            return Answer::Refused("Invalid");
        }
        let fits = |row: &Row| {
            let request = &row.request;
            row.standing == Standing::Open
                && (claim.work_types.is_empty() || claim.work_types.contains(&request.work_type))
                && request.needs.capabilities.iter().all(|c| claim.capabilities.contains(c))
                && request.needs.labels.iter().all(|(l, v)| claim.labels.get(l) == Some(v))
        };
        let mut line: Vec<usize> =
            (0..self.rows.len()).filter(|at| fits(&self.rows[*at])).collect();
        line.sort_by_key(|at| (100 - self.rows[*at].request.priority, self.rows[*at].id));
        line.truncate(claim.limit as usize);
        let mut answer = vec![];
        for at in line {
            let (token, deadline) = (self.grant(), self.now + claim.lease.0);
            let row = &mut self.rows[at];
            row.deliveries += 1;
            let node = claim.node.as_str().to_owned();
            row.standing = Standing::Held { node, token, deadline, started: None };
            answer.push((row.id, token, deadline, row.attempts, row.deliveries));
        }
        Answer::Claimed(answer)
    }

    fn cancel(&mut self, id: u64) -> Answer {
        let Some(at) = self.rows.iter().position(|row| row.id == id) else {
            return Answer::Refused("UnknownWork");
        };
        if self.rows[at].unfinished() {
            self.rows[at].standing = Standing::Cancelled;
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

/// SplitMix64, by its definition.
fn split_mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
