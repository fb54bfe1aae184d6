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
/// The log may grow to this many times the last snapshot. So snapshots never cost more than half of
/// what the log itself writes.
const LOG_PER_SNAPSHOT: u64 = 2;
/// How often it is looked at. A disk writes a few hundred megabytes meanwhile at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a snapshot is due, after so many bytes of log since the last one, which has so many.
fn is_due(log_bytes: u64, snapshot_bytes: u64) -> bool {
    log_bytes >= LOG_BYTES_MIN.max(snapshot_bytes.saturating_mul(LOG_PER_SNAPSHOT))
}

/// Asks for snapshots when they are due, until consensus is gone.
pub(super) async fn watch(inner: Weak<Inner>) {
    let mut count = Count::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let metrics = inner.raft.metrics();
        let snapshot = metrics.borrow_watched().snapshot.map_or(0, |snapshot| snapshot.index);
        inner.log.forget_bytes(count.settle(snapshot));
        let log_bytes = inner.log.appended_bytes();
        if !is_due(log_bytes, inner.snapshots.current_bytes()) {
            continue;
        }
        tracing::debug!(log_bytes, "a snapshot is due");
        // Nothing happens while another one is written, or none fits: it stays due.
        if let Err(error) = inner.raft.trigger().snapshot().await {
            tracing::debug!(%error, "no snapshot, the raft core has stopped");
            return;
        }
        count.asked.get_or_insert(log_bytes);
    }
}

/// Which bytes of the log a snapshot that was asked for will have behind it.
#[derive(Debug, Default)]
struct Count {
    /// Index of the last snapshot.
    snapshot: u64,
    /// Bytes of log when one was asked for that is not there yet.
    asked: Option<u64>,
}

impl Count {
    /// Answers the bytes that count no more, now that the last snapshot is at this index.
    fn settle(&mut self, snapshot: u64) -> u64 {
        if snapshot <= self.snapshot {
            return 0;
        }
        self.snapshot = snapshot;
        self.asked.take().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_snapshot_is_due_by_the_bytes_of_the_log_and_of_the_last_one() {
        assert!(!is_due(0, 0));
        assert!(!is_due(64 * MIB - 1, 0));
        assert!(is_due(64 * MIB, 0));
        assert!(is_due(64 * MIB, 32 * MIB), "small snapshots do not come more often");
        assert!(!is_due(199 * MIB, 100 * MIB));
        assert!(is_due(200 * MIB, 100 * MIB));
        assert!(!is_due(u64::MAX - 1, u64::MAX), "no overflow");
    }

    #[test]
    fn bytes_are_counted_until_the_snapshot_behind_them_is_there() {
        let mut count = Count::default();
        assert_eq!(count.settle(0), 0);
        count.asked.get_or_insert(70);
        assert_eq!(count.settle(0), 0, "it is being written, or did not fit");
        count.asked.get_or_insert(90);
        assert_eq!(count.settle(9), 70, "what came after it was asked for counts on");
        assert_eq!(count.settle(12), 0, "this one came by itself");
    }
}
