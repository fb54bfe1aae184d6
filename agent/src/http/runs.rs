//! Runs: submitting, watching and cancelling them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use ringrift_core::id::RunId;
use ringrift_core::queue::command::{Command, Refusal, Reply};
use ringrift_core::run::RunSpec;
use ringrift_wire::problem::Problem;
use ringrift_wire::run::{
    LedgerPage, LedgerQuery, RunList, RunStatus, RunsQuery, Submit, Submitted,
};

use super::body::{JsonBody, UrlQuery};
use super::failure::{Answer, Failure};
use super::{App, convert};

/// Runs of one list: each needs its figures computed.
const LIST_MAX: u32 = 1_000;
/// Pairs of one page of a ledger.
const LEDGER_PAGE_MAX: u32 = 10_000;

/// Submits a run. The same run under the same id again is harmless.
#[utoipa::path(
    post, path = "/runs", operation_id = "run_submit", tag = "runs",
    request_body = Submit,
    responses((status = 200, body = Submitted), (status = "default", body = Problem))
)]
pub(crate) async fn submit(
    State(app): State<Arc<App>>,
    JsonBody(Submit { run_id, queue, spec }): JsonBody<Submit>,
) -> Answer<Submitted> {
    let spec = convert::run::spec("spec", spec)?;
    submit_spec(&app, run_id, &queue, spec, "spec").await
}

/// Registers a checked spec. `path` is where the spec stands in the caller's body.
pub(crate) async fn submit_spec(
    app: &App,
    run_id: String,
    queue: &str,
    spec: RunSpec,
    path: &str,
) -> Answer<Submitted> {
    let run = convert::id("run_id", &run_id)?;
    let queue = convert::id("queue", queue)?;
    let in_spec = |failure: Failure| {
        failure.rename(|field| match (field, path) {
            ("run_id" | "queue", _) | (_, "") => field.to_owned(),
            (field, path) => format!("{path}.{field}"),
        })
    };
    match app.commit(Command::SubmitRun { run, queue, spec }).await.map_err(in_spec)? {
        Reply::RunAccepted { fresh } => Ok(Json(Submitted {
            success: true,
            node_id: app.node_id.to_string(),
            run_id,
            status: if fresh { "accepted" } else { "exists" }.to_owned(),
        })),
        other => Err(convert::unexpected(&other)),
    }
}

/// All remembered runs, newest first.
#[utoipa::path(
    get, path = "/runs", operation_id = "run_list", tag = "runs",
    params(RunsQuery),
    responses((status = 200, body = RunList), (status = "default", body = Problem))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    UrlQuery(RunsQuery { limit }): UrlQuery<RunsQuery>,
) -> Answer<RunList> {
    let lines = convert::page("limit", limit, LIST_MAX)?;
    let runs = app.view(|machine| {
        let runs = machine.runs().take(lines);
        runs.map(|run| convert::run::status(machine, run, &[])).collect::<Vec<_>>()
    });
    let runs = runs.await?;
    Ok(Json(RunList { count: runs.len(), runs }))
}

/// One run: progress, figures, outcome.
#[utoipa::path(
    get, path = "/runs/{run_id}", operation_id = "run_get", tag = "runs",
    params(("run_id" = String, Path, description = "The run.")),
    responses((status = 200, body = RunStatus), (status = "default", body = Problem))
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Path(run_id): Path<String>,
) -> Answer<RunStatus> {
    status_of(&app, convert::id("run_id", &run_id)?).await
}

async fn status_of(app: &App, id: RunId) -> Answer<RunStatus> {
    let now = app.clock.monotonic();
    let status = app.view(|machine| {
        let run = machine.run(&id)?;
        let waits = machine.run_waits(&id).map(|item| {
            let claimers = app.claims.known.all(machine, now);
            machine.explain(&claimers).why(item)
        });
        Some(convert::run::status(machine, run, &waits.unwrap_or_default()))
    });
    let status = status.await?;
    Ok(Json(status.ok_or_else(|| Failure::from(Refusal::UnknownRun(id)))?))
}

/// Every accepted pair, match-up by match-up in index order.
#[utoipa::path(
    get, path = "/runs/{run_id}/ledger", operation_id = "run_ledger", tag = "runs",
    params(("run_id" = String, Path, description = "The run."), LedgerQuery),
    responses((status = 200, body = LedgerPage), (status = "default", body = Problem))
)]
pub(crate) async fn ledger(
    State(app): State<Arc<App>>,
    Path(run_id): Path<String>,
    UrlQuery(LedgerQuery { offset, limit }): UrlQuery<LedgerQuery>,
) -> Answer<LedgerPage> {
    let id: RunId = convert::id("run_id", &run_id)?;
    let lines = convert::page("limit", limit, LEDGER_PAGE_MAX)?;
    let page =
        app.view(|machine| machine.run(&id).map(|run| convert::run::ledger(run, offset, lines)));
    let page = page.await?;
    Ok(Json(page.ok_or_else(|| Failure::from(Refusal::UnknownRun(id)))?))
}

/// Ends a run as cancelled, its items with it.
#[utoipa::path(
    post, path = "/runs/{run_id}/cancel", operation_id = "run_cancel", tag = "runs",
    params(("run_id" = String, Path, description = "The run.")),
    responses((status = 200, body = RunStatus), (status = "default", body = Problem))
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Path(run_id): Path<String>,
) -> Answer<RunStatus> {
    let id: RunId = convert::id("run_id", &run_id)?;
    match app.commit(Command::CancelRun { run: id.clone() }).await? {
        Reply::Done => status_of(&app, id).await,
        other => Err(convert::unexpected(&other)),
    }
}
