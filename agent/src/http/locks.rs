//! Distributed locks.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use ringrift_core::queue::command::{Command, Reply};
use ringrift_wire::lock::{Acquire, Acquired, Release, Released};
use ringrift_wire::problem::Problem;

use super::body::JsonBody;
use super::failure::Answer;
use super::{App, convert};

/// Takes a lock, or renews it for the same owner, who keeps its fencing token.
#[utoipa::path(
    post, path = "/raft/lock/{name}", operation_id = "lock_acquire", tag = "locks",
    params(("name" = String, Path, description = "The lock.")),
    request_body = Acquire,
    responses((status = 200, body = Acquired), (status = "default", body = Problem))
)]
pub(crate) async fn acquire(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    JsonBody(Acquire { owner, ttl_seconds }): JsonBody<Acquire>,
) -> Answer<Acquired> {
    let lock_name = name.clone();
    let name = convert::id("name", &name)?;
    let ttl = convert::span("ttl_seconds", ttl_seconds)?;
    let command = Command::LockAcquire { name, owner: owner.clone(), ttl };
    match app.commit(command).await.map_err(convert::wire_field)? {
        Reply::Locked { token, expires } => Ok(Json(Acquired {
            acquired: true,
            lock_name,
            holder: owner,
            token: token.to_string(),
            expires_at: convert::unix_seconds(expires),
        })),
        other => Err(convert::unexpected(&other)),
    }
}

/// Frees a lock that is held under the token.
#[utoipa::path(
    delete, path = "/raft/lock/{name}", operation_id = "lock_release", tag = "locks",
    params(("name" = String, Path, description = "The lock.")),
    request_body = Release,
    responses((status = 200, body = Released), (status = "default", body = Problem))
)]
pub(crate) async fn release(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    JsonBody(Release { token }): JsonBody<Release>,
) -> Answer<Released> {
    let lock_name = name.clone();
    let name = convert::id("name", &name)?;
    let token = convert::id("token", &token)?;
    match app.commit(Command::LockRelease { name, token }).await? {
        Reply::Done => Ok(Json(Released { released: true, lock_name })),
        other => Err(convert::unexpected(&other)),
    }
}
