//! Gauntlets under the seeds' paths.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ringrift_core::run::RunSpec as CoreSpec;
use ringrift_wire::problem::Problem;
use ringrift_wire::run::{Execute, GauntletSpec, RunSpec, Submitted};
use ringrift_wire::status::GauntletCapability;

use super::body::JsonBody;
use super::failure::Answer;
use super::{App, convert, runs};

/// Submits a gauntlet as a run; the same one under the same id again is harmless.
#[utoipa::path(
    post, path = "/gauntlet/execute", operation_id = "gauntlet_execute", tag = "gauntlet",
    request_body = Execute,
    responses((status = 200, body = Submitted), (status = "default", body = Problem))
)]
pub(crate) async fn execute(
    State(app): State<Arc<App>>,
    JsonBody(execute): JsonBody<Execute>,
) -> Answer<Submitted> {
    let Execute { run_id, queue, candidate, baselines, play, stop, resources } = execute;
    let spec = RunSpec::Gauntlet(GauntletSpec { candidate, baselines, play, stop, resources });
    let spec = convert::run::spec("", spec)?;
    runs::submit_spec(&app, run_id, &queue, spec, "").await
}

/// Whether this agent can play, and which gauntlets are active in the cluster.
#[utoipa::path(
    get, path = "/gauntlet/status", operation_id = "gauntlet_status", tag = "gauntlet",
    responses((status = 200, body = GauntletCapability), (status = "default", body = Problem))
)]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<GauntletCapability> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let active_runs = app.consensus.as_ref().map(|consensus| {
        consensus.read(|machine| {
            let gauntlets = machine.active_runs().filter(|run| match run.spec {
                CoreSpec::Gauntlet(_) => true,
                CoreSpec::Job(_) | CoreSpec::Tournament(_) => false,
            });
            gauntlets.map(|run| run.id.to_string()).collect()
        })
    });
    Json(GauntletCapability {
        node_id: app.node_id.to_string(),
        available: app.match_program.is_some(),
        has_gpu: None,
        gpu_name: None,
        cpu_count: u32::try_from(processors).unwrap_or(u32::MAX),
        active_runs: active_runs.unwrap_or_default(),
    })
}
