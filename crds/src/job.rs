//! `Job`: the same task, a number of times. `kubectl get job` is the `batch/v1` kind; say `rrj` or
//! `jobs.ringrift.dev`.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::contest::string_map;
use crate::queue;
use crate::resources::Resources;
use crate::status::Status;

/// The same task, a number of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ringrift.dev",
    version = "v1alpha1",
    kind = "Job",
    plural = "jobs",
    shortname = "rrj",
    category = "ringrift",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "The same task, a number of times, on the agents' queue.",
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Running", type_ = "integer", json_path = ".status.running"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.failed"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.runId", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec must not change: create a new Job for other tasks"))]
pub struct JobSpec {
    /// Program and arguments; no shell unless you write one.
    #[schemars(length(min = 1, max = 256), inner(length(max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub command: Vec<String>,
    /// Environment, beside the variables that every task gets: `RINGRIFT_RUN`, `RINGRIFT_INDEX`,
    /// `RINGRIFT_WORK_ID` and `RINGRIFT_TOKEN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 250))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = Rule::new("!self.exists(e, e.name.startsWith('RINGRIFT_'))").message("names that begin with RINGRIFT_ must not be set: the agents set them"))]
    pub env: Vec<EnvVar>,
    /// How many times; each task finds its index in `RINGRIFT_INDEX`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub completions: i32,
    /// How many at once.
    #[serde(default = "parallelism")]
    #[schemars(range(min = 1, max = 100_000))]
    pub parallelism: i32,
    /// Attempts of each task.
    #[serde(default = "attempts")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: i32,
    /// Time of one attempt.
    #[serde(default = "timeout_seconds")]
    #[schemars(range(min = 1, max = 2_592_000))]
    pub timeout_seconds: i64,
    /// Larger goes first.
    #[serde(default = "priority")]
    #[schemars(range(min = 0, max = 100))]
    pub priority: i32,
    /// Labels that an agent must have to run a task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub node_labels: BTreeMap<String, String>,
    /// The agents' queue that the tasks go to. `default` always exists. While another one does not, the
    /// object waits for it.
    #[serde(default = "queue")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub queue: String,
    /// What each task reserves on its node.
    #[serde(default)]
    pub resources: Resources,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    string_map(32, 128)
}
const fn one() -> i32 {
    1
}
const fn parallelism() -> i32 {
    16
}
const fn attempts() -> i32 {
    3
}
const fn timeout_seconds() -> i64 {
    3_600
}
const fn priority() -> i32 {
    50
}
