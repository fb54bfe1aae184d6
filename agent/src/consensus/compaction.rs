//! When to write a snapshot: by bytes, so that many small entries and few large ones cost the same.
//!
//! openraft counts entries, and its bound stays as the second one: a restart applies each entry again,
//! however small it is.

use std::sync::Weak;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;

use crate::consensus::Inner;

/// Bytes of log that are never worth a snapshot: they are read within a second.
const LOG_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// The log may grow to this many times the last snapshot. So snapshots of a state that does not grow write
/// no more than the log itself does, and a start applies again about as much as it loads.
const LOG_PER_SNAPSHOT: u64 = 1;
/// What a replica waits longer than the one before it, as a part of the whole.
const STAGGER_PART: u64 = 8;
/// Nobody waits for more than one and a half times of what is worth a snapshot.
const RANK_MAX: u64 = 4;
/// How often it is looked at. A disk writes a few hundred megabytes meanwhile at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a snapshot is due, with so many bytes of log behind the last one, which has so many. Replicas
/// have the same log; each takes an eighth more of it for each of those before it (`rank`), so that
/// they do not all write at once, often to disks and processors that they share with each other.
fn is_due(log_bytes: u64, snapshot_bytes: u64, rank: u64) -> bool {
    let worth = LOG_BYTES_MIN.max(snapshot_bytes.saturating_mul(LOG_PER_SNAPSHOT));
    log_bytes >= worth.saturating_add((worth / STAGGER_PART).saturating_mul(rank.min(RANK_MAX)))
}

/// Asks for snapshots when they are due, until consensus is gone.
pub(super) async fn watch(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let metrics = inner.raft.metrics();
        let (behind, rank) = {
            let metrics = metrics.borrow_watched();
            let behind = metrics.snapshot.map_or(0, |snapshot| snapshot.index.saturating_add(1));
            let members = metrics.membership_config.nodes();
            (behind, members.filter(|(raft_id, _)| **raft_id < inner.raft_id).count() as u64)
        };
        let log_bytes = inner.log.bytes_from(behind);
        if !is_due(log_bytes, inner.snapshots.current_bytes(), rank) {
            continue;
        }
        tracing::debug!(log_bytes, "a snapshot is due");
        // Nothing happens while another one is written, or none fits: it stays due.
        if let Err(error) = inner.raft.trigger().snapshot().await {
            tracing::debug!(%error, "no snapshot, the raft core has stopped");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_snapshot_is_due_by_the_bytes_of_the_log_and_of_the_last_one() {
        assert!(!is_due(0, 0, 0));
        assert!(!is_due(64 * MIB - 1, 0, 0));
        assert!(is_due(64 * MIB, 0, 0));
        assert!(is_due(64 * MIB, 32 * MIB, 0), "small snapshots do not come more often");
        assert!(!is_due(99 * MIB, 100 * MIB, 0));
        assert!(is_due(100 * MIB, 100 * MIB, 0));
        assert!(!is_due(u64::MAX - 1, u64::MAX, 4), "no overflow");
    }

    #[test]
    fn replicas_of_one_log_take_turns() {
        for rank in 0..4 {
            let due = (64 + 8 * rank) * MIB;
            assert!(is_due(due, 0, rank) && !is_due(due, 0, rank + 1) && !is_due(due - 1, 0, rank));
        }
        assert!(is_due(96 * MIB, 0, 4) && is_due(96 * MIB, 0, 1_000), "there is a longest");
    }
}
