//! What can go wrong, and what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ringrift_core::id::NodeId;
use ringrift_core::room::Shortage;
use ringrift_core::voters::Obstacle;

use crate::consensus::Member;

/// Why consensus cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// The timing contradicts itself.
    #[error("{field} = {value} ms {problem}")]
    Timing {
        /// The field at fault.
        field: &'static str,
        /// Its value in milliseconds.
        value: u64,
        /// What it must be.
        problem: &'static str,
    },
    /// openraft refuses the settings.
    #[error("openraft refuses the settings: {cause}")]
    Settings {
        /// Its reason.
        cause: String,
    },
    /// The disk does not do what is needed.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file with the raft id is damaged.
    #[error(
        "{} holds {text:?}, which is no raft id; restore it, or remove the member from the cluster, \
         move the data directory away and join again", path.display()
    )]
    Identity {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
    /// The log is not the one that this agent has kept: what it has promised would be forgotten.
    #[error(
        "{} {problem}; put back what is missing, such as a mount, or remove the member from the cluster, \
         move the data directory away and join again", path.display()
    )]
    Log {
        /// The log's directory.
        path: PathBuf,
        /// What is wrong with it; it continues the sentence that the directory begins.
        problem: String,
    },
    /// The raft port cannot be served.
    #[error("cannot listen for raft on {address}: {source}; choose another --raft-port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A restore did not come to its end here.
    #[error(
        "{} holds a restore that did not come to its end; empty the data directory and restore again",
        path.display()
    )]
    Unfinished {
        /// What it left.
        path: PathBuf,
    },
    /// The raft core did not start.
    #[error("the raft core did not start: {cause}")]
    Start {
        /// Its reason.
        cause: String,
    },
}

/// Disks are nearly full, and no new work is taken. Nothing was changed; make room, or let work end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskFull {
    /// The leader's own.
    #[error(
        "the leader's disk has only {free_bytes} bytes left, so new work is refused; make room there"
    )]
    OfLeader {
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// Those of so many voters that the others are no majority.
    #[error(
        "only {} of {} voters have room on their disks and {} are needed, so new work is refused; make \
         room on {}",
        shortage.roomy, shortage.voters, shortage.needed, listed(low)
    )]
    OfVoters {
        /// The voters whose disk is nearly full.
        low: Vec<LowDisk>,
        /// What is missing.
        shortage: Shortage,
    },
}

/// A voter whose disk is nearly full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowDisk {
    /// The voter.
    pub node_id: NodeId,
    /// Bytes that are free there.
    pub free_bytes: u64,
}

fn listed(low: &[LowDisk]) -> String {
    let one =
        |LowDisk { node_id, free_bytes }: &LowDisk| format!("{node_id} ({free_bytes} bytes left)");
    low.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Why a proposal was not answered by the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This agent does not lead. Nothing was changed; ask the leader, or ask again soon when none is
    /// named.
    #[error("this agent does not lead; the leader is {}", leader.as_ref().map_or("not known", |l| l.node_id.as_str()))]
    NotLeader {
        /// The leader, when one is known.
        leader: Option<Member>,
    },
    /// No outcome in time, or leadership was lost on the way. It may or may not have been applied.
    #[error("no outcome in time; it may or may not have been applied")]
    Timeout,
    /// Too much waits already. Nothing was changed; retry later.
    #[error("{proposals_max} proposals or {bytes_max} bytes wait already; retry later")]
    Overloaded {
        /// Bound of the waiting proposals.
        proposals_max: usize,
        /// Bound of their bytes.
        bytes_max: usize,
    },
    /// More than one log entry holds. Nothing was changed; split it.
    #[error("a proposal of {size} {what} exceeds {limit}; split it")]
    TooLarge {
        /// What there is too much of: `commands` or `bytes`.
        what: &'static str,
        /// How much there is.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The raft core has stopped: a shutdown, or a disk that failed. Nothing was changed, since the raft
    /// core did not get it. This agent must be restarted.
    #[error("consensus has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: String,
    },
}

/// Why no snapshot was written. The one before it stays, and the log leads on from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The raft core has stopped: a shutdown, or a disk that failed. This agent must be restarted.
    #[error("consensus has stopped: {cause}")]
    Stopped {
        /// Why.
        cause: String,
    },
    /// It is still being written.
    #[error("no snapshot is written after {patience:?}; ask again")]
    Late {
        /// How long it was waited for.
        patience: Duration,
    },
    /// It does not fit on the disk.
    #[error("no snapshot can be written: {cause}; make room on the disk")]
    TooLarge {
        /// What it needs.
        cause: String,
    },
}

/// Why the members did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Proposing failed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// This agent belongs to a cluster already.
    #[error("this agent belongs to cluster {cluster_id:?} already")]
    Initialized {
        /// Its cluster.
        cluster_id: String,
    },
    /// The newcomer does not answer.
    #[error("nobody answers for raft at {address}: {cause}; check its --advertise and --raft-port")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What happened.
        cause: String,
    },
    /// Another agent answers at the newcomer's address.
    #[error("{found} answers for raft at {address}, not {expected}")]
    Impostor {
        /// The address.
        address: String,
        /// Who was to be added.
        expected: NodeId,
        /// Who answers.
        found: NodeId,
    },
    /// The newcomer belongs to another cluster.
    #[error("{node_id} belongs to cluster {cluster_id:?}; give it a fresh data directory to join")]
    Foreign {
        /// The newcomer.
        node_id: NodeId,
        /// Its cluster.
        cluster_id: String,
    },
    /// A voter came back without its log.
    #[error(
        "{node_id} votes in this cluster under the raft id of a data directory that it no longer \
         has; a voter with a wiped disk may not return under its old name: remove it first"
    )]
    WipedVoter {
        /// The voter.
        node_id: NodeId,
    },
    /// Those that would stay cannot go on without the voter.
    #[error(
        "{node_id} cannot be spared: {obstacle}, or nothing is committed any more; see to those first, or \
         remove it by force when it is certain that they come back"
    )]
    Needed {
        /// The voter.
        node_id: NodeId,
        /// What those that stay lack.
        obstacle: Obstacle,
    },
    /// An agent that went for good came back.
    #[error(
        "{node_id} comes with raft id {raft_id:016x}, which was removed from this cluster for good; \
         stop it, move its data directory away, and start it again: it joins under a fresh raft id"
    )]
    Retired {
        /// The agent.
        node_id: NodeId,
        /// Its raft id.
        raft_id: u64,
    },
    /// The leader cannot remove itself.
    #[error("{node_id} leads; move leadership first: ringrift cluster transfer NODE")]
    Leads {
        /// The leader.
        node_id: NodeId,
    },
    /// Another change came in between.
    #[error("the members were changed meanwhile; look again")]
    Changed,
    /// No such member.
    #[error("{node_id} is not a member")]
    Unknown {
        /// Who was to be removed.
        node_id: NodeId,
    },
    /// The only voter cannot be removed.
    #[error("{node_id} is the last voter; add another one first")]
    LastVoter {
        /// The voter.
        node_id: NodeId,
    },
    /// It took too long. It may still happen; ask again.
    #[error("{what} took too long; ask again")]
    Late {
        /// What did.
        what: &'static str,
    },
    /// openraft refuses.
    #[error("the raft core refuses: {cause}")]
    Raft {
        /// Its reason.
        cause: String,
    },
}

/// Why leadership did not go to another voter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This agent does not lead, or has stopped.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// Nobody can take it.
    #[error("{} can take leadership over; name another voter, or add one first", node_id.as_ref().map_or_else(|| "no other voter".to_owned(), |name| format!("no voter named {name}")))]
    NoHeir {
        /// Who was named.
        node_id: Option<NodeId>,
    },
    /// The voter did not take over in time; somebody leads nevertheless.
    #[error("{} did not take leadership over in time; see whether it is well, or name another voter", node_id.as_ref().map_or("the voter", |name| name.as_str()))]
    Refused {
        /// Who was asked.
        node_id: Option<NodeId>,
    },
}
