//! Distributed locks.

pub(crate) mod line;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use ringrift_core::id::LockName;
use ringrift_core::queue::command::{Command, Reply};
use ringrift_core::queue::lock;
use ringrift_wire::lock::{Acquire, Acquired, LockStatus, LockWaiter, Release, Released};
use ringrift_wire::problem::Problem;

use self::line::Wish;
use super::body::JsonBody;
use super::failure::Answer;
use super::{App, convert};

/// Takes a lock, or renews it for the same owner, who keeps its fencing token. With `wait_seconds`
/// the request stands in line while another owner holds the lock.
#[utoipa::path(
    post, path = "/raft/lock/{name}", operation_id = "lock_acquire", tag = "locks",
    params(("name" = String, Path, description = "The lock.")),
    request_body = Acquire,
    responses((status = 200, body = Acquired), (status = "default", body = Problem))
)]
pub(crate) async fn acquire(
    State(app): State<Arc<App>>,
    Path(lock_name): Path<String>,
    JsonBody(Acquire { owner, ttl_seconds, wait_seconds }): JsonBody<Acquire>,
) -> Answer<Acquired> {
    let name = convert::id("name", &lock_name)?;
    let ttl = convert::span("ttl_seconds", ttl_seconds)?;
    let wait = convert::wait("wait_seconds", wait_seconds)?;
    let asker = app.lock_waits.asker();
    let wish = Wish { name, owner: owner.clone(), ttl, asker };
    let (token, expires) = line::take(&app, wish, wait).await.map_err(convert::wire_field)?;
    Ok(Json(Acquired {
        acquired: true,
        lock_name,
        holder: owner,
        token: token.to_string(),
        expires_at: convert::unix_seconds(expires),
    }))
}

/// Who holds a lock, and who waits for it.
#[utoipa::path(
    get, path = "/raft/lock/{name}", operation_id = "lock_status", tag = "locks",
    params(("name" = String, Path, description = "The lock.")),
    responses((status = 200, body = LockStatus), (status = "default", body = Problem))
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Path(lock_name): Path<String>,
) -> Answer<LockStatus> {
    let name: LockName = convert::id("name", &lock_name)?;
    let held = app.view(|machine| machine.lock(&name).cloned()).await?;
    Ok(Json(status(lock_name, held.as_ref())))
}

fn status(lock_name: String, held: Option<&lock::Lock>) -> LockStatus {
    let waiters = held.into_iter().flat_map(|held| &held.waiters).enumerate();
    let waiters = waiters.map(|(position, waiter)| {
        let lock::Waiter { owner, until, ttl: _ } = waiter;
        LockWaiter { owner: owner.clone(), position, until: convert::unix_seconds(*until) }
    });
    LockStatus {
        lock_name,
        held: held.is_some(),
        holder: held.map(|held| held.owner.clone()),
        acquired_at: held.map(|held| convert::unix_seconds(held.acquired)),
        expires_at: held.map(|held| convert::unix_seconds(held.expires)),
        waiters: waiters.collect(),
    }
}

/// Frees a lock that is held under the token. Who waits first gets it in the same step.
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
