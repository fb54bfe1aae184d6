//! openraft's network: requests to other voters and learners over [`link::Link`]s.

pub(super) mod link;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::consensus::Member;
use crate::consensus::machine::snapshot::SnapshotFile;
use crate::consensus::network::link::{CallError, Caller, Link};
use crate::consensus::room::voters::Words;
use crate::consensus::trips::Pacer;
use crate::consensus::vocabulary::{Ring, Snapshot, Vote};
use crate::consensus::wire::{
    Appended, Blob, Purpose, Request, Response, SNAPSHOT_PART_BYTES, SnapshotBegin, SnapshotPart,
};

/// Appends that are on their way to one follower at once. They share its disk flushes.
const APPENDS_IN_FLIGHT_MAX: usize = 8;
/// An append waits for the follower's disk, which under load takes far longer than a heartbeat may.
const APPEND_PATIENCE: Duration = Duration::from_secs(2);
/// A part of a snapshot waits for a disk that other writes keep busy. Meanwhile the peer gets nothing
/// else, so an answer that got lost with the peer's power must not be waited for much longer.
const SNAPSHOT_PART_PATIENCE: Duration = Duration::from_secs(5);
/// The last part waits until the snapshot is verified, synced and installed: so many bytes a second on a
/// slow machine. A sender that was too impatient asks again and waits on.
const SNAPSHOT_INSTALL_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of snapshots that this agent sends in a second, all followers together: what a disk writes and
/// a network carries beside heartbeats and appends.
const SNAPSHOT_BYTES_PER_SECOND_MAX: u64 = 50 * 1024 * 1024;
/// Pauses before the first attempts to reach a peer again; the last one stays.
const RETRY_PAUSES_MS: [u64; 4] = [20, 50, 100, 250];

type RpcError = RPCError<Ring>;

/// The links to all peers, one for each purpose.
pub(super) struct Network {
    caller: Arc<Caller>,
    pacer: Arc<Pacer>,
    snapshot_pace: Arc<SnapshotPace>,
    words: Arc<Words>,
    links: Mutex<BTreeMap<(u64, Purpose), Arc<Link>>>,
}

impl Network {
    pub(super) fn new(caller: Arc<Caller>, pacer: Pacer, words: Arc<Words>) -> Self {
        let snapshot_pace = Arc::new(SnapshotPace::default());
        Self { caller, pacer: Arc::new(pacer), snapshot_pace, words, links: Mutex::default() }
    }

    fn peer(&self, target: u64, member: &Member, purpose: Purpose) -> Peer {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            links.get(&(target, purpose)).filter(|link| link.address() == member.raft_address);
        let link = known.cloned().unwrap_or_else(|| {
            let address = member.raft_address.clone();
            let link = Arc::new(Link::new(Arc::clone(&self.caller), target, address, purpose));
            links.insert((target, purpose), Arc::clone(&link));
            link
        });
        let pacer = Arc::clone(&self.pacer);
        let snapshot_pace = Arc::clone(&self.snapshot_pace);
        let words = Arc::clone(&self.words);
        Peer { link, from: self.caller.raft_id(), target, purpose, pacer, snapshot_pace, words }
    }
}

/// Parts of snapshots go out one after another, whoever they are for, and not faster than allowed.
#[derive(Default)]
struct SnapshotPace {
    turn: tokio::sync::Mutex<Option<tokio::time::Interval>>,
}

impl SnapshotPace {
    /// Waits until the next part may go.
    async fn wait(&self) {
        let mut turn = self.turn.lock().await;
        let interval = turn.get_or_insert_with(|| {
            let part = SNAPSHOT_PART_BYTES as u64;
            let mut interval = tokio::time::interval(Duration::from_micros(
                part * 1_000_000 / SNAPSHOT_BYTES_PER_SECOND_MAX,
            ));
            // A pause is no reason to hurry afterwards.
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval
        });
        interval.tick().await;
    }
}

impl RaftNetworkFactory<Ring> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Purpose::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, Purpose::Snapshot)
    }
}

/// One peer, for one purpose.
#[derive(Clone)]
pub(super) struct Peer {
    link: Arc<Link>,
    from: u64,
    target: u64,
    purpose: Purpose,
    pacer: Arc<Pacer>,
    snapshot_pace: Arc<SnapshotPace>,
    words: Arc<Words>,
}

impl Peer {
    /// Takes the answer to what was asked then apart: what raft wants of it, and what its disk says.
    fn appended(&self, appended: Appended, asked: Duration) -> AppendEntriesResponse<Ring> {
        let Appended { response, low } = appended;
        if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
            self.words.note(self.target, low, asked);
        }
        response
    }

    async fn call(
        &self,
        request: Request,
        patience: Duration,
        action: RPCTypes,
    ) -> Result<Response, RpcError> {
        let begin = self.pacer.begin();
        let outcome = self.link.call(&request, patience).await;
        // One that cannot be reached says nothing about the way.
        if self.purpose == Purpose::Heartbeat && matches!(outcome, Ok(_) | Err(CallError::Late)) {
            self.pacer.end(begin);
        }
        match outcome {
            Ok(Response::Failed(reason)) => {
                Err(RPCError::Network(NetworkError::from_string(reason)))
            }
            Ok(response) => Ok(response),
            Err(CallError::Unreachable(reason)) => {
                Err(RPCError::Unreachable(Unreachable::from_string(reason)))
            }
            Err(CallError::Lost(reason)) => {
                Err(RPCError::Network(NetworkError::from_string(reason)))
            }
            Err(CallError::Late) => {
                let (id, target, timeout) = (self.from, self.target, patience);
                Err(RPCError::Timeout(Timeout { action, id, target, timeout }))
            }
        }
    }

    async fn append(
        self,
        request: AppendEntriesRequest<Ring>,
        patience: Duration,
    ) -> Result<StreamAppendResult<Ring>, RpcError> {
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let asked = self.pacer.begin();
        match self.call(Request::Append(request), patience, RPCTypes::AppendEntries).await? {
            Response::Append(appended) => {
                Ok(self.appended(appended, asked).into_stream_result(previous, last))
            }
            other => Err(mismatch(&other)),
        }
    }

    /// How long an append may take. Only a heartbeat must be as fast as openraft asks.
    fn append_patience(&self, option: &RPCOption) -> Duration {
        match self.purpose {
            Purpose::Heartbeat => option.soft_ttl(),
            Purpose::Log | Purpose::Snapshot | Purpose::Barrier | Purpose::Identify => {
                option.soft_ttl().max(APPEND_PATIENCE)
            }
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Ring>, StreamingError<Ring>> {
        let Snapshot { meta, snapshot: source } = snapshot;
        let read_failed = |error: io::Error| {
            let text = format!("cannot read the snapshot {}: {error}", source.path.display());
            StreamingError::Network(NetworkError::from_string(text))
        };
        let total = source.file.metadata().map_err(read_failed)?.len();
        let mut file = tokio::fs::File::from_std(source.file.try_clone().map_err(read_failed)?);
        let begin = Request::SnapshotBegin(SnapshotBegin { meta: meta.clone(), total });
        let action = RPCTypes::InstallSnapshot;
        let mut offset = match self.call(begin, SNAPSHOT_PART_PATIENCE, action).await? {
            Response::SnapshotBegun(arrived) if arrived <= total => arrived,
            other => return Err(mismatch(&other).into()),
        };
        if offset > 0 {
            tracing::info!(offset, total, "the transfer of a snapshot goes on where it broke off");
        }
        file.seek(SeekFrom::Start(offset)).await.map_err(read_failed)?;
        loop {
            self.snapshot_pace.wait().await;
            let mut data = Vec::new();
            let mut part = (&mut file).take(SNAPSHOT_PART_BYTES as u64);
            part.read_to_end(&mut data).await.map_err(read_failed)?;
            let sent = offset + data.len() as u64;
            let last = sent >= total;
            if data.is_empty() && !last {
                return Err(read_failed(io::ErrorKind::UnexpectedEof.into()));
            }
            let patience = if last { install_patience(total) } else { SNAPSHOT_PART_PATIENCE };
            let part = SnapshotPart { vote, meta: meta.clone(), offset, total, data: Blob(data) };
            let request = Request::SnapshotPart(part);
            match self.call(request, patience, RPCTypes::InstallSnapshot).await? {
                Response::SnapshotPart(Some(response)) => return Ok(response),
                Response::SnapshotPart(None) if !last => offset = sent,
                other => return Err(mismatch(&other).into()),
            }
        }
    }
}

/// How long the last part of a snapshot of `total` bytes is waited for.
fn install_patience(total: u64) -> Duration {
    SNAPSHOT_PART_PATIENCE.saturating_add(Duration::from_secs(total / SNAPSHOT_INSTALL_BYTES))
}

fn mismatch(response: &Response) -> RpcError {
    let text = format!("the peer answered something else: {response:?}");
    RPCError::Network(NetworkError::from_string(text))
}

impl RaftNetworkV2<Ring> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Ring>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Ring>, RpcError> {
        let patience = self.append_patience(&option);
        let asked = self.pacer.begin();
        match self.call(Request::Append(request), patience, RPCTypes::AppendEntries).await? {
            Response::Append(appended) => Ok(self.appended(appended, asked)),
            other => Err(mismatch(&other)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Ring>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Ring>> + Send + Unpin + 'static,
    {
        let patience = self.append_patience(&option);
        let peer = self.clone();
        // The follower takes requests of one connection in order, and `buffered` gives the answers
        // in that order too. What follows a refusal would be refused as well, so the stream ends.
        let answers = input
            .map(move |request| peer.clone().append(request, patience))
            .buffered(APPENDS_IN_FLIGHT_MAX)
            .scan(false, |ended, answer| {
                let was_ended = std::mem::replace(ended, !matches!(answer, Ok(Ok(_))));
                futures::future::ready((!was_ended).then_some(answer))
            });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(futures::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Ring>,
        option: RPCOption,
    ) -> Result<VoteResponse<Ring>, RpcError> {
        match self.call(Request::Vote(request), option.soft_ttl(), RPCTypes::Vote).await? {
            Response::Vote(response) => Ok(response),
            other => Err(mismatch(&other)),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Ring>,
        option: RPCOption,
    ) -> Result<VoteResponse<Ring>, RpcError> {
        match self.call(Request::PreVote(request), option.soft_ttl(), RPCTypes::Vote).await? {
            Response::PreVote(response) => Ok(response),
            other => Err(mismatch(&other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Ring>, StreamingError<Ring>> {
        tokio::select! {
            // In this order, since openraft has moved on.
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Ring>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Ring>, RpcError> {
        let request = Request::TransferLeader(request);
        match self.call(request, option.soft_ttl(), RPCTypes::TransferLeader).await? {
            Response::TransferLeader(response) => Ok(response),
            other => Err(mismatch(&other)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let [.., longest] = RETRY_PAUSES_MS;
        let pauses = RETRY_PAUSES_MS.into_iter().chain(std::iter::repeat(longest));
        Some(Backoff::new(pauses.map(Duration::from_millis)))
    }
}
