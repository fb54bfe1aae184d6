//! `ringrift cluster ...`: who takes part in the log, and backups of it.

mod backup;

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::status::{
    AddMember, Added, ClusterMembers, Removed, Snapshotted, Transfer, Transferred,
};
use serde::Serialize;

use crate::args::{Cluster, Remove};
use crate::output::{self, Failure};

pub(crate) async fn run(
    client: &Client,
    command: Cluster,
    json: bool,
) -> Result<ExitCode, Failure> {
    match command {
        Cluster::Members => members(client, json).await?,
        Cluster::Add(node) => {
            let body = AddMember { node_id: node.node_id };
            let added: Added = client.post("/cluster/members", &body).await?;
            let text = match added.part.as_str() {
                "client" => "stays a client: there are enough voters and learners".to_owned(),
                part => format!("is a {part}"),
            };
            say(&added, &format!("{} {text}", added.node_id), json)?;
        }
        Cluster::Remove(Remove { node_id, force }) => {
            let query = if force { "?force=true" } else { "" };
            let path = format!("/cluster/members/{node_id}{query}");
            let removed: Removed = client.delete(&path, &serde_json::json!({})).await?;
            let voters = removed.voters.join(", ");
            say(&removed, &format!("{} is removed; voters: {voters}", removed.node_id), json)?;
        }
        Cluster::Transfer(node) => {
            let body = Transfer { to: node.node_id };
            let moved: Transferred = client.post("/cluster/transfer", &body).await?;
            say(&moved, &format!("{} leads", moved.leader_id), json)?;
        }
        Cluster::Snapshot => {
            let body = serde_json::json!({});
            let written: Snapshotted = client.post("/cluster/snapshot", &body).await?;
            let Snapshotted { node_id, index } = &written;
            say(&written, &format!("{node_id} has a snapshot up to index {index}"), json)?;
        }
        Cluster::Backup(backup) => backup::run(client, &backup.file, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn say<T: Serialize>(value: &T, text: &str, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(value);
    }
    output::line(text);
    Ok(())
}

async fn members(client: &Client, json: bool) -> Result<(), Failure> {
    let seen: ClusterMembers = client.get("/cluster/members").await?;
    if json {
        return output::json(&seen);
    }
    let ago = |seconds: Option<f64>| {
        seconds.map_or_else(|| "never".to_owned(), |it| format!("{} ago", output::age(it)))
    };
    output::line(&format!(
        "cluster {}, led by {} in term {}, log up to {}",
        seen.cluster_id, seen.leader_id, seen.term, seen.last_log_index
    ));
    let voters = seen.members.iter().filter(|member| member.part != "learner").count();
    output::line(&format!(
        "{voters} of {} voters, last change {}; {}",
        seen.voters_wanted,
        ago(seen.last_change_seconds),
        seen.voters_outlook
    ));
    let header =
        ["agent", "part", "state", "zone", "behind", "last contact", "raft id", "raft", "http"];
    let mut table = output::table(&header);
    for member in &seen.members {
        let contact = member.last_contact_seconds;
        table.add_row([
            member.node_id.clone(),
            member.part.clone(),
            member.state.clone(),
            member.zone.clone().unwrap_or_else(|| "-".to_owned()),
            member.behind.map_or_else(|| "-".to_owned(), |behind| behind.to_string()),
            contact.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}s")),
            member.raft_id.clone(),
            member.raft_address.clone(),
            member.http_address.clone(),
        ]);
    }
    output::print_table(&table);
    Ok(())
}
