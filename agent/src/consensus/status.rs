//! What can be seen of consensus: who leads, who takes part, how far it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use ringrift_core::id::Position;
use tokio::sync::watch;

use crate::consensus::machine::{Shared, position_of};
use crate::consensus::vocabulary::{Membership, Raft, Ring};
use crate::consensus::{Consensus, ConsensusError, Member};

/// What this agent is in the raft right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes and follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows without a vote.
    Learner,
    /// The raft core has stopped.
    Stopped,
}

impl Role {
    /// The word for it in answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Stopped => "stopped",
        }
    }

    const fn of(state: ServerState) -> Self {
        match state {
            ServerState::Learner => Self::Learner,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Leader => Self::Leader,
            ServerState::Shutdown => Self::Stopped,
        }
    }
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// Raft term.
    pub term: u64,
    /// What this agent is.
    pub role: Role,
    /// The leader, when one is known.
    pub leader: Option<Member>,
    /// Whether this agent leads.
    pub is_leader: bool,
    /// Whether this agent belongs to a cluster.
    pub initialized: bool,
}

/// Without a word of the cluster for so long, an agent is not well: elections take a second at most, and
/// a machine under the heaviest load is heard several times a second.
pub const CONTACT_LOST: Duration = Duration::from_secs(5);

/// A picture of consensus on this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsensusStatus {
    /// What this agent is.
    pub role: Role,
    /// Raft term.
    pub term: u64,
    /// Index of the last entry in the log here.
    pub last_log_index: u64,
    /// The last entry that was applied here.
    pub applied: Position,
    /// The last entry that a snapshot here covers.
    pub snapshot: Option<Position>,
    /// The last entry that was dropped from the log here.
    pub purged: Option<Position>,
    /// The voters, by raft id.
    pub voters: Vec<Member>,
    /// The learners, by raft id.
    pub learners: Vec<Member>,
    /// The leader, when one is known.
    pub leader: Option<Member>,
    /// Whether this agent belongs to a cluster.
    pub initialized: bool,
    /// Why the raft core has stopped, if it has.
    pub stopped: Option<String>,
}

impl Consensus {
    /// A picture of consensus on this agent.
    #[must_use]
    pub fn status(&self) -> ConsensusStatus {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let member = |id: u64| membership.get_node(&id).cloned();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let learners = membership.membership().learner_ids();
        ConsensusStatus {
            role: Role::of(metrics.state),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map(position_of).unwrap_or_default(),
            snapshot: metrics.snapshot.map(position_of),
            purged: metrics.purged.map(position_of),
            voters: voters.into_iter().filter_map(member).collect(),
            learners: learners.filter_map(member).collect(),
            leader: metrics.current_leader.and_then(member),
            initialized: is_initialized(membership),
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }
}

impl Consensus {
    /// How old what this agent knows may be: the time since it heard the leader, or since a majority
    /// answered it when it leads. openraft goes on naming a leader that is out of reach, and a leader that
    /// is cut off goes on calling itself one.
    #[must_use]
    pub fn contact_age(&self) -> Duration {
        let (known_for, silent_for) = self.inner.shared.contact();
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        if !metrics.state.is_leader() {
            return silent_for;
        }
        let words = |id: &u64| {
            if *id == self.inner.raft_id { Some(Duration::ZERO) } else { self.inner.words.age(*id) }
        };
        let voters = metrics.membership_config.membership().get_joint_config();
        // A majority chose it when it began to lead.
        majority_age(voters, words).min(known_for)
    }

    /// How long this agent has had no word of its cluster, when that is too long to be well.
    #[must_use]
    pub fn out_of_touch(&self) -> Option<Duration> {
        let age = self.contact_age();
        (self.is_initialized() && age >= CONTACT_LOST).then_some(age)
    }
}

/// The age of the youngest words of a majority, in each set of voters.
fn majority_age(voters: &[BTreeSet<u64>], age: impl Fn(&u64) -> Option<Duration>) -> Duration {
    let of_set = |set: &BTreeSet<u64>| {
        let mut ages: Vec<Duration> =
            set.iter().map(|id| age(id).unwrap_or(Duration::MAX)).collect();
        ages.sort_unstable();
        ages.get(set.len() / 2).copied().unwrap_or_default()
    };
    voters.iter().map(of_set).max().unwrap_or_default()
}

fn is_initialized(membership: &Membership) -> bool {
    membership.nodes().next().is_some()
}

/// Watches leadership: the current picture, and the task that keeps it.
pub(super) async fn observe(
    raft: &Raft,
    shared: Arc<Shared>,
) -> Result<(watch::Receiver<Leadership>, impl Future<Output = ()> + Send + use<>), ConsensusError>
{
    let mut metrics = raft.server_metrics();
    let this = *raft.node_id();
    let look = move |metrics: &openraft::metrics::RaftServerMetrics<Ring>| {
        let membership: &Membership = &metrics.membership_config;
        Leadership {
            term: metrics.vote.leader_id.term,
            role: Role::of(metrics.state),
            leader: metrics.current_leader.and_then(|id| membership.get_node(&id).cloned()),
            is_leader: metrics.state.is_leader() && metrics.current_leader == Some(this),
            initialized: is_initialized(membership),
        }
    };
    let initialized = raft.is_initialized().await;
    let initialized =
        initialized.map_err(|fatal| ConsensusError::Start { cause: fatal.to_string() })?;
    // The metrics may not yet show what was on disk.
    let first = Leadership { initialized, ..look(&metrics.borrow_watched()) };
    let (sender, receiver) = watch::channel(first);
    let observer = async move {
        while metrics.changed().await.is_ok() {
            let mut now = {
                let metrics = metrics.borrow_watched();
                // Replicated time runs from the beginning of a leader, not from its first proposal.
                if metrics.state.is_leader() {
                    shared.hear(metrics.vote.leader_id);
                }
                look(&metrics)
            };
            sender.send_if_modified(|before| {
                now.initialized |= before.initialized;
                let changed = *before != now;
                if changed {
                    let leader = now.leader.as_ref().map(|leader| leader.node_id.as_str());
                    tracing::info!(term = now.term, role = now.role.as_str(), leader, "leadership");
                    *before = now;
                }
                changed
            });
        }
    };
    Ok((receiver, observer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_as_old_as_the_last_words_of_a_majority() {
        let age = |voters: &[&[u64]]| {
            let sets: Vec<BTreeSet<u64>> =
                voters.iter().map(|set| set.iter().copied().collect()).collect();
            // Voter 1 leads; nothing was heard of voters from 8 on.
            let said = |id: &u64| (*id < 8).then(|| Duration::from_secs(*id - 1));
            majority_age(&sets, said).as_secs()
        };
        assert_eq!(age(&[&[1]]), 0);
        assert_eq!(age(&[&[1, 2]]), 1);
        assert_eq!(age(&[&[1, 2, 7]]), 1);
        assert_eq!(age(&[&[1, 2, 3, 9]]), 2);
        assert_eq!(age(&[&[1, 2, 3], &[5, 6, 7]]), 5);
        assert_eq!(age(&[&[1, 8, 9]]), Duration::MAX.as_secs());
    }
}
