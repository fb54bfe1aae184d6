//! A consistent copy of everything, from any agent that follows the log: its newest snapshot, written
//! for the occasion.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use ringrift_core::id::Position;
use tokio::sync::OwnedSemaphorePermit;

use crate::consensus::machine::position_of;
use crate::consensus::machine::snapshot::SNAPSHOT_BYTES_MAX;
use crate::consensus::{Consensus, Role, SnapshotError};

/// Writing a snapshot takes seconds; a disk that is busy with many takes longer.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(120);
/// Committed entries that an agent may not have applied yet: what a busy one has on its way.
const LAG_ENTRIES_MAX: u64 = 1_000;

/// Why there is no backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// This agent is not in step with the leader, so its copy may be old.
    #[error("this agent is not in step: {reason}; ask another one")]
    OutOfStep {
        /// What is wrong.
        reason: String,
    },
    /// Another backup is being taken here.
    #[error("another backup is being taken here; ask again when it is done")]
    Busy,
    /// The snapshot was not written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The snapshot could not be opened.
    #[error("the snapshot could not be opened: {cause}")]
    Failed {
        /// Why.
        cause: String,
    },
}

/// An open snapshot. It stays readable when a newer one takes its place.
#[derive(Debug)]
pub struct Backup {
    /// The cluster.
    pub cluster_id: String,
    /// The last entry that it reflects.
    pub position: Position,
    /// The snapshot's file, from its beginning.
    pub file: File,
    /// Its bytes.
    pub bytes: u64,
    /// Kept until the backup has been read: one at a time.
    _turn: OwnedSemaphorePermit,
}

impl Consensus {
    /// Takes a backup that reflects at least everything that this agent has applied when it is called.
    ///
    /// # Errors
    /// [`BackupError`] says what is wrong, and whether another agent may do better.
    pub async fn backup(&self) -> Result<Backup, BackupError> {
        let turn = Arc::clone(&self.inner.backup_turn).try_acquire_owned();
        let turn = turn.map_err(|_busy| BackupError::Busy)?;
        self.must_be_in_step()?;
        let failed =
            |cause: &dyn std::fmt::Display| BackupError::Failed { cause: cause.to_string() };
        self.write_snapshot(SNAPSHOT_PATIENCE).await?;
        let snapshots = self.inner.snapshots.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let current = snapshots.current()?.ok_or(std::io::ErrorKind::NotFound)?;
            let bytes = current.snapshot.file.metadata()?.len();
            let mut file = current.snapshot.file.try_clone()?;
            std::io::Seek::rewind(&mut file)?;
            Ok::<_, std::io::Error>((current.meta, file, bytes))
        });
        let opened = opened.await.map_err(|error| failed(&error))?;
        let (meta, file, bytes) = opened.map_err(|error| failed(&error))?;
        debug_assert!(bytes <= SNAPSHOT_BYTES_MAX);
        let position = meta.last_log_id.map(position_of).unwrap_or_default();
        let cluster_id = self.read(|machine| machine.cluster_id().to_owned());
        tracing::info!(index = position.index, bytes, "backup taken");
        Ok(Backup { cluster_id, position, file, bytes, _turn: turn })
    }

    fn must_be_in_step(&self) -> Result<(), BackupError> {
        let refuse = |reason: String| Err(BackupError::OutOfStep { reason });
        let leadership = self.inner.leadership.borrow().clone();
        if !leadership.initialized {
            return refuse("it is not part of a cluster yet".to_owned());
        }
        match leadership.role {
            Role::Leader | Role::Follower | Role::Learner => {}
            Role::Candidate | Role::Stopped => {
                return refuse(format!("it is {}", leadership.role.as_str()));
            }
        }
        if leadership.leader.is_none() {
            return refuse("it knows no leader".to_owned());
        }
        if let Some(age) = self.out_of_touch() {
            return refuse(format!("it has had no word of its cluster for {} s", age.as_secs()));
        }
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let index = |log_id: Option<crate::consensus::vocabulary::LogId>| {
            log_id.map_or(0, |log_id| log_id.index)
        };
        let behind = index(metrics.cluster_committed).saturating_sub(index(metrics.last_applied));
        if behind > LAG_ENTRIES_MAX {
            return refuse(format!("it lacks {behind} entries"));
        }
        Ok(())
    }
}
