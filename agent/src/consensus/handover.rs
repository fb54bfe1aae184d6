//! Handing leadership over: when the leader leaves, when an operator asks, when its disk hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::{TransferLeaderRequest, VoteRequest};
use openraft::vote::RaftLeaderId as _;
use ringrift_core::id::NodeId;

use crate::consensus::network::link::Link;
use crate::consensus::vocabulary::{LeaderId, LogId, RaftMetrics, Vote};
use crate::consensus::wire::{Purpose, Request};
use crate::consensus::{Consensus, Member, ProposeError, TransferError};

/// Among well peers a transfer takes a few milliseconds, and three disk flushes on busy ones. An ill
/// heir must not keep the others waiting, since nothing is accepted meanwhile; and their own election
/// timeouts run, 250 ms at least with the safe profile.
const HEIR_PATIENCE: Duration = Duration::from_millis(200);
/// Heirs that are tried: every other voter of a cluster of five.
const HEIRS_MAX: usize = 4;
/// What the raft core answers from memory. It may wait for a hung disk, and nobody else shall.
const CORE_PATIENCE: Duration = Duration::from_millis(200);
/// Standing for election again takes a round among the voters and two disk flushes.
const REELECTION_PATIENCE: Duration = Duration::from_millis(500);

/// The voters that may lead next, the one with the longest log first: it need not catch up.
fn heirs(
    this: u64,
    voters: impl Iterator<Item = u64>,
    matched: &BTreeMap<u64, Option<LogId>>,
) -> Vec<u64> {
    let mut heirs: Vec<u64> = voters.filter(|voter| *voter != this).collect();
    heirs.sort_by_key(|voter| std::cmp::Reverse(matched.get(voter).copied().flatten()));
    heirs.truncate(HEIRS_MAX);
    heirs
}

/// What the raft core says, unless it waits for its disk.
async fn in_time<T, E: std::fmt::Display>(
    patience: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, ProposeError> {
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(error)) => Err(ProposeError::Stopped { cause: error.to_string() }),
        Err(_elapsed) => Err(ProposeError::Timeout),
    }
}

impl Consensus {
    /// Hands leadership over, on the leader: to the voter that is named, or to the one with the
    /// longest log. When it does not take over at once, this agent stands for election again, so
    /// that the cluster is not left without a leader. Answers who leads then.
    ///
    /// # Errors
    /// When this agent does not lead, no such voter exists, or the voter did not take over.
    pub async fn transfer(&self, to: Option<&NodeId>) -> Result<Member, TransferError> {
        let metrics = self.metrics();
        if metrics.current_leader != Some(self.inner.raft_id) {
            let leader = self.inner.leadership.borrow().leader.clone();
            return Err(ProposeError::NotLeader { leader }.into());
        }
        if to == Some(&self.inner.this.node_id) {
            return Ok(self.inner.this.clone());
        }
        let mut heirs = self.heirs(&metrics);
        if let Some(name) = to {
            let membership = &metrics.membership_config;
            heirs.retain(|id| membership.get_node(id).is_some_and(|it| it.node_id == *name));
        }
        // Who has asked for nobody in particular is served by anybody, but only once: the longer it
        // takes, the longer nothing is accepted.
        let Some(heir) = heirs.into_iter().next() else {
            return Err(TransferError::NoHeir { node_id: to.cloned() });
        };
        self.trigger_transfer(heir).await?;
        if let Some(leader) = self.successor().await {
            return Ok(leader);
        }
        self.stand_again(heir).await?;
        let member = metrics.membership_config.get_node(&heir).cloned();
        Err(TransferError::Refused { node_id: member.map(|member| member.node_id) })
    }

    /// Hands leadership to anybody who takes it, when this agent leads. Tries one voter after
    /// another; answers whether one took over.
    pub(super) async fn hand_over(&self) -> bool {
        let metrics = self.metrics();
        if metrics.current_leader != Some(self.inner.raft_id) {
            return true;
        }
        let mut first = true;
        for heir in self.heirs(&metrics) {
            let asked = if first {
                self.trigger_transfer(heir).await.is_ok()
            } else {
                // openraft asks once and waits for ever. The request is the same for another heir.
                self.ask_directly(heir, &metrics).await
            };
            first = false;
            if asked && let Some(leader) = self.successor().await {
                tracing::info!(leader = leader.node_id.as_str(), "leadership handed over");
                return true;
            }
            tracing::warn!(heir = format!("{heir:016x}"), "a voter does not take leadership over");
        }
        false
    }

    fn metrics(&self) -> RaftMetrics {
        self.inner.raft.metrics().borrow_watched().clone()
    }

    fn heirs(&self, metrics: &RaftMetrics) -> Vec<u64> {
        let matched = metrics.replication.clone().unwrap_or_default();
        heirs(self.inner.raft_id, metrics.membership_config.voter_ids(), &matched)
    }

    async fn trigger_transfer(&self, heir: u64) -> Result<(), ProposeError> {
        in_time(CORE_PATIENCE, self.inner.raft.trigger().transfer_leader(heir)).await
    }

    async fn ask_directly(&self, heir: u64, metrics: &RaftMetrics) -> bool {
        let Some(member) = metrics.membership_config.get_node(&heir) else {
            return false;
        };
        let last = self.inner.raft.with_raft_state(|state| state.log_ids.last().copied());
        let Ok(last) = in_time(CORE_PATIENCE, last).await else {
            return false;
        };
        let address = member.raft_address.clone();
        let link = Link::new(Arc::clone(&self.inner.caller), heir, address, Purpose::Log);
        let request = TransferLeaderRequest::new(metrics.vote, heir, last);
        let request = Request::TransferLeader(request);
        Arc::new(link).call(&request, HEIR_PATIENCE).await.is_ok()
    }

    /// Who leads instead of this agent, as soon as somebody does.
    async fn successor(&self) -> Option<Member> {
        let this = self.inner.raft_id;
        let another = move |metrics: &RaftMetrics| {
            metrics.current_leader.is_some_and(|leader| leader != this)
        };
        let wait = self.inner.raft.wait(Some(HEIR_PATIENCE));
        let metrics = wait.metrics(another, "another leader").await.ok()?;
        let leader = metrics.current_leader?;
        metrics.membership_config.get_node(&leader).cloned()
    }

    /// A leader that began to hand over accepts nothing any more, and openraft has no way back. So it
    /// gives the heir the vote that it did not ask for, which ends its own office, and campaigns in
    /// the term after that. Should the heir ask for that vote later, its log is looked at as ever.
    async fn stand_again(&self, heir: u64) -> Result<(), ProposeError> {
        let raft = &self.inner.raft;
        let this = self.inner.raft_id;
        let state =
            raft.with_raft_state(|state| (*state.vote_ref(), state.log_ids.last().copied()));
        let (vote, last_log_id) = in_time(CORE_PATIENCE, state).await?;
        if vote.leader_id.node_id != this {
            return Ok(());
        }
        let term = vote.leader_id.term.saturating_add(1);
        let next = Vote { leader_id: LeaderId::new(term, heir), committed: false };
        let yielding = VoteRequest { vote: next, last_log_id, leadership_transfer: true };
        in_time(REELECTION_PATIENCE, raft.vote(yielding)).await?;
        let campaign = TransferLeaderRequest::new(next, this, None);
        let stood = in_time(REELECTION_PATIENCE, raft.handle_transfer_leader(campaign)).await?;
        if let Err(error) = stood {
            tracing::debug!(%error, "somebody else campaigned first");
        }
        let led = move |metrics: &RaftMetrics| {
            metrics.current_leader.is_some() && metrics.current_term > term
        };
        let wait = raft.wait(Some(REELECTION_PATIENCE));
        if wait.metrics(led, "a leader again").await.is_err() {
            tracing::warn!("no leader after a failed transfer; the voters will elect");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(index: u64) -> LogId {
        LogId::new(LeaderId::new(3, 1), index)
    }

    #[test]
    fn the_longest_log_comes_first_and_the_leader_not_at_all() {
        let matched = BTreeMap::from([
            (1, Some(log_id(9))),
            (2, Some(log_id(7))),
            (3, Some(log_id(8))),
            (4, None),
            (9, Some(log_id(9))),
        ]);
        assert_eq!(heirs(1, [1, 2, 3, 4, 5].into_iter(), &matched), [3, 2, 4, 5]);
        assert_eq!(heirs(1, [1].into_iter(), &matched), [0_u64; 0], "learner 9 is no heir");
    }
}
