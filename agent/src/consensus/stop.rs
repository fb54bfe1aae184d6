//! Leaving: with a word to the others, or without.

use std::sync::PoisonError;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;

use crate::consensus::Consensus;

/// Handing leadership over takes milliseconds when the heir is well; an ill one must not hold up the
/// shutdown.
const HANDOVER_PATIENCE: Duration = Duration::from_millis(300);
/// The raft core ends within a flush of its log; a hung disk must not keep the process alive.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

impl Consensus {
    /// Hands leadership over when this agent leads, then stops. The data directory is free
    /// afterwards.
    pub async fn shutdown(&self) {
        self.hand_over().await;
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

    async fn hand_over(&self) {
        let raft = &self.inner.raft;
        let this = self.inner.raft_id;
        let heir = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            if metrics.current_leader != Some(this) {
                return;
            }
            let voters = metrics.membership_config.voter_ids().filter(|voter| *voter != this);
            let replication = metrics.replication.as_ref();
            voters.max_by_key(|voter| replication.and_then(|r| r.get(voter).copied().flatten()))
        };
        let Some(heir) = heir else { return };
        if let Err(error) = raft.trigger().transfer_leader(heir).await {
            tracing::debug!(%error, "leadership not handed over");
            return;
        }
        let wait = raft.wait(Some(HANDOVER_PATIENCE));
        let another_leads = wait.metrics(
            |metrics| metrics.current_leader.is_some_and(|leader| leader != this),
            "another leader",
        );
        match another_leads.await {
            Ok(_) => tracing::info!(heir = format!("{heir:016x}"), "leadership handed over"),
            Err(_late) => tracing::warn!(
                heir = format!("{heir:016x}"),
                "leadership not handed over in time; the others will elect"
            ),
        }
    }
}
