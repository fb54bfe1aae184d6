//! Why an item does not run yet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Reply of `GET /work/{work_id}/why`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// The item.
    pub work_id: String,
    /// As in the item itself.
    pub status: String,
    /// The reasons, the most telling first; empty when the item does not wait.
    pub pending: Vec<Pending>,
}

/// One reason, with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pending {
    /// One of a closed set: `delayed`, `dependencies`, `group_busy`, `queue_max_running`,
    /// `queue_max_gpu`, `no_node_large_enough`, `no_capable_node`, `no_room`, `array_full`, `full`,
    /// `too_heavy`, `in_line`, `no_claimer`.
    pub reason: String,
    /// The same as a sentence with the numbers.
    pub message: String,
    /// The numbers by name, such as `held` and `limit`; each reason has its own.
    #[serde(default)]
    pub numbers: BTreeMap<String, u64>,
    /// The queue, group or item that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}
