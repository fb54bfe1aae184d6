//! Proposals: concurrent ones are merged into one log entry, and each caller gets its own replies.
//!
//! A few entries are on their way at a time; what arrives meanwhile waits and goes together. So an
//! idle cluster adds no delay, and a busy one writes few entries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use ringrift_core::id::Position;
use ringrift_core::limits::BATCH_ITEMS_MAX;
use ringrift_core::queue::command::{Batch, Command, Refusal, Reply};
use ringrift_core::time::Moment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::clock::Clock;
use crate::consensus::machine::{Shared, position_of};
use crate::consensus::stamp::Stamper;
use crate::consensus::vocabulary::{LeaderId, Proposal, Raft, Replies, Ring};
use crate::consensus::wire::ENTRY_BYTES_MAX;
use crate::consensus::{Committed, ProposeError};

/// Proposals that wait to be merged; further ones are refused as overload.
const PROPOSALS_QUEUED_MAX: usize = 4_096;
/// Bytes of those proposals: many large ones must not fill the memory.
const PROPOSALS_QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries on their way at once. More would only cut the same proposals into smaller entries.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// After this the caller is told that the outcome is unknown: several elections long.
const PROPOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The end that callers hold.
#[derive(Clone)]
pub(super) struct Proposer {
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    stamps: Arc<Stamps>,
}

/// One caller's commands.
struct Waiting {
    commands: Vec<Command>,
    /// How many replies it gets.
    count: usize,
    items: usize,
    bytes: usize,
    answer: oneshot::Sender<Result<Committed, ProposeError>>,
    /// Its share of the queue's bytes, given back when it is answered.
    _room: OwnedSemaphorePermit,
}

/// Where stamps come from.
struct Stamps {
    raft: Raft,
    shared: Arc<Shared>,
    clock: Clock,
    stamper: Mutex<Stamper>,
}

impl Stamps {
    fn next(&self) -> Moment {
        if let Some(own) = leads(&self.raft) {
            self.shared.hear(own);
        }
        let mut stamper = self.stamper.lock().unwrap_or_else(PoisonError::into_inner);
        stamper.stamp(self.shared.anchor(), self.shared.running(), self.clock.wall())
    }
}

/// Under which leader id this agent leads, if it does.
pub(super) fn leads(raft: &Raft) -> Option<LeaderId> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    metrics.state.is_leader().then_some(metrics.vote.leader_id)
}

impl Proposer {
    /// A proposer and the task that merges and writes. The task ends when the last proposer is gone.
    pub(super) fn new(
        raft: Raft,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, waiting) = mpsc::channel(PROPOSALS_QUEUED_MAX);
        let stamper = Mutex::default();
        let stamps = Arc::new(Stamps { raft: raft.clone(), shared, clock, stamper });
        let room = Arc::new(Semaphore::new(PROPOSALS_QUEUED_BYTES_MAX));
        let task = write_merged(raft, waiting, Arc::clone(&stamps));
        (Self { queue, room, stamps }, task)
    }

    /// The moment that a batch proposed now would carry.
    pub(super) fn next_moment(&self) -> Moment {
        self.stamps.next()
    }

    pub(super) async fn propose(&self, commands: Vec<Command>) -> Result<Committed, ProposeError> {
        let items = commands.iter().map(items_of).sum();
        let bytes = bytes_of(&commands)?;
        if commands.len() > BATCH_ITEMS_MAX {
            let (size, limit) = (commands.len(), BATCH_ITEMS_MAX);
            return Err(ProposeError::TooLarge { what: "commands", size, limit });
        }
        if bytes > ENTRY_BYTES_MAX {
            let (size, limit) = (bytes, ENTRY_BYTES_MAX);
            return Err(ProposeError::TooLarge { what: "bytes", size, limit });
        }
        let overloaded = || ProposeError::Overloaded {
            proposals_max: PROPOSALS_QUEUED_MAX,
            bytes_max: PROPOSALS_QUEUED_BYTES_MAX,
        };
        let share = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(share);
        let room = room.map_err(|_full| overloaded())?;
        let (answer, answered) = oneshot::channel();
        let count = commands.len();
        let waiting = Waiting { commands, count, items, bytes, answer, _room: room };
        match self.queue.try_send(waiting) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(overloaded()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(stopped()),
        }
        match tokio::time::timeout(PROPOSE_PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_dropped)) => Err(stopped()),
            Err(_elapsed) => Err(ProposeError::Timeout),
        }
    }
}

fn stopped() -> ProposeError {
    ProposeError::Stopped { cause: "the agent is shutting down".to_owned() }
}

/// How much a command weighs in a batch: the items that it makes.
fn items_of(command: &Command) -> usize {
    match command {
        Command::Enqueue(items) => items.len().max(1),
        Command::AdvanceRun { advance, .. } => advance.enqueue.len().max(1),
        Command::Complete { then, .. } => then.len().max(1),
        Command::InSession { command, .. } => items_of(command),
        Command::EnqueueArray { .. }
        | Command::Release { .. }
        | Command::CancelArray { .. }
        | Command::Redrive { .. }
        | Command::SetQueue { .. }
        | Command::RemoveQueue { .. }
        | Command::SetCapacity { .. }
        | Command::ExpireNode { .. }
        | Command::OpenSession
        | Command::CloseSession { .. }
        | Command::Claim(_)
        | Command::Start { .. }
        | Command::Heartbeat { .. }
        | Command::Fail { .. }
        | Command::Cancel { .. }
        | Command::LockAcquire { .. }
        | Command::LockRelease { .. }
        | Command::SubmitRun { .. }
        | Command::CancelRun { .. }
        | Command::InitCluster { .. }
        | Command::Tick => 1,
    }
}

fn bytes_of(commands: &[Command]) -> Result<usize, ProposeError> {
    postcard::experimental::serialized_size(commands).map_err(|error| ProposeError::Stopped {
        cause: format!("cannot encode commands: {error}"),
    })
}

type Write = (Vec<Waiting>, Result<(Position, Replies), ProposeError>);

async fn write_merged(raft: Raft, mut waiting: mpsc::Receiver<Waiting>, stamps: Arc<Stamps>) {
    let mut in_flight = FuturesUnordered::new();
    let mut held_back: Option<Waiting> = None;
    let mut open = true;
    while open || held_back.is_some() || !in_flight.is_empty() {
        let room = in_flight.len() < ENTRIES_IN_FLIGHT_MAX;
        if room && let Some(first) = held_back.take() {
            // A caller that gave up while a leader was missing must not be served minutes later.
            if first.answer.is_closed() {
                continue;
            }
            let merged = merge(first, &mut waiting, &mut held_back);
            in_flight.push(write(&raft, merged, stamps.next()).await);
            continue;
        }
        tokio::select! {
            biased;
            Some((merged, outcome)) = in_flight.next() => answer(merged, outcome),
            first = waiting.recv(), if open && room => match first {
                Some(first) => held_back = Some(first),
                None => open = false,
            },
        }
    }
}

/// Takes what is queued behind `first`, as far as one entry holds it.
fn merge(
    first: Waiting,
    waiting: &mut mpsc::Receiver<Waiting>,
    held_back: &mut Option<Waiting>,
) -> Vec<Waiting> {
    let (mut items, mut bytes) = (first.items, first.bytes);
    let mut merged = vec![first];
    // The queue is bounded, and so are the items: every proposal weighs at least one.
    while let Ok(next) = waiting.try_recv() {
        if next.answer.is_closed() {
            continue;
        }
        items = items.saturating_add(next.items.max(1));
        bytes = bytes.saturating_add(next.bytes);
        if items > BATCH_ITEMS_MAX || bytes > ENTRY_BYTES_MAX {
            *held_back = Some(next);
            break;
        }
        merged.push(next);
    }
    merged
}

/// Hands one entry to the raft core; the future that it answers with waits for the outcome.
async fn write(
    raft: &Raft,
    mut merged: Vec<Waiting>,
    now: Moment,
) -> impl Future<Output = Write> + Send + use<> {
    let taken = merged.iter_mut().flat_map(|waiting| std::mem::take(&mut waiting.commands));
    let commands = taken.collect();
    let (responder, outcome) = ProgressResponder::<Ring, ClientWriteResult<Ring>>::complete_only();
    let accepted = raft.client_write_ff(Proposal(Batch { now, commands }), Some(responder)).await;
    async move {
        if let Err(fatal) = accepted {
            return (merged, Err(ProposeError::Stopped { cause: fatal.to_string() }));
        }
        let outcome = match outcome.await {
            Ok(Ok(written)) => Ok((position_of(written.log_id), written.data)),
            Ok(Err(error)) => Err(refused(error)),
            Err(_dropped) => Err(stopped()),
        };
        (merged, outcome)
    }
}

fn refused(error: ClientWriteError<Ring>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => not_leader(forward),
        // It was in the log of a leader that lost its office; whether it is committed is unknown.
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Timeout,
        other @ (ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_)) => {
            ProposeError::Stopped { cause: other.to_string() }
        }
    }
}

pub(super) fn not_leader(forward: ForwardToLeader<Ring>) -> ProposeError {
    let ForwardToLeader { leader_id: _, leader_node, reason } = forward;
    let leader = match reason {
        ForwardReason::NotLeader => leader_node,
        // Nobody can be named yet: the heir has not begun, or this leader has lost its followers.
        ForwardReason::LeadershipTransfer | ForwardReason::LeaseExpired => None,
    };
    ProposeError::NotLeader { leader }
}

/// Gives every caller its slice of the replies.
fn answer(merged: Vec<Waiting>, outcome: Result<(Position, Replies), ProposeError>) {
    let mut outcome = outcome.map(|(position, replies)| (position, replies.into_iter()));
    for waiting in merged {
        let wanted = waiting.count;
        let own = match &mut outcome {
            Ok((position, replies)) => {
                let replies: Vec<Result<Reply, Refusal>> = replies.by_ref().take(wanted).collect();
                if replies.len() == wanted {
                    Ok(Committed { position: *position, replies })
                } else {
                    let cause = "the machine answered fewer commands than it was given";
                    Err(ProposeError::Stopped { cause: cause.to_owned() })
                }
            }
            Err(error) => Err(error.clone()),
        };
        // The caller may have given up.
        let _ = waiting.answer.send(own);
    }
}
