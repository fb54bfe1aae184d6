//! Distributed locks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /raft/lock/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acquire {
    /// Who wants it. The same owner renews and keeps its token.
    pub owner: String,
    /// Seconds after which it frees itself, 1 to 3,600.
    #[serde(default = "ttl_seconds")]
    pub ttl_seconds: f64,
    /// Seconds to wait in line while another owner holds it, at most 60. Who comes first gets it first,
    /// and its time counts from then. Who asks again before the end keeps its place.
    #[serde(default)]
    pub wait_seconds: f64,
}

const fn ttl_seconds() -> f64 {
    300.0
}

/// Reply of `POST /raft/lock/{name}`. When another owner holds it, the reply is a problem body with
/// status 409 and code `LOCK_HELD`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Acquired {
    /// Always true; a refusal is a problem body.
    pub acquired: bool,
    /// The lock.
    pub lock_name: String,
    /// Its holder.
    pub holder: String,
    /// Fencing token: pass it to whatever the lock protects.
    pub token: String,
    /// Unix seconds at which it frees itself.
    pub expires_at: f64,
}

/// Reply of `GET /raft/lock/{name}`. The token is for its holder alone: who has it can free the lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LockStatus {
    /// The lock.
    pub lock_name: String,
    /// Whether somebody holds it.
    pub held: bool,
    /// Who holds it.
    pub holder: Option<String>,
    /// Unix seconds at which it was taken.
    pub acquired_at: Option<f64>,
    /// Unix seconds at which it frees itself, or goes to the first who waits.
    pub expires_at: Option<f64>,
    /// Who waits for it, the first first.
    pub waiters: Vec<LockWaiter>,
}

/// An owner that waits for a lock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LockWaiter {
    /// Who waits.
    pub owner: String,
    /// How many get the lock before.
    pub position: usize,
    /// Unix seconds at which it gives up.
    pub until: f64,
}

/// Body of `DELETE /raft/lock/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The token that the acquisition answered.
    pub token: String,
}

/// Reply of `DELETE /raft/lock/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Released {
    /// Always true; a refusal is a problem body.
    pub released: bool,
    /// The lock.
    pub lock_name: String,
}
