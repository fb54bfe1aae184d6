//! Consensus as this replica sees it; a client shows a voter's view.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ringrift_core::machine::{Counts, Machine, OTHER_TYPES};
use ringrift_core::queue::waits::Waits;
use ringrift_core::time::Span;
use ringrift_wire::problem::Problem;
use ringrift_wire::status::{
    JobStats, NodeJobs, RaftStats, RaftStatus, Readiness, WaitStats, WorkStats,
};

use super::failure::Answer;
use super::{App, convert, members};
use crate::consensus::{Consensus, ConsensusStatus, Member, Role};

fn readiness(replica: &Consensus, status: &ConsensusStatus) -> Readiness {
    Readiness {
        // openraft goes on naming a leader that is out of reach.
        is_ready: status.leader.is_some() && replica.out_of_touch().is_none(),
        is_leader: status.role == Role::Leader,
        leader_address: status.leader.as_ref().map(|leader| leader.raft_address.clone()),
    }
}

fn names(members: &[Member]) -> Vec<String> {
    members.iter().map(|member| member.node_id.to_string()).collect()
}

/// Whether the replicated parts are ready, and how far this replica is.
#[utoipa::path(
    get, path = "/raft/status", operation_id = "raft_status", tag = "status",
    responses((status = 200, body = RaftStatus), (status = "default", body = Problem))
)]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Answer<RaftStatus> {
    let replica = app.replica()?;
    let (status, outlook) = (replica.status(), replica.outlook());
    let readiness = readiness(replica, &status);
    let health = match (status.initialized, &status.stopped, readiness.is_ready) {
        (false, _, _) => "disabled",
        (true, Some(_), _) | (true, None, false) => "unavailable",
        (true, None, true) => "healthy",
    };
    Ok(Json(RaftStatus {
        node_id: app.node_id.to_string(),
        raft_enabled: true,
        pysyncobj_available: true,
        raft_initialized: status.initialized,
        consensus_mode: "raft".to_owned(),
        work_queue: readiness.clone(),
        job_assignments: readiness,
        cluster_health: health.to_owned(),
        leader_id: status.leader.as_ref().map(|leader| leader.node_id.to_string()),
        term: status.term,
        contact_age_seconds: replica.contact_age().as_secs_f64(),
        applied_index: status.applied.index,
        last_log_index: status.last_log_index,
        voters: names(&status.voters),
        learners: names(&status.learners),
        voters_outlook: outlook.map(|outlook| members::sentence(Some(&outlook))),
    }))
}

fn stats<S>(app: &App, look: impl FnOnce(&Machine) -> S) -> Answer<RaftStats<S>> {
    let replica = app.replica()?;
    let Readiness { is_ready, is_leader, leader_address } = readiness(replica, &replica.status());
    Ok(Json(RaftStats {
        node_id: app.node_id.to_string(),
        enabled: true,
        is_ready,
        is_leader,
        leader_address,
        stats: replica.read(look),
    }))
}

/// Work items by state, on this replica.
#[utoipa::path(
    get, path = "/raft/work", operation_id = "raft_work", tag = "status",
    responses((status = 200, body = RaftStats<WorkStats>), (status = "default", body = Problem))
)]
pub(crate) async fn work(State(app): State<Arc<App>>) -> Answer<RaftStats<WorkStats>> {
    stats(&app, |machine| {
        let counts = machine.counts();
        let Counts { delayed, blocked, ready, claimed, running, completed, dead, cancelled } =
            counts;
        WorkStats {
            pending: delayed + blocked + ready,
            claimed,
            running,
            completed,
            failed: dead,
            cancelled,
            total: counts.unfinished() + counts.finished(),
            waits: machine
                .waits()
                .map(|(name, waits)| (type_label(name), of_waits(waits)))
                .collect(),
        }
    })
}

fn of_waits(waits: &Waits) -> WaitStats {
    let seconds = |span: Option<Span>| convert::seconds(span.unwrap_or_default());
    WaitStats {
        claimed: waits.len(),
        p50_seconds: seconds(waits.quantile(500)),
        p99_seconds: seconds(waits.quantile(990)),
        longest_seconds: seconds(Some(waits.longest())),
        total_seconds: seconds(Some(waits.total())),
    }
}

/// What stands for a work type in figures.
pub(crate) fn type_label(name: &str) -> String {
    if name == OTHER_TYPES { "*".to_owned() } else { name.to_owned() }
}

/// Job assignments by state and by node, on this replica.
#[utoipa::path(
    get, path = "/raft/jobs", operation_id = "raft_jobs", tag = "status",
    responses((status = 200, body = RaftStats<JobStats>), (status = "default", body = Problem))
)]
pub(crate) async fn jobs(State(app): State<Arc<App>>) -> Answer<RaftStats<JobStats>> {
    stats(&app, |machine| {
        let counts = machine.counts();
        let Counts {
            delayed: _,
            blocked: _,
            ready: _,
            claimed,
            running,
            completed,
            dead,
            cancelled: _,
        } = counts;
        let by_node = machine.node_totals().into_iter();
        let by_node =
            by_node.map(|(node, (active, total))| (node.to_string(), NodeJobs { active, total }));
        JobStats {
            assigned: claimed,
            running,
            completed,
            failed: dead,
            total: claimed + running + completed + dead,
            by_node: by_node.collect(),
        }
    })
}
