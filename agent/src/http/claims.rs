//! Claims: taking work, waiting for it, and keeping it by heartbeats.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use ringrift_core::limits;
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{self, Command, Reply};
use ringrift_core::queue::item::Item;
use ringrift_core::time::Span;
use ringrift_wire::problem::Problem;
use ringrift_wire::work::{Claim, Claimed, Heartbeat, HeldClaim, Renewed, WorkItem};

use super::body::JsonBody;
use super::convert::Viewer;
use super::failure::{Answer, Failure};
use super::sessions::Retry;
use super::{App, convert, observe};

/// The longest wait in one request, for work, a lock or events: proxies on the way give up at about
/// a minute.
pub(crate) const WAIT_MAX: Span = Span::seconds(60);
/// Takes up to `max_items` items. With `wait_seconds` the reply comes as soon as there is work; in a
/// session it may come sooner, with nothing, when others were faster.
#[utoipa::path(
    post, path = "/work/claim", operation_id = "work_claim", tag = "work",
    request_body = Claim,
    responses((status = 200, body = Claimed), (status = "default", body = Problem))
)]
pub(crate) async fn claim(
    State(app): State<Arc<App>>,
    retry: Retry,
    JsonBody(claim): JsonBody<Claim>,
) -> Answer<Claimed> {
    let (claim, wait) = convert::claim(claim)?;
    app.claims.known.note(&claim, app.clock.monotonic());
    let items = take_or_wait(&app, retry, claim, wait).await.map_err(convert::wire_field)?;
    let status = if items.is_empty() { "no_work_available" } else { "claimed" };
    Ok(Json(Claimed { status: status.to_owned(), work: items.first().cloned(), items }))
}

async fn take_or_wait(
    app: &App,
    retry: Retry,
    claim: command::Claim,
    wait: Duration,
) -> Result<Vec<WorkItem>, Failure> {
    let replica = app.replica()?;
    let has_answer = |machine: &Machine| machine.claimable(&claim) || retry.is_answered(machine);
    // Idle workers must not fill the log with claims that can only bring nothing. But what was
    // acknowledged before, perhaps by a former leader, must be looked at.
    if !replica.read(has_answer) {
        replica.barrier().await?;
    }
    // What a retry gets is what the first try got, even when nothing is claimable any more; the
    // first may be on its way yet, so a retry that does not wait is always in the log.
    if replica.read(has_answer) || (retry.is_some() && wait.is_zero()) {
        let items = take(app, retry, claim.clone()).await?;
        // A number of a session is used up by its first answer.
        if !items.is_empty() || retry.is_some() {
            return Ok(items);
        }
    }
    if wait.is_zero() {
        return Ok(Vec::new());
    }
    let _place = observe::place_to_wait(app)?;
    match app.claims.wait(claim.clone(), retry, wait, &app.stopping).await {
        Some(Ok(granted)) => written(app, &granted.items),
        Some(Err(unserved)) => Err(unserved.into()),
        None if replica.read(|machine| retry.is_answered(machine)) => take(app, retry, claim).await,
        None => Ok(Vec::new()),
    }
}

async fn take(app: &App, retry: Retry, claim: command::Claim) -> Result<Vec<WorkItem>, Failure> {
    match app.commit_in(retry, Command::Claim(claim)).await? {
        Reply::Claimed(items) => written(app, &items),
        other => Err(convert::unexpected(&other)),
    }
}

fn written(app: &App, items: &[Item]) -> Result<Vec<WorkItem>, Failure> {
    let written = |machine: &_| {
        items.iter().map(|item| convert::work_item(machine, item, Viewer::Holder)).collect()
    };
    Ok(app.replica()?.read(written))
}

/// Renews all claims of a node at once, and names those that it no longer holds.
#[utoipa::path(
    post, path = "/work/heartbeat", operation_id = "work_heartbeat", tag = "work",
    request_body = Heartbeat,
    responses((status = 200, body = Renewed), (status = "default", body = Problem))
)]
pub(crate) async fn heartbeat(
    State(app): State<Arc<App>>,
    JsonBody(Heartbeat { node_id, claims, lease_seconds }): JsonBody<Heartbeat>,
) -> Answer<Renewed> {
    let most = limits::HEARTBEAT_CLAIMS_MAX;
    if claims.len() > most {
        let problem = format!("must hold at most {most}, not {}", claims.len());
        return Err(Failure::invalid("claims", problem));
    }
    let mut held = Vec::with_capacity(claims.len());
    for (at, HeldClaim { work_id, token }) in claims.into_iter().enumerate() {
        let work_id = convert::id(&format!("claims[{at}].work_id"), &work_id)?;
        held.push((work_id, convert::id(&format!("claims[{at}].token"), &token)?));
    }
    let command = Command::Heartbeat {
        node: convert::id("node_id", &node_id)?,
        claims: held,
        lease: convert::span("lease_seconds", lease_seconds)?,
    };
    match app.commit(command).await.map_err(convert::wire_field)? {
        Reply::Renewed { renewed, lost } => {
            let lost = lost.iter().map(ToString::to_string).collect();
            Ok(Json(Renewed { status: "renewed".to_owned(), renewed, lost }))
        }
        other => Err(convert::unexpected(&other)),
    }
}
