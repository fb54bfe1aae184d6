//! Tenants' queues, and what nodes have.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use ringrift_core::id::NodeId;
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Command, Reply};
use ringrift_core::queue::tenant;
use ringrift_wire::problem::Problem;
use ringrift_wire::tenancy::{
    Capacity, CapacityQuery, NodeCapacity, Nodes, NodesQuery, Queue, QueueSettings, Queues, Set,
};

use super::body::{JsonBody, UrlQuery};
use super::failure::Answer;
use super::{App, convert};

/// All queues with their settings and what they hold.
#[utoipa::path(
    get, path = "/queues", operation_id = "queues", tag = "queues",
    responses((status = 200, body = Queues), (status = "default", body = Problem))
)]
pub(crate) async fn queues(State(app): State<Arc<App>>) -> Answer<Queues> {
    let queues = app.view(|machine| {
        let queues = machine.queues().into_iter();
        queues
            .map(|(name, (settings, load))| {
                let tenant::QueueSettings { weight, max_running, max_queued, max_gpu_milli } =
                    settings;
                Queue {
                    name: name.to_string(),
                    settings: QueueSettings { weight, max_running, max_queued, max_gpu_milli },
                    queued: load.queued,
                    held: load.held,
                    gpu_milli: load.gpu_milli,
                }
            })
            .collect()
    });
    Ok(Json(Queues { queues: queues.await? }))
}

/// Makes a queue or changes its settings.
#[utoipa::path(
    put, path = "/queues/{name}", operation_id = "queue_set", tag = "queues",
    params(("name" = String, Path, description = "The queue.")),
    request_body = QueueSettings,
    responses((status = 200, body = Set), (status = "default", body = Problem))
)]
pub(crate) async fn set_queue(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    JsonBody(settings): JsonBody<QueueSettings>,
) -> Answer<Set> {
    let QueueSettings { weight, max_running, max_queued, max_gpu_milli } = settings;
    let settings = tenant::QueueSettings { weight, max_running, max_queued, max_gpu_milli };
    let queue = convert::id("name", &name)?;
    set(&app, Command::SetQueue { queue, settings }, name, "set").await
}

/// Removes a queue that holds nothing.
#[utoipa::path(
    delete, path = "/queues/{name}", operation_id = "queue_remove", tag = "queues",
    params(("name" = String, Path, description = "The queue.")),
    responses((status = 200, body = Set), (status = "default", body = Problem))
)]
pub(crate) async fn remove_queue(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Answer<Set> {
    let queue = convert::id("name", &name)?;
    set(&app, Command::RemoveQueue { queue }, name, "removed").await
}

/// Nodes of which is known what they have, with what is reserved of it.
#[utoipa::path(
    get, path = "/nodes", operation_id = "nodes", tag = "nodes",
    params(NodesQuery),
    responses((status = 200, body = Nodes), (status = "default", body = Problem))
)]
pub(crate) async fn nodes(
    State(app): State<Arc<App>>,
    UrlQuery(NodesQuery { node_id }): UrlQuery<NodesQuery>,
) -> Answer<Nodes> {
    let only = node_id.map(|name| convert::id::<NodeId>("node_id", &name)).transpose()?;
    let nodes = app.view(|machine: &Machine| {
        let nodes = machine.capacities();
        let nodes = nodes.filter(|(node, _, _)| only.as_ref().is_none_or(|only| only == *node));
        nodes
            .map(|(node, stated, reserved)| NodeCapacity {
                node_id: node.to_string(),
                capacity: convert::capacity::told(&stated.capacity),
                said_by: convert::capacity::teller(stated.by),
                reserved_cpu_milli: reserved.cpu_milli,
                reserved_memory_mib: reserved.memory_mib,
                reserved_gpu_milli: reserved.gpus.values().copied().map(u64::from).sum(),
            })
            .collect()
    });
    Ok(Json(Nodes { nodes: nodes.await? }))
}

/// Says what a node has. Claims that no longer fit end, newest first. An operator's word stands until
/// it is removed; the node's own agent changes nothing meanwhile.
#[utoipa::path(
    put, path = "/nodes/{node_id}/capacity", operation_id = "node_capacity", tag = "nodes",
    params(("node_id" = String, Path, description = "The node."), CapacityQuery),
    request_body = Capacity,
    responses((status = 200, body = Set), (status = "default", body = Problem))
)]
pub(crate) async fn set_capacity(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    UrlQuery(CapacityQuery { by }): UrlQuery<CapacityQuery>,
    JsonBody(capacity): JsonBody<Capacity>,
) -> Answer<Set> {
    let capacity = Some(convert::capacity::capacity(&capacity));
    let node = convert::id("node_id", &name)?;
    set(
        &app,
        Command::SetCapacity { node, capacity, by: convert::capacity::said_by(by) },
        name,
        "set",
    )
    .await
}

/// Forgets what a node has. Claims that reserve something there end. The node's own agent, when it
/// runs, says within a minute again what there is.
#[utoipa::path(
    delete, path = "/nodes/{node_id}/capacity", operation_id = "node_gone", tag = "nodes",
    params(("node_id" = String, Path, description = "The node."), CapacityQuery),
    responses((status = 200, body = Set), (status = "default", body = Problem))
)]
pub(crate) async fn remove_capacity(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    UrlQuery(CapacityQuery { by }): UrlQuery<CapacityQuery>,
) -> Answer<Set> {
    let node = convert::id("node_id", &name)?;
    let command = Command::SetCapacity { node, capacity: None, by: convert::capacity::said_by(by) };
    set(&app, command, name, "removed").await
}

async fn set(app: &App, command: Command, name: String, word: &str) -> Answer<Set> {
    match app.commit(command).await.map_err(convert::wire_field)? {
        Reply::Done => Ok(Json(Set { status: word.to_owned(), name })),
        other => Err(convert::unexpected(&other)),
    }
}
