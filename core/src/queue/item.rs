//! A work item and its states.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use serde::{Deserialize, Serialize};

use crate::id::{NodeId, RunId, Token, WorkId};
use crate::time::{Moment, Span};

/// What a submitter asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewItem {
    /// Idempotency key: a second enqueue with it answers the first item instead of making another.
    pub key: Option<String>,
    /// The seeds' word for what kind of work this is (`selfplay`, `training`, `gauntlet`, ...).
    pub work_type: String,
    /// 0 to 100, larger first.
    pub priority: u8,
    /// What to do, opaque to the queue.
    pub payload: Payload,
    /// What a claimer must have.
    pub needs: Needs,
    /// Attempts before the item is dead, 1 to [`crate::limits::ATTEMPTS_MAX`].
    pub attempts_max: u32,
    /// Time that one attempt may take from start.
    pub attempt_timeout: Span,
    /// The item becomes claimable this long after it was enqueued.
    pub delay: Span,
}

/// What an item carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// JSON text of the submitter, at most [`crate::limits::PAYLOAD_BYTES_MAX`] bytes.
    Opaque(String),
    /// Derived from the run's spec when it is claimed: a few bytes for each item.
    OfRun(Origin),
}

/// Which part of a run an item is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The run.
    pub run: RunId,
    /// Index of the match-up in the run; 0 for a Job.
    pub matchup: u16,
    /// Index of the pair in its match-up, or of the task in its Job, from 0.
    pub index: u32,
    /// How often this pair or task was played before, its result unusable.
    pub replay: u16,
}

/// What a claimer must have to get an item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Each of them must be among the claimer's capabilities.
    pub capabilities: BTreeSet<String>,
    /// Each of them must be among the claimer's labels, with this value.
    pub labels: BTreeMap<String, String>,
}

/// The right to run an item until its deadline, unless it is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub node: NodeId,
    /// Fences every mutation by this holder.
    pub token: Token,
    /// Replicated time at which the lease ends.
    pub deadline: Moment,
    /// Set by `start`: only a started attempt counts.
    pub started: Option<Moment>,
}

/// Where an item is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Waiting for its time: a delay or a backoff.
    Delayed {
        /// Claimable from then on.
        until: Moment,
    },
    /// Claimable.
    Ready,
    /// Held by a worker.
    Claimed(Lease),
    /// Done, with the worker's result.
    Completed {
        /// JSON text, at most [`crate::limits::RESULT_BYTES_MAX`] bytes.
        result: String,
        /// The token that completed it: a repeat of the same completion is answered as the first.
        token: Token,
        /// Who did it.
        node: NodeId,
        /// When.
        at: Moment,
    },
    /// Dead: its attempts are used up, or its failure was final.
    Dead {
        /// The last error.
        error: String,
        /// When.
        at: Moment,
    },
    /// Cancelled by a person, a planner or the end of its run.
    Cancelled {
        /// When.
        at: Moment,
    },
}

/// A work item as the machine holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its number.
    pub id: WorkId,
    /// What was asked.
    pub request: NewItem,
    /// Where it is.
    pub state: State,
    /// Attempts that were started.
    pub attempts: u32,
    /// Times that it was claimed.
    pub deliveries: u32,
    /// When it was enqueued.
    pub created: Moment,
    /// The error of the last failed attempt.
    pub last_error: Option<String>,
    /// The node of the last claim: where its output lies.
    pub last_node: Option<NodeId>,
}
