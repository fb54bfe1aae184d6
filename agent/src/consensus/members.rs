//! Who takes part: the first voter, newcomers, removals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use ringrift_core::id::NodeId;
use ringrift_core::queue::command::Command;

use crate::consensus::vocabulary::{Membership, RaftMetrics, Ring};
use crate::consensus::wire::Identity;
use crate::consensus::{Consensus, Member, MembershipError, Part, ProposeError, WARM_LEARNERS_MAX};

/// A single voter elects itself within an election timeout.
const FIRST_ELECTION_PATIENCE: Duration = Duration::from_secs(10);
/// A newcomer gets the log, or a snapshot and the rest of the log, within this time; then it stays a
/// learner until it is added again.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(30);
/// Entries that a newcomer may lack when it begins to vote: what one append brings.
const CATCH_UP_ENTRIES: u64 = 256;
/// A change of membership needs two commits of the voters.
pub(super) const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

impl Consensus {
    /// Founds a cluster of this agent alone and names it. Doing so twice with one name is harmless.
    ///
    /// # Errors
    /// When this agent belongs to a cluster already, or cannot write its log.
    pub async fn initialize(&self, cluster_id: String) -> Result<(), MembershipError> {
        let this = self.inner.this.clone();
        let founders = BTreeMap::from([(self.inner.raft_id, this)]);
        match self.inner.raft.initialize(founders).await {
            Ok(()) => {}
            // A crash between founding and naming left the name to this second call.
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                let named = self.read(|machine| machine.cluster_id().to_owned());
                if named == cluster_id {
                    return Ok(());
                }
                let alone = self.membership().nodes().all(|(id, _)| *id == self.inner.raft_id);
                if !named.is_empty() || !alone {
                    return Err(MembershipError::Initialized { cluster_id: named });
                }
            }
            Err(error) => {
                return Err(MembershipError::Raft { cause: error.to_string() });
            }
        }
        let mut leadership = self.leadership();
        let elected = leadership.wait_for(|leadership| leadership.is_leader);
        match tokio::time::timeout(FIRST_ELECTION_PATIENCE, elected).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => {
                return Err(MembershipError::Late { what: "the first election" });
            }
        }
        let committed = self.propose(vec![Command::InitCluster { cluster_id }]).await?;
        match committed.replies.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(refusal)) => Err(MembershipError::Raft { cause: refusal.to_string() }),
            None => Err(MembershipError::Raft { cause: "no reply to InitCluster".to_owned() }),
        }
    }

    /// Takes an agent in, on the leader: first as a learner, then as a voter while there are fewer
    /// than wanted. Beyond [`WARM_LEARNERS_MAX`] learners it is told to stay a client. Adding a member
    /// again is harmless and finishes what was interrupted.
    ///
    /// # Errors
    /// [`MembershipError::WipedVoter`] when a voter comes back without its log;
    /// [`MembershipError::Retired`] when it went for good; [`MembershipError::Foreign`] when it belongs
    /// to another cluster; others when it cannot be reached or does not catch up. What was done so far
    /// stays.
    pub async fn add_member(&self, mut member: Member) -> Result<Part, MembershipError> {
        // One change at a time from here; openraft refuses a second one anyway.
        let _turn = self.inner.membership_turn.lock().await;
        self.must_lead()?;
        // A leader that has just begun must not take in who was retired before.
        self.barrier().await?;
        let Identity { raft_id, zone, .. } = self.identify(&member).await?;
        // Nobody else knows where it stands.
        member.zone = zone;
        let membership = self.membership();
        let known = membership.nodes().find(|(_, known)| known.node_id == member.node_id);
        let known = known.map(|(id, known)| (*id, known.clone()));
        let wanted = self.inner.voters.wanted.get();
        match known {
            Some((id, known)) if id == raft_id => {
                if known != member {
                    self.change_named(id, member).await?;
                }
                if membership.voter_ids().any(|voter| voter == id) {
                    return Ok(Part::Voter);
                }
            }
            Some((id, known)) => {
                if membership.voter_ids().any(|voter| voter == id) {
                    return Err(MembershipError::WipedVoter { node_id: known.node_id });
                }
                self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), true).await?;
                self.add_learner(raft_id, member).await?;
            }
            None if membership.nodes().count() < wanted + WARM_LEARNERS_MAX => {
                self.add_learner(raft_id, member).await?;
            }
            None => {
                let Some((lost, name)) = self.lost_learner() else {
                    return Ok(Part::Client);
                };
                tracing::info!(lost = %name, newcomer = %member.node_id, "a lost learner makes room");
                self.change(ChangeMembers::RemoveNodes(BTreeSet::from([lost])), true).await?;
                self.add_learner(raft_id, member).await?;
            }
        }
        if self.membership().voter_ids().count() >= wanted {
            return Ok(Part::Learner);
        }
        self.wait_caught_up(raft_id).await?;
        self.announce_change(None, false).await?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([raft_id])), true).await?;
        Ok(Part::Voter)
    }

    /// Removes an agent from the cluster, on the leader; its raft id never returns.
    ///
    /// # Errors
    /// When it is not a member, leads, is the last voter, cannot be spared, or the voters do not agree in
    /// time.
    pub async fn remove_member(&self, node_id: &NodeId) -> Result<(), MembershipError> {
        self.remove(node_id, false).await
    }

    /// As [`Consensus::remove_member`], of a voter that cannot be spared too: until enough of those that
    /// stay are well, nothing is committed.
    ///
    /// # Errors
    /// As [`Consensus::remove_member`].
    pub async fn remove_member_by_force(&self, node_id: &NodeId) -> Result<(), MembershipError> {
        self.remove(node_id, true).await
    }

    async fn remove(&self, node_id: &NodeId, by_force: bool) -> Result<(), MembershipError> {
        let _turn = self.inner.membership_turn.lock().await;
        self.must_lead()?;
        let membership = self.membership();
        let known = membership.nodes().find(|(_, known)| known.node_id == *node_id);
        let Some((id, _)) = known else {
            return Err(MembershipError::Unknown { node_id: node_id.clone() });
        };
        let ids = BTreeSet::from([*id]);
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if voters == ids {
            return Err(MembershipError::LastVoter { node_id: node_id.clone() });
        }
        if *id == self.inner.raft_id {
            return Err(MembershipError::Leads { node_id: node_id.clone() });
        }
        if voters.contains(id) && !by_force {
            self.can_spare(*id).map_err(|obstacle| MembershipError::Needed {
                node_id: node_id.clone(),
                obstacle,
            })?;
        }
        self.announce_change(Some(*id), false).await?;
        if voters.contains(id) {
            self.change(ChangeMembers::RemoveVoters(ids), false).await
        } else {
            self.change(ChangeMembers::RemoveNodes(ids), false).await
        }
    }

    /// Membership as another agent sees it may be old, so only the leader judges it.
    fn must_lead(&self) -> Result<(), ProposeError> {
        let leadership = self.inner.leadership.borrow();
        if leadership.is_leader {
            return Ok(());
        }
        let leader = leadership.leader.clone();
        Err(ProposeError::NotLeader { leader })
    }

    /// Asks the newcomer itself who it is, which shows too that it can be reached.
    async fn identify(&self, member: &Member) -> Result<Identity, MembershipError> {
        let address = &member.raft_address;
        let identity = self.inner.caller.identify(address).await;
        let identity = identity.map_err(|error| MembershipError::Unreachable {
            address: address.clone(),
            cause: error.to_string(),
        })?;
        let Identity { node_id, raft_id, zone: _, cluster_id, initialized } = identity.clone();
        if node_id != member.node_id {
            let (expected, found) = (member.node_id.clone(), node_id);
            return Err(MembershipError::Impostor { address: address.clone(), expected, found });
        }
        let ours = self.membership().nodes().any(|(id, _)| *id == raft_id);
        if !ours && self.read(|machine| machine.members().is_retired(raft_id)) {
            return Err(MembershipError::Retired { node_id, raft_id });
        }
        if initialized && !ours && cluster_id != self.inner.caller.cluster_id() {
            return Err(MembershipError::Foreign { node_id, cluster_id });
        }
        Ok(identity)
    }

    pub(super) fn membership(&self) -> Membership {
        let metrics = self.inner.raft.server_metrics();
        Membership::clone(&metrics.borrow_watched().membership_config)
    }

    async fn add_learner(&self, raft_id: u64, member: Member) -> Result<(), MembershipError> {
        let added = self.inner.raft.add_learner(raft_id, member, false);
        finished("adding a learner", tokio::time::timeout(CHANGE_PATIENCE, added).await)
    }

    /// Names a member's addresses anew.
    pub(super) async fn change_named(
        &self,
        raft_id: u64,
        member: Member,
    ) -> Result<(), MembershipError> {
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(raft_id, member)])), true).await
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, Member>,
        retain: bool,
    ) -> Result<(), MembershipError> {
        let changed = self.inner.raft.change_membership(change, retain);
        finished("a change of membership", tokio::time::timeout(CHANGE_PATIENCE, changed).await)
    }

    async fn wait_caught_up(&self, raft_id: u64) -> Result<(), MembershipError> {
        let caught_up = move |metrics: &RaftMetrics| {
            let Some(replication) = &metrics.replication else {
                return false;
            };
            let has = replication.get(&raft_id).and_then(|matched| *matched).map(|id| id.index);
            let last = metrics.last_log_index.unwrap_or(0);
            has.is_some_and(|has| last.saturating_sub(has) <= CATCH_UP_ENTRIES)
        };
        let wait = self.inner.raft.wait(Some(CATCH_UP_PATIENCE));
        let what = "the newcomer's catching up";
        wait.metrics(caught_up, what)
            .await
            .map(drop)
            .map_err(|_late| MembershipError::Late { what })
    }
}

pub(super) type Changed<T> = Result<T, RaftError<Ring, ClientWriteError<Ring>>>;

pub(super) fn finished<T>(
    what: &'static str,
    outcome: Result<Changed<T>, tokio::time::error::Elapsed>,
) -> Result<(), MembershipError> {
    match outcome {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
            Err(MembershipError::Propose(super::propose::not_leader(forward)))
        }
        Ok(Err(RaftError::APIError(ClientWriteError::PreconditionFailed(_)))) => {
            Err(MembershipError::Changed)
        }
        Ok(Err(error)) => Err(MembershipError::Raft { cause: error.to_string() }),
        Err(_elapsed) => Err(MembershipError::Late { what }),
    }
}
