//! What a drawn operation asks of the machine: its picks among what is there become names.

use super::Pairing;
use super::history::{Brings, OWNERS, Op, lock_name, node_id, queue_name, run_id};
use crate::id::{RunId, SessionId, Token, WorkId};
use crate::machine::tests::{gauntlet, job, pair_result, task};
use crate::queue::command::{Command, WorkResult};
use crate::queue::item::{Needs, NewItem, Origin, Payload};
use crate::queue::lock::Asker;
use crate::run::{Advance, Outcome, PlanState, RunSpec};
use crate::time::Span;

/// Only a Job can ask for more than room.
fn needing(spec: RunSpec, needs: Needs) -> RunSpec {
    match spec {
        RunSpec::Job(mut spec) => {
            spec.needs = needs;
            RunSpec::Job(spec)
        }
        RunSpec::Gauntlet(mut spec) => {
            spec.play.demand = needs.demand;
            RunSpec::Gauntlet(spec)
        }
        RunSpec::Tournament(mut spec) => {
            spec.play.demand = needs.demand;
            RunSpec::Tournament(spec)
        }
    }
}

impl Pairing {
    fn pick(&self, pick: usize) -> (WorkId, Token) {
        let none = (WorkId(999), Token::default());
        // Recent grants are the interesting ones.
        let recent = self.granted.len().saturating_sub(12);
        let recent = &self.granted[recent..];
        if recent.is_empty() { none } else { recent[pick % recent.len()] }
    }

    pub(super) fn concrete(&self, op: &Op) -> Command {
        match op.clone() {
            Op::Enqueue(requests) => Command::Enqueue(requests),
            Op::Claim(claim) => Command::Claim(claim),
            Op::Start(pick) => {
                let (work_id, token) = self.pick(pick);
                Command::Start { work_id, token }
            }
            Op::Heartbeat { node, picks, lease } => Command::Heartbeat {
                node: node_id(node),
                claims: picks.into_iter().map(|pick| self.pick(pick)).collect(),
                lease: Span(lease),
            },
            Op::Complete { pick, brings } => {
                let (work_id, token) = self.pick(pick);
                let pair = match brings {
                    Brings::Text => None,
                    Brings::Pair => Some(pair_result(true)),
                    Brings::Unscored => Some(pair_result(false)),
                };
                let text = "{}".into();
                let result = WorkResult { text, pair };
                Command::Complete { work_id, token, result, then: vec![] }
            }
            Op::Fail { pick, retry } => {
                let (work_id, token) = self.pick(pick);
                Command::Fail { work_id, token, error: "broken".into(), retry }
            }
            Op::WrongToken(item, token) => {
                Command::Start { work_id: self.pick(item).0, token: self.pick(token).1 }
            }
            Op::Cancel(id) => Command::Cancel { work_id: WorkId(id) },
            Op::Submit { run, queue, needs, job: is_job } => Command::SubmitRun {
                run: run_id(run),
                queue,
                spec: needing(if is_job { job() } else { gauntlet() }, needs),
            },
            Op::Advance { run, .. } => self.advance(run_id(run), op),
            Op::CancelRun(run) => Command::CancelRun { run: run_id(run) },
            Op::Tick => Command::Tick,
            other @ (Op::Lock { .. }
            | Op::Leave { .. }
            | Op::Release { .. }
            | Op::CompleteThen { .. }
            | Op::GiveBack { .. }
            | Op::Array { .. }
            | Op::CancelArray(_)
            | Op::Redrive(_)
            | Op::Queue { .. }
            | Op::RemoveQueue(_)
            | Op::Node { .. }
            | Op::ExpireNode(_)
            | Op::OpenSession
            | Op::CloseSession(_)
            | Op::InSession { .. }) => self.concrete_rare(other),
            Op::Again(pick) => {
                let recent = &self.asked[self.asked.len().saturating_sub(16)..];
                let again = recent.get(pick % recent.len().max(1));
                again.cloned().unwrap_or(Command::Tick)
            }
        }
    }

    fn concrete_rare(&self, op: Op) -> Command {
        match op {
            Op::Lock { name, owner, ttl, wait, asker } => Command::LockAcquire {
                name: lock_name(name),
                owner: OWNERS[owner].into(),
                ttl: Span(ttl),
                wait: wait.map(Span),
                asker: Asker(asker),
            },
            Op::Leave { name, owner, asker } => Command::LockLeave {
                name: lock_name(name),
                owner: OWNERS[owner].into(),
                asker: asker.map(Asker),
            },
            Op::Release { name, pick } => {
                let at = pick % self.locks.len().clamp(1, 4);
                Command::LockRelease {
                    name: lock_name(name),
                    // Recent ones may still be held.
                    token: self.locks.iter().rev().nth(at).copied().unwrap_or_default(),
                }
            }
            Op::CompleteThen { pick, then } => {
                let (work_id, token) = self.pick(pick);
                let result = WorkResult { text: "{}".into(), pair: None };
                Command::Complete { work_id, token, result, then }
            }
            Op::GiveBack { pick, delay } => {
                let (work_id, token) = self.pick(pick);
                Command::Release { work_id, token, delay: Span(delay) }
            }
            Op::Array { request, count } => Command::EnqueueArray { request, count },
            Op::CancelArray(pick) => {
                let array = self.arrays.get(pick % self.arrays.len().max(1));
                Command::CancelArray { array: array.copied().unwrap_or(WorkId(1)) }
            }
            Op::Redrive(id) => Command::Redrive { work_id: WorkId(id) },
            Op::Queue { queue, settings } => {
                Command::SetQueue { queue: queue_name(queue), settings }
            }
            Op::RemoveQueue(queue) => Command::RemoveQueue { queue: queue_name(queue) },
            Op::Node { node, capacity, by } => {
                Command::SetCapacity { node: node_id(node), capacity, by }
            }
            Op::ExpireNode(node) => Command::ExpireNode { node: node_id(node) },
            Op::OpenSession => Command::OpenSession,
            Op::CloseSession(session) => Command::CloseSession { session: SessionId(session) },
            Op::InSession { session, seq, acknowledged, op } => Command::InSession {
                session: SessionId(session),
                seq,
                acknowledged,
                command: Box::new(self.concrete(&op)),
            },
            other => panic!("not rare: {other:?}"),
        }
    }

    /// A planner's step, on the version that the run has or on one that it has not.
    fn advance(&self, run: RunId, op: &Op) -> Command {
        let Op::Advance { stale, parts, handle, close, end, run: _ } = op else {
            panic!("no planner's step: {op:?}")
        };
        let seen = self.machine.run(&run);
        let fallen = seen.filter(|_| *handle).map_or(0, |run| run.fallen.len());
        Command::AdvanceRun {
            version: seen.map_or(0, |run| run.version) + u64::from(*stale),
            advance: Advance {
                plan: PlanState::default(),
                enqueue: parts.iter().map(|part| self.part(&run, *part)).collect(),
                fallen_handled: u32::try_from(fallen).expect("few"),
                close: close.iter().copied().collect(),
                outcome: end.then_some(Outcome::Standings),
            },
            run,
        }
    }

    fn part(&self, run: &RunId, part: (u16, u32, u16, bool, bool)) -> NewItem {
        let (matchup, index, replay, own_queue, own_needs) = part;
        let known = self.machine.run(run);
        let is_job = known.is_some_and(|run| run.spec.matchups() == 0);
        let queue = known.filter(|_| own_queue).map(|run| run.queue.clone()).unwrap_or_default();
        let needs = known.filter(|_| own_needs).map(|run| run.spec.needs()).unwrap_or_default();
        let matchup = if is_job { 0 } else { matchup };
        let origin = Origin { run: run.clone(), matchup, index, replay };
        NewItem {
            key: Some(format!("run/{run}/{matchup}/{index}/{replay}")),
            payload: Payload::OfRun(origin),
            queue,
            needs,
            ..task("pair")
        }
    }
}
