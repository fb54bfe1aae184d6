//! The tasks of an agent: started as one set, watched, and ended in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ringrift_core::machine::Machine;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::consensus::{Consensus, Role};
use crate::data_dir::DataDir;
use crate::http::App;

/// The worker ends within 15 s by its own promise; a hung one must not keep the agent.
const WORKER_STOP_PATIENCE: Duration = Duration::from_secs(20);
/// What this node has is taken back within a second, or left.
const OFFER_STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Requests in progress end within this time, or are cut off.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// The tasks of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The HTTP server.
    Http,
    /// The worker.
    Worker,
    /// Telling what this node has.
    Offering,
    /// The leader's duties.
    Duties,
    /// Joining, and making itself known.
    Joining,
    /// Keeping what gossip needs to know and needs on disk.
    Keeping,
    /// Finding members that gossip has lost.
    Rediscovery,
    /// Watching whether consensus still runs.
    Watching,
}

/// What ends the tasks, each at its turn.
#[derive(Default)]
pub(super) struct Stops {
    pub(super) worker: CancellationToken,
    pub(super) offer: CancellationToken,
    pub(super) duties: CancellationToken,
    pub(super) http: CancellationToken,
}

/// The worker hands its items back, what this node has is taken back, the members hear a farewell,
/// leadership goes to another, and requests in progress end.
pub(super) async fn stop_in_order(app: &App, stops: &Stops, tasks: &mut Tasks) {
    // From here on health says no, and claims that wait are answered.
    app.stopping.cancel();
    stops.worker.cancel();
    tasks.wait_for(Part::Worker, WORKER_STOP_PATIENCE).await;
    // After the worker, for the claims that reserve something end with it.
    stops.offer.cancel();
    tasks.wait_for(Part::Offering, OFFER_STOP_PATIENCE).await;
    app.gossip.leave().await;
    stops.duties.cancel();
    if let Some(consensus) = &app.consensus {
        consensus.shutdown().await;
    }
    stops.http.cancel();
    tasks.wait_for(Part::Http, DRAIN_PATIENCE).await;
    if tokio::time::timeout(DRAIN_PATIENCE, app.streams.end()).await.is_err() {
        tracing::warn!(open = app.streams.open(), "streams do not end, going on without them");
    }
    tracing::info!("stopped");
}

type Ended = (Part, Result<(), RunError>);

/// The running tasks. Dropping it ends them all.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<Ended>,
    ended: Vec<Part>,
}

impl Tasks {
    pub(super) fn spawn(
        &mut self,
        part: Part,
        task: impl Future<Output = Result<(), RunError>> + Send + 'static,
    ) {
        self.running.spawn(async move { (part, task.await) });
    }

    /// Waits until a task fails. Tasks that end well are noted; some have an end.
    pub(super) async fn first_failure(&mut self) -> RunError {
        while let Some(ended) = self.running.join_next().await {
            match ended {
                Ok((part @ (Part::Http | Part::Worker), Ok(()))) => {
                    self.ended.push(part);
                    return RunError::Fault { part, cause: "nobody asked it to".to_owned() };
                }
                Ok((part, Ok(()))) => self.ended.push(part),
                Ok((part, Err(error))) => {
                    self.ended.push(part);
                    return error;
                }
                Err(error) => {
                    return RunError::System {
                        what: "keep a task running",
                        cause: error.to_string(),
                    };
                }
            }
        }
        // The server never ends by itself, so this is not reached while it runs.
        std::future::pending().await
    }

    /// Ends what still runs, and returns when all of it has let go of what it held.
    pub(super) async fn end(&mut self) {
        self.running.shutdown().await;
    }

    /// Waits for one task to end, but not for ever.
    async fn wait_for(&mut self, awaited: Part, patience: Duration) {
        let wait = async {
            while !self.ended.contains(&awaited) {
                match self.running.join_next().await {
                    None => return,
                    Some(Ok((part, outcome))) => {
                        self.ended.push(part);
                        if let Err(error) = outcome {
                            tracing::warn!(?part, %error, "a part failed while stopping");
                        }
                    }
                    Some(Err(error)) => tracing::warn!(%error, "a task failed while stopping"),
                }
            }
        };
        if tokio::time::timeout(patience, wait).await.is_err() {
            tracing::warn!(?awaited, ?patience, "a part does not end, going on without it");
        }
    }
}

/// Tells gossip the cluster's name once it is known, and keeps gossip's generation on disk.
pub(super) async fn keep(
    app: Arc<App>,
    data_dir: Arc<DataDir>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let name_cluster = async {
        let Some(consensus) = &app.consensus else {
            return;
        };
        let mut applied = consensus.applied();
        let named = || consensus.read(|machine: &Machine| machine.cluster_id().to_owned());
        let mut cluster_id = named();
        while cluster_id.is_empty() && applied.changed().await.is_ok() {
            cluster_id = named();
        }
        app.gossip.set_cluster(&cluster_id).await;
    };
    let keep_generation = async {
        let mut generation = app.gossip.generation();
        while generation.changed().await.is_ok() {
            let grown = *generation.borrow_and_update();
            if let Err(error) = data_dir.keep_generation(grown) {
                // The next start takes the wall clock's, which is most likely greater.
                tracing::warn!(%error, "gossip generation not kept");
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(name_cluster, keep_generation) } => {}
    }
    Ok(())
}

/// An agent whose consensus has stopped serves nobody; its supervisor must know.
pub(super) async fn watch_consensus(
    consensus: Consensus,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let mut leadership = consensus.leadership();
    let stopped = leadership.wait_for(|leadership| leadership.role == Role::Stopped);
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        _ = stopped => {}
    }
    let cause = consensus.status().stopped.unwrap_or_else(|| "no reason is known".to_owned());
    Err(RunError::ConsensusStopped { cause })
}
