//! Consensus: one log, one machine, one leader. openraft behind a face of our own.
//!
//! [`Consensus`] is the handle that the rest of the agent holds. Proposals go in on the leader, reads
//! are served from the local replica, and everything else (elections, replication, snapshots, the
//! raft port) happens inside this folder. Nothing outside it names openraft.
//!
//! Reading order: [`Consensus`] here, `start` and `stop`, `vocabulary`, `propose`, `entry`, `stamp` and
//! `barrier` (the way in), `log`, `machine` and `room` (the disk), `wire`, `network` and `server` (the raft
//! port), `members` and `electorate` (who takes part, and who votes), `backup` and `restore`.

mod backup;
mod barrier;
mod compaction;
mod electorate;
mod entry;
mod errors;
mod handover;
mod hint;
mod identity;
mod log;
mod machine;
mod members;
mod network;
mod presence;
mod propose;
pub mod restore;
mod room;
mod runtime;
mod server;
#[doc(hidden)]
pub mod simulation;
mod stamp;
mod start;
mod status;
mod stop;
mod timing;
mod transport;
mod trips;
mod vocabulary;
mod watchdog;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::metrics::WaitError;
use ringrift_core::id::{NodeId, Position, ZoneName};
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Command, Refusal, Reply};
use ringrift_core::time::Moment;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

pub use self::backup::{Backup, BackupError};
use self::barrier::Barrier;
pub use self::electorate::{Electorate, Outlook, Standing, VoterCount, VoterPolicy};
pub use self::errors::{
    ConsensusError, DiskFull, LowDisk, MembershipError, ProposeError, SnapshotError, TransferError,
};
use self::log::LogStore;
use self::machine::snapshot::SnapshotDirectory;
use self::machine::{Shared, TooLarge};
use self::network::link::Caller;
use self::propose::Proposer;
pub(crate) use self::propose::gate::settles;
use self::room::Room;
use self::room::voters::Words;
pub(crate) use self::runtime::aside;
pub(crate) use self::runtime::instant::lost as standstill;
pub use self::status::{CONTACT_LOST, ConsensusStatus, Leadership, Role};
pub use self::timing::{Profile, Timing};
use self::vocabulary::Raft;
use self::watchdog::Flushes;

/// Learners that a cluster keeps warm beside its voters, to take a dead one's place. Each costs the
/// leader the bandwidth of a voter, so every further agent is a client.
pub const WARM_LEARNERS_MAX: usize = 2;
/// Writing a snapshot takes seconds at most.
const COMPACT_PATIENCE: Duration = Duration::from_secs(30);
/// How often a snapshot that is awaited is asked for again.
const SNAPSHOT_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// An agent that takes part, with the addresses that others reach it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node_id: NodeId,
    /// Host and port of its raft listener.
    pub raft_address: String,
    /// Host and port of its HTTP listener.
    pub http_address: String,
    /// The machines that fail with it, when it says which.
    pub zone: Option<ZoneName>,
}

/// What part an agent takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It votes.
    Voter,
    /// It follows the log without a vote, ready to take a dead voter's place.
    Learner,
    /// It takes no part in the log: there are enough of both.
    Client,
}

/// What [`Consensus::open`] needs.
#[derive(Debug, Clone)]
pub struct ConsensusConfig {
    /// This agent.
    pub node_id: NodeId,
    /// Its data directory; the log, the snapshots and the raft id lie in its `raft` folder.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where others reach that listener. With port 0 the port that was taken is filled in.
    pub raft_address: String,
    /// Where others reach this agent's HTTP listener.
    pub http_address: String,
    /// The machines that fail with it, when it says which.
    pub zone: Option<ZoneName>,
    /// How fast a lost leader is noticed.
    pub timing: Timing,
    /// How many voters there shall be while this agent leads, and when a dead one is replaced.
    pub voters: VoterPolicy,
}

/// A proposal that was committed and applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where it is in the log. Proposals that were merged share a position.
    pub position: Position,
    /// One reply for each command.
    pub replies: Vec<Result<Reply, Refusal>>,
}

/// The handle to consensus. Cheap to clone. Stop it by [`Consensus::shutdown`] or
/// [`Consensus::halt`]; only then is the data directory free.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    raft_id: u64,
    this: Member,
    listen: SocketAddr,
    shared: Arc<Shared>,
    log: LogStore,
    snapshots: SnapshotDirectory,
    flushes: Flushes,
    room: Arc<Room>,
    words: Arc<Words>,
    caller: Arc<Caller>,
    proposer: Proposer,
    barrier: Barrier,
    leadership: watch::Receiver<Leadership>,
    voters: VoterPolicy,
    membership_turn: tokio::sync::Mutex<()>,
    /// What the leader saw last of the members; nothing on an agent that does not lead.
    outlook: Mutex<Option<Outlook>>,
    /// One backup at a time: each asks for a snapshot.
    backup_turn: Arc<tokio::sync::Semaphore>,
    /// The raft port, the proposals, the barriers' rounds, the observer of leadership, the crash hints, and
    /// what watches over disks, log and voters.
    tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Consensus {
    /// Where the raft port listens.
    #[must_use]
    pub fn raft_listen_address(&self) -> SocketAddr {
        self.inner.listen
    }

    /// This agent as other members see it.
    #[must_use]
    pub fn this_member(&self) -> &Member {
        &self.inner.this
    }

    /// Whether this agent belongs to a cluster.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.inner.leadership.borrow().initialized
    }

    /// Commits commands and applies them, on the leader. They share one log entry, perhaps with
    /// those of other callers, and are applied one after another.
    ///
    /// # Errors
    /// See [`ProposeError`]; only [`ProposeError::Timeout`] leaves the outcome unknown.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Committed, ProposeError> {
        self.inner.proposer.propose(commands).await
    }

    /// Whether so many proposals wait that those which bring or take work may soon be refused. What
    /// keeps or ends work has room of its own.
    pub(crate) fn is_crowded(&self) -> bool {
        self.inner.proposer.is_crowded()
    }

    /// How often the wall clock jumped ahead and back since this was asked last.
    pub(crate) fn take_clock_jumps(&self) -> (u64, u64) {
        self.inner.proposer.take_clock_jumps()
    }

    /// Whether work may be proposed that the queue does not have yet. Who takes it from users or planners
    /// asks first; what keeps or ends work goes on without asking.
    ///
    /// # Errors
    /// While the disk of this agent has too little room, or those of too many voters.
    pub fn admit(&self) -> Result<(), DiskFull> {
        self.inner.room.admit()?;
        self.inner.words.admit()
    }

    /// Waits until the local replica has everything that was committed before this call, on the
    /// leader. A read that follows is linearizable.
    ///
    /// # Errors
    /// When this agent does not lead, or cannot show in time that it still does.
    pub async fn barrier(&self) -> Result<Position, ProposeError> {
        self.inner.barrier.pass().await
    }

    /// Looks at the local replica. Applying waits meanwhile: be quick, and do not propose inside.
    pub fn read<R>(&self, look: impl FnOnce(&Machine) -> R) -> R {
        self.inner.shared.read(|replica| look(&replica.machine))
    }

    /// Who leads, as it changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Index of the last entry applied here, as it grows.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.shared.applied()
    }

    /// How often owners left the line before a lock, as it grows: who waits for a lock need not look
    /// before.
    #[must_use]
    pub fn lines_moved(&self) -> watch::Receiver<u64> {
        self.inner.shared.lines_moved()
    }

    /// The number of the last event, as it grows.
    #[must_use]
    pub fn last_event(&self) -> watch::Receiver<u64> {
        self.inner.shared.last_event()
    }

    /// The moment that a batch proposed now would carry.
    #[must_use]
    pub fn next_moment(&self) -> Moment {
        self.inner.proposer.next_moment()
    }

    /// Writes a snapshot now and drops the log before it.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn compact(&self) -> Result<(), SnapshotError> {
        let upto = self.write_snapshot(COMPACT_PATIENCE).await?;
        let purged = self.inner.raft.trigger().purge_log(upto).await;
        purged.map_err(|fatal| SnapshotError::Stopped { cause: fatal.to_string() })
    }

    /// Writes a snapshot of at least what is applied here now, and answers up to where that is.
    async fn write_snapshot(&self, patience: Duration) -> Result<u64, SnapshotError> {
        let raft = &self.inner.raft;
        let upto = *self.applied().borrow();
        let stopped =
            |cause: &dyn std::fmt::Display| SnapshotError::Stopped { cause: cause.to_string() };
        let written = async {
            loop {
                let triggered = raft.trigger().snapshot().await;
                triggered.map_err(|fatal| stopped(&fatal))?;
                // The trigger does nothing while another snapshot is written, or is too large.
                let wait = raft.wait(Some(SNAPSHOT_LOOK_INTERVAL));
                let written = wait.metrics(
                    |metrics| metrics.snapshot.is_some_and(|snapshot| snapshot.index >= upto),
                    "a snapshot",
                );
                match written.await {
                    Ok(_metrics) => return Ok(upto),
                    Err(WaitError::Timeout(..)) => {}
                    Err(WaitError::ShuttingDown) => {
                        return Err(stopped(&"this agent stops"));
                    }
                }
                if let Some(TooLarge { cause, .. }) = self.inner.shared.too_large() {
                    return Err(SnapshotError::TooLarge { cause });
                }
            }
        };
        let late = |_elapsed| SnapshotError::Late { patience };
        tokio::time::timeout(patience, written).await.map_err(late)?
    }
}
