//! The raft port: greets callers, hands their requests to the raft core, answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Future, SinkExt as _, StreamExt as _};
use ringrift_core::id::ZoneName;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::consensus::hint::watch::{Ends, closed_by_its_kernel};
use crate::consensus::machine::Shared;
use crate::consensus::machine::snapshot::SnapshotDirectory;
use crate::consensus::network::link::Caller;
use crate::consensus::room::Room;
use crate::consensus::server::receive::Arrivals;
use crate::consensus::transport::{Listener, Stream};
use crate::consensus::vocabulary::Raft;
use crate::consensus::wire::{
    self, Appended, Hello, Identity, Incoming, MAGIC, Numbered, Outgoing, PROTOCOL, Purpose,
    Request, Response, Welcome,
};

pub(super) mod receive;

/// Connections at once: five purposes for each of a hundred agents that stay learners.
const CONNECTIONS_MAX: usize = 512;
/// A caller that does not greet by then is not one of ours.
const GREETING_PATIENCE: Duration = Duration::from_secs(2);
/// Requests of one connection that are being carried out; the caller waits beyond.
const REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Responses of one connection that wait to be written.
const RESPONSES_QUEUED_MAX: usize = 64;
/// Pause after the listener failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) raft: Raft,
    /// Whether this agent's disk is nearly full.
    pub(super) room: Arc<Room>,
    /// Who this agent is.
    pub(super) this: Arc<Caller>,
    /// Where it stands.
    pub(super) zone: Option<ZoneName>,
    pub(super) shared: Arc<Shared>,
    pub(super) snapshots: SnapshotDirectory,
    /// The snapshot that is arriving.
    pub(super) arrivals: Arrivals,
    /// Where the ends of connections are reported.
    pub(super) ends: Ends,
}

/// Serves until it is dropped; its connections end with it.
pub(super) async fn serve(listener: Box<dyn Listener>, service: Service) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                let service = service.clone();
                connections.spawn(async move {
                    if let Err(error) = serve_connection(stream, &service).await {
                        tracing::debug!(%from, %error, "raft connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept raft connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: Stream, service: &Service) -> io::Result<()> {
    let (mut incoming, mut outgoing) = wire::channel(stream);
    let greeted = tokio::time::timeout(GREETING_PATIENCE, incoming.next()).await?;
    let hello: Hello = wire::decode(&greeted.ok_or(io::ErrorKind::UnexpectedEof)??)?;
    let welcome = service.welcome(&hello).await;
    outgoing.send(wire::encode(&welcome)?).await?;
    match (welcome, hello.purpose) {
        (Welcome::Refused(reason), _) => {
            let (peer, cluster) = (&hello.node_id, &hello.cluster_id);
            tracing::warn!(%peer, %cluster, %reason, "raft peer refused");
            Ok(())
        }
        (Welcome::Accepted(_), Purpose::Identify) => Ok(()),
        (Welcome::Accepted(_), Purpose::Snapshot) => {
            serve_snapshots(incoming, outgoing, service, hello.raft_id).await
        }
        (Welcome::Accepted(_), Purpose::Log | Purpose::Heartbeat) => {
            let ended = serve_requests(&mut incoming, outgoing, service).await;
            if closed_by_its_kernel(&incoming, &ended) {
                service.ends.report(hello.raft_id);
            }
            ended
        }
        (Welcome::Accepted(_), Purpose::Barrier) => {
            serve_requests(&mut incoming, outgoing, service).await
        }
    }
}

impl Service {
    async fn welcome(&self, hello: &Hello) -> Welcome {
        if hello.magic != MAGIC {
            return Welcome::Refused("this is a RingRift raft port".to_owned());
        }
        if hello.protocol != PROTOCOL {
            let (theirs, ours) = (hello.protocol, PROTOCOL);
            let text = format!("the caller speaks raft protocol {theirs}, this agent {ours}");
            return Welcome::Refused(text);
        }
        let cluster_id = self.this.cluster_id();
        let named = !cluster_id.is_empty() && !hello.cluster_id.is_empty();
        if named && cluster_id != hello.cluster_id {
            let theirs = &hello.cluster_id;
            let text =
                format!("the caller belongs to cluster {theirs}, this agent to {cluster_id}");
            return Welcome::Refused(text);
        }
        if self.went_for_good(hello.raft_id) {
            let text = format!(
                "raft id {:016x} was removed from this cluster for good; stop that agent, move its \
                 data directory away, and start it again",
                hello.raft_id
            );
            return Welcome::Refused(text);
        }
        match self.raft.is_initialized().await {
            Ok(initialized) => Welcome::Accepted(Identity {
                node_id: self.this.node_id().clone(),
                raft_id: self.this.raft_id(),
                zone: self.zone.clone(),
                cluster_id,
                initialized,
            }),
            Err(fatal) => Welcome::Refused(format!("the raft core has stopped: {fatal}")),
        }
    }

    /// A raft id that was announced to go is let in until it has gone: the change may still fail.
    fn went_for_good(&self, raft_id: u64) -> bool {
        self.shared.read(|replica| {
            let is_retired = replica.machine.members().is_retired(raft_id);
            is_retired && replica.membership.get_node(&raft_id).is_none()
        })
    }

    /// Answers any request but a part of a snapshot, which needs its predecessors.
    async fn answer(self, request: Request) -> Response {
        let failed = |error: &dyn std::fmt::Display| Response::Failed(error.to_string());
        match request {
            Request::Append(request) => {
                self.shared.hear(request.vote.leader_id);
                match self.raft.append_entries(request).await {
                    Ok(response) => Response::Append(Appended { response, low: self.room.low() }),
                    Err(error) => failed(&error),
                }
            }
            Request::Vote(request) => match self.raft.vote(request).await {
                Ok(response) => Response::Vote(response),
                Err(error) => failed(&error),
            },
            Request::PreVote(request) => match self.raft.pre_vote(request).await {
                Ok(response) => Response::PreVote(response),
                Err(error) => failed(&error),
            },
            Request::TransferLeader(request) => {
                match self.raft.handle_transfer_leader(request).await {
                    Ok(response) => Response::TransferLeader(response),
                    Err(error) => failed(&error),
                }
            }
            // No word of a leader: it keeps nobody from campaigning.
            Request::Follows(vote) => {
                match self.raft.with_raft_state(move |state| *state.vote_ref() <= vote).await {
                    Ok(follows) => Response::Follows(follows),
                    Err(error) => failed(&error),
                }
            }
            Request::SnapshotBegin(_) | Request::SnapshotPart(_) => {
                failed(&"parts of a snapshot need a connection opened for snapshots")
            }
        }
    }
}

/// Requests enter the raft core in order of arrival and are answered as they finish.
async fn serve_requests(
    incoming: &mut Incoming,
    outgoing: Outgoing,
    service: &Service,
) -> io::Result<()> {
    let (responses, queued) = mpsc::channel(RESPONSES_QUEUED_MAX);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        if let Err(error) = wire::write_frames(outgoing, queued).await {
            tracing::debug!(%error, "writing raft responses failed");
        }
    });
    while let Some(frame) = incoming.next().await {
        let Numbered { number, body } = wire::decode::<Numbered<Request>>(&frame?)?;
        let responses = responses.clone();
        let answer = service.clone().answer(body);
        let mut answered: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            let response = Numbered { number, body: answer.await };
            if let Ok(frame) = wire::encode(&response) {
                // A closed connection needs no answer.
                let _ = responses.send(frame).await;
            }
        });
        // The first poll hands the request to the raft core: pipelined appends stay in order.
        if futures::poll!(answered.as_mut()).is_pending() {
            tasks.spawn(answered);
        }
        while tasks.try_join_next().is_some() {}
        if tasks.len() > REQUESTS_IN_FLIGHT_MAX {
            tasks.join_next().await;
        }
    }
    Ok(())
}

/// Parts of snapshots, one after another.
async fn serve_snapshots(
    mut incoming: Incoming,
    mut outgoing: Outgoing,
    service: &Service,
    from: u64,
) -> io::Result<()> {
    while let Some(frame) = incoming.next().await {
        let Numbered { number, body } = wire::decode::<Numbered<Request>>(&frame?)?;
        let body = match body {
            Request::SnapshotBegin(begin) => service.arrivals.begin(from, begin, service).await,
            Request::SnapshotPart(part) => service.arrivals.take(from, part, service).await,
            other => service.clone().answer(other).await,
        };
        outgoing.send(wire::encode(&Numbered { number, body })?).await?;
    }
    Ok(())
}
