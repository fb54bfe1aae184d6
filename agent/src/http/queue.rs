//! Views of the queue, linearizable: whatever was acknowledged before is in them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use ringrift_core::id::{NodeId, WorkId};
use ringrift_core::limits;
use ringrift_core::machine::{ArrayEnds, ArrayStatus, Counts, Machine};
use ringrift_core::queue::command::Refusal;
use ringrift_core::queue::item::Item;
use ringrift_wire::problem::Problem;
use ringrift_wire::work::{
    ArrayProgress, Backpressure, History, HistoryQuery, NodeWork, PopulatorStatus, QueueStatus,
    Why, WorkItem,
};

use super::App;
use super::body::UrlQuery;
use super::convert::{self, Viewer};
use super::failure::{Answer, Failure};

/// Claimable items shown by `/work/status`, as the seeds have it.
const PENDING_SHOWN: usize = 10;
/// Held items shown by `/work/status`.
const RUNNING_SHOWN: usize = 100;
/// Ended items of one page of history.
const HISTORY_PAGE_MAX: u32 = 1_000;

fn shown(machine: &Machine, item: &Item) -> WorkItem {
    convert::work_item(machine, item, Viewer::Other)
}

/// How full the queue is, what waits and what runs.
#[utoipa::path(
    get, path = "/work/status", operation_id = "work_status", tag = "work",
    responses((status = 200, body = QueueStatus), (status = "default", body = Problem))
)]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Answer<QueueStatus> {
    let leader_id = Some(app.node_id.to_string());
    let now = app.clock.monotonic();
    let status = app.view(|machine| {
        let counts = machine.counts();
        let claimers = app.claims.known.all(machine, now);
        let explainer = machine.explain(&claimers);
        let waiting = |item: Item| WorkItem {
            why: convert::reasons(&explainer.why(item.id)),
            ..shown(machine, &item)
        };
        QueueStatus {
            total_items: counts.unfinished() + counts.finished(),
            by_status: by_status(counts),
            by_type: machine
                .counts_by_type()
                .into_iter()
                .map(|(work_type, count)| (work_type.to_owned(), count))
                .collect(),
            pending: machine.ready(PENDING_SHOWN).map(waiting).collect(),
            running: machine.held(RUNNING_SHOWN).map(|item| shown(machine, item)).collect(),
            is_leader: true,
            leader_id,
            backpressure: backpressure(machine),
        }
    });
    Ok(Json(status.await?))
}

/// The counts under the words that items carry.
pub(crate) fn by_status(counts: Counts) -> std::collections::BTreeMap<String, u64> {
    let Counts { delayed, blocked, ready, claimed, running, completed, dead, cancelled } = counts;
    [
        ("delayed", delayed),
        ("blocked", blocked),
        ("pending", ready),
        ("claimed", claimed),
        ("running", running),
        ("completed", completed),
        ("failed", dead),
        ("cancelled", cancelled),
    ]
    .into_iter()
    .map(|(word, count)| (word.to_owned(), count))
    .collect()
}

fn backpressure(machine: &Machine) -> Backpressure {
    let unfinished = machine.records();
    let hard_limit = limits::ITEMS_UNFINISHED_MAX as u64;
    Backpressure {
        active: machine.is_full(),
        pending_count: unfinished,
        hard_limit,
        utilization_pct: unfinished as f64 / hard_limit as f64 * 100.0,
    }
}

/// The planners that fill the queue.
#[utoipa::path(
    get, path = "/work/populator", operation_id = "work_populator", tag = "work",
    responses((status = 200, body = PopulatorStatus), (status = "default", body = Problem))
)]
pub(crate) async fn populator(State(app): State<Arc<App>>) -> Answer<PopulatorStatus> {
    let status = app.view(|machine| PopulatorStatus {
        enabled: true,
        current_queue_depth: machine.counts().ready,
        active_runs: machine.active_runs().count() as u64,
        total_queued: machine.totals().planned,
        is_leader: true,
    });
    Ok(Json(status.await?))
}

/// What a node holds.
#[utoipa::path(
    get, path = "/work/node/{node_id}", operation_id = "work_of_node", tag = "work",
    params(("node_id" = String, Path, description = "The node.")),
    responses((status = 200, body = NodeWork), (status = "default", body = Problem))
)]
pub(crate) async fn of_node(
    State(app): State<Arc<App>>,
    Path(node_id): Path<String>,
) -> Answer<NodeWork> {
    let node: NodeId = convert::id("node_id", &node_id)?;
    let held = app.view(|machine| {
        let held = machine.held_by(&node).take(limits::HEARTBEAT_CLAIMS_MAX);
        held.map(|item| shown(machine, item)).collect::<Vec<_>>()
    });
    let work_items = held.await?;
    Ok(Json(NodeWork { node_id, count: work_items.len(), work_items }))
}

/// Ended items, newest first, as far as they are remembered.
#[utoipa::path(
    get, path = "/work/history", operation_id = "work_history", tag = "work",
    params(HistoryQuery),
    responses((status = 200, body = History), (status = "default", body = Problem))
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    UrlQuery(HistoryQuery { limit, status }): UrlQuery<HistoryQuery>,
) -> Answer<History> {
    let lines = convert::page("limit", limit, HISTORY_PAGE_MAX)?;
    let wanted = status.as_deref().map(convert::ended_status).transpose()?;
    let history = app.view(|machine| {
        let items = machine.history(lines, wanted);
        items.map(|item| shown(machine, item)).collect::<Vec<_>>()
    });
    let history = history.await?;
    Ok(Json(History { count: history.len(), history, limit, status_filter: status }))
}

/// One item.
#[utoipa::path(
    get, path = "/work/{work_id}", operation_id = "work_item", tag = "work",
    params(("work_id" = String, Path, description = "The item.")),
    responses((status = 200, body = WorkItem), (status = "default", body = Problem))
)]
pub(crate) async fn item(
    State(app): State<Arc<App>>,
    Path(work_id): Path<String>,
) -> Answer<WorkItem> {
    let id: WorkId = convert::id("work_id", &work_id)?;
    let item = app.view(|machine| machine.find(id).map(|item| shown(machine, &item)));
    let item = item.await?.ok_or_else(|| Failure::from(Refusal::UnknownWork(id)))?;
    Ok(Json(item))
}

/// Why an item does not run yet, with numbers.
#[utoipa::path(
    get, path = "/work/{work_id}/why", operation_id = "work_why", tag = "work",
    params(("work_id" = String, Path, description = "The item.")),
    responses((status = 200, body = Why), (status = "default", body = Problem))
)]
pub(crate) async fn why(State(app): State<Arc<App>>, Path(work_id): Path<String>) -> Answer<Why> {
    let id: WorkId = convert::id("work_id", &work_id)?;
    let now = app.clock.monotonic();
    let found = app.view(|machine| {
        let status = convert::status_word(machine.find(id)?.status());
        let claimers = app.claims.known.all(machine, now);
        Some((status, machine.explain(&claimers).why(id)))
    });
    let (status, reasons) = found.await?.ok_or_else(|| Failure::from(Refusal::UnknownWork(id)))?;
    Ok(Json(Why { work_id, status: status.to_owned(), pending: convert::reasons(&reasons) }))
}

/// How far an array is. It is known until its last item is forgotten.
#[utoipa::path(
    get, path = "/work/arrays/{array_id}", operation_id = "work_array", tag = "work",
    params(("array_id" = String, Path, description = "The array, by its first item.")),
    responses((status = 200, body = ArrayProgress), (status = "default", body = Problem))
)]
pub(crate) async fn array(
    State(app): State<Arc<App>>,
    Path(array_id): Path<String>,
) -> Answer<ArrayProgress> {
    let id: WorkId = convert::id("array_id", &array_id)?;
    let progress = app.view(|machine| {
        let request = machine.array_request(id)?;
        let ArrayStatus { count, unclaimed, outstanding, ended } = machine.array(id)?;
        let ArrayEnds { completed, dead: failed, cancelled } = ended;
        let (work_type, queue) = (request.work_type.to_string(), request.queue.to_string());
        let array_id = array_id.clone();
        Some(ArrayProgress {
            array_id,
            work_type,
            queue,
            count,
            unclaimed,
            outstanding,
            completed,
            failed,
            cancelled,
        })
    });
    let progress = progress.await?.ok_or_else(|| Failure::from(Refusal::UnknownWork(id)))?;
    Ok(Json(progress))
}
