//! The HTTP surface: one resource a file, one table of routes, one error shape.
//!
//! Handlers translate between the wire and the core; they do not decide. A route says in the table
//! who may call it and where it is answered: by this agent, by any replica, or by the leader.

pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod body;
pub(crate) mod claims;
pub(crate) mod cluster;
pub(crate) mod convert;
pub(crate) mod events;
pub(crate) mod failure;
pub(crate) mod forward;
pub(crate) mod gauntlet;
pub(crate) mod health;
pub(crate) mod locks;
pub(crate) mod logs;
pub(crate) mod members;
pub(crate) mod observe;
pub(crate) mod queue;
pub(crate) mod raft;
pub(crate) mod routes;
pub(crate) mod runs;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod swim;
pub(crate) mod task;
pub(crate) mod tenancy;
pub(crate) mod work;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::serve::ListenerExt as _;
use failure::Failure;
use ringrift_core::id::{NodeId, Position};
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Command, Refusal, Reply};
use ringrift_wire::problem::Code;
use sessions::Retry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::claims::Hub;
use crate::clock::Clock;
use crate::config::ClusterToken;
use crate::consensus::Consensus;
use crate::gossip::Gossip;
use crate::metrics::Metrics;
use crate::stream::Streams;

/// Version of the agent, as it shows it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the handlers see of the agent.
pub(crate) struct App {
    pub(crate) node_id: NodeId,
    pub(crate) clock: Clock,
    /// Nothing for a client, which takes no part in Raft.
    pub(crate) consensus: Option<Consensus>,
    pub(crate) gossip: Gossip,
    pub(crate) token: Option<ClusterToken>,
    pub(crate) metrics: Metrics,
    /// Why the agent is not part of a cluster yet; nothing once it is.
    pub(crate) joining: watch::Receiver<Option<String>>,
    /// Cancelled when the agent begins to stop: whoever waits is answered.
    pub(crate) stopping: CancellationToken,
    /// For requests to other agents.
    pub(crate) peers: forward::Peers,
    pub(crate) spool: PathBuf,
    pub(crate) match_program: Option<PathBuf>,
    /// Claims that wait for work.
    pub(crate) claims: Hub,
    /// Requests that wait for locks.
    pub(crate) lock_waits: locks::line::Waits,
    /// The binary streams.
    pub(crate) streams: Streams,
    /// Places for requests in progress.
    pub(crate) requests: observe::Places,
    /// Places for those of them that wait.
    pub(crate) waits: Semaphore,
    /// The OpenAPI document, made from the table of routes.
    pub(crate) openapi: OnceLock<String>,
}

impl App {
    /// The replica here. A client has none; its requests were forwarded before they came this far.
    pub(crate) fn replica(&self) -> Result<&Consensus, Failure> {
        self.consensus.as_ref().ok_or(Failure::NotLeader)
    }

    /// Carries out one command and answers its reply.
    pub(crate) async fn commit(&self, command: Command) -> Result<Reply, Failure> {
        self.commit_all(vec![command]).await
    }

    /// Carries out commands one after another in one log entry, and answers the reply of the first.
    pub(crate) async fn commit_all(&self, commands: Vec<Command>) -> Result<Reply, Failure> {
        let reply = self.commit_each(commands).await?.into_iter().next();
        Ok(reply.ok_or_else(|| Failure::internal("a command was committed without a reply"))??)
    }

    /// Carries out commands one after another in one log entry, and answers the reply of each.
    pub(crate) async fn commit_each(
        &self,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Reply, Refusal>>, Failure> {
        let replica = self.replica()?;
        if commands.iter().any(Command::brings_work) {
            replica.admit()?;
        }
        let outcome = replica.propose(commands).await;
        self.metrics.count_proposal(&outcome);
        Ok(outcome?.replies)
    }

    /// Carries out one command of a session: a retry is answered as the first try was.
    pub(crate) async fn commit_in(&self, retry: Retry, command: Command) -> Result<Reply, Failure> {
        self.commit(retry.wrap(command)).await
    }

    /// Looks at the machine as it is after everything that was acknowledged before. Leader only.
    pub(crate) async fn view<R>(&self, look: impl FnOnce(&Machine) -> R) -> Result<R, Failure> {
        let replica = self.replica()?;
        replica.barrier().await?;
        let (seen, position) = replica.read(|machine| (look(machine), machine.applied()));
        observe::note(position);
        Ok(seen)
    }

    /// The place in the log that replies reflect; zero on a client.
    pub(crate) fn position(&self) -> Position {
        self.consensus.as_ref().map_or_else(Position::default, |it| it.read(Machine::applied))
    }

    /// What is wrong with this agent itself: it stops, it was removed, or its disk does not answer.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.stopping.is_cancelled() {
            return Some("it is stopping".to_owned());
        }
        let consensus = self.consensus.as_ref()?;
        if consensus.is_initialized()
            && let Some(reason) = self.joining.borrow().clone()
        {
            return Some(reason);
        }
        let stalled = consensus.disk_stalled()?;
        Some(format!("its disk has not answered for {} ms", stalled.as_millis()))
    }

    /// What is missing before this agent can serve a cluster; nothing when it can.
    pub(crate) fn missing(&self) -> Option<Failure> {
        if self.consensus.as_ref().is_none_or(Consensus::is_initialized) {
            return None;
        }
        let reason = self.joining.borrow().clone();
        let reason = reason.unwrap_or_else(|| "it waits for its membership".to_owned());
        let text = format!("agent {} is not part of a cluster yet: {reason}", self.node_id);
        Some(
            Failure::problem(StatusCode::SERVICE_UNAVAILABLE, Code::NoCluster, text).retry_after(1),
        )
    }
}

/// The whole service.
pub(crate) fn service(app: &Arc<App>) -> Router {
    let (router, openapi) = routes::table(app).split_for_parts();
    let document = openapi.to_pretty_json().unwrap_or_else(|error| {
        tracing::error!(%error, "openapi document cannot be written");
        "{}".to_owned()
    });
    // Set once: an app has one service.
    let _ = app.openapi.set(document);
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(failure::of_panic))
        .layer(middleware::from_fn_with_state(Arc::clone(app), observe::request))
        .with_state(Arc::clone(app))
}

/// Serves until `stop` is cancelled, then lets requests in progress end.
///
/// # Errors
/// What the listener says.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    // Small requests and responses are urgent; those that belong together are written together.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "tcp connection keeps delaying");
        }
    });
    axum::serve(listener, service(&app)).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn unknown_path(request: Request) -> Failure {
    let text = format!("there is nothing at {}; GET / lists what there is", request.uri().path());
    Failure::problem(StatusCode::NOT_FOUND, Code::NotFound, text)
}

async fn wrong_method(method: Method, request: Request) -> Failure {
    let path = request.uri().path();
    let text = if path == "/work/claim" && method == Method::GET {
        "a claim changes the queue, so it is a POST with a JSON body; GET never changes anything"
            .to_owned()
    } else {
        format!("{path} does not answer to {method}; GET /openapi.json says to what it does")
    };
    Failure::problem(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, text)
}
