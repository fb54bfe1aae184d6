//! The work operations, with the seeds' shapes where the seeds have them.

mod add;
mod why;

use std::collections::{BTreeMap, BTreeSet};

use ringrift_core::limits;
use ringrift_core::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use self::add::{
    Add, AddArray, AddBatch, Added, AddedArray, AddedBatch, After, Condition, Resources,
};
pub use self::why::{Pending, Why};

/// Body of `POST /work/claim`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Who claims.
    pub node_id: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Work types that it takes; empty takes any.
    #[serde(default)]
    pub work_types: BTreeSet<String>,
    /// Up to so many items, 1 to 256.
    #[serde(default = "one")]
    pub max_items: u32,
    /// Seconds until the claim ends, unless renewed.
    #[serde(default = "lease_seconds")]
    pub lease_seconds: f64,
    /// Seconds to wait for work, 0 to 60.
    #[serde(default)]
    pub wait_seconds: f64,
}

const fn one() -> u32 {
    1
}
fn lease_seconds() -> f64 {
    seconds(limits::LEASE_DEFAULT)
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1_000.0
}

/// Reply of `POST /work/claim`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Claimed {
    /// `claimed` or `no_work_available`.
    pub status: String,
    /// The first claimed item, as the seeds have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkItem>,
    /// All claimed items, the first among them.
    #[serde(default)]
    pub items: Vec<WorkItem>,
}

/// A work item as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkItem {
    /// The item.
    pub work_id: String,
    /// What kind of work this is.
    pub work_type: String,
    /// The tenant's lane.
    #[serde(default)]
    pub queue: String,
    /// 0 to 100, larger first.
    pub priority: u8,
    /// `pending`, `delayed`, `blocked`, `claimed`, `running`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// The work itself.
    #[schema(value_type = Object)]
    pub config: Value,
    /// Attempts that were started.
    pub attempts: u32,
    /// Attempts before the item is dead.
    pub max_attempts: u32,
    /// Seconds that one attempt may take.
    pub timeout_seconds: f64,
    /// Unix seconds.
    pub created_at: f64,
    /// Who holds it, or held it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
    /// Fencing token of the claim; only in replies to its holder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Unix seconds at which the claim ends, unless renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// The run that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The array that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_id: Option<String>,
    /// Its index in the array, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_index: Option<u32>,
    /// GPU devices that its claim has reserved, each with the part of it, 0 to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Why it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The worker's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Unix seconds at which it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<f64>,
    /// Why it waits, the most telling reason first; only among the pending items of
    /// `GET /work/status`. `GET /work/{work_id}/why` tells it of any item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<Pending>,
}

/// A GPU device, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its number on the node, from 0.
    pub device: u16,
    /// The reserved part, 0 to 1.
    pub part: f64,
}

/// Body of `POST /work/start`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The item.
    pub work_id: String,
    /// Token of the claim.
    pub token: String,
}

/// Body of `POST /work/heartbeat`: renews all claims of a node at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The holder.
    pub node_id: String,
    /// What it believes to hold.
    pub claims: Vec<HeldClaim>,
    /// Seconds until the claims end, unless renewed again.
    #[serde(default = "lease_seconds")]
    pub lease_seconds: f64,
}

/// One claim that a holder believes to hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldClaim {
    /// The item.
    pub work_id: String,
    /// Token of the claim.
    pub token: String,
}

/// Reply of `POST /work/heartbeat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Renewed {
    /// `renewed`.
    pub status: String,
    /// Renewed claims.
    pub renewed: u32,
    /// Items that the node no longer holds: stop working on them.
    pub lost: Vec<String>,
}

/// Body of `POST /work/complete`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    /// The item.
    pub work_id: String,
    /// Token of the claim.
    pub token: String,
    /// What came out; a [`crate::pair::PairReport`] when the item is a pair of a run.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub result: Value,
    /// Items to add in the same step: both happen or neither. At most 1,000.
    #[serde(default)]
    pub then: Vec<Add>,
}

/// Reply of `POST /work/complete`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Completed {
    /// `completed`.
    pub status: String,
    /// The item.
    pub work_id: String,
    /// The added items, in the order asked; empty in the reply to a repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<String>,
}

/// Body of `POST /work/release`: gives a claim back, for another claimer at once or after a delay. The
/// attempt does not count, even when it was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The item.
    pub work_id: String,
    /// Token of the claim.
    pub token: String,
    /// Seconds before the item may be claimed again.
    #[serde(default)]
    pub delay_seconds: f64,
}

/// Body of `POST /work/redrive`: gives a dead item all its attempts again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// The item.
    pub work_id: String,
}

/// Body of `POST /work/redrive_dead`: gives dead items all their attempts again, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedriveDead {
    /// Only items of this queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Only items of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_type: Option<String>,
    /// At most so many; 1 to 1,000.
    #[serde(default = "thousand")]
    pub max_items: u32,
}

const fn thousand() -> u32 {
    1_000
}

/// Reply of `POST /work/redrive_dead`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RedrivenDead {
    /// `pending`.
    pub status: String,
    /// The items that are pending again.
    pub work_ids: Vec<String>,
    /// Items that were refused: they are past the time in which they had to end, or their queue is full.
    pub refused: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// Body of `POST /work/cancel_array`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelArray {
    /// The array, by its first item.
    pub array_id: String,
}

/// Reply of `GET /work/arrays/{array_id}`: how far an array is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArrayProgress {
    /// The array, by its first item.
    pub array_id: String,
    /// What its items are.
    pub work_type: String,
    /// The queue that they are in.
    pub queue: String,
    /// Number of items.
    pub count: u32,
    /// Items that were never claimed.
    pub unclaimed: u64,
    /// Items that were claimed and have not ended.
    pub outstanding: u64,
    /// Items that ended well.
    pub completed: u32,
    /// Items that were given up.
    pub failed: u32,
    /// Items that were cancelled.
    pub cancelled: u32,
}

/// Body of `POST /work/fail`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// The item.
    pub work_id: String,
    /// Token of the claim.
    pub token: String,
    /// What went wrong.
    pub error: String,
    /// False when no further attempt can help.
    #[serde(default = "yes")]
    pub retry: bool,
}

const fn yes() -> bool {
    true
}

/// Body of `POST /work/cancel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// The item.
    pub work_id: String,
}

/// Reply of start, release, fail, cancel and redrive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// `started`, `released`, `retrying`, `failed`, `cancelled` or `pending`.
    pub status: String,
    /// The item.
    pub work_id: String,
    /// Unix seconds of the next attempt, when one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<f64>,
}

/// Reply of `GET /work/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueStatus {
    /// Items that the machine remembers.
    pub total_items: u64,
    /// Counts by status.
    pub by_status: BTreeMap<String, u64>,
    /// Counts of unfinished items by work type.
    pub by_type: BTreeMap<String, u64>,
    /// The first ten claimable items.
    pub pending: Vec<WorkItem>,
    /// Items that are held, at most one hundred.
    pub running: Vec<WorkItem>,
    /// Whether this reply comes from the leader.
    pub is_leader: bool,
    /// The leader.
    pub leader_id: Option<String>,
    /// How full the queue is.
    pub backpressure: Backpressure,
}

/// How full the queue is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backpressure {
    /// Whether enqueues are refused at present.
    pub active: bool,
    /// Unfinished items.
    pub pending_count: u64,
    /// Enqueues are refused from here on.
    pub hard_limit: u64,
    /// `pending_count` in per cent of `hard_limit`.
    pub utilization_pct: f64,
}

/// Reply of `GET /work/populator`: the planners that fill the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PopulatorStatus {
    /// Always true: planners run on the leader.
    pub enabled: bool,
    /// Claimable items.
    pub current_queue_depth: u64,
    /// Active runs.
    pub active_runs: u64,
    /// Items that runs have enqueued since they were submitted.
    pub total_queued: u64,
    /// Whether this agent leads.
    pub is_leader: bool,
}

/// Reply of `GET /work/node/{node_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeWork {
    /// The node.
    pub node_id: String,
    /// What it holds.
    pub work_items: Vec<WorkItem>,
    /// How many.
    pub count: usize,
}

/// Query of `GET /work/history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryQuery {
    /// At most so many, newest first; 1 to 1,000.
    #[serde(default = "fifty")]
    pub limit: u32,
    /// Only items of this status: `completed`, `failed` or `cancelled`.
    #[serde(default)]
    pub status: Option<String>,
}

const fn fifty() -> u32 {
    50
}

/// Reply of `GET /work/history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Ended items, newest first.
    pub history: Vec<WorkItem>,
    /// How many.
    pub count: usize,
    /// As asked.
    pub limit: u32,
    /// As asked.
    pub status_filter: Option<String>,
}
