//! Proposals: concurrent ones are merged into one log entry, and each caller gets its own replies.
//!
//! A few entries are on their way at a time; what arrives meanwhile waits and goes together, and the
//! busier the cluster is, the more must wait before a further entry goes. So an idle cluster adds no
//! delay, and a busy one writes few entries.

pub(super) mod gate;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use gate::{BYTES_MAX, Gate, PROPOSALS_MAX, Purpose};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use ringrift_core::id::Position;
use ringrift_core::limits::BATCH_ITEMS_MAX;
use ringrift_core::queue::command::{Command, Refusal, Reply};
use ringrift_core::time::Moment;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::consensus::entry::{Encoded, Proposal};
use crate::consensus::machine::{Shared, position_of};
use crate::consensus::stamp::{Jump, Jumps, Stamper};
use crate::consensus::vocabulary::{LeaderId, Raft, Replies, Ring};
use crate::consensus::wire::ENTRY_BYTES_MAX;
use crate::consensus::{Committed, ProposeError};

/// Entries on their way at once, when there is enough to fill them.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// Beyond so many on their way, an entry waits until it is full. An entry costs about a millisecond
/// of processor time on all voters together, however little it carries.
const ENTRIES_PARTLY_FULL_MAX: usize = 2;
/// With so many items on their way the cluster is busy, and a second entry must be worth its price.
const BUSY_ITEMS: usize = 16;
/// Items that are worth a second entry then: on two shared processors they come in about the time
/// that an entry takes.
const WORTHWHILE_ITEMS: usize = 32;
/// After this the caller is told that the outcome is unknown: several elections long.
const PROPOSE_PATIENCE: Duration = Duration::from_secs(5);
/// What was on its way when leadership went is committed by the heir, which takes two rounds among the
/// voters; who must end waits no longer than this for it.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// The end that callers hold.
#[derive(Clone)]
pub(super) struct Proposer {
    gate: Arc<Gate<Waiting>>,
    backlog: Arc<Backlog>,
    stamps: Arc<Stamps>,
    ending: Ending,
}

/// How the task that writes is asked to end, and how it says that it has.
#[derive(Clone, Default)]
struct Ending {
    wanted: CancellationToken,
    reached: CancellationToken,
}

/// How much waits in the queue.
#[derive(Default)]
struct Backlog {
    items: AtomicUsize,
    /// As many are waited for.
    wanted: AtomicUsize,
    /// Told when there are as many.
    enough: Notify,
}

impl Backlog {
    fn grow(&self, items: usize) {
        let waiting = self.items.fetch_add(items, Ordering::SeqCst).saturating_add(items);
        if waiting >= self.wanted.load(Ordering::SeqCst) {
            self.enough.notify_one();
        }
    }

    fn shrink(&self, items: usize) {
        self.items.fetch_sub(items, Ordering::SeqCst);
    }

    /// Whether so many wait. If not, it is told when they do: the wish comes before the look, so that
    /// none that comes in between is missed.
    fn has(&self, items: usize) -> bool {
        self.wanted.store(items, Ordering::SeqCst);
        self.items.load(Ordering::SeqCst) >= items
    }
}

/// What is on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    entries: usize,
    items: usize,
}

impl Load {
    /// Items that must wait before a further entry goes; nothing when none may.
    fn next_needs(self) -> Option<usize> {
        let Self { entries, items } = self;
        if entries >= ENTRIES_IN_FLIGHT_MAX {
            None
        } else if entries >= ENTRIES_PARTLY_FULL_MAX {
            Some(BATCH_ITEMS_MAX)
        } else if items >= BUSY_ITEMS {
            Some(WORTHWHILE_ITEMS)
        } else {
            Some(1)
        }
    }

    fn add(&mut self, entry: &[Waiting]) {
        self.entries = self.entries.saturating_add(1);
        self.items = self.items.saturating_add(items_in(entry));
    }

    fn remove(&mut self, entry: &[Waiting]) {
        self.entries = self.entries.saturating_sub(1);
        self.items = self.items.saturating_sub(items_in(entry));
    }
}

fn items_in(entry: &[Waiting]) -> usize {
    entry.iter().map(|waiting| waiting.items).sum()
}

/// One caller's commands.
struct Waiting {
    commands: Encoded,
    /// How many replies it gets.
    count: usize,
    items: usize,
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
    jumps: Mutex<Jumps>,
}

impl Stamps {
    fn next(&self) -> Moment {
        if let Some(own) = leads(&self.raft) {
            self.shared.hear(own);
        }
        let wall = self.clock.wall();
        let jump = self.jumps().look(self.clock.monotonic(), wall);
        if let Some(Jump { ahead, by }) = jump {
            tracing::warn!(ahead, %by, "wall clock jumped, replicated time is steered towards it");
        }
        let mut stamper = self.stamper.lock().unwrap_or_else(PoisonError::into_inner);
        stamper.stamp(self.shared.anchor(), self.shared.running(), wall)
    }

    fn jumps(&self) -> MutexGuard<'_, Jumps> {
        self.jumps.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (gate, waiting) = Gate::new();
        let (stamper, jumps) = (Mutex::default(), Mutex::default());
        let stamps = Arc::new(Stamps { raft: raft.clone(), shared, clock, stamper, jumps });
        let backlog = Arc::new(Backlog::default());
        let ending = Ending::default();
        let known = (Arc::clone(&backlog), Arc::clone(&stamps));
        let task = write_merged(raft, waiting, known, ending.clone());
        (Self { gate: Arc::new(gate), backlog, stamps, ending }, task)
    }

    /// Whether so much waits that new work may soon be refused.
    pub(super) fn is_crowded(&self) -> bool {
        self.gate.is_crowded()
    }

    /// How often the wall clock jumped ahead and back since this was asked last.
    pub(super) fn take_clock_jumps(&self) -> (u64, u64) {
        self.stamps.jumps().take()
    }

    /// Takes nothing more, and waits for the outcome of what was taken, but not for long.
    pub(super) async fn drain(&self) {
        self.ending.wanted.cancel();
        let reached = self.ending.reached.cancelled();
        if tokio::time::timeout(DRAIN_PATIENCE, reached).await.is_err() {
            tracing::warn!(
                "proposals have no outcome yet; their callers are told that it is unknown"
            );
        }
    }

    /// The moment that a batch proposed now would carry.
    pub(super) fn next_moment(&self) -> Moment {
        self.stamps.next()
    }

    pub(super) async fn propose(&self, commands: Vec<Command>) -> Result<Committed, ProposeError> {
        let items = commands.iter().map(items_of).sum::<usize>().max(1);
        if commands.len() > BATCH_ITEMS_MAX {
            let (size, limit) = (commands.len(), BATCH_ITEMS_MAX);
            return Err(ProposeError::TooLarge { what: "commands", size, limit });
        }
        let (count, purpose) = (commands.len(), Purpose::of(&commands));
        let commands = Encoded::of(&commands).map_err(unwritable)?;
        let bytes = commands.len();
        if bytes > ENTRY_BYTES_MAX {
            let (size, limit) = (bytes, ENTRY_BYTES_MAX);
            return Err(ProposeError::TooLarge { what: "bytes", size, limit });
        }
        let overloaded =
            || ProposeError::Overloaded { proposals_max: PROPOSALS_MAX, bytes_max: BYTES_MAX };
        let room = self.gate.room(bytes, purpose).ok_or_else(overloaded)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { commands, count, items, answer, _room: room };
        // First, so that it is never taken off before it was put on.
        self.backlog.grow(items);
        if let Err(refused) = self.gate.send(waiting, purpose) {
            self.backlog.shrink(items);
            return Err(match refused {
                mpsc::error::TrySendError::Full(_) => overloaded(),
                mpsc::error::TrySendError::Closed(_) => stopped(),
            });
        }
        match tokio::time::timeout(PROPOSE_PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            // The task ended with it; it may be in the log, and the others may commit it.
            Ok(Err(_)) | Err(_) => Err(ProposeError::Timeout),
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
        | Command::LockLeave { .. }
        | Command::LockRelease { .. }
        | Command::SubmitRun { .. }
        | Command::CancelRun { .. }
        | Command::InitCluster { .. }
        | Command::ChangeMembers { .. }
        | Command::Tick => 1,
    }
}

fn unwritable(error: postcard::Error) -> ProposeError {
    ProposeError::Stopped { cause: format!("cannot encode commands: {error}") }
}

type Write = (Vec<Waiting>, Result<(Position, Replies), ProposeError>);

async fn write_merged(
    raft: Raft,
    mut waiting: mpsc::Receiver<Waiting>,
    (backlog, stamps): (Arc<Backlog>, Arc<Stamps>),
    ending: Ending,
) {
    let Ending { wanted, reached } = ending;
    let _reached = reached.drop_guard();
    let mut in_flight = FuturesUnordered::new();
    let mut load = Load::default();
    let mut held_back: Option<Waiting> = None;
    let mut open = true;
    while open || held_back.is_some() || !in_flight.is_empty() {
        let needed = load.next_needs();
        // What is held back is still counted as waiting.
        let room = needed.is_some_and(|items| backlog.has(items) || items <= 1);
        if room && let Some(first) = held_back.take() {
            backlog.shrink(first.items);
            // A caller that gave up while a leader was missing must not be served minutes later.
            if first.answer.is_closed() {
                continue;
            }
            let merged = merge(first, &mut waiting, &mut held_back, &backlog);
            load.add(&merged);
            in_flight.push(write(&raft, merged, stamps.next()).await);
            continue;
        }
        tokio::select! {
            biased;
            Some((merged, outcome)) = in_flight.next() => {
                load.remove(&merged);
                answer(merged, outcome);
            }
            first = waiting.recv(), if open && room => match first {
                Some(first) => held_back = Some(first),
                None => open = false,
            },
            () = backlog.enough.notified(), if needed.is_some() && !room => {}
            // What waits already still goes to the raft core, which knows who leads now.
            () = wanted.cancelled(), if !waiting.is_closed() => waiting.close(),
        }
    }
}

/// Takes what is queued behind `first`, as far as one entry holds it.
fn merge(
    first: Waiting,
    waiting: &mut mpsc::Receiver<Waiting>,
    held_back: &mut Option<Waiting>,
    backlog: &Backlog,
) -> Vec<Waiting> {
    let (mut items, mut bytes) = (first.items, first.commands.len());
    let mut merged = vec![first];
    // The queue is bounded, and so are the items: every proposal weighs at least one.
    while let Ok(next) = waiting.try_recv() {
        items = items.saturating_add(next.items);
        bytes = bytes.saturating_add(next.commands.len());
        if items > BATCH_ITEMS_MAX || bytes > ENTRY_BYTES_MAX {
            *held_back = Some(next);
            break;
        }
        backlog.shrink(next.items);
        if !next.answer.is_closed() {
            merged.push(next);
        }
    }
    merged
}

/// Hands one entry to the raft core; the future that it answers with waits for the outcome.
async fn write(
    raft: &Raft,
    merged: Vec<Waiting>,
    now: Moment,
) -> impl Future<Output = Write> + Send + use<> {
    let (responder, outcome) = ProgressResponder::<Ring, ClientWriteResult<Ring>>::complete_only();
    let accepted = match Proposal::merge(now, merged.iter().map(|waiting| &waiting.commands)) {
        Ok(proposal) => {
            let accepted = raft.client_write_ff(proposal, Some(responder)).await;
            accepted.map_err(|fatal| ProposeError::Stopped { cause: fatal.to_string() })
        }
        Err(error) => Err(unwritable(error)),
    };
    async move {
        if let Err(error) = accepted {
            return (merged, Err(error));
        }
        let outcome = match outcome.await {
            Ok(Ok(written)) => Ok((position_of(written.log_id), written.data)),
            Ok(Err(error)) => Err(refused(error)),
            // The raft core ended with it. It had the entry, so the others may have it too.
            Err(_dropped) => Err(ProposeError::Timeout),
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
                    // It is committed, and what became of it is not known.
                    tracing::error!(
                        wanted,
                        "the machine answered fewer commands than it was given"
                    );
                    Err(ProposeError::Timeout)
                }
            }
            Err(error) => Err(error.clone()),
        };
        // The caller may have given up.
        let _ = waiting.answer.send(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(entries: usize, items: usize) -> Option<usize> {
        Load { entries, items }.next_needs()
    }

    #[test]
    fn an_idle_cluster_delays_nothing() {
        assert_eq!(needs(0, 0), Some(1));
        assert_eq!(needs(1, BUSY_ITEMS - 1), Some(1));
    }

    #[test]
    fn the_busier_it_is_the_more_must_wait() {
        assert_eq!(needs(1, BUSY_ITEMS), Some(WORTHWHILE_ITEMS));
        assert_eq!(needs(ENTRIES_PARTLY_FULL_MAX, 2), Some(BATCH_ITEMS_MAX));
        assert_eq!(needs(ENTRIES_IN_FLIGHT_MAX, ENTRIES_IN_FLIGHT_MAX), None);
    }

    #[tokio::test]
    async fn a_wish_is_told_when_it_is_met_and_not_before() {
        let backlog = Backlog::default();
        assert!(!backlog.has(3));
        backlog.grow(2);
        let soon = std::time::Duration::from_millis(5);
        assert!(tokio::time::timeout(soon, backlog.enough.notified()).await.is_err());
        backlog.grow(1);
        backlog.enough.notified().await;
        assert!(backlog.has(3));
        backlog.shrink(1);
        assert!(!backlog.has(3));
    }
}
