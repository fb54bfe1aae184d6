//! A work item and its states.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{GroupName, NodeId, QueueName, RunId, Token, WorkId};
use crate::queue::resources::{Demand, Share};
use crate::time::{Moment, Span};

/// What a submitter asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewItem {
    /// Idempotency key within the queue: a second enqueue with it answers the first item instead of
    /// making another. An array is not the same as an item, nor as an array of another count.
    pub key: Option<String>,
    /// The tenant's lane.
    pub queue: QueueName,
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
    /// Time until the first claim, counted from the enqueue; afterwards the item is dead. Nothing
    /// waits for ever.
    pub pending_timeout: Option<Span>,
    /// Time until the end, counted from the enqueue, all attempts and pauses together.
    pub total_timeout: Option<Span>,
    /// The item becomes claimable this long after it was enqueued.
    pub delay: Span,
    /// At most one item of a group is held at a time. Groups belong to their queue.
    pub group: Option<GroupName>,
    /// The item waits until all of these have ended; at most
    /// [`crate::limits::DEPENDENCIES_MAX`].
    pub after: Box<[Dependency]>,
    /// Its end is recorded as an event. Not for thousands of short items a second: they would flush
    /// the rare events out. Not for arrays.
    pub notify: bool,
}

/// Not measured by the compiler: all replicas must count alike.
const DEPENDENCY_BYTES: usize = 24;

impl NewItem {
    /// Bytes that a record of it takes, as the sums of bytes count them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let key = self.key.as_ref().map_or(0, String::len);
        let payload = match &self.payload {
            Payload::Opaque(text) => text.len(),
            Payload::OfRun(_) | Payload::OfArray(_) => 0,
        };
        let after = self.after.len().saturating_mul(DEPENDENCY_BYTES);
        self.bytes_of_element().saturating_add((key + payload).saturating_add(after) as u64)
    }

    /// The same for one item of an array of it.
    #[must_use]
    pub fn bytes_of_element(&self) -> u64 {
        let Needs { capabilities, labels, demand: _ } = &self.needs;
        let labels = labels.iter().flat_map(|(label, value)| [label, value]);
        let words = capabilities.iter().chain(labels).chain([&self.work_type]);
        let words = words.map(|word| word.len() as u64).sum();
        crate::limits::RECORD_BYTES.saturating_add(words)
    }
}

/// What an item waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// The item that comes first.
    pub on: Predecessor,
    /// True when only its completion will do: its death or cancellation is then the death of the
    /// item that waits. False when any end will do.
    pub ok: bool,
}

/// How an item that comes first is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Predecessor {
    /// By its number.
    Item(WorkId),
    /// By its place in the same enqueue, before the item that waits.
    Earlier(u32),
}

/// What an item carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Payload {
    /// JSON text of the submitter, at most [`crate::limits::PAYLOAD_BYTES_MAX`] bytes.
    Opaque(String),
    /// Derived from the run's spec when it is claimed: a few bytes for each item.
    OfRun(Origin),
    /// Derived from the array's request when it is claimed.
    OfArray(Element),
}

/// Which part of an array an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Element {
    /// The array, by the number of its first item.
    pub array: WorkId,
    /// Index of the item in the array, from 0.
    pub index: u32,
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
    /// What the claim reserves on its node.
    pub demand: Demand,
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
    /// What it reserves on the node.
    pub share: Share,
}

/// What a worker made of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// JSON text, at most [`crate::limits::RESULT_BYTES_MAX`] bytes.
    pub result: String,
    /// The token that completed it: a repeat of the same completion is answered as the first.
    pub token: Token,
    /// Who did it.
    pub node: NodeId,
    /// When.
    pub at: Moment,
    /// The items that it added and whether each was new, for a repeat.
    pub then: Box<[(WorkId, bool)]>,
}

/// Where an item is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Waiting for its time: a delay or a backoff.
    Delayed {
        /// Claimable from then on.
        until: Moment,
    },
    /// Waiting for other items to end.
    Blocked {
        /// Those that have not, and whether only their completion will do.
        open: BTreeMap<WorkId, bool>,
    },
    /// Claimable, unless another item of its group is held.
    Ready {
        /// Since then: its place in line.
        since: Moment,
    },
    /// Held by a worker. Boxed, as most items wait and must not be as large as those that are held.
    Claimed(Box<Lease>),
    /// Done.
    Completed(Box<Completion>),
    /// Dead: nobody will try it again unless a person says so.
    Dead {
        /// Why.
        cause: Cause,
        /// The last error.
        error: Box<str>,
        /// When.
        at: Moment,
    },
    /// Cancelled by a person, a planner or the end of its run.
    Cancelled {
        /// When.
        at: Moment,
    },
}

/// Why an item died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Its worker said that no further attempt can help.
    Final,
    /// Its last attempt failed.
    AttemptsFailed,
    /// Its last attempt took too long.
    AttemptTimeout,
    /// The node of its last attempt fell silent.
    NodeLost,
    /// Nobody claimed it in time.
    PendingTimeout,
    /// It did not end in time.
    TotalTimeout,
    /// An item that had to complete before it did not.
    Dependency(WorkId),
    /// Who claimed it fell silent before the start, time and again: it may be what kills them.
    NeverStarted,
}

impl Cause {
    /// The cause in one word, as callers see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::AttemptsFailed => "attempts_failed",
            Self::AttemptTimeout => "attempt_timeout",
            Self::NodeLost => "node_lost",
            Self::PendingTimeout => "pending_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Dependency(_) => "dependency",
            Self::NeverStarted => "never_started",
        }
    }
}

/// Where an item is, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Waiting for its time.
    Delayed,
    /// Waiting for other items.
    Blocked,
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
            Self::Blocked => "blocked",
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
    pub fn status(&self) -> Status {
        match self {
            Self::Delayed { .. } => Status::Delayed,
            Self::Blocked { .. } => Status::Blocked,
            Self::Ready { .. } => Status::Ready,
            Self::Claimed(lease) if lease.started.is_none() => Status::Claimed,
            Self::Claimed(_) => Status::Running,
            Self::Completed(_) => Status::Completed,
            Self::Dead { .. } => Status::Dead,
            Self::Cancelled { .. } => Status::Cancelled,
        }
    }

    /// When the item ended; nothing while it is unfinished.
    #[must_use]
    pub fn ended(&self) -> Option<Moment> {
        match self {
            Self::Delayed { .. } | Self::Blocked { .. } | Self::Ready { .. } | Self::Claimed(_) => {
                None
            }
            Self::Completed(completion) => Some(completion.at),
            Self::Dead { at, .. } | Self::Cancelled { at } => Some(*at),
        }
    }
}

/// A work item as the machine holds it. Waiting by the million, so its size counts: with its two
/// counters of references it fills a block of 384 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its number.
    pub id: WorkId,
    /// What was asked.
    pub request: NewItem,
    /// What had to end before it, by number, and whether only the completion of that would do: what
    /// `after` of the request says, where places in a batch mean nothing any more.
    pub awaited: Box<[(WorkId, bool)]>,
    /// Where it is.
    pub state: State,
    /// Attempts that were started.
    pub attempts: u32,
    /// Times that it was claimed.
    pub deliveries: u32,
    /// Claims that ended with their lease before the start; a redrive forgets them.
    pub claims_lost: u32,
    /// When it was enqueued.
    pub created: Moment,
    /// The error of the last failed attempt.
    pub last_error: Option<Box<str>>,
    /// The node of the last claim: where its output lies.
    pub last_node: Option<NodeId>,
}

impl Item {
    /// Where it is, without the details.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Which part of a run it is; nothing for an item of its own.
    #[must_use]
    pub const fn origin(&self) -> Option<&Origin> {
        match &self.request.payload {
            Payload::OfRun(origin) => Some(origin),
            Payload::Opaque(_) | Payload::OfArray(_) => None,
        }
    }

    /// Which part of an array it is; nothing for an item of its own.
    #[must_use]
    pub const fn element(&self) -> Option<Element> {
        match &self.request.payload {
            Payload::OfArray(element) => Some(*element),
            Payload::Opaque(_) | Payload::OfRun(_) => None,
        }
    }

    /// The moment at which time alone changes it: its delay, its lease, its attempt's time or one of
    /// its deadlines ends.
    #[must_use]
    pub fn due(&self) -> Option<Moment> {
        if self.state.ended().is_some() {
            return None;
        }
        let own = match &self.state {
            State::Delayed { until } => Some(*until),
            State::Claimed(lease) => Some(lease.due(self.request.attempt_timeout)),
            State::Blocked { .. }
            | State::Ready { .. }
            | State::Completed(_)
            | State::Dead { .. }
            | State::Cancelled { .. } => None,
        };
        let deadlines = [self.pending_deadline(), self.total_deadline()];
        own.into_iter().chain(deadlines.into_iter().flatten()).min()
    }

    /// When it dies unless somebody has claimed it.
    #[must_use]
    pub fn pending_deadline(&self) -> Option<Moment> {
        let span = self.request.pending_timeout.filter(|_| self.deliveries == 0);
        span.map(|span| self.created.after(span))
    }

    /// When it dies unless it has ended.
    #[must_use]
    pub fn total_deadline(&self) -> Option<Moment> {
        self.request.total_timeout.map(|span| self.created.after(span))
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
