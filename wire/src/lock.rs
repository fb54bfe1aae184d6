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
