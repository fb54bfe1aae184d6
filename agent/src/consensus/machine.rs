//! openraft's state machine around the one replicated [`Machine`] of the core.

pub(super) mod snapshot;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use ringrift_core::id::Position;
use ringrift_core::machine::{self, Machine};
use ringrift_core::queue::command::Batch;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::consensus::Member;
use crate::consensus::machine::snapshot::{SnapshotDirectory, SnapshotFile};
use crate::consensus::presence::Presence;
use crate::consensus::stamp::Anchor;
use crate::consensus::vocabulary::{
    Entry, LeaderId, LogId, Membership, Payload, Replies, Ring, Snapshot, SnapshotMeta,
};
use crate::consensus::{room, runtime};

/// Entries applied under one hold of the lock. Readers wait for as long, so it stays in the
/// milliseconds even with large batches.
const APPLY_CHUNK_MAX: usize = 32;
/// A snapshot that did not fit is not tried again before: each trial writes much, and openraft would
/// try with each entry.
const TOO_LARGE_PAUSE: Duration = Duration::from_secs(10);

/// What snapshots carry and replay rebuilds.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Replica {
    pub(super) applied: Option<LogId>,
    pub(super) membership: Membership,
    pub(super) machine: Machine,
}

/// A replica as it was between two entries, to be written down; read again as a [`Replica`].
#[derive(Debug, Serialize)]
pub(super) struct Frozen {
    applied: Option<LogId>,
    membership: Membership,
    machine: machine::Frozen,
}

impl Frozen {
    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }
}

/// The replica, shared between the applier and readers.
pub(super) struct Shared {
    replica: RwLock<Held>,
    applied: watch::Sender<u64>,
    /// As the machine counts them. Thousands may wait for these, and entries come by the thousand a
    /// second: they are not to be woken by each.
    lines_moved: watch::Sender<u64>,
    last_event: watch::Sender<u64>,
    /// The last snapshot that did not fit on the disk, until one does.
    too_large: Mutex<Option<TooLarge>>,
    presence: Mutex<Presence>,
    clock: Clock,
}

/// A snapshot that did not fit on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// When that was seen.
    at: Duration,
    /// In words.
    pub(super) cause: String,
}

struct Held {
    replica: Replica,
    /// Running time at which the last batch was applied here: replicated time goes on from there.
    batch_applied_at: Duration,
}

impl Shared {
    pub(super) fn new(replica: Replica, clock: Clock) -> Self {
        let presence = Presence::new(clock.monotonic());
        let held = Held { replica, batch_applied_at: presence.running() };
        let signs = Signs::of(&held.replica);
        Self {
            replica: RwLock::new(held),
            applied: watch::Sender::new(signs.applied),
            lines_moved: watch::Sender::new(signs.lines_moved),
            last_event: watch::Sender::new(signs.last_event),
            too_large: Mutex::default(),
            presence: Mutex::new(presence),
            clock,
        }
    }

    /// A leader was heard just now; a leader hears itself.
    pub(super) fn hear(&self, leader: LeaderId) {
        let now = self.clock.monotonic();
        self.presence().hear(leader, now);
    }

    /// How long a leader was there: what replicated time is counted by.
    pub(super) fn running(&self) -> Duration {
        self.presence().running()
    }

    /// Time since the leader that was heard last was heard first, and since it was heard last; since the
    /// start when nobody was.
    pub(super) fn contact(&self) -> (Duration, Duration) {
        let now = self.clock.monotonic();
        let (since, heard_at) = self.presence().contact();
        (now.saturating_sub(since), now.saturating_sub(heard_at))
    }

    // Nothing panics while it is held.
    fn presence(&self) -> MutexGuard<'_, Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Index of the last applied entry, as it grows.
    pub(super) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// How often owners left the line before a lock, as it grows.
    pub(super) fn lines_moved(&self) -> watch::Receiver<u64> {
        self.lines_moved.subscribe()
    }

    /// The number of the last event, as it grows.
    pub(super) fn last_event(&self) -> watch::Receiver<u64> {
        self.last_event.subscribe()
    }

    /// Tells those who watch what they may find now.
    fn show(&self, signs: &Signs) {
        let Signs { applied, lines_moved, last_event } = *signs;
        self.applied.send_replace(applied);
        for (sign, now) in [(&self.lines_moved, lines_moved), (&self.last_event, last_event)] {
            sign.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
    }

    /// The last snapshot that did not fit on the disk, unless that may have changed since.
    pub(super) fn too_large(&self) -> Option<TooLarge> {
        let too_large = self.too_large_cell().clone();
        let now = self.clock.monotonic();
        too_large.filter(|seen| now.saturating_sub(seen.at) < TOO_LARGE_PAUSE)
    }

    // Nothing panics while it is held.
    fn too_large_cell(&self) -> MutexGuard<'_, Option<TooLarge>> {
        self.too_large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read<R>(&self, look: impl FnOnce(&Replica) -> R) -> R {
        look(&self.held().replica)
    }

    /// The moment of the last applied batch, and the running time when it was applied here.
    pub(super) fn anchor(&self) -> Anchor {
        let held = self.held();
        Anchor { moment: held.replica.machine.now(), at: held.batch_applied_at }
    }

    // A panic while the lock was held is a bug in a reader or in apply; the raft core stops for the
    // latter. What is here is still the last complete state that readers can be shown.
    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.replica.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies entries in order. Those before one that cannot be read are applied.
    fn apply(&self, entries: Vec<EntryResponder<Ring>>) -> io::Result<()> {
        let mut answers: Vec<(ApplyResponder<Ring>, Replies)> = Vec::with_capacity(entries.len());
        let (mut signs, mut failure) = (None, None);
        // Decoded before the lock is taken: readers need not wait for that.
        let decoded: Vec<_> = entries
            .into_iter()
            .map(|(entry, responder)| (entry.log_id, Change::of(entry), responder))
            .collect();
        let at = self.running();
        {
            let mut held = self.replica.write().unwrap_or_else(PoisonError::into_inner);
            for (log_id, change, responder) in decoded {
                let followed = held.replica.must_be_followed_by(log_id);
                let change = match followed.and(change) {
                    Ok(change) => change,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                };
                if matches!(change, Change::Batch(_)) {
                    held.batch_applied_at = at;
                }
                let replies = held.replica.apply(log_id, change);
                if let Some(responder) = responder {
                    answers.push((responder, replies));
                }
                signs = Some(Signs::of(&held.replica));
            }
        }
        // Readers that follow a sign must find what it names; answered callers read at once.
        if let Some(signs) = signs {
            self.show(&signs);
        }
        for (responder, replies) in answers {
            responder.send(replies);
        }
        failure.map_or(Ok(()), Err)
    }

    fn replace(&self, replica: Replica) {
        let signs = Signs::of(&replica);
        {
            let mut held = self.replica.write().unwrap_or_else(PoisonError::into_inner);
            *held = Held { replica, batch_applied_at: self.running() };
        }
        self.show(&signs);
    }
}

/// What those who watch are told of a replica.
struct Signs {
    applied: u64,
    lines_moved: u64,
    last_event: u64,
}

impl Signs {
    fn of(replica: &Replica) -> Self {
        let (lines_moved, last_event) =
            (replica.machine.lines_moved(), replica.machine.last_event());
        Self { applied: index_of(replica.applied), lines_moved, last_event }
    }
}

fn index_of(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

/// What an entry does to the replica.
enum Change {
    Nothing,
    Batch(Batch),
    Membership(openraft::Membership<u64, Member>),
}

impl Change {
    fn of(entry: Entry) -> io::Result<Self> {
        let Entry { log_id, payload } = entry;
        match payload {
            Payload::Blank => Ok(Self::Nothing),
            Payload::Normal(proposal) => proposal.batch().map(Self::Batch).map_err(|error| {
                let text = format!("log entry {} is damaged: {error}", log_id.index);
                io::Error::new(io::ErrorKind::InvalidData, text)
            }),
            Payload::Membership(membership) => Ok(Self::Membership(membership)),
        }
    }
}

impl Replica {
    /// A gap would mean that entries are lost: the state after it would differ from everybody else's.
    fn must_be_followed_by(&self, log_id: LogId) -> io::Result<()> {
        let next = self.applied.map_or(0, |applied| applied.index.saturating_add(1));
        if log_id.index == next {
            return Ok(());
        }
        let index = log_id.index;
        let text = format!("log entry {index} came where {next} must follow: entries are missing");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    fn apply(&mut self, log_id: LogId, change: Change) -> Replies {
        self.applied = Some(log_id);
        match change {
            Change::Nothing => Vec::new(),
            Change::Batch(batch) => self.machine.apply(position_of(log_id), &batch),
            Change::Membership(membership) => {
                self.membership = Membership::new(Some(log_id), membership);
                Vec::new()
            }
        }
    }

    /// Takes milliseconds, however much is held.
    pub(super) fn freeze(&self) -> Frozen {
        let Self { applied, membership, machine } = self;
        Frozen { applied: *applied, membership: membership.clone(), machine: machine.freeze() }
    }
}

/// The place in the log as the core names it.
pub(super) fn position_of(log_id: LogId) -> Position {
    Position { term: log_id.leader_id.term, index: log_id.index }
}

/// What openraft applies to.
pub(super) struct StateMachine {
    shared: Arc<Shared>,
    snapshots: SnapshotDirectory,
}

impl StateMachine {
    pub(super) fn new(shared: Arc<Shared>, snapshots: SnapshotDirectory) -> Self {
        Self { shared, snapshots }
    }
}

impl RaftStateMachine<Ring> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok(self.shared.read(|replica| (replica.applied, replica.membership.clone())))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Ring>, io::Error>> + Unpin + Send,
    {
        let mut chunks = entries.ready_chunks(APPLY_CHUNK_MAX);
        while let Some(chunk) = chunks.next().await {
            let mut failure = None;
            let mut ready = Vec::with_capacity(chunk.len());
            for entry in chunk {
                match entry {
                    Ok(entry) => ready.push(entry),
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            self.shared.apply(ready)?;
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        if !force && self.shared.too_large().is_some() {
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        let begun = self.shared.clock.monotonic();
        let frozen = Some(self.shared.read(Replica::freeze));
        let (shared, snapshots) = (Arc::clone(&self.shared), self.snapshots.clone());
        Builder { frozen, shared, snapshots, begun }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let snapshots = self.snapshots.clone();
        let expected = meta.clone();
        let replica = blocking(move || snapshots.install(snapshot, &expected)).await?;
        self.shared.replace(replica);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshots = self.snapshots.clone();
        blocking(move || snapshots.current()).await
    }
}

/// Writes one snapshot of the replica as it was between two entries.
pub(super) struct Builder {
    /// Gone once it is written.
    frozen: Option<Frozen>,
    shared: Arc<Shared>,
    snapshots: SnapshotDirectory,
    /// Before it was frozen.
    begun: Duration,
}

impl RaftSnapshotBuilder<Ring> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let frozen = self.frozen.take();
        let frozen = frozen.ok_or_else(|| io::Error::other("a builder writes one snapshot"))?;
        let snapshots = self.snapshots.clone();
        let write = move || snapshots.write(&frozen, snapshots.room());
        let written = runtime::after_others("snapshot", write).await?;
        let (snapshot, bytes) = match written {
            Err(error) if room::is_full(&error) => return self.keep_the_one_before(&error),
            written => written?,
        };
        let index = index_of(snapshot.meta.last_log_id);
        let elapsed = self.shared.clock.monotonic().saturating_sub(self.begun);
        let elapsed_ms = elapsed.as_millis();
        tracing::info!(index, bytes, elapsed_ms, "snapshot written");
        *self.shared.too_large_cell() = None;
        Ok(snapshot)
    }
}

impl Builder {
    /// An error would stop the raft core, while a full disk needs it: it ends the work that fills it.
    /// openraft takes a snapshot that is not newer than its last one for none.
    fn keep_the_one_before(&self, full: &io::Error) -> io::Result<Snapshot> {
        tracing::error!(%full, "no snapshot, the one before stays and the log grows");
        let seen = TooLarge { at: self.shared.clock.monotonic(), cause: full.to_string() };
        *self.shared.too_large_cell() = Some(seen);
        match self.snapshots.current()? {
            Some(before) => Ok(before),
            None => Ok(Snapshot { meta: SnapshotMeta::default(), snapshot: SnapshotFile::none()? }),
        }
    }
}

/// Runs disk work beside the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    runtime::aside(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
