//! One connection to one peer for one purpose: opened when it is needed, kept, opened again when it
//! broke. Requests carry numbers, so several may be on their way at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use ringrift_core::id::NodeId;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::consensus::Member;
use crate::consensus::machine::Shared;
use crate::consensus::transport::{Stream, Transport};
use crate::consensus::wire::{
    self, Hello, Identity, Incoming, MAGIC, Numbered, Outgoing, PROTOCOL, Purpose, Request,
    Response, Welcome,
};

/// Requests of one connection that wait to be written.
const REQUESTS_QUEUED_MAX: usize = 64;
/// Requests of one connection without an answer: beyond it the peer is stuck.
const REQUESTS_PENDING_MAX: usize = 256;
/// Late answers in a row after which the connection is given up: a peer that vanished without a word
/// leaves a connection that looks alive.
const LATE_ANSWERS_MAX: u32 = 5;
/// Pause after a connection could not be opened, since callers may ask thousands of times a second.
/// Shorter than any that openraft makes before it tries again.
const REOPEN_PAUSE: Duration = Duration::from_millis(10);
/// Opening a connection and greeting may take this long.
const GREETING_PATIENCE: Duration = Duration::from_secs(2);

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consensus) enum CallError {
    /// The peer cannot be reached or refuses to talk; wait before the next attempt.
    Unreachable(String),
    /// The connection broke; the request may have arrived.
    Lost(String),
    /// No answer in time; the request may have arrived.
    Late,
}

/// Who calls: what every greeting says.
pub(in crate::consensus) struct Caller {
    node_id: NodeId,
    raft_id: u64,
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
}

impl Caller {
    pub(in crate::consensus) fn new(
        node_id: NodeId,
        raft_id: u64,
        shared: Arc<Shared>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Self { node_id, raft_id, shared, transport }
    }

    /// Opens a connection and says nothing yet.
    pub(in crate::consensus) async fn connect(&self, address: &str) -> io::Result<Stream> {
        self.transport.connect(address).await
    }

    pub(in crate::consensus) fn raft_id(&self) -> u64 {
        self.raft_id
    }

    pub(in crate::consensus) fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    pub(in crate::consensus) fn cluster_id(&self) -> String {
        self.shared.read(|replica| replica.machine.cluster_id().to_owned())
    }

    /// Where a peer is by the membership that was applied here last.
    fn address_of(&self, raft_id: u64) -> Option<String> {
        let address = |member: &Member| member.raft_address.clone();
        self.shared.read(|replica| replica.membership.get_node(&raft_id).map(address))
    }

    fn hello(&self, purpose: Purpose) -> Hello {
        Hello {
            magic: MAGIC,
            protocol: PROTOCOL,
            cluster_id: self.cluster_id(),
            node_id: self.node_id.clone(),
            raft_id: self.raft_id,
            purpose,
        }
    }

    /// Asks who answers at `address`.
    ///
    /// # Errors
    /// When nobody does, or it refuses to talk to this cluster.
    pub(in crate::consensus) async fn identify(&self, address: &str) -> io::Result<Identity> {
        let greeted = self.greet(address, Purpose::Identify);
        let (_, _, identity) = tokio::time::timeout(GREETING_PATIENCE, greeted).await??;
        Ok(identity)
    }

    /// Connects and greets.
    async fn greet(
        &self,
        address: &str,
        purpose: Purpose,
    ) -> io::Result<(Incoming, Outgoing, Identity)> {
        let hello = self.hello(purpose);
        let (mut incoming, mut outgoing) = wire::channel(self.connect(address).await?);
        outgoing.send(wire::encode(&hello)?).await?;
        let answer = incoming.next().await.ok_or(io::ErrorKind::UnexpectedEof)??;
        match wire::decode(&answer)? {
            Welcome::Accepted(identity) => Ok((incoming, outgoing, identity)),
            Welcome::Refused(reason) => Err(io::Error::other(reason)),
        }
    }
}

/// The turn to send, and the connection if there is one.
type Slot = OwnedMutexGuard<Option<Arc<Connection>>>;

/// A connection to one peer for one purpose.
pub(in crate::consensus) struct Link {
    caller: Arc<Caller>,
    target: u64,
    address: String,
    purpose: Purpose,
    connection: Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>,
    /// Whether opening one has just failed.
    pauses: AtomicBool,
    late_answers: AtomicU32,
    /// Whether it was said that another agent answers there: once is enough.
    stranger_reported: AtomicBool,
}

impl Link {
    pub(in crate::consensus) fn new(
        caller: Arc<Caller>,
        target: u64,
        address: String,
        purpose: Purpose,
    ) -> Self {
        Self {
            caller,
            target,
            address,
            purpose,
            connection: Arc::default(),
            pauses: AtomicBool::new(false),
            late_answers: AtomicU32::new(0),
            stranger_reported: AtomicBool::new(false),
        }
    }

    pub(in crate::consensus) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and waits for its answer. Requests are sent in the order in which they are asked
    /// for, over a new connection too: openraft takes it that the follower of a stream of appends gets
    /// them so. One that overtook another would be refused after the other's success, which leaves the
    /// leader with a follower that it never sends anything but snapshots to.
    pub(in crate::consensus) async fn call(
        self: &Arc<Self>,
        request: &Request,
        patience: Duration,
    ) -> Result<Response, CallError> {
        let used = OnceLock::new();
        let exchange = async {
            let (slot, connection) = self.connection().await?;
            let connection: &Arc<Connection> = used.get_or_init(|| connection);
            let sent = connection.send(request).await?;
            // Whoever asked after this one sends after it.
            drop(slot);
            sent.answer().await
        };
        let Ok(outcome) = tokio::time::timeout(patience, exchange).await else {
            let late = self.late_answers.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if late >= LATE_ANSWERS_MAX
                && let Some(connection) = used.get()
            {
                tracing::debug!(address = %self.address, late, "raft connection given up");
                connection.give_up();
                self.late_answers.store(0, Ordering::Relaxed);
            }
            return Err(CallError::Late);
        };
        self.late_answers.store(0, Ordering::Relaxed);
        outcome
    }

    /// The open connection, or a new one, with the turn to send over it. Opening goes on when the caller
    /// gives up, so that a peer that is further away than a heartbeat's patience is reached by the next
    /// call. One is opened at a time; whoever waits for that leaves nothing behind when it gives up.
    async fn connection(self: &Arc<Self>) -> Result<(Slot, Arc<Connection>), CallError> {
        let slot = Arc::clone(&self.connection).lock_owned().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_open()) {
            let connection = Arc::clone(connection);
            return Ok((slot, connection));
        }
        if self.pauses.load(Ordering::Relaxed) {
            let text = format!("{}: opening a connection has just failed", self.address);
            return Err(CallError::Unreachable(text));
        }
        let (tell, told) = oneshot::channel();
        tokio::spawn(Arc::clone(self).open(slot, tell));
        let panicked = |_| Err(CallError::Lost("opening a connection panicked".to_owned()));
        told.await.unwrap_or_else(panicked)
    }

    async fn open(
        self: Arc<Self>,
        mut slot: Slot,
        tell: oneshot::Sender<Result<(Slot, Arc<Connection>), CallError>>,
    ) {
        *slot = None;
        let connected = tokio::time::timeout(GREETING_PATIENCE, self.connect()).await;
        let opened = connected
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| CallError::Unreachable(format!("{}: {error}", self.address)))
            .map(Arc::new);
        *slot = opened.as_ref().ok().cloned();
        let failed = opened.is_err();
        self.pauses.store(failed, Ordering::Relaxed);
        // The turn goes to who asked first, or on to the next when that one has given up.
        let _ = tell.send(opened.map(|connection| (slot, connection)));
        if failed {
            tokio::time::sleep(REOPEN_PAUSE).await;
            self.pauses.store(false, Ordering::Relaxed);
        }
    }

    /// openraft keeps its links when a member only moves, so the membership is asked first. It may
    /// also be behind, when the move is what this link shall replicate.
    async fn connect(&self) -> io::Result<Connection> {
        match self.caller.address_of(self.target) {
            Some(moved) if moved != self.address => match self.connect_to(&moved).await {
                Ok(connection) => Ok(connection),
                Err(_there) => self.connect_to(&self.address).await,
            },
            Some(_) | None => self.connect_to(&self.address).await,
        }
    }

    async fn connect_to(&self, address: &str) -> io::Result<Connection> {
        let (incoming, outgoing, identity) = self.caller.greet(address, self.purpose).await?;
        if identity.raft_id != self.target {
            let text = format!(
                "{} answers there with raft id {:016x}, not the member's {:016x}; \
                 if its data directory was lost, remove the member and let it join again",
                identity.node_id, identity.raft_id, self.target
            );
            if !self.stranger_reported.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    address,
                    expected = format!("{:016x}", self.target),
                    found = format!("{:016x}", identity.raft_id),
                    "another agent answers at a member's raft address"
                );
            }
            return Err(io::Error::other(text));
        }
        Ok(Connection::start(incoming, outgoing))
    }
}

/// Answers that are awaited. Nothing once the connection is broken.
type Pending = Mutex<Option<BTreeMap<u64, oneshot::Sender<Response>>>>;

struct Connection {
    requests: mpsc::Sender<Bytes>,
    pending: Arc<Pending>,
    next_number: AtomicU64,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Connection {
    fn start(incoming: Incoming, outgoing: Outgoing) -> Self {
        let (requests, queued) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let pending: Arc<Pending> = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let writer = tokio::spawn(write_requests(outgoing, queued, Arc::clone(&pending)));
        let reader = tokio::spawn(read_responses(incoming, Arc::clone(&pending)));
        let tasks = [AbortOnDropHandle::new(writer), AbortOnDropHandle::new(reader)];
        Self { requests, pending, next_number: AtomicU64::new(0), _tasks: tasks }
    }

    fn is_open(&self) -> bool {
        lock(&self.pending).is_some()
    }

    /// Ends it for all who wait for answers; the next request opens another.
    fn give_up(&self) {
        lock(&self.pending).take();
    }

    /// Hands a request over to be written.
    async fn send(&self, request: &Request) -> Result<Sent<'_>, CallError> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let lost = |what: &str| CallError::Lost(what.to_owned());
        let frame = wire::encode(&Numbered { number, body: request })
            .map_err(|error| CallError::Lost(error.to_string()))?;
        let (answer, wait) = oneshot::channel();
        {
            let mut pending = lock(&self.pending);
            let pending = pending.as_mut().ok_or_else(|| lost("the connection is closed"))?;
            if pending.len() >= REQUESTS_PENDING_MAX {
                return Err(CallError::Unreachable("too many requests await an answer".to_owned()));
            }
            pending.insert(number, answer);
        }
        // Whatever ends this call, cancellation included, its place is given back.
        let place = Place { pending: &self.pending, number };
        self.requests.send(frame).await.map_err(|_closed| lost("the connection closed"))?;
        Ok(Sent { wait, _place: place })
    }
}

/// A request that awaits its answer.
struct Sent<'a> {
    wait: oneshot::Receiver<Response>,
    _place: Place<'a>,
}

impl Sent<'_> {
    async fn answer(self) -> Result<Response, CallError> {
        let broke = |_closed| CallError::Lost("the connection broke before the answer".to_owned());
        self.wait.await.map_err(broke)
    }
}

struct Place<'a> {
    pending: &'a Pending,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(pending) = lock(self.pending).as_mut() {
            pending.remove(&self.number);
        }
    }
}

fn lock(
    pending: &Pending,
) -> std::sync::MutexGuard<'_, Option<BTreeMap<u64, oneshot::Sender<Response>>>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write_requests(outgoing: Outgoing, queued: mpsc::Receiver<Bytes>, pending: Arc<Pending>) {
    if let Err(error) = wire::write_frames(outgoing, queued).await {
        tracing::debug!(%error, "writing raft requests failed");
    }
    lock(&pending).take();
}

async fn read_responses(mut incoming: Incoming, pending: Arc<Pending>) {
    while let Some(frame) = incoming.next().await {
        match frame.and_then(|frame| wire::decode::<Numbered<Response>>(&frame)) {
            Ok(Numbered { number, body }) => {
                let waiting = lock(&pending).as_mut().and_then(|pending| pending.remove(&number));
                if let Some(waiting) = waiting {
                    // The caller may have given up in between.
                    let _ = waiting.send(body);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "reading raft responses failed");
                break;
            }
        }
    }
    lock(&pending).take();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use openraft::vote::RaftLeaderId as _;

    use super::*;
    use crate::clock::Clock;
    use crate::consensus::machine::Replica;
    use crate::consensus::transport::Tcp;
    use crate::consensus::vocabulary::{LeaderId, Vote};

    fn link(address: String) -> Arc<Link> {
        let shared = Arc::new(Shared::new(Replica::default(), Clock::start()));
        let caller = Caller::new("a".parse().unwrap(), 1, shared, Arc::new(Tcp));
        Arc::new(Link::new(Arc::new(caller), 2, address, Purpose::Barrier))
    }

    async fn ask(link: &Arc<Link>) -> CallError {
        let vote = Vote { leader_id: LeaderId::new(3, 1), committed: true };
        link.call(&Request::Follows(vote), Duration::from_millis(20)).await.unwrap_err()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_that_does_not_greet_is_connected_to_once_however_many_ask() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = link(listener.local_addr().unwrap().to_string());
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let silent = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let asked = (0..100).map(|_| ask(&link));
        let outcomes = futures::future::join_all(asked).await;
        assert!(outcomes.iter().all(|outcome| *outcome == CallError::Late), "{outcomes:?}");
        assert_eq!(accepted.load(Ordering::SeqCst), 1);
        assert_eq!(
            Arc::strong_count(&link),
            2,
            "all but the one that opens have left nothing behind"
        );
        silent.abort();
    }

    /// Greets the next caller, notes the terms of the votes that it asks about, and says yes.
    async fn serve(listener: tokio::net::TcpListener, count: usize) -> Vec<u64> {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut incoming, mut outgoing) = wire::channel(Stream::of(stream));
        incoming.next().await.unwrap().unwrap();
        let node_id = "b".parse().unwrap();
        let cluster_id = String::new();
        let identity = Identity { node_id, raft_id: 2, zone: None, cluster_id, initialized: true };
        outgoing.send(wire::encode(&Welcome::Accepted(identity)).unwrap()).await.unwrap();
        let mut terms = Vec::new();
        while terms.len() < count {
            let frame = incoming.next().await.unwrap().unwrap();
            let Numbered { number, body } = wire::decode::<Numbered<Request>>(&frame).unwrap();
            let Request::Follows(vote) = body else { panic!("{body:?}") };
            terms.push(vote.leader_id.term);
            let answer = Numbered { number, body: Response::Follows(true) };
            outgoing.send(wire::encode(&answer).unwrap()).await.unwrap();
        }
        terms
    }

    #[tokio::test]
    async fn requests_over_a_new_connection_keep_their_order() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = link(listener.local_addr().unwrap().to_string());
        let count = 20;
        let served = tokio::spawn(serve(listener, count));
        let request = |term| {
            let vote = Vote { leader_id: LeaderId::new(term, 1), committed: true };
            let link = Arc::clone(&link);
            async move { link.call(&Request::Follows(vote), Duration::from_secs(10)).await }
        };
        let answers = futures::future::join_all((0..count as u64).map(request)).await;
        let yes = |answer: &_| matches!(answer, Ok(Response::Follows(true)));
        assert!(answers.iter().all(yes), "{answers:?}");
        assert_eq!(served.await.unwrap(), (0..count as u64).collect::<Vec<_>>());
    }

    /// Many pauses, however quickly each is answered.
    const ASKS_MAX: usize = 1_000_000;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_that_refuses_is_left_alone_for_a_moment() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = link(listener.local_addr().unwrap().to_string());
        drop(listener);
        // Asked without a break, it is tried, then left alone, then tried again. A busy machine may
        // sleep through a pause, but not through all of them.
        let mut tried = Vec::new();
        for _ in 0..ASKS_MAX {
            if let CallError::Unreachable(text) = ask(&link).await {
                tried.push(!text.contains("just failed"));
                tried.dedup();
            }
            if tried.starts_with(&[true, false, true]) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("tried and left alone: {tried:?}");
    }
}
