//! What probes and scrapers ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ringrift_core::membership::State as MemberState;
use ringrift_telemetry::metrics::CONTENT_TYPE;
use ringrift_wire::problem::Problem;
use ringrift_wire::status::Health;

use super::failure::Failure;
use super::{App, VERSION};
use crate::consensus::Consensus;

/// Where to go from here, for people.
#[utoipa::path(
    get, path = "/", operation_id = "index", tag = "status",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(crate) async fn index(State(app): State<Arc<App>>) -> String {
    format!(
        "RingRift agent {} {VERSION}\n\n\
         GET /health          is it well\n\
         GET /status          the cluster as this agent sees it\n\
         GET /swim/members    who is there\n\
         GET /raft/status     who leads, how far this replica is\n\
         GET /work/status     the queue\n\
         GET /runs            jobs, gauntlets, tournaments\n\
         GET /metrics         for Prometheus\n\
         GET /openapi.json    everything\n",
        app.node_id
    )
}

/// Whether this agent is part of a cluster with a leader, hears of it, is not stopping, and its disk
/// answers.
#[utoipa::path(
    get, path = "/health", operation_id = "health", tag = "status",
    responses((status = 200, body = Health), (status = 503, body = Health))
)]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let (role, leader_id, has_cluster) = match &app.consensus {
        Some(consensus) => {
            let leadership = consensus.leadership().borrow().clone();
            let leader_id = leadership.leader.map(|leader| leader.node_id.to_string());
            let has_cluster = leadership.initialized && leader_id.is_some();
            (leadership.role.as_str(), leader_id, has_cluster)
        }
        None => {
            let mut members = app.gossip.members().into_iter();
            let has_voter = members
                .any(|member| member.raft_address.is_some() && member.state == MemberState::Alive);
            ("client", None, has_voter)
        }
    };
    let out_of_touch = app.consensus.as_ref().and_then(Consensus::out_of_touch);
    let problem = app.problem().or_else(|| {
        out_of_touch.map(|age| format!("it has had no word of its cluster for {} s", age.as_secs()))
    });
    let healthy = has_cluster && problem.is_none();
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let health = Health {
        healthy,
        node_id: app.node_id.to_string(),
        role: role.to_owned(),
        leader_id,
        problem,
        uptime_seconds: app.clock.monotonic().as_secs_f64(),
        version: VERSION.to_owned(),
    };
    (status, Json(health)).into_response()
}

/// Metrics in Prometheus' text form.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "status",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "default", body = Problem)
    )
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let text = app.metrics.scrape(&app).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "status",
    responses((status = 200, body = Object))
)]
pub(crate) async fn openapi(State(app): State<Arc<App>>) -> Response {
    let document = app.openapi.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
