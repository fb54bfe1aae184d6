//! Leaving: with a word to the others, or without.

use std::sync::PoisonError;
use std::time::Duration;

use crate::consensus::Consensus;

/// The raft core ends within a flush of its log; a hung disk must not keep the process alive.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

impl Consensus {
    /// Hands leadership over when this agent leads, then stops. The data directory is free
    /// afterwards.
    pub async fn shutdown(&self) {
        if !self.hand_over().await {
            tracing::warn!("leadership not handed over; the others will elect");
        }
        // The heir has the whole log, so it commits what is on its way; the callers shall hear of it.
        self.inner.proposer.drain().await;
        self.halt().await;
    }

    /// Stops at once, as a crash would, but leaves the data directory free.
    pub async fn halt(&self) {
        let tasks =
            std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        drop(tasks);
        if tokio::time::timeout(STOP_PATIENCE, self.inner.raft.shutdown()).await.is_err() {
            tracing::warn!("the raft core does not stop; leaving it");
            return;
        }
        let log = self.inner.log.clone();
        // Closing waits for the flush in progress.
        let closed = tokio::task::spawn_blocking(move || log.close());
        if tokio::time::timeout(STOP_PATIENCE, closed).await.is_err() {
            tracing::warn!("the raft log does not close; leaving it");
        }
    }
}
