//! `ringrift status`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::status::{RaftStats, Status, WorkStats};
use serde::Serialize;

use crate::output::{self, Failure};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    status: Status,
    work: WorkStats,
}

pub(crate) async fn run(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let status = client.status().await?;
    let work: RaftStats<WorkStats> = client.get("/raft/work").await?;
    if json {
        output::json(&Report { status, work: work.stats })?;
        return Ok(ExitCode::SUCCESS);
    }
    let leader = status.leader_id.as_deref().unwrap_or("none");
    output::line(&format!(
        "leader {leader}, {} of {} voters alive, {} agents alive, up {}",
        status.voters_alive,
        status.voter_node_ids.len(),
        status.alive_peers,
        output::age(status.uptime_seconds),
    ));
    let stats = &work.stats;
    output::line(&format!(
        "work: {} pending, {} claimed, {} running, {} completed, {} failed, {} cancelled; {} runs active",
        stats.pending,
        stats.claimed,
        stats.running,
        stats.completed,
        stats.failed,
        stats.cancelled,
        status.swim_raft.raft.pending_jobs,
    ));
    let mut table = output::table(&["agent", "state", "part", "http", "swim", "raft"]);
    for (id, peer) in &status.peers {
        let part = if status.leader_id.as_deref() == Some(id) {
            "leader"
        } else if status.voter_node_ids.contains(id) {
            "voter"
        } else if peer.raft_address.is_some() {
            "learner"
        } else {
            "client"
        };
        table.add_row([
            id.as_str(),
            &peer.state,
            part,
            &peer.http_address,
            &peer.swim_address,
            peer.raft_address.as_deref().unwrap_or("-"),
        ]);
    }
    output::print_table(&table);
    if let Some(reason) = &status.joining {
        output::line(&format!("not yet part of a cluster: {reason}"));
    }
    Ok(ExitCode::SUCCESS)
}
