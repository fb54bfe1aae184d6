//! A new cluster from a backup, offline: one voter with a fresh raft id, in a cluster of another name.
//!
//! Agents of the old cluster cannot take part, since they call it by another name. Terms and indexes go
//! on where the backup ends, and the mode epoch is one higher, so that every fencing token of the new
//! cluster is greater than every one of the old cluster, also of those that it granted after the backup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use openraft::vote::RaftLeaderId as _;
use ringrift_core::id::{NodeId, Position};
use ringrift_core::queue::command::Refusal;
use ringrift_wire::backup::{BackupError, Head, Reader};

use crate::consensus::log::wal::Wal;
use crate::consensus::log::{Done, Log as _};
use crate::consensus::machine::position_of;
use crate::consensus::machine::snapshot::{SNAPSHOT_BYTES_MAX, SnapshotDirectory};
use crate::consensus::vocabulary::{LeaderId, Membership, Vote};
use crate::consensus::{ConsensusError, Member, identity};

/// Where a restore is made; it gets its name when it is whole.
const UNFINISHED: &str = "raft.restoring";
const FINISHED: &str = "raft";
/// Where the restored agent is said to be until it leads and says so itself.
const ADDRESS_UNKNOWN: &str = "127.0.0.1:1";

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The disk refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The raft id cannot be drawn.
    #[error(transparent)]
    Identity(#[from] ConsensusError),
    /// The backup is of a cluster without any entry.
    #[error("the backup is empty: its cluster never began")]
    Empty,
    /// What the backup holds cannot begin a new cluster.
    #[error("the backup cannot begin a new cluster: {0}")]
    Machine(#[from] Refusal),
    /// The backup says of itself what is not so.
    #[error("the backup says that it is of {said}, and it is of {found}; take another one")]
    Mislabelled {
        /// What its head says.
        said: String,
        /// What it holds.
        found: String,
    },
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup said of itself.
    pub head: Head,
    /// The new cluster.
    pub cluster_id: String,
    /// The last entry that it begins with.
    pub position: Position,
    /// Work items that have not ended.
    pub unfinished: u64,
}

/// A restore that was interrupted must not be taken for an agent that has nothing yet.
pub(super) fn refuse_unfinished(raft: &Path) -> Result<(), ConsensusError> {
    let path = raft.with_file_name(UNFINISHED);
    if path.exists() { Err(ConsensusError::Unfinished { path }) } else { Ok(()) }
}

/// Makes the log of a new cluster in `data_dir`, which must have none, from the backup in `from`.
///
/// # Errors
/// [`RestoreError`]; an agent does not start in the directory then.
pub fn restore(
    from: File,
    data_dir: &Path,
    node_id: &NodeId,
    cluster_id: &str,
) -> Result<Restored, RestoreError> {
    let making = data_dir.join(UNFINISHED);
    let disk = |what| {
        let path = making.clone();
        move |source| RestoreError::Disk { what, path, source }
    };
    let snapshots = making.join("snapshots");
    fs::create_dir_all(&snapshots).map_err(disk("create"))?;
    let head = unpack(from, &snapshots.join("current.snapshot"))?;

    // Reading it checks it once more, by the checksum of its own.
    let snapshots = SnapshotDirectory::open(snapshots).map_err(disk("open the snapshot in"))?;
    let mut replica = snapshots.load().map_err(disk("read the snapshot in"))?;
    let last = replica.applied.ok_or(RestoreError::Empty)?;
    let position = position_of(last);
    let told = |cluster: &str, at: Position| format!("{cluster:?} at {}.{}", at.term, at.index);
    let said = told(&head.cluster_id, Position { term: head.term, index: head.index });
    let found = told(replica.machine.cluster_id(), position);
    if said != found {
        return Err(RestoreError::Mislabelled { said, found });
    }
    replica.machine.begin_anew(cluster_id)?;
    let raft_id = identity::load_or_create(&making, identity::entropy)?;
    let alone = Member {
        node_id: node_id.clone(),
        raft_address: ADDRESS_UNKNOWN.to_owned(),
        http_address: ADDRESS_UNKNOWN.to_owned(),
        zone: None,
    };
    let voters = vec![BTreeSet::from([raft_id])];
    let membership = openraft::Membership::new(voters, BTreeMap::from([(raft_id, alone)]));
    let membership = membership.map_err(|error| io::Error::other(error.to_string()));
    replica.membership =
        Membership::new(Some(last), membership.map_err(disk("name the voter in"))?);
    snapshots.write(&replica.freeze(), snapshots.room()).map_err(disk("write the snapshot in"))?;
    // The first election takes the term after this one, so terms go on growing too.
    let vote = Vote { leader_id: LeaderId::new(position.term, raft_id), committed: false };
    save_vote(&making.join("log"), vote).map_err(disk("write the log in"))?;

    let unfinished = replica.machine.counts().unfinished();
    // All that is in it is durable before its name says so.
    for folder in [&making.join("log"), &making] {
        sync_directory(folder).map_err(disk("sync the directory of"))?;
    }
    fs::rename(&making, data_dir.join(FINISHED)).map_err(disk("rename"))?;
    sync_directory(data_dir).map_err(disk("sync the directory of"))?;
    Ok(Restored { head, cluster_id: cluster_id.to_owned(), position, unfinished })
}

/// Writes the snapshot that the backup carries, and checks each block on the way.
fn unpack(from: File, to: &Path) -> Result<Head, RestoreError> {
    let disk = |source| RestoreError::Disk { what: "write", path: to.to_owned(), source };
    let mut backup = Reader::open(io::BufReader::new(from))?;
    let mut file = File::create(to).map_err(disk)?;
    let mut total: u64 = 0;
    while let Some(block) = backup.block()? {
        total = total.saturating_add(block.len() as u64);
        if total > SNAPSHOT_BYTES_MAX {
            let text = format!("a snapshot of more than {SNAPSHOT_BYTES_MAX} bytes");
            return Err(disk(io::Error::other(text)));
        }
        file.write_all(&block).map_err(disk)?;
    }
    file.sync_all().map_err(disk)?;
    Ok(backup.head().clone())
}

fn save_vote(log: &Path, vote: Vote) -> io::Result<()> {
    let mut wal = Wal::open(log)?;
    wal.belong_to(vote.leader_id.node_id)?;
    let (done, saved) = mpsc::sync_channel(1);
    wal.save_vote(vote, Done::new(move |outcome| drop(done.send(outcome))))?;
    saved.recv().map_err(io::Error::other)?
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
