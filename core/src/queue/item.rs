//! A work item and its states.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::fmt;

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
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// Where an item is, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Waiting for its time.
    Delayed,
    /// Claimable.
    Ready,
    /// Claimed, not yet started.
    Claimed,
    /// Claimed and started.
    Running,
    /// Done.
    Completed,
    /// Dead.
    Dead,
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// The status in one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delayed => "delayed",
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// The state without its details.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Delayed { .. } => Status::Delayed,
            Self::Ready => Status::Ready,
            Self::Claimed(Lease { started: None, .. }) => Status::Claimed,
            Self::Claimed(Lease { started: Some(_), .. }) => Status::Running,
            Self::Completed { .. } => Status::Completed,
            Self::Dead { .. } => Status::Dead,
            Self::Cancelled { .. } => Status::Cancelled,
        }
    }

    /// When the item ended; nothing while it is unfinished.
    #[must_use]
    pub const fn ended(&self) -> Option<Moment> {
        match self {
            Self::Delayed { .. } | Self::Ready | Self::Claimed(_) => None,
            Self::Completed { at, .. } | Self::Dead { at, .. } | Self::Cancelled { at } => {
                Some(*at)
            }
        }
    }
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

impl Item {
    /// Where it is, without the details.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.state.status()
    }

    /// Which part of a run it is; nothing for an item of its own.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin> {
        match &self.request.payload {
            Payload::OfRun(origin) => Some(origin),
            Payload::Opaque(_) => None,
        }
    }

    /// The moment at which time alone changes it: its delay, its lease or its attempt's time ends.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        match &self.state {
            State::Delayed { until } => Some(*until),
            State::Claimed(lease) => Some(lease.due(self.request.attempt_timeout)),
            State::Ready
            | State::Completed { .. }
            | State::Dead { .. }
            | State::Cancelled { .. } => None,
        }
    }
}

impl Lease {
    /// When the claim ends unless something happens: with the lease, or with the attempt's time.
    #[must_use]
    pub fn due(&self, attempt_timeout: Span) -> Moment {
        match self.started {
            Some(started) => self.deadline.min(started.after(attempt_timeout)),
            None => self.deadline,
        }
    }
}
