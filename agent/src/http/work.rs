//! Work items: adding them, and what their holders say of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ringrift_core::id::{QueueName, WorkId};
use ringrift_core::limits;
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Command, Reply};
use ringrift_core::queue::item::{Item, NewItem, Status};
use ringrift_core::run::RunSpec;
use ringrift_wire::problem::Problem;
use ringrift_wire::work::{
    Add, AddArray, AddBatch, Added, AddedArray, AddedBatch, Cancel, CancelArray, Changed, Complete,
    Completed, Fail, Redrive, RedriveDead, RedrivenDead, Release, Start,
};

use super::body::JsonBody;
use super::failure::{Answer, Failure};
use super::sessions::Retry;
use super::{App, convert};

/// Adds an item. With a key a repeat answers the first one.
#[utoipa::path(
    post, path = "/work/add", operation_id = "work_add", tag = "work",
    request_body = Add,
    responses((status = 200, body = Added), (status = "default", body = Problem))
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    retry: Retry,
    JsonBody(add): JsonBody<Add>,
) -> Answer<Added> {
    let (work_type, priority) = (add.work_type.clone(), add.priority);
    let items = vec![convert::new_item(add)?];
    let added = enqueue(&app, retry, items).await.map_err(convert::wire_field_of_one)?;
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
    retry: Retry,
    JsonBody(AddBatch { items }): JsonBody<AddBatch>,
) -> Answer<AddedBatch> {
    if items.is_empty() {
        return Err(Failure::invalid("items", "must hold at least one item"));
    }
    let requests = requests("items", items)?;
    let added = enqueue(&app, retry, requests).await.map_err(convert::wire_field)?;
    let work_ids: Vec<_> = added.iter().map(|(work_id, _fresh)| work_id.to_string()).collect();
    Ok(Json(AddedBatch { status: "added".to_owned(), count: work_ids.len(), work_ids }))
}

/// The items of a batch, a fault in one of them with its place.
fn requests(name: &str, items: Vec<Add>) -> Result<Vec<NewItem>, Failure> {
    let most = limits::BATCH_ITEMS_MAX;
    if items.len() > most {
        let problem = format!("must hold at most {most} items, not {}", items.len());
        return Err(Failure::invalid(name, problem));
    }
    let mut requests = Vec::with_capacity(items.len());
    for (at, add) in items.into_iter().enumerate() {
        let inside = |failure: Failure| failure.rename(|field| format!("{name}[{at}].{field}"));
        requests.push(convert::new_item(add).map_err(inside)?);
    }
    Ok(requests)
}

async fn enqueue(
    app: &App,
    retry: Retry,
    items: Vec<NewItem>,
) -> Result<Vec<(WorkId, bool)>, Failure> {
    match app.commit_in(retry, Command::Enqueue(items)).await? {
        Reply::Enqueued(added) => Ok(added),
        other => Err(convert::unexpected(&other)),
    }
}

/// Adds many items that are alike but for their index, in the room of one.
#[utoipa::path(
    post, path = "/work/add_array", operation_id = "work_add_array", tag = "work",
    request_body = AddArray,
    responses((status = 200, body = AddedArray), (status = "default", body = Problem))
)]
pub(crate) async fn add_array(
    State(app): State<Arc<App>>,
    retry: Retry,
    JsonBody(AddArray { item, count }): JsonBody<AddArray>,
) -> Answer<AddedArray> {
    let inside = |failure: Failure| failure.rename(|field| format!("item.{field}"));
    let request = convert::new_item(item).map_err(inside)?;
    let command = Command::EnqueueArray { request, count };
    match app.commit_in(retry, command).await.map_err(convert::wire_field_of_one)? {
        Reply::Enqueued(added) => {
            let Some((first, fresh)) = added.first() else {
                return Err(Failure::internal("an array was added without a number"));
            };
            let status = if *fresh { "added" } else { "exists" }.to_owned();
            Ok(Json(AddedArray { status, array_id: first.to_string(), count }))
        }
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
    session: Retry,
    JsonBody(Start { work_id, token }): JsonBody<Start>,
) -> Answer<Changed> {
    let command = Command::Start {
        work_id: convert::id("work_id", &work_id)?,
        token: convert::id("token", &token)?,
    };
    done(&app, session, command, work_id, "started").await
}

/// Ends an item well. A repeat with the same token is answered as the first.
#[utoipa::path(
    post, path = "/work/complete", operation_id = "work_complete", tag = "work",
    request_body = Complete,
    responses((status = 200, body = Completed), (status = "default", body = Problem))
)]
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    retry: Retry,
    JsonBody(Complete { work_id, token, result, then }): JsonBody<Complete>,
) -> Answer<Completed> {
    let id = convert::id("work_id", &work_id)?;
    let token = convert::id("token", &token)?;
    let result = convert::work_result(&result, pair_index(&app, id).await?)?;
    let then = requests("then", then)?;
    let command = Command::Complete { work_id: id, token, result, then };
    match app.commit_in(retry, command).await.map_err(convert::wire_field)? {
        Reply::Completed { then } => {
            let then = then.iter().map(|(id, _fresh)| id.to_string()).collect();
            Ok(Json(Completed { status: "completed".to_owned(), work_id, then }))
        }
        other => Err(convert::unexpected(&other)),
    }
}

/// Gives a claim back: the item is for another claimer, at once or after a delay, and the attempt does
/// not count.
#[utoipa::path(
    post, path = "/work/release", operation_id = "work_release", tag = "work",
    request_body = Release,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn release(
    State(app): State<Arc<App>>,
    retry: Retry,
    JsonBody(Release { work_id, token, delay_seconds }): JsonBody<Release>,
) -> Answer<Changed> {
    let command = Command::Release {
        work_id: convert::id("work_id", &work_id)?,
        token: convert::id("token", &token)?,
        delay: convert::span("delay_seconds", delay_seconds)?,
    };
    done(&app, retry, command, work_id, "released").await
}

/// The index of the pair that an item is; nothing when it is none. What an item is never changes, so
/// the local replica says it as well as any that has the item. One that has not may be of a leader that
/// has just begun and does not have all that was acknowledged before: it catches up first.
async fn pair_index(app: &App, id: WorkId) -> Result<Option<u32>, Failure> {
    let look = |machine: &Machine| machine.item(id).map(|item| pair_of(machine, item));
    match app.replica()?.read(look) {
        Some(pair) => Ok(pair),
        None => Ok(app.view(look).await?.flatten()),
    }
}

/// The index of the pair that an item is; nothing when it is none.
pub(crate) fn pair_of(machine: &Machine, item: &Item) -> Option<u32> {
    let origin = item.origin()?;
    match &machine.run(&origin.run)?.spec {
        RunSpec::Job(_) => None,
        RunSpec::Gauntlet(_) | RunSpec::Tournament(_) => Some(origin.index),
    }
}

/// Ends an attempt badly: the item is tried again after a pause, or it is dead.
#[utoipa::path(
    post, path = "/work/fail", operation_id = "work_fail", tag = "work",
    request_body = Fail,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn fail(
    State(app): State<Arc<App>>,
    session: Retry,
    JsonBody(Fail { work_id, token, error, retry }): JsonBody<Fail>,
) -> Answer<Changed> {
    let command = Command::Fail {
        work_id: convert::id("work_id", &work_id)?,
        token: convert::id("token", &token)?,
        error,
        retry,
    };
    match app.commit_in(session, command).await? {
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
    session: Retry,
    JsonBody(Cancel { work_id }): JsonBody<Cancel>,
) -> Answer<Changed> {
    let id = convert::id("work_id", &work_id)?;
    done(&app, session, Command::Cancel { work_id: id }, work_id, "cancelled").await
}

/// Cancels what has not ended of an array.
#[utoipa::path(
    post, path = "/work/cancel_array", operation_id = "work_cancel_array", tag = "work",
    request_body = CancelArray,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn cancel_array(
    State(app): State<Arc<App>>,
    session: Retry,
    JsonBody(CancelArray { array_id }): JsonBody<CancelArray>,
) -> Answer<Changed> {
    let array = convert::id("array_id", &array_id)?;
    done(&app, session, Command::CancelArray { array }, array_id, "cancelled").await
}

/// Gives a dead item all its attempts again; its history stays.
#[utoipa::path(
    post, path = "/work/redrive", operation_id = "work_redrive", tag = "work",
    request_body = Redrive,
    responses((status = 200, body = Changed), (status = "default", body = Problem))
)]
pub(crate) async fn redrive(
    State(app): State<Arc<App>>,
    session: Retry,
    JsonBody(Redrive { work_id }): JsonBody<Redrive>,
) -> Answer<Changed> {
    let id = convert::id("work_id", &work_id)?;
    done(&app, session, Command::Redrive { work_id: id }, work_id, "pending").await
}

/// Gives dead items of a queue or a type all their attempts again, the newest first. Those of runs are
/// left to their planners.
#[utoipa::path(
    post, path = "/work/redrive_dead", operation_id = "work_redrive_dead", tag = "work",
    request_body = RedriveDead,
    responses((status = 200, body = RedrivenDead), (status = "default", body = Problem))
)]
pub(crate) async fn redrive_dead(
    State(app): State<Arc<App>>,
    JsonBody(RedriveDead { queue, work_type, max_items }): JsonBody<RedriveDead>,
) -> Answer<RedrivenDead> {
    let queue: Option<QueueName> = queue.map(|queue| convert::id("queue", &queue)).transpose()?;
    let most = u32::try_from(limits::BATCH_ITEMS_MAX).unwrap_or(u32::MAX);
    let most = convert::page("max_items", max_items, most)?;
    let wanted = |item: &&Item| {
        item.origin().is_none()
            && queue.as_ref().is_none_or(|queue| item.request.queue == *queue)
            && work_type.as_ref().is_none_or(|name| item.request.work_type == *name)
    };
    let dead = app.view(|machine| {
        let dead = machine.history(limits::ITEMS_DEAD_MAX, Some(Status::Dead)).filter(wanted);
        dead.map(|item| item.id).take(most.saturating_add(1)).collect::<Vec<_>>()
    });
    let mut dead = dead.await?;
    let more = dead.len() > most;
    dead.truncate(most);
    let commands = dead.iter().map(|work_id| Command::Redrive { work_id: *work_id }).collect();
    let replies = if dead.is_empty() { Vec::new() } else { app.commit_each(commands).await? };
    let pending = dead.iter().zip(&replies).filter(|(_, reply)| reply.is_ok());
    let work_ids: Vec<_> = pending.map(|(work_id, _)| work_id.to_string()).collect();
    let refused = dead.len().saturating_sub(work_ids.len()) as u64;
    Ok(Json(RedrivenDead { status: "pending".to_owned(), work_ids, refused, more }))
}

async fn done(
    app: &App,
    session: Retry,
    command: Command,
    work_id: String,
    word: &str,
) -> Answer<Changed> {
    match app.commit_in(session, command).await.map_err(convert::wire_field)? {
        Reply::Done => Ok(Json(Changed { status: word.to_owned(), work_id, retry_at: None })),
        other => Err(convert::unexpected(&other)),
    }
}
