//! Who takes part in the log, and the addition of one more.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ringrift_core::id::NodeId;
use ringrift_core::machine::Machine;
use ringrift_core::time::Span;
use ringrift_core::voters::Decision;
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::status::{AddMember, Added, ClusterMember, ClusterMembers};

use super::body::JsonBody;
use super::cluster::{part, refused};
use super::failure::{Answer, Failure};
use super::{App, convert};
use crate::consensus::{Consensus, Member, Outlook, Standing};

/// The members of the log, as the leader sees them: part, lag and last contact.
#[utoipa::path(
    get, path = "/cluster/members", operation_id = "cluster_members", tag = "cluster",
    responses((status = 200, body = ClusterMembers), (status = "default", body = Problem))
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<ClusterMembers> {
    let replica = app.replica()?;
    let seen = replica.electorate().ok_or(Failure::NotLeader)?;
    let status = replica.status();
    let gossip = app.gossip.members();
    let view = |standing: Standing| {
        let Standing { raft_id, member, votes, silent_for, behind } = standing;
        let known = gossip.iter().find(|known| known.node_id == member.node_id);
        let part = match (raft_id == seen.leader, votes) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        ClusterMember {
            node_id: member.node_id.to_string(),
            part: part.to_owned(),
            state: known.map_or("unknown", |known| known.state.as_str()).to_owned(),
            behind,
            last_contact_seconds: silent_for.as_ref().map(Duration::as_secs_f64),
            raft_id: format!("{raft_id:016x}"),
            raft_address: member.raft_address,
            http_address: member.http_address,
            zone: member.zone.as_ref().map(ToString::to_string),
        }
    };
    let mut members: Vec<ClusterMember> = seen.standings.into_iter().map(view).collect();
    members.sort_by_key(|member| (member.part == "learner", member.node_id.clone()));
    let now = replica.next_moment();
    let seconds = |Span(span): Span| Duration::from_millis(span).as_secs_f64();
    let (cluster_id, changed, replaced, retired) = replica.read(|machine: &Machine| {
        let facts = machine.members();
        let changed = facts.changed().map(|at| seconds(now.since(at)));
        let replaced = facts.replaced().map(|it| seconds(it.age(now)));
        (machine.cluster_id().to_owned(), changed, replaced, facts.retired() as u64)
    });
    let outlook = replica.outlook();
    let waits_for = outlook.as_ref().and_then(|outlook| match &outlook.decision {
        Decision::Wait { dead: _, obstacle } => Some(obstacle.word().to_owned()),
        Decision::Rest | Decision::Replace { .. } | Decision::Promote { .. } | Decision::Finish => {
            None
        }
    });
    Ok(Json(ClusterMembers {
        cluster_id,
        leader_id: app.node_id.to_string(),
        term: status.term,
        last_log_index: status.last_log_index,
        voters_wanted: wanted(replica),
        voters_outlook: sentence(outlook.as_ref()),
        waits_for,
        last_change_seconds: changed,
        last_replacement_seconds: replaced,
        retired,
        members,
    }))
}

/// Takes in an agent that runs and that gossip knows, or finishes what was begun for it.
#[utoipa::path(
    post, path = "/cluster/members", operation_id = "cluster_add", tag = "cluster",
    request_body = AddMember,
    responses((status = 200, body = Added), (status = "default", body = Problem))
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    JsonBody(AddMember { node_id }): JsonBody<AddMember>,
) -> Answer<Added> {
    let node_id: NodeId = convert::id("node_id", &node_id)?;
    let known = app.gossip.members().into_iter().find(|known| known.node_id == node_id);
    let known = known.ok_or_else(|| {
        let text = format!("{node_id} is not known here; start it with --join first");
        Failure::problem(StatusCode::NOT_FOUND, Code::NotFound, text).at("node_id")
    })?;
    let raft_address = known.raft_address.ok_or_else(|| {
        let text = format!(
            "{node_id} is a client and has no raft port; when there is room, start it again, without \
             --client: then it asks by itself"
        );
        Failure::problem(StatusCode::CONFLICT, Code::InvalidValue, text).at("node_id")
    })?;
    // It is asked where it stands.
    let member = Member { node_id, raft_address, http_address: known.http_address, zone: None };
    let name = member.node_id.to_string();
    let taken = app.replica()?.add_member(member).await.map_err(refused)?;
    Ok(Json(Added { node_id: name, part: part(taken).to_owned() }))
}

/// Up to how many voters there shall be while this agent leads.
pub(crate) fn wanted(replica: &Consensus) -> u32 {
    u32::try_from(replica.voter_policy().wanted.get()).unwrap_or(u32::MAX)
}

/// What the leader does about the voters, for people.
pub(crate) fn sentence(outlook: Option<&Outlook>) -> String {
    let Some(Outlook { members, decision }) = outlook else {
        return "the leader has not looked yet".to_owned();
    };
    let name = |raft_id: u64| {
        let member = members.iter().find(|member| member.raft_id == raft_id);
        member.map_or_else(|| format!("{raft_id:016x}"), |member| member.node_id.to_string())
    };
    match decision {
        Decision::Rest => "nothing to do".to_owned(),
        Decision::Wait { dead, obstacle } => format!("{dead} is not replaced yet: {obstacle}"),
        Decision::Replace { dead, by } => format!("{} is replaced by {}", name(*dead), name(*by)),
        Decision::Promote { learner } => format!("{} gets a vote", name(*learner)),
        Decision::Finish => "a change that was left half done is finished".to_owned(),
    }
}
