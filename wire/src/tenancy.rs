//! Tenants' queues, what nodes have, and sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `PUT /queues/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Share of the service beside other queues that have work, 1 to 1,000.
    pub weight: u32,
    /// Items that may be held at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// Items that may wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u32>,
    /// GPU devices that its held items may take together, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_gpu_milli: Option<u32>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { weight: 1, max_running: None, max_queued: None, max_gpu_milli: None }
    }
}

/// A queue with its load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// What an operator set.
    pub settings: QueueSettings,
    /// Items that wait: pending, delayed or blocked.
    pub queued: u64,
    /// Items that are held.
    pub held: u64,
    /// Thousandths of GPU devices that held items take.
    pub gpu_milli: u64,
}

/// Reply of `GET /queues`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queues {
    /// All queues, by name.
    pub queues: Vec<Queue>,
}

/// Reply of `PUT /queues/{name}`, `DELETE /queues/{name}` and `PUT /nodes/{node_id}/capacity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Set {
    /// `set` or `removed`.
    pub status: String,
    /// The queue or node.
    pub name: String,
}

/// Body of `PUT /nodes/{node_id}/capacity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Thousandths of a processor.
    pub cpu_milli: u32,
    /// Mebibytes of memory.
    pub memory_mib: u32,
    /// GPU devices, numbered from 0.
    #[serde(default)]
    pub gpu_devices: u16,
    /// Mebibytes of disk that are free now.
    #[serde(default)]
    pub disk_free_mib: u32,
}

/// Who says what a node has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Teller {
    /// A person. What they say stands until it is removed.
    #[default]
    Operator,
    /// The node's own agent. It changes nothing while an operator's word stands.
    Agent,
}

/// Query of `PUT` and `DELETE /nodes/{node_id}/capacity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct CapacityQuery {
    /// Who says so.
    #[param(inline)]
    pub by: Teller,
}

/// Query of `GET /nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct NodesQuery {
    /// Only this node.
    pub node_id: Option<String>,
}

/// What a node has, and what is reserved of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCapacity {
    /// The node.
    pub node_id: String,
    /// What it has.
    pub capacity: Capacity,
    /// Who said so.
    pub said_by: Teller,
    /// Thousandths of a processor that are reserved.
    pub reserved_cpu_milli: u64,
    /// Mebibytes of memory that are reserved.
    pub reserved_memory_mib: u64,
    /// Thousandths of GPU devices that are reserved, together.
    pub reserved_gpu_milli: u64,
}

/// Reply of `GET /nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// Nodes of which is known what they have, by name.
    pub nodes: Vec<NodeCapacity>,
}

/// Reply of `POST /sessions` and `DELETE /sessions/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// `open` or `closed`.
    pub status: String,
    /// Goes into the header `x-ringrift-session` of further requests.
    pub session_id: String,
}
