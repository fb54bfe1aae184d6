//! The status of every kind: a bounded digest of the run. Figures with a fraction are texts, since a
//! Kubernetes object holds no floats.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Match-ups that a status lists; a larger tournament's others are with the agents. Each takes about
/// 300 bytes, and an object should stay far below etcd's limit of 1.5 MiB.
pub const MATCHUPS_MAX: usize = 64;
/// Failures that a status lists: as many as a run keeps with their texts.
pub const FAILURES_MAX: usize = 16;
/// Lines of a tournament's table: as many as it may have contestants.
pub const STANDINGS_MAX: usize = 64;
/// Characters of a message or an error text in a status; the full text is with the agents.
pub const TEXT_LENGTH_MAX: usize = 1_024;

/// What the controller last saw of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the object that this reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The run on the agents' queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub run_id: Option<String>,
    /// Position of the agents' log that this reflects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<i64>,
    /// When the agents accepted the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Done and total, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub progress: Option<String>,
    /// Items done: pairs accepted, or tasks ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<i64>,
    /// Items to do at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// Items that workers hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<i64>,
    /// Items that failed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<i64>,
    /// A Gauntlet's verdict: `Promote`, `Reject` or `Inconclusive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub verdict: Option<String>,
    /// Elo difference of the first match-ups with the half width of its 95 % interval, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub elo: Option<String>,
    /// The reason of the condition that tells most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The first match-ups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub matchups: Vec<Matchup>,
    /// A Tournament's table, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub standings: Vec<Standing>,
    /// The first failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub failures: Vec<Failure>,
    /// `Complete`, `Failed` and `Running`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One match-up, from the first contestant's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Matchup {
    /// The first contestant.
    #[schemars(length(max = 128))]
    pub first: String,
    /// The second.
    #[schemars(length(max = 128))]
    pub second: String,
    /// Pairs that the figures rest on.
    pub pairs: i64,
    /// Games won.
    pub wins: i64,
    /// Games drawn.
    pub draws: i64,
    /// Games lost.
    pub losses: i64,
    /// Elo difference with the half width of its 95 % interval; absent when no number is honest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub elo: Option<String>,
    /// Log-likelihood ratio with its bounds; Gauntlets only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub llr: Option<String>,
    /// `AcceptH1`, `AcceptH0` or `Inconclusive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub decision: Option<String>,
}

/// A line of a Tournament's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The contestant.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Points of games, such as `12.5/20`.
    #[schemars(length(max = 32))]
    pub points: String,
    /// Games won.
    pub wins: i64,
    /// Games drawn.
    pub draws: i64,
    /// Games lost.
    pub losses: i64,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Which match-up; 0 for a Job.
    pub matchup: i64,
    /// Which pair or task.
    pub index: i64,
    /// Why.
    #[schemars(length(max = 1024))]
    pub error: String,
}
