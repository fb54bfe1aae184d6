//! Events of the cluster, for those who react to them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Query of `GET /events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only events after this number: `next` of the reply before, or 0 for all that are kept.
    #[serde(default)]
    pub after: u64,
    /// At most so many; 1 to 1,000.
    #[serde(default = "hundred")]
    pub max: u32,
    /// Seconds to wait for the first of them, at most 60.
    #[serde(default)]
    pub wait_seconds: f64,
    /// Only these kinds, separated by commas; absent for all.
    #[serde(default)]
    pub kinds: Option<String>,
}

const fn hundred() -> u32 {
    100
}

/// Reply of `GET /events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// In the order in which they happened; empty when there were none in time.
    pub events: Vec<Event>,
    /// The cursor for the next question. A consumer keeps it once it has dealt with the events, so
    /// it may see an event twice, but misses none.
    pub next: u64,
    /// Number of the first event that is kept, or that will be.
    pub first_kept: u64,
    /// Whether events after the cursor were forgotten: the consumer was away for too long, and must
    /// look at the cluster itself for what it missed.
    pub gap: bool,
    /// The cluster that the numbers are of: under another name, a cursor means nothing.
    pub cluster_id: String,
    /// Index of the log up to which the agent that answered has seen.
    pub applied_index: u64,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number: one more than that of the event before.
    pub seq: u64,
    /// The same whenever and wherever this event is read, and of no other event in any cluster.
    pub id: String,
    /// Unix seconds.
    pub time: f64,
    /// What happened, such as `item_died`; docs/events.md has all kinds.
    pub kind: String,
    /// Version of this kind's `data`. Fields may come; when one goes or changes, this grows.
    pub version: u32,
    /// The details.
    #[schema(value_type = Object)]
    pub data: Value,
}
