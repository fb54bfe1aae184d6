//! A door for the simulation: consensus as it is, on a disk and a network that a seed decides.
//!
//! Nothing else may use it. It has no chance, no clock and no faults of its own: those are the
//! world's, which lives in `tests/sim`. What is here opens [`Consensus`] on other ground, and lets
//! the world look at what an invariant needs.

mod disk;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::vote::RaftLeaderId as _;
use ringrift_core::id::NodeId;
use ringrift_core::machine::Machine;
use ringrift_core::voters::Change;

pub use self::disk::{Content, Disk, Logged, Planted};
use crate::clock::Clock;
use crate::consensus::log::Log as _;
use crate::consensus::machine::{Replica, Shared, position_of};
use crate::consensus::start::{self, Ground};
pub use crate::consensus::transport::{Incoming, Listener, Stream, Transport};
use crate::consensus::vocabulary::{LeaderId, LogId, Vote};
use crate::consensus::{Consensus, ConsensusConfig, ConsensusError, identity, runtime};
use crate::leader;

/// How often a leader looks for a change that was left half done.
const FINISH_INTERVAL: Duration = Duration::from_millis(500);

/// Which entry: who wrote it as a leader, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryName {
    /// Its leader's term.
    pub term: u64,
    /// Its leader's raft id.
    pub leader: u64,
    /// Its place in the log.
    pub index: u64,
}

impl EntryName {
    fn of(log_id: LogId) -> Self {
        let LogId { leader_id: LeaderId { term, node_id }, index } = log_id;
        Self { term, leader: node_id, index }
    }

    fn to_log_id(self) -> LogId {
        LogId::new(LeaderId::new(self.term, self.leader), self.index)
    }
}

/// What an agent has voted for. Votes are compared field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ballot {
    /// The term.
    pub term: u64,
    /// For whom, by raft id.
    pub leader: u64,
    /// Whether a majority is known to have voted so.
    pub elected: bool,
}

impl Ballot {
    fn of(vote: Vote) -> Self {
        let LeaderId { term, node_id } = vote.leader_id;
        Self { term, leader: node_id, elected: vote.committed }
    }
}

/// What a simulated agent stands on.
pub struct Seat {
    /// Its log.
    pub disk: Disk,
    /// How it reaches others.
    pub transport: Arc<dyn Transport>,
    /// Its raft id, when its data directory has none yet.
    pub raft_id: u64,
    /// A snapshot is written after so many entries.
    pub snapshot_entries: u64,
    /// So many entries stay in the log behind a snapshot.
    pub tail_entries: u64,
}

/// What an agent knows of consensus, as far as invariants speak of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its raft id.
    pub raft_id: u64,
    /// Its vote.
    pub vote: Ballot,
    /// Whether it leads.
    pub leads: bool,
    /// Up to where it knows entries of its own log to be committed.
    pub committed: Option<EntryName>,
    /// Up to where it has applied.
    pub applied: Option<EntryName>,
    /// What its snapshot covers.
    pub snapshot: Option<EntryName>,
    /// Up to where its log is dropped.
    pub purged: Option<EntryName>,
    /// The last index of its log.
    pub last: u64,
    /// The voters; two sets while they change.
    pub voters: Vec<BTreeSet<u64>>,
    /// Everybody who takes part, by raft id.
    pub members: Vec<(u64, NodeId)>,
    /// Why its raft core has stopped, if it has.
    pub stopped: Option<String>,
}

/// Lets `seed` decide what openraft draws on this thread. Answers what would have decided the next
/// draw, so that several agents may share a thread.
pub fn decide_chance(seed: Option<u64>) -> Option<u64> {
    runtime::decide_chance(seed)
}

/// Opens consensus on simulated ground. The runtime must be of one thread, with a paused clock.
///
/// # Errors
/// As [`Consensus::open`].
pub async fn open(
    config: ConsensusConfig,
    clock: Clock,
    seat: Seat,
) -> Result<Consensus, ConsensusError> {
    let Seat { disk: log, transport, raft_id, snapshot_entries, tail_entries } = seat;
    let settings = openraft::Config {
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_entries),
        max_in_snapshot_log_to_keep: tail_entries,
        replication_lag_threshold: 2 * (snapshot_entries + tail_entries),
        purge_batch_size: 1,
        ..openraft::Config::clone(&*config.timing.raft_config()?)
    };
    let directory = config.data_dir.join("raft");
    let created = std::fs::create_dir_all(&directory);
    created.map_err(|source| ConsensusError::Disk {
        what: "create",
        path: directory.clone(),
        source,
    })?;
    let raft_id = identity::load_or_create(&directory, || Ok(raft_id))?;
    let mut disk = start::Disk::open(&directory, clock, raft_id, Box::new(log.clone()))?;
    if log.planted() == Some(Planted::FurtherSnapshot) {
        let replica = disk.shared.read(|held| further(held, &log));
        disk.shared = Arc::new(Shared::new(replica, clock));
    }
    let ground = Ground { settings: Arc::new(settings), disk, transport };
    Consensus::start(config, clock, ground).await
}

/// A replica whose machine has what is committed behind its snapshot already.
fn further(held: &Replica, log: &Disk) -> Replica {
    let mut machine = held.machine.clone();
    let (applied, committed) = (held.applied, log.ends().committed);
    if applied.is_some() {
        for entry in log.entries() {
            let log_id = Some(entry.name.to_log_id());
            if let Ok(Content::Batch(batch)) = entry.content()
                && applied < log_id
                && log_id <= committed
            {
                machine.apply(position_of(entry.name.to_log_id()), &batch);
            }
        }
    }
    Replica { applied, membership: held.membership.clone(), machine }
}

/// Does the leader's duties that need no gossip, until consensus has stopped.
pub async fn lead(consensus: &Consensus) {
    tokio::select! {
        biased;
        () = leader::go_on(consensus) => {}
        () = finish_changes(consensus) => {}
    }
}

/// Finishes changes of members that another leader left half done, for ever: what
/// `leader::voters` does while nobody is dead.
async fn finish_changes(consensus: &Consensus) {
    loop {
        tokio::time::sleep(FINISH_INTERVAL).await;
        if let Some(seen) = consensus.electorate()
            && seen.change == Change::Halfway
            && let Err(error) = consensus.finish_change(&seen).await
        {
            tracing::debug!(%error, "a change of members stays half done until the next look");
        }
    }
}

/// Looks at what an agent knows.
#[must_use]
pub fn look(consensus: &Consensus) -> Standing {
    let metrics = consensus.inner.raft.metrics();
    let metrics = metrics.borrow_watched();
    let members = &metrics.membership_config;
    let name = |log_id: Option<LogId>| log_id.map(EntryName::of);
    Standing {
        raft_id: metrics.id,
        vote: Ballot::of(metrics.vote),
        leads: metrics.state.is_leader(),
        committed: name(metrics.local_committed),
        // The metrics follow the replica, and a caller may be answered before they do.
        applied: consensus.inner.shared.read(|replica| name(replica.applied)),
        snapshot: name(metrics.snapshot),
        purged: name(metrics.purged),
        last: metrics.last_log_index.unwrap_or(0),
        voters: members.membership().get_joint_config().clone(),
        members: members.nodes().map(|(id, member)| (*id, member.node_id.clone())).collect(),
        stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
    }
}

/// Looks at an agent's replica, and at the last entry that is in it.
pub fn replica<R>(consensus: &Consensus, look: impl FnOnce(Option<EntryName>, &Machine) -> R) -> R {
    let shared = &consensus.inner.shared;
    shared.read(|replica| look(replica.applied.map(EntryName::of), &replica.machine))
}
