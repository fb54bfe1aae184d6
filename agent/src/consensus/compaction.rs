//! When to write a snapshot: by bytes, so that many small entries and few large ones cost the same.
//!
//! openraft counts entries, and its bound stays as the second one: a restart applies each entry again,
//! however small it is.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;

use crate::consensus::Inner;
use crate::consensus::vocabulary::Membership;

/// Bytes of log that are never worth a snapshot: they are read within a second.
const LOG_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// The log may grow to this many times the last snapshot. So snapshots never cost more than half of
/// what the log itself writes.
const LOG_PER_SNAPSHOT: u64 = 2;
/// Bytes of log from one mark to the next: little beside what is worth a snapshot.
const MARK_BYTES: u64 = 1024 * 1024;
/// Marks behind the last snapshot. When there are as many, every second one goes: where snapshots are that
/// far apart, bytes need not be counted that closely.
const MARKS_MAX: usize = 1_024;
/// What a replica waits longer than the one before it, as a part of the whole.
const STAGGER_PART: u64 = 8;
/// Nobody's log grows to more than one and a half times of what is worth a snapshot.
const RANK_MAX: u64 = 4;
/// How often it is looked at. A disk writes a few hundred megabytes meanwhile at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a snapshot is due, after so many bytes of log since the last one, which has so many. Replicas
/// have the same log; each takes an eighth more of it for each of those before it (`rank`), so that
/// they do not all write at once, often to disks and processors that they share with each other.
fn is_due(log_bytes: u64, snapshot_bytes: u64, rank: u64) -> bool {
    let worth = LOG_BYTES_MIN.max(snapshot_bytes.saturating_mul(LOG_PER_SNAPSHOT));
    log_bytes >= worth.saturating_add((worth / STAGGER_PART).saturating_mul(rank.min(RANK_MAX)))
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
        let snapshot = metrics.borrow_watched().snapshot.map(|snapshot| snapshot.index);
        let Some((last, appended)) = inner.log.appended_bytes() else {
            continue;
        };
        let log_bytes = count.since(snapshot, last, appended);
        let before = |members: &Membership| {
            members.nodes().filter(|(raft_id, _)| **raft_id < inner.raft_id).count() as u64
        };
        let rank = before(&metrics.borrow_watched().membership_config);
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

/// How much of the log no snapshot has behind it, whichever snapshot that is: one that was asked for here
/// or by openraft, or one that arrived.
#[derive(Debug, Default)]
struct Count {
    /// Bytes that were appended up to the last snapshot, to the mark before it.
    behind: u64,
    /// An index, and the bytes that were appended up to it at most; both grow.
    marks: VecDeque<(u64, u64)>,
}

impl Count {
    /// Answers the bytes that were appended behind the last snapshot, when so many were appended up to
    /// the last index.
    fn since(&mut self, snapshot: Option<u64>, last: u64, appended: u64) -> u64 {
        self.mark(last, appended);
        while let Some((_, bytes)) =
            self.marks.pop_front_if(|(index, _)| snapshot.is_some_and(|upto| *index <= upto))
        {
            self.behind = bytes;
        }
        appended.saturating_sub(self.behind)
    }

    fn mark(&mut self, last: u64, appended: u64) {
        // Entries that another leader's took the place of.
        while self.marks.pop_back_if(|(index, _)| *index >= last).is_some() {}
        let before = self.marks.back().map_or(self.behind, |(_, bytes)| *bytes);
        if appended.saturating_sub(before) < MARK_BYTES {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut stays = false;
            self.marks.retain(|_| {
                stays = !stays;
                stays
            });
        }
        self.marks.push_back((last, appended));
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
        assert!(!is_due(199 * MIB, 100 * MIB, 0));
        assert!(is_due(200 * MIB, 100 * MIB, 0));
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

    #[test]
    fn bytes_count_until_a_snapshot_has_them_behind_it_whichever_it_is() {
        let mut count = Count::default();
        assert_eq!(count.since(None, 10, 70 * MIB), 70 * MIB);
        assert_eq!(count.since(None, 20, 90 * MIB), 90 * MIB, "the one asked for did not fit");
        assert_eq!(count.since(Some(20), 30, 95 * MIB), 5 * MIB, "this one came by itself");
        assert_eq!(count.since(Some(25), 40, 99 * MIB), 9 * MIB, "to the mark before it");
        assert_eq!(count.since(Some(20), 40, 99 * MIB), 9 * MIB);
        assert_eq!(count.since(Some(90), 90, 99 * MIB), 0, "one that arrived");
        assert_eq!(count.since(Some(90), 91, 99 * MIB + 5), 5);
    }

    #[test]
    fn what_another_leader_cut_off_counts_on_until_the_next_snapshot() {
        let mut count = Count::default();
        assert_eq!(count.since(None, 10, 10 * MIB), 10 * MIB);
        assert_eq!(count.since(None, 30, 30 * MIB), 30 * MIB);
        assert_eq!(count.since(None, 12, 31 * MIB), 31 * MIB);
        assert_eq!(count.since(Some(11), 12, 31 * MIB), 21 * MIB);
        assert_eq!(count.since(Some(12), 12, 31 * MIB), 0);
    }

    #[test]
    fn marks_have_a_bound_and_lose_no_bytes() {
        let mut count = Count::default();
        let many = 5 * MARKS_MAX as u64;
        for index in 1..=many {
            assert_eq!(count.since(None, index, index * MIB), index * MIB);
            assert!(count.marks.len() <= MARKS_MAX);
        }
        for snapshot in [1, 999, many / 2, many - 1] {
            let left = count.since(Some(snapshot), many, many * MIB);
            assert!(left >= (many - snapshot) * MIB, "{left} after {snapshot}");
        }
        assert_eq!(count.since(Some(many), many, many * MIB), 0);
    }
}
