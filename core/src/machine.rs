//! The one replicated state machine: work items, locks, runs.
//!
//! [`Machine::apply`] is the only way in. It uses nothing but the log entry and what earlier entries
//! left: the time is the entry's, every map is ordered, no number is a float. So every replica that
//! applied the same entries is equal, and a replay of the log gives the same machine.
//!
//! The machine consists of facts, which a snapshot holds, and of an index over them, which is
//! rebuilt when a snapshot is read: a snapshot cannot smuggle in an index that disagrees. Every
//! command costs O(log n) for each item that it touches, and touches a bounded number of them.

mod admission;
mod arrays;
mod bounds;
mod claims;
mod class;
mod dependencies;
mod digest;
mod elapse;
mod events;
mod facts;
mod finish;
mod index;
mod invariant;
mod line;
mod locks;
mod members;
mod nodes;
mod query;
mod runs;
mod sessions;
mod stops;
mod tenants;
mod waits;
mod why;

#[cfg(test)]
mod model;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

pub use arrays::ArrayStatus;
use bounds::Bounds;
pub use events::EventPage;
use facts::Facts;
pub use facts::{ArrayEnds, Totals};
use index::Index;
pub use index::{Counts, QueueLoad};
pub use members::{Members, Replacement};
pub use query::RunItems;
use serde::{Deserialize, Deserializer, Serialize};
pub use waits::OTHER_TYPES;
pub use why::{Claimer, Explainer, Reason, UNEXAMINED};

use crate::event::Event;
use crate::id::{Position, Token};
use crate::limits;
use crate::queue::command::{Batch, Command, Refusal, Reply};

/// The replicated state machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    facts: Facts,
    index: Index,
    bounds: Bounds,
}

impl<'de> Deserialize<'de> for Machine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let facts = Facts::deserialize(deserializer)?;
        Ok(Self { index: Index::of(&facts), facts, bounds: Bounds::default() })
    }
}

/// The facts of a machine as they were at one moment, to be written down. It is taken within
/// milliseconds and shares with the machine whatever has not changed since.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Frozen {
    facts: Facts,
}

/// The tokens that one log entry may grant: each is larger than every one granted before.
#[derive(Debug)]
struct Grants {
    next: Token,
}

impl Grants {
    const fn of(mode_epoch: u32, position: Position) -> Self {
        let Position { term, index } = position;
        Self { next: Token { mode_epoch, term, index, n: 0 } }
    }

    /// Takes the next token. A command grants a claim's items, and before it is carried out the
    /// locks that have ended to those who wait for them, so the count cannot saturate.
    const fn take(&mut self) -> Token {
        let token = self.next;
        self.next.n = self.next.n.saturating_add(1);
        token
    }
}

const _: () =
    assert!((limits::BATCH_ITEMS_MAX as u64) * (GRANTS_PER_COMMAND_MAX as u64) < u32::MAX as u64);
/// Claimed items, and locks: those whose time is over, and the one that a command is about, twice.
const GRANTS_PER_COMMAND_MAX: usize = limits::CLAIM_ITEMS_MAX + limits::DUE_PER_COMMAND_MAX + 2;

impl Machine {
    /// Applies one log entry and answers each of its commands, in order.
    ///
    /// `position` must be beyond that of the entry before; the log sees to it. A refused command
    /// changes nothing except that time passes, and that a holder was heard from.
    pub fn apply(&mut self, position: Position, batch: &Batch) -> Vec<Result<Reply, Refusal>> {
        self.facts.now = self.facts.now.max(batch.now);
        if position.term != self.facts.applied.term {
            self.record(Event::TermBegan { term: position.term });
        }
        self.facts.applied = position;
        let mut grants = Grants::of(self.facts.mode_epoch, position);
        if batch.commands.is_empty() {
            self.elapse(&mut grants);
            self.forget_oldest();
        }
        let mut answers = Vec::with_capacity(batch.commands.len());
        for command in &batch.commands {
            let expired = self.elapse(&mut grants);
            answers.push(self.carry_out(command, expired, &mut grants));
            self.forget_oldest();
        }
        answers
    }

    /// What a snapshot holds, as it is now. A [`Machine`] is read from what this is written as.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen { facts: self.facts.clone() }
    }

    fn carry_out(
        &mut self,
        command: &Command,
        expired: u32,
        grants: &mut Grants,
    ) -> Result<Reply, Refusal> {
        match command {
            Command::Enqueue(requests) => self.enqueue(requests),
            Command::Claim(claim) => self.claim(claim, grants),
            Command::Start { work_id, token } => self.start(*work_id, *token),
            Command::Heartbeat { node, claims, lease } => self.heartbeat(node, claims, *lease),
            Command::EnqueueArray { request, count } => self.enqueue_array(request, *count),
            Command::Complete { work_id, token, result, then } => {
                self.complete(*work_id, *token, result, then)
            }
            Command::Release { work_id, token, delay } => self.release(*work_id, *token, *delay),
            Command::Fail { work_id, token, error, retry } => {
                self.fail(*work_id, *token, error, *retry)
            }
            Command::Cancel { work_id } => self.cancel(*work_id),
            Command::CancelArray { array } => self.cancel_array(*array),
            Command::Redrive { work_id } => self.redrive(*work_id),
            Command::SetQueue { queue, settings } => self.set_queue(queue, *settings),
            Command::RemoveQueue { queue } => self.remove_queue(queue),
            Command::SetCapacity { node, capacity, by } => {
                self.set_capacity(node, capacity.as_ref(), *by)
            }
            Command::ExpireNode { node } => Ok(Reply::Ticked { expired: self.expire_node(node) }),
            Command::OpenSession => self.open_session(),
            Command::CloseSession { session } => {
                self.drop_session(*session);
                Ok(Reply::Done)
            }
            Command::InSession { session, seq, acknowledged, command } => {
                self.in_session(*session, *seq, *acknowledged, command, expired, grants)
            }
            Command::LockAcquire { name, owner, ttl, wait, asker } => {
                self.acquire_lock(name, owner, *ttl, *wait, *asker, grants)
            }
            Command::LockLeave { name, owner, asker } => {
                self.leave_lock(name, owner, *asker, grants)
            }
            Command::LockRelease { name, token } => self.release_lock(name, *token, grants),
            Command::SubmitRun { run, queue, spec } => self.submit_run(run, queue, spec),
            Command::AdvanceRun { run, version, advance } => {
                self.advance_run(run, *version, advance)
            }
            Command::CancelRun { run } => self.cancel_run(run),
            Command::Tick => Ok(Reply::Ticked { expired }),
            Command::InitCluster { cluster_id } => self.name_cluster(cluster_id),
            Command::ChangeMembers { retired, automatic } => {
                self.change_members(*retired, *automatic)
            }
        }
    }
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Refusal {
    Refusal::Invalid { field: field.into(), problem: problem.into() }
}

/// The text up to the error bound, cut at a character.
fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(limits::ERROR_BYTES_MAX)].to_string()
}
