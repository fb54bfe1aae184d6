//! Newcomers ask here to be taken in, and operators to change who takes part.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ringrift_core::id::NodeId;
use ringrift_core::machine::Machine;
use ringrift_core::membership::State as MemberState;
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::status::{
    Join, Joined, RemoveQuery, Removed, Snapshotted, Transfer, Transferred,
};

use super::body::{JsonBody, UrlQuery};
use super::failure::{Answer, Failure};
use super::{App, convert};
use crate::config::is_host_and_port;
use crate::consensus::{Member, MembershipError, Part, TransferError};

/// Seeds that a newcomer is told: any one would do.
const SEEDS_TOLD_MAX: usize = 16;

/// Takes an agent in. Asking again is harmless, and tells the leader of a changed address.
#[utoipa::path(
    post, path = "/cluster/join", operation_id = "cluster_join", tag = "cluster",
    request_body = Join,
    responses((status = 200, body = Joined), (status = "default", body = Problem))
)]
pub(crate) async fn join(
    State(app): State<Arc<App>>,
    JsonBody(Join { node_id, http_address, swim_address, raft_address }): JsonBody<Join>,
) -> Answer<Joined> {
    let node_id = convert::id("node_id", &node_id)?;
    host_and_port("http_address", &http_address)?;
    let swim: SocketAddr = convert::id("swim_address", &swim_address)?;
    // Proposing through the log shows that this agent leads and that the name is applied.
    let cluster_id = app.view(|machine: &Machine| machine.cluster_id().to_owned()).await?;
    let taken_as = match raft_address {
        None => part(Part::Client),
        Some(raft_address) => {
            host_and_port("raft_address", &raft_address)?;
            // It is asked where it stands.
            let member = Member { node_id, raft_address, http_address, zone: None };
            tracing::info!(node_id = %member.node_id, raft_address = member.raft_address, "taking in");
            part(app.replica()?.add_member(member).await.map_err(refused)?)
        }
    };
    let mut seeds = app.gossip.members();
    seeds.retain(|member| member.state == MemberState::Alive && member.swim_address != swim);
    let own = app.gossip.advertised_address();
    // The one who answers is surely there.
    seeds.sort_by_key(|member| member.swim_address != own);
    let swim_seeds =
        seeds.iter().take(SEEDS_TOLD_MAX).map(|member| member.swim_address.to_string());
    if swim != own {
        app.gossip.announce(swim).await;
    }
    Ok(Json(Joined {
        part: taken_as.to_owned(),
        cluster_id,
        swim_seeds: swim_seeds.collect(),
        voters_wanted: app.consensus.as_ref().map(super::members::wanted),
    }))
}

/// Hands leadership over. When the voter does not take it at once, somebody leads nevertheless.
#[utoipa::path(
    post, path = "/cluster/transfer", operation_id = "cluster_transfer", tag = "cluster",
    request_body = Transfer,
    responses((status = 200, body = Transferred), (status = "default", body = Problem))
)]
pub(crate) async fn transfer(
    State(app): State<Arc<App>>,
    JsonBody(Transfer { to }): JsonBody<Transfer>,
) -> Answer<Transferred> {
    let to: NodeId = convert::id("to", &to)?;
    let leader = app.replica()?.transfer(Some(&to)).await.map_err(not_transferred)?;
    Ok(Json(Transferred { leader_id: leader.node_id.to_string() }))
}

/// Removes an agent from the cluster for good: it returns with a fresh data directory only.
#[utoipa::path(
    delete, path = "/cluster/members/{node_id}", operation_id = "cluster_remove", tag = "cluster",
    params(("node_id" = String, Path, description = "The agent."), RemoveQuery),
    responses((status = 200, body = Removed), (status = "default", body = Problem))
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Path(node_id): Path<String>,
    UrlQuery(RemoveQuery { force }): UrlQuery<RemoveQuery>,
) -> Answer<Removed> {
    let node_id: NodeId = convert::id("node_id", &node_id)?;
    let replica = app.replica()?;
    let removed = if force {
        replica.remove_member_by_force(&node_id).await
    } else {
        replica.remove_member(&node_id).await
    };
    removed.map_err(refused)?;
    let voters = replica.status().voters;
    let mut voters: Vec<String> = voters.iter().map(|voter| voter.node_id.to_string()).collect();
    voters.sort();
    tracing::info!(%node_id, "removed from the cluster");
    Ok(Json(Removed { node_id: node_id.to_string(), voters }))
}

/// Writes a snapshot on the agent that is asked, and drops the log before it.
#[utoipa::path(
    post, path = "/cluster/snapshot", operation_id = "cluster_snapshot", tag = "cluster",
    responses((status = 200, body = Snapshotted), (status = "default", body = Problem))
)]
pub(crate) async fn snapshot(State(app): State<Arc<App>>) -> Answer<Snapshotted> {
    let replica = app.consensus.as_ref().ok_or_else(|| {
        let text = "this agent takes no part in Raft and has no snapshot; ask a voter";
        Failure::problem(StatusCode::CONFLICT, Code::InvalidValue, text)
    })?;
    replica.compact().await?;
    let index = replica.status().snapshot.map_or(0, |position| position.index);
    Ok(Json(Snapshotted { node_id: app.node_id.to_string(), index }))
}

/// The word for a part.
pub(super) const fn part(part: Part) -> &'static str {
    match part {
        Part::Voter => "voter",
        Part::Learner => "learner",
        Part::Client => "client",
    }
}

fn not_transferred(error: TransferError) -> Failure {
    let text = error.to_string();
    match error {
        TransferError::Propose(error) => error.into(),
        TransferError::NoHeir { .. } => {
            Failure::problem(StatusCode::CONFLICT, Code::InvalidValue, text).at("to")
        }
        TransferError::Refused { .. } => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Failure::problem(status, Code::Unavailable, text).retry_after(1)
        }
    }
}

fn host_and_port(field: &str, text: &str) -> Result<(), Failure> {
    if is_host_and_port(text) {
        Ok(())
    } else {
        Err(Failure::invalid(field, format!("is {text:?}, not host:port")))
    }
}

pub(super) fn refused(error: MembershipError) -> Failure {
    let text = error.to_string();
    let conflict = || Failure::problem(StatusCode::CONFLICT, Code::InvalidValue, text.clone());
    let later = || {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Failure::problem(status, Code::Unavailable, text.clone()).retry_after(1)
    };
    match error {
        MembershipError::Propose(error) => error.into(),
        MembershipError::Unreachable { .. } => conflict().at("raft_address"),
        MembershipError::Impostor { .. }
        | MembershipError::Foreign { .. }
        | MembershipError::WipedVoter { .. } => conflict().at("node_id"),
        MembershipError::Retired { .. } => {
            Failure::problem(StatusCode::CONFLICT, Code::MemberRetired, text).at("node_id")
        }
        MembershipError::Late { .. } | MembershipError::Raft { .. } | MembershipError::Changed => {
            later()
        }
        MembershipError::Unknown { .. } => {
            Failure::problem(StatusCode::NOT_FOUND, Code::NotFound, text).at("node_id")
        }
        MembershipError::LastVoter { .. }
        | MembershipError::Leads { .. }
        | MembershipError::Needed { .. } => conflict().at("node_id"),
        // This comes of founding a cluster only.
        MembershipError::Initialized { .. } => Failure::internal(text),
    }
}
