//! Membership as this agent sees it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ringrift_core::membership::{Member, State as MemberState};
use ringrift_wire::status::{SwimConfigStatus, SwimMember, SwimMembers, SwimStatus, SwimSummary};

use super::App;

/// A dead member is known everywhere within this time; the simulation shows it for the default
/// profile.
const FAILURE_TIMEOUT_SECONDS: f64 = 5.0;

/// The members by state.
pub(crate) fn summary(members: &[Member]) -> SwimSummary {
    let mut summary = SwimSummary::default();
    for member in members {
        summary.members += 1;
        match member.state {
            MemberState::Alive => summary.alive += 1,
            MemberState::Suspected => summary.suspected += 1,
            MemberState::Failed => summary.failed += 1,
        }
    }
    summary
}

/// Settings and counts of membership.
#[utoipa::path(
    get, path = "/swim/status", operation_id = "swim_status", tag = "status",
    responses((status = 200, body = SwimStatus))
)]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<SwimStatus> {
    let profile = app.gossip.profile();
    Json(SwimStatus {
        node_id: app.node_id.to_string(),
        swim_enabled: true,
        swim_available: true,
        swim_started: true,
        membership_mode: "swim".to_owned(),
        config: SwimConfigStatus {
            bind_port: app.gossip.listen_address().port(),
            failure_timeout: FAILURE_TIMEOUT_SECONDS,
            suspicion_timeout: profile.suspicion().as_secs_f64(),
            ping_interval: profile.probe_period().as_secs_f64(),
        },
        summary: summary(&app.gossip.members()),
    })
}

/// Every known member and its state.
#[utoipa::path(
    get, path = "/swim/members", operation_id = "swim_members", tag = "status",
    responses((status = 200, body = SwimMembers))
)]
pub(crate) async fn members(State(app): State<Arc<App>>) -> Json<SwimMembers> {
    let members = app.gossip.members();
    let SwimSummary { members: _, alive, suspected, failed } = summary(&members);
    let shown = members.into_iter().map(|member| SwimMember {
        id: member.node_id.to_string(),
        state: member.state.as_str().to_owned(),
        address: member.swim_address.to_string(),
    });
    Json(SwimMembers {
        node_id: app.node_id.to_string(),
        swim_started: true,
        members: shown.collect(),
        alive_count: alive,
        suspected_count: suspected,
        failed_count: failed,
    })
}
