//! Adding work items.

use std::collections::{BTreeMap, BTreeSet};

use ringrift_core::id::DEFAULT_QUEUE;
use ringrift_core::limits;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::seconds;

/// Body of `POST /work/add`, and one item of `POST /work/add_batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Add {
    /// Idempotency key within the queue: a repeat answers the first item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What kind of work this is.
    pub work_type: String,
    /// The tenant's lane; `default` always exists.
    pub queue: String,
    /// 0 to 100, larger first; waiting raises it.
    pub priority: u8,
    /// The work itself. `{"argv": [...], "env": {...}}` is run by agents as a process when the work
    /// type is `process`; any other shape is for workers of your own.
    #[schema(value_type = Object)]
    pub config: Value,
    /// Seconds that one attempt may take, from its start. An agent asks a program that runs out of
    /// them to end (SIGTERM) a tenth before, at most 4 s, and kills it within the first three quarters
    /// of that.
    pub timeout_seconds: f64,
    /// Attempts before the item is dead.
    pub max_attempts: u32,
    /// Seconds until the first claim; afterwards the item is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_timeout_seconds: Option<f64>,
    /// Seconds until the end, all attempts and pauses together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_timeout_seconds: Option<f64>,
    /// Seconds before the item may be claimed.
    pub delay_seconds: f64,
    /// At most one item of a group is held at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Items that must end before this one may be claimed, at most 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// What a claim reserves on its node.
    pub resources: Resources,
    /// Capabilities that a claimer must have.
    pub capabilities: BTreeSet<String>,
    /// Labels that a claimer must have.
    pub labels: BTreeMap<String, String>,
    /// Whether its end is told by `GET /events`. For few and long items: thousands of short ones a
    /// second would flush the rare events out. Not for arrays.
    pub notify: bool,
}

impl Default for Add {
    fn default() -> Self {
        Self {
            key: None,
            queue: DEFAULT_QUEUE.to_owned(),
            work_type: "selfplay".to_owned(),
            priority: 50,
            config: Value::Object(serde_json::Map::new()),
            timeout_seconds: seconds(limits::ATTEMPT_TIMEOUT_DEFAULT),
            max_attempts: limits::ATTEMPTS_DEFAULT,
            pending_timeout_seconds: None,
            total_timeout_seconds: None,
            delay_seconds: 0.0,
            group: None,
            after: Vec::new(),
            resources: Resources::default(),
            capabilities: BTreeSet::new(),
            labels: BTreeMap::new(),
            notify: false,
        }
    }
}

/// An item that must end first. Name it by exactly one of `work_id` and `earlier`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_id: Option<String>,
    /// Its place in the same batch, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<u32>,
    /// Which end will do.
    #[serde(default)]
    pub condition: Condition,
}

/// Which end of an item will do for those that wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its completion; any other end is the death of those that wait.
    #[default]
    Ok,
    /// Any.
    Any,
}

/// What a claim reserves on its node. `GET /nodes` shows what they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Processors, to the thousandth.
    pub cpu: f64,
    /// Mebibytes of memory.
    pub memory_mib: u32,
    /// GPU devices: a part of one below 1, or whole ones.
    pub gpus: f64,
    /// Mebibytes of disk that must be free at the claim.
    pub disk_free_mib: u32,
}

/// Body of `POST /work/add_array`: many items that are alike but for their index. Their `config`
/// gets the field `array_index` when it is claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddArray {
    /// What each of them is; without group, dependencies and deadlines of its own.
    pub item: Add,
    /// How many, 1 to 10,000,000.
    pub count: u32,
}

/// Reply of `POST /work/add_array`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddedArray {
    /// `added`, or `exists` when the key was known.
    pub status: String,
    /// The array, by its first item. The others follow in number.
    pub array_id: String,
    /// Number of items.
    pub count: u32,
}

/// Reply of `POST /work/add`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    /// `added`, or `exists` when the key was known.
    pub status: String,
    /// The item.
    pub work_id: String,
    /// As asked.
    pub work_type: String,
    /// As asked.
    pub priority: u8,
}

/// Body of `POST /work/add_batch`: all items are added, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddBatch {
    /// 1 to 1,000 items.
    pub items: Vec<Add>,
}

/// Reply of `POST /work/add_batch`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddedBatch {
    /// `added`.
    pub status: String,
    /// Number of items.
    pub count: usize,
    /// The items, in the order asked.
    pub work_ids: Vec<String>,
}
