//! Newcomers ask here to be taken in.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ringrift_core::machine::Machine;
use ringrift_core::membership::State as MemberState;
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::status::{Join, Joined};

use super::body::JsonBody;
use super::failure::{Answer, Failure};
use super::{App, convert};
use crate::config::is_host_and_port;
use crate::consensus::{Member, MembershipError, Part};

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
    let part = match raft_address {
        None => "client",
        Some(raft_address) => {
            host_and_port("raft_address", &raft_address)?;
            let member = Member { node_id, raft_address, http_address };
            tracing::info!(node_id = %member.node_id, raft_address = member.raft_address, "taking in");
            match app.replica()?.add_member(member).await.map_err(refused)? {
                Part::Voter => "voter",
                Part::Learner => "learner",
            }
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
        app.gossip.join(vec![swim_address]).await;
    }
    Ok(Json(Joined { part: part.to_owned(), cluster_id, swim_seeds: swim_seeds.collect() }))
}

fn host_and_port(field: &str, text: &str) -> Result<(), Failure> {
    if is_host_and_port(text) {
        Ok(())
    } else {
        Err(Failure::invalid(field, format!("is {text:?}, not host:port")))
    }
}

fn refused(error: MembershipError) -> Failure {
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
        MembershipError::Late { .. } | MembershipError::Raft { .. } => later(),
        // None of these can come of adding a member.
        MembershipError::Initialized { .. }
        | MembershipError::Unknown { .. }
        | MembershipError::LastVoter { .. } => Failure::internal(text),
    }
}
