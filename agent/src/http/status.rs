//! The one page about an agent and its cluster.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ringrift_core::id::NodeId;
use ringrift_core::machine::Machine;
use ringrift_core::membership::{Member, State as MemberState};
use ringrift_wire::status::{
    HybridStatus, LowDisk, Peer, RaftSection, RaftStats, RaftStatus, Status, SwimRaft, SwimSection,
    SwimSummary, WorkStats,
};

use super::{App, VERSION, forward, swim};
use crate::consensus::Consensus;

/// What `/status` says of consensus, from this replica or, on a client, from a voter.
struct Picture {
    role: String,
    leader_id: Option<String>,
    leader_address: Option<String>,
    is_leader: bool,
    initialized: bool,
    voters: Vec<String>,
    unfinished: u64,
    active_runs: u64,
    local_jobs: u64,
}

/// This agent, its peers, membership and consensus.
#[utoipa::path(
    get, path = "/status", operation_id = "status", tag = "status",
    responses((status = 200, body = Status))
)]
pub(crate) async fn status(State(app): State<Arc<App>>) -> Json<Status> {
    let picture = match &app.consensus {
        Some(_) => of_replica(&app),
        None => of_client(&app).await,
    };
    let members = app.gossip.members();
    let SwimSummary { members: _, alive, suspected, failed } = swim::summary(&members);
    let is_alive = |voter: &&String| {
        let member = members.iter().find(|member| member.node_id.as_str() == voter.as_str());
        member.is_some_and(|member| member.state == MemberState::Alive)
    };
    let voters_alive = count(picture.voters.iter().filter(is_alive).count());
    let quorum = count(picture.voters.len() / 2 + 1);
    Json(Status {
        node_id: app.node_id.to_string(),
        role: picture.role,
        leader_id: picture.leader_id,
        alive_peers: alive,
        voter_quorum_size: quorum,
        voters_alive,
        voter_quorum_ok: !picture.voters.is_empty() && voters_alive >= quorum,
        voter_node_ids: picture.voters,
        peers: members.iter().map(peer).collect(),
        swim_raft: SwimRaft {
            membership_mode: "swim".to_owned(),
            consensus_mode: "raft".to_owned(),
            swim: SwimSection {
                enabled: true,
                available: true,
                started: true,
                alive_count: alive,
                suspected_count: suspected,
                failed_count: failed,
            },
            raft: RaftSection {
                enabled: app.consensus.is_some(),
                available: true,
                initialized: picture.initialized,
                is_leader: picture.is_leader,
                leader_address: picture.leader_address,
                work_queue_size: picture.unfinished,
                pending_jobs: picture.active_runs,
            },
            hybrid_status: HybridStatus {
                swim_fallback_active: false,
                raft_fallback_active: false,
            },
        },
        local_jobs: u32::try_from(picture.local_jobs).unwrap_or(u32::MAX),
        version: VERSION.to_owned(),
        uptime_seconds: app.clock.monotonic().as_secs_f64(),
        joining: app.joining.borrow().clone(),
        problem: app.problem(),
        low_disks: app.consensus.as_ref().map(low_disks).unwrap_or_default(),
        refuses_new_work: app.consensus.as_ref().and_then(refuses_new_work),
    })
}

fn low_disks(consensus: &Consensus) -> Vec<LowDisk> {
    let seen = consensus.low_disks().into_iter();
    seen.map(|it| LowDisk { node_id: it.node_id.to_string(), free_bytes: it.free_bytes }).collect()
}

fn refuses_new_work(consensus: &Consensus) -> Option<String> {
    let leads = consensus.leadership().borrow().is_leader;
    consensus.admit().err().filter(|_| leads).map(|full| full.to_string())
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn peer(member: &Member) -> (String, Peer) {
    let peer = Peer {
        state: member.state.as_str().to_owned(),
        http_address: member.http_address.clone(),
        swim_address: member.swim_address.to_string(),
        raft_address: member.raft_address.clone(),
    };
    (member.node_id.to_string(), peer)
}

/// Items that a node has started, and those that it is about to.
pub(crate) fn held_by(machine: &Machine, node_id: &NodeId) -> u64 {
    machine.held_by(node_id).count() as u64
}

fn of_replica(app: &App) -> Picture {
    let Some(consensus) = &app.consensus else {
        return unknown();
    };
    let status = consensus.status();
    let (unfinished, active_runs, local_jobs) = consensus.read(|machine| {
        let active_runs = machine.active_runs().count() as u64;
        (machine.counts().unfinished(), active_runs, held_by(machine, &app.node_id))
    });
    let is_leader = consensus.leadership().borrow().is_leader;
    Picture {
        role: status.role.as_str().to_owned(),
        leader_id: status.leader.as_ref().map(|leader| leader.node_id.to_string()),
        leader_address: status.leader.as_ref().map(|leader| leader.raft_address.clone()),
        is_leader,
        initialized: status.initialized,
        voters: status.voters.iter().map(|voter| voter.node_id.to_string()).collect(),
        unfinished,
        active_runs,
        local_jobs,
    }
}

async fn of_client(app: &App) -> Picture {
    let Some(status) = forward::ask_replica::<RaftStatus>(app, "/raft/status").await else {
        return unknown();
    };
    let work = forward::ask_replica::<RaftStats<WorkStats>>(app, "/raft/work").await;
    let unfinished = work.map(|work| work.stats.pending + work.stats.claimed + work.stats.running);
    Picture {
        leader_id: status.leader_id,
        leader_address: status.work_queue.leader_address,
        initialized: status.raft_initialized,
        voters: status.voters,
        unfinished: unfinished.unwrap_or(0),
        ..unknown()
    }
}

fn unknown() -> Picture {
    Picture {
        role: "client".to_owned(),
        leader_id: None,
        leader_address: None,
        is_leader: false,
        initialized: false,
        voters: Vec::new(),
        unfinished: 0,
        active_runs: 0,
        local_jobs: 0,
    }
}
