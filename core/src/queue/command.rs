//! The replicated log entry: what may be asked of the machine, and what it answers.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{LockName, NodeId, QueueName, RunId, SessionId, Token, WorkId};
use crate::queue::item::{Item, NewItem};
use crate::queue::lock::Asker;
use crate::queue::resources::{Capacity, Teller};
use crate::queue::tenant::QueueSettings;
use crate::run::{Advance, GameResult, RunSpec};
use crate::time::{Moment, Span};

/// One log entry: commands that are applied one after another at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's time; the machine clamps it to grow.
    pub now: Moment,
    /// At most [`crate::limits::BATCH_ITEMS_MAX`].
    pub commands: Vec<Command>,
}

/// A change of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Adds items, all of them or none. Answers [`Reply::Enqueued`].
    Enqueue(Vec<NewItem>),
    /// Adds `count` items that are alike but for their index. They take the room of one until they
    /// are claimed. Answers [`Reply::Enqueued`] with the first of them.
    EnqueueArray {
        /// What each of them is; no group and no dependencies.
        request: NewItem,
        /// How many, 1 to [`crate::limits::ARRAY_ITEMS_MAX`].
        count: u32,
    },
    /// Takes up to `limit` items. Answers [`Reply::Claimed`], empty when nothing fits.
    Claim(Claim),
    /// The holder begins: from here on the attempt counts. Answers [`Reply::Done`].
    Start {
        /// The item.
        work_id: WorkId,
        /// The holder's token.
        token: Token,
    },
    /// Renews leases. Answers [`Reply::Renewed`], which names the lost ones.
    Heartbeat {
        /// The holder.
        node: NodeId,
        /// What it believes to hold.
        claims: Vec<(WorkId, Token)>,
        /// The new length of each lease.
        lease: Span,
    },
    /// Ends an item well, and adds what follows from it in the same step: both or neither. Answers
    /// [`Reply::Completed`]; a repeat with the same token answers the same and adds nothing again.
    Complete {
        /// The item.
        work_id: WorkId,
        /// The holder's token.
        token: Token,
        /// What came out.
        result: WorkResult,
        /// Items to add.
        then: Vec<NewItem>,
    },
    /// Ends an attempt badly: retry after backoff, or dead. Answers [`Reply::Failed`].
    Fail {
        /// The item.
        work_id: WorkId,
        /// The holder's token.
        token: Token,
        /// What went wrong, for people.
        error: String,
        /// False when no further attempt can help.
        retry: bool,
    },
    /// Gives a claim back: another claimer takes the item, at once or after a delay, and the attempt does
    /// not count, whether or not it was started. Answers [`Reply::Done`].
    Release {
        /// The item.
        work_id: WorkId,
        /// The holder's token.
        token: Token,
        /// Time before it may be claimed again, at most [`crate::limits::DELAY_MAX`].
        delay: Span,
    },
    /// Cancels an item whoever holds it. Answers [`Reply::Done`].
    Cancel {
        /// The item.
        work_id: WorkId,
    },
    /// Cancels what has not ended of an array. Answers [`Reply::Done`].
    CancelArray {
        /// The array, by its first item.
        array: WorkId,
    },
    /// Gives a dead item all its attempts again; its history stays. Answers [`Reply::Done`].
    Redrive {
        /// The item.
        work_id: WorkId,
    },
    /// Makes a queue or changes its settings. Answers [`Reply::Done`].
    SetQueue {
        /// The queue.
        queue: QueueName,
        /// Its settings from now on.
        settings: QueueSettings,
    },
    /// Removes a queue that holds nothing. Answers [`Reply::Done`].
    RemoveQueue {
        /// The queue.
        queue: QueueName,
    },
    /// Says what a node has. Claims that no longer fit end, newest first. An agent's word changes
    /// nothing while an operator's stands. Answers [`Reply::Done`].
    SetCapacity {
        /// The node.
        node: NodeId,
        /// What it has from now on; nothing when it has left.
        capacity: Option<Capacity>,
        /// Who says so.
        by: Teller,
    },
    /// Ends the claims of a node that is known to be gone, without waiting for their leases, and forgets
    /// what its agent said it has. Answers [`Reply::Ticked`].
    ExpireNode {
        /// The node.
        node: NodeId,
    },
    /// Opens a session. Answers [`Reply::SessionOpened`].
    OpenSession,
    /// Closes a session and forgets its answers. Answers [`Reply::Done`]; a repeat too.
    CloseSession {
        /// The session.
        session: SessionId,
    },
    /// A command of a session: when its number was seen before, the first answer is given again and
    /// nothing is done. Answers as the command does.
    InSession {
        /// The session.
        session: SessionId,
        /// The command's number.
        seq: u64,
        /// The client has every answer below this number.
        acknowledged: u64,
        /// The command; not itself one of a session.
        command: Box<Command>,
    },
    /// Takes a lock, or renews it for the same owner, never for less than it has. Answers [`Reply::Locked`]; when another owner
    /// holds it and `wait` is given, [`Reply::LockQueued`]. Who waits and asks again keeps its place, with
    /// the latest end of its wait and the longest time to live of all that it asked for.
    LockAcquire {
        /// The lock.
        name: LockName,
        /// Who wants it.
        owner: String,
        /// It frees itself after this time.
        ttl: Span,
        /// How long to wait for it while another owner holds it, at most
        /// [`crate::limits::LOCK_WAIT_MAX`]; nothing is to be refused at once.
        wait: Option<Span>,
        /// Which of the owner's requests this is.
        asker: Asker,
    },
    /// Gives a place in a lock's line up, and the lock itself when no other request was told that the
    /// owner holds it. Answers [`Reply::Done`], also when there is neither.
    LockLeave {
        /// The lock.
        name: LockName,
        /// Who waits no longer.
        owner: String,
        /// The request that went away before it was answered; nothing when it was answered, and only the
        /// place is given up.
        asker: Option<Asker>,
    },
    /// Frees a lock: who waits first gets it in the same step. Answers [`Reply::Done`].
    LockRelease {
        /// The lock.
        name: LockName,
        /// The token that the acquisition answered.
        token: Token,
    },
    /// Registers a run. Answers [`Reply::RunAccepted`]; the same spec under the same id again too.
    SubmitRun {
        /// Its id.
        run: RunId,
        /// The queue that its items go to.
        queue: QueueName,
        /// What it is.
        spec: RunSpec,
    },
    /// A planner's step, valid only for the version that it was planned on. Answers [`Reply::Done`].
    AdvanceRun {
        /// The run.
        run: RunId,
        /// The version that the planner saw.
        version: u64,
        /// What changes.
        advance: Advance,
    },
    /// Ends a run as cancelled, its items with it. Answers [`Reply::Done`].
    CancelRun {
        /// The run.
        run: RunId,
    },
    /// Only lets time pass: leases end, delays end. Answers [`Reply::Ticked`].
    Tick,
    /// Names the cluster, once and for ever. Answers [`Reply::Done`]; the same name again too.
    InitCluster {
        /// The name, as long as any other name.
        cluster_id: String,
    },
    /// Written before the members change, so that every later leader knows of it. Answers
    /// [`Reply::Done`].
    ChangeMembers {
        /// The raft id that goes and never returns; nothing when somebody is added.
        retired: Option<u64>,
        /// Whether the cluster does it by itself.
        automatic: bool,
    },
}

impl Command {
    /// Whether it brings work that the queue does not have yet. What follows from a completion does not
    /// count: it comes in the place of what ends.
    #[must_use]
    pub fn brings_work(&self) -> bool {
        match self {
            Self::Enqueue(_) | Self::EnqueueArray { .. } | Self::SubmitRun { .. } => true,
            Self::AdvanceRun { advance, .. } => !advance.enqueue.is_empty(),
            Self::InSession { command, .. } => command.brings_work(),
            Self::Claim(_)
            | Self::Start { .. }
            | Self::Heartbeat { .. }
            | Self::Complete { .. }
            | Self::Fail { .. }
            | Self::Release { .. }
            | Self::Cancel { .. }
            | Self::CancelArray { .. }
            | Self::Redrive { .. }
            | Self::SetQueue { .. }
            | Self::RemoveQueue { .. }
            | Self::SetCapacity { .. }
            | Self::ExpireNode { .. }
            | Self::OpenSession
            | Self::CloseSession { .. }
            | Self::LockAcquire { .. }
            | Self::LockLeave { .. }
            | Self::LockRelease { .. }
            | Self::CancelRun { .. }
            | Self::Tick
            | Self::InitCluster { .. }
            | Self::ChangeMembers { .. } => false,
        }
    }

    /// Whether it ends work or keeps what is held, so that it must be carried out however full
    /// everything is. A repeat of it does no harm.
    #[must_use]
    pub fn ends_or_keeps_work(&self) -> bool {
        match self {
            Self::Start { .. }
            | Self::Heartbeat { .. }
            | Self::Complete { .. }
            | Self::Fail { .. }
            | Self::Release { .. }
            | Self::Cancel { .. }
            | Self::CancelArray { .. }
            | Self::CancelRun { .. } => true,
            Self::Enqueue(_)
            | Self::EnqueueArray { .. }
            | Self::Claim(_)
            | Self::Redrive { .. }
            | Self::SetQueue { .. }
            | Self::RemoveQueue { .. }
            | Self::SetCapacity { .. }
            | Self::ExpireNode { .. }
            | Self::OpenSession
            | Self::CloseSession { .. }
            | Self::InSession { .. }
            | Self::LockAcquire { .. }
            | Self::LockLeave { .. }
            | Self::LockRelease { .. }
            | Self::SubmitRun { .. }
            | Self::AdvanceRun { .. }
            | Self::Tick
            | Self::InitCluster { .. }
            | Self::ChangeMembers { .. } => false,
        }
    }
}

/// A request for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who claims.
    pub node: NodeId,
    /// What it can do. Items whose `work_type` is not in `work_types` are not for it.
    pub capabilities: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Work types that it takes; empty takes any.
    pub work_types: BTreeSet<String>,
    /// At most this many items, 1 to [`crate::limits::CLAIM_ITEMS_MAX`].
    pub limit: u32,
    /// Length of the lease.
    pub lease: Span,
}

/// What a completed item brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkResult {
    /// JSON text for people and programs, opaque to the machine.
    pub text: String,
    /// The two games, when the item was a pair of a run.
    pub pair: Option<PairResult>,
}

/// The two games of one pair, from the first contestant's side: it has White in the first game and
/// Black in the second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairResult {
    /// In order of play.
    pub games: [GameResult; 2],
}

/// What the machine answers to a command that it carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The items' numbers in the order asked, and whether each is new.
    Enqueued(Vec<(WorkId, bool)>),
    /// The claimed items.
    Claimed(Vec<Item>),
    /// How many leases were renewed, and which items the node no longer holds.
    Renewed {
        /// Renewed leases.
        renewed: u32,
        /// Lost, cancelled or ended: stop working on them.
        lost: Vec<WorkId>,
    },
    /// The failed item waits for a retry until then, or is dead.
    Failed {
        /// When it becomes claimable again; nothing when it is dead.
        retry_at: Option<Moment>,
    },
    /// The lock is the owner's.
    Locked {
        /// Pass it to whatever the lock protects.
        token: Token,
        /// It frees itself then.
        expires: Moment,
    },
    /// Another owner holds the lock; this one stands in line.
    LockQueued {
        /// How many get it before.
        position: u32,
        /// It waits no longer than this.
        until: Moment,
    },
    /// The run is known.
    RunAccepted {
        /// False when it was there already.
        fresh: bool,
    },
    /// Time has passed.
    Ticked {
        /// Leases that ended.
        expired: u32,
    },
    /// The item is completed.
    Completed {
        /// The added items' numbers in the order asked, and whether each is new.
        then: Vec<(WorkId, bool)>,
    },
    /// The session is open.
    SessionOpened(SessionId),
    /// Done.
    Done,
}

/// Why the machine refused a command. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such item, or it ended so long ago that it was forgotten.
    #[error("work item {0} is not known")]
    UnknownWork(WorkId),
    /// The caller does not hold the item, or no longer.
    #[error("work item {work_id} is not held under token {token}; it is {now}")]
    Fenced {
        /// The item.
        work_id: WorkId,
        /// The refused token.
        token: Token,
        /// The current holder or state, for people.
        now: String,
    },
    /// The item has ended.
    #[error("work item {work_id} has ended as {state}")]
    Ended {
        /// The item.
        work_id: WorkId,
        /// How it ended.
        state: String,
    },
    /// No such queue.
    #[error("queue {0} is not known; create it first")]
    UnknownQueue(QueueName),
    /// The queue holds items, or active runs will bring some, so it stays.
    #[error(
        "queue {queue} holds {held} unfinished items and has {runs} active runs; cancel them or let \
         them end"
    )]
    QueueInUse {
        /// The queue.
        queue: QueueName,
        /// Unfinished items.
        held: u64,
        /// Runs that have not ended.
        runs: u64,
    },
    /// The queue has as many waiting items as its settings allow.
    #[error("queue {queue} has {held} waiting items of at most {limit}; retry later")]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// Waiting items.
        held: u64,
        /// The bound.
        limit: u64,
    },
    /// No such session, or it has ended.
    #[error("session {0} is not known or has ended; whether earlier requests were done is unknown")]
    UnknownSession(SessionId),
    /// The client said that it has the answer already.
    #[error("request {seq} of session {session} is below {floor}, up to where answers are dropped")]
    SessionStale {
        /// The session.
        session: SessionId,
        /// The request's number.
        seq: u64,
        /// Answers below are dropped.
        floor: u64,
    },
    /// The session has too many answers that its client has not acknowledged.
    #[error("session {session} keeps {kept} answers; acknowledge some first")]
    SessionFull {
        /// The session.
        session: SessionId,
        /// Answers kept.
        kept: u64,
    },
    /// Too many sessions are open.
    #[error("{0} sessions are open already; close some first")]
    TooManySessions(u64),
    /// Too many unfinished items.
    #[error("the queue holds {held} unfinished items of at most {limit}; retry later")]
    Full {
        /// Unfinished items.
        held: u64,
        /// The bound.
        limit: u64,
    },
    /// The unfinished items are too large together.
    #[error(
        "the unfinished items take {bytes} bytes of at most {limit}; retry later, and keep large \
         inputs in files"
    )]
    TooHeavy {
        /// Bytes of unfinished items.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The unfinished items would be of too many kinds.
    #[error(
        "the unfinished items are of at most {limit} kinds; retry later, and use fewer distinct needs"
    )]
    TooManyKinds {
        /// The bound.
        limit: u64,
    },
    /// The key is in use for an item with another content.
    #[error(
        "idempotency key {key:?} belongs to work item {work_id}, which asks for something else"
    )]
    KeyConflict {
        /// The key.
        key: String,
        /// Its item.
        work_id: WorkId,
    },
    /// The request breaks a bound or a rule.
    #[error("{field} {problem}")]
    Invalid {
        /// The field at fault.
        field: String,
        /// What it must be.
        problem: String,
    },
    /// Another owner holds the lock.
    #[error("lock {name} is held by {owner} until {expires:?}")]
    LockHeld {
        /// The lock.
        name: LockName,
        /// Its holder.
        owner: String,
        /// When it frees itself.
        expires: Moment,
    },
    /// Too many wait for locks already.
    #[error(
        "{waiting} owners wait for lock {name} already, and {in_all} for all locks; retry later"
    )]
    LockCrowded {
        /// The lock.
        name: LockName,
        /// How many wait for it.
        waiting: u64,
        /// How many wait for any lock.
        in_all: u64,
    },
    /// The lock is not held under this token.
    #[error("lock {name} is not held under token {token}")]
    LockNotHeld {
        /// The lock.
        name: LockName,
        /// The refused token.
        token: Token,
    },
    /// No such run.
    #[error("run {0} is not known")]
    UnknownRun(RunId),
    /// The id belongs to a run with another spec.
    #[error("run {0} exists with another spec; choose another id")]
    RunConflict(RunId),
    /// The run moved on since the planner looked.
    #[error("run {run} is at version {current}, not {planned}")]
    StaleRun {
        /// The run.
        run: RunId,
        /// Its version.
        current: u64,
        /// The version that the step was planned on.
        planned: u64,
    },
    /// The run has ended.
    #[error("run {0} has ended")]
    RunEnded(RunId),
    /// Too many runs are active.
    #[error("{0} runs are kept already; end some first")]
    TooManyRuns(u64),
}
