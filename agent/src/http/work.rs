//! Work items: adding them, and what their holders say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ringrift_core::id::WorkId;
use ringrift_core::limits;
use ringrift_core::queue::command::{Command, Reply};
use ringrift_core::queue::item::NewItem;
use ringrift_core::run::RunSpec;
use ringrift_wire::problem::Problem;
use ringrift_wire::work::{
    Add, AddBatch, Added, AddedBatch, Cancel, Changed, Complete, Fail, Start,
};

use super::body::JsonBody;
use super::failure::{Answer, Failure};
use super::{App, convert};

/// Adds an item. With a key a repeat answers the first one.
#[utoipa::path(
    post, path = "/work/add", operation_id = "work_add", tag = "work",
    request_body = Add,
    responses((status = 200, body = Added), (status = "default", body = Problem))
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    JsonBody(add): JsonBody<Add>,
) -> Answer<Added> {
    let (work_type, priority) = (add.work_type.clone(), add.priority);
    let items = vec![convert::new_item(add)?];
    let added = enqueue(&app, items).await.map_err(convert::wire_field_of_one)?;
    let Some((work_id, fresh)) = added.first() else {
        return Err(Failure::internal("an item was added without a number"));
    };
    let status = if *fresh { "added" } else { "exists" }.to_owned();
    Ok(Json(Added { status, work_id: work_id.to_string(), work_type, priority }))
}

/// Adds items, all of them or none.
#[utoipa::path(
    post, path = "/work/add_batch", operation_id = "work_add_batch", tag = "work",
    request_body = AddBatch,
    responses((status = 200, body = AddedBatch), (status = "default", body = Problem))
)]
pub(crate) async fn add_batch(
    State(app): State<Arc<App>>,
    JsonBody(AddBatch { items }): JsonBody<AddBatch>,
) -> Answer<AddedBatch> {
    let most = limits::BATCH_ITEMS_MAX;
    if !(1..=most).contains(&items.len()) {
        let problem = format!("must hold 1 to {most} items, not {}", items.len());
        return Err(Failure::invalid("items", problem));
    }
    let mut requests = Vec::with_capacity(items.len());
    for (at, add) in items.into_iter().enumerate() {
        let inside = |failure: Failure| failure.rename(|field| format!("items[{at}].{field}"));
        requests.push(convert::new_item(add).map_err(inside)?);
    }
    let added = enqueue(&app, requests).await.map_err(convert::wire_field)?;
    let work_ids: Vec<_> = added.iter().map(|(work_id, _fresh)| work_id.to_string()).collect();
    Ok(Json(AddedBatch { status: "added".to_owned(), count: work_ids.len(), work_ids }))
}

async fn enqueue(app: &App, items: Vec<NewItem>) -> Result<Vec<(WorkId, bool)>, Failure> {
    match app.commit(Command::Enqueue(items)).await? {
        Reply::Enqueued(added) => Ok(added),
        other => Err(convert::unexpected(&other)),
    }
}

/// The holder begins: from here on the attempt counts.
#[utoipa::path(
    post, path = "/work/start", operation_id = "work_start", tag = "work",
    request_body = Start,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    JsonBody(Start { work_id, token }): JsonBody<Start>,
) -> Answer<Changed> {
    let command = Command::Start {
        work_id: convert::id("work_id", &work_id)?,
        token: convert::id("token", &token)?,
    };
    done(&app, command, work_id, "started").await
}

/// Ends an item well. A repeat with the same token is answered as the first.
#[utoipa::path(
    post, path = "/work/complete", operation_id = "work_complete", tag = "work",
    request_body = Complete,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    JsonBody(Complete { work_id, token, result }): JsonBody<Complete>,
) -> Answer<Changed> {
    let id = convert::id("work_id", &work_id)?;
    let token = convert::id("token", &token)?;
    let result = convert::work_result(&result, pair_index(&app, id)?)?;
    done(&app, Command::Complete { work_id: id, token, result }, work_id, "completed").await
}

/// The index of the pair that an item is; nothing when it is none. What an item is never changes,
/// so the local replica knows as well as any.
fn pair_index(app: &App, id: WorkId) -> Result<Option<u32>, Failure> {
    Ok(app.replica()?.read(|machine| {
        let origin = machine.item(id)?.origin()?;
        match &machine.run(&origin.run)?.spec {
            RunSpec::Job(_) => None,
            RunSpec::Gauntlet(_) | RunSpec::Tournament(_) => Some(origin.index),
        }
    }))
}

/// Ends an attempt badly: the item is tried again after a pause, or it is dead.
#[utoipa::path(
    post, path = "/work/fail", operation_id = "work_fail", tag = "work",
    request_body = Fail,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn fail(
    State(app): State<Arc<App>>,
    JsonBody(Fail { work_id, token, error, retry }): JsonBody<Fail>,
) -> Answer<Changed> {
    let command = Command::Fail {
        work_id: convert::id("work_id", &work_id)?,
        token: convert::id("token", &token)?,
        error,
        retry,
    };
    match app.commit(command).await? {
        Reply::Failed { retry_at } => {
            let status = if retry_at.is_some() { "retrying" } else { "failed" }.to_owned();
            let retry_at = retry_at.map(convert::unix_seconds);
            Ok(Json(Changed { status, work_id, retry_at }))
        }
        other => Err(convert::unexpected(&other)),
    }
}

/// Cancels an item whoever holds it.
#[utoipa::path(
    post, path = "/work/cancel", operation_id = "work_cancel", tag = "work",
    request_body = Cancel,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    JsonBody(Cancel { work_id }): JsonBody<Cancel>,
) -> Answer<Changed> {
    let id = convert::id("work_id", &work_id)?;
    done(&app, Command::Cancel { work_id: id }, work_id, "cancelled").await
}

async fn done(app: &App, command: Command, work_id: String, word: &str) -> Answer<Changed> {
    match app.commit(command).await? {
        Reply::Done => Ok(Json(Changed { status: word.to_owned(), work_id, retry_at: None })),
        other => Err(convert::unexpected(&other)),
    }
}
