//! Who votes, as the leader sees it, and the guarded changes that it makes by itself.
//!
//! A change names the membership entry that it was decided on. When another change came in between,
//! nothing happens and the next look decides anew.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Instant as _};
use ringrift_core::id::NodeId;
use ringrift_core::queue::command::Command;
use ringrift_core::time::Span;
use ringrift_core::voters::{Change, Decision, Member as Seen, Obstacle, Rules, spare};

use crate::consensus::members::{CHANGE_PATIENCE, finished};
use crate::consensus::vocabulary::LogId;
use crate::consensus::{Consensus, Member, MembershipError, ProposeError};

/// How many voters a cluster has: an odd number, so that each further one adds to what it survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoterCount(usize);

impl VoterCount {
    /// 1, 3 or 5; nothing for any other number.
    #[must_use]
    pub const fn new(count: u8) -> Option<Self> {
        match count {
            1 | 3 | 5 => Some(Self(count as usize)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Default for VoterCount {
    fn default() -> Self {
        Self(3)
    }
}

/// What this agent does about the voters while it leads.
#[derive(Debug, Clone, Copy, Default)]
pub struct VoterPolicy {
    /// Up to how many there shall be. It takes no vote away.
    pub wanted: VoterCount,
    /// When a dead one is replaced.
    pub rules: Rules,
}

/// One member as the leader's log sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its raft id.
    pub raft_id: u64,
    /// Its name and addresses.
    pub member: Member,
    /// Whether it votes, in any of two joint configurations too.
    pub votes: bool,
    /// Time since its last acknowledgement; nothing when there was none under this leader.
    pub silent_for: Option<Duration>,
    /// Entries that it lacks; nothing when that is not known.
    pub behind: Option<u64>,
}

/// All members as the leader's log sees them, and the entry that says who they are.
#[derive(Debug, Clone)]
pub struct Electorate {
    /// Raft id of the leader.
    pub leader: u64,
    /// Whether they are being changed.
    pub change: Change,
    /// The members, by raft id.
    pub standings: Vec<Standing>,
    /// The membership entry that a change must be based on.
    entry: Option<LogId>,
    /// The voters of the configuration that is in force, or being moved to.
    target: BTreeSet<u64>,
}

/// What the leader made of its last look at the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The members.
    pub members: Vec<Seen>,
    /// What is to be done.
    pub decision: Decision,
}

impl Consensus {
    /// What this agent does about the voters while it leads.
    #[must_use]
    pub fn voter_policy(&self) -> VoterPolicy {
        self.inner.voters
    }

    /// The members as the log of the leader sees them; nothing on any other agent.
    #[must_use]
    pub fn electorate(&self) -> Option<Electorate> {
        let is_changing = self.inner.membership_turn.try_lock().is_err();
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let this = self.inner.raft_id;
        if metrics.current_leader != Some(this) || !metrics.state.is_leader() {
            return None;
        }
        let membership = &metrics.membership_config;
        let configs = membership.membership().get_joint_config();
        let is_committed = metrics.committed_membership_config.log_id() == membership.log_id();
        let change = match (is_changing || !is_committed, configs.len() > 1) {
            (true, _) => Change::UnderWay,
            (false, true) => Change::Halfway,
            (false, false) => Change::None,
        };
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let heard = |id: u64| {
            let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(&id).copied());
            // By a clock that stands still while this process does: that others were silent meanwhile says
            // nothing about them.
            heard.flatten().map(|at| at.elapsed())
        };
        let behind = |id: u64| {
            let matched = metrics.replication.as_ref().and_then(|it| it.get(&id).copied());
            matched.flatten().map(|matched| last.saturating_sub(matched.index))
        };
        let standing = |(id, member): (&u64, &Member)| Standing {
            raft_id: *id,
            member: member.clone(),
            votes: voters.contains(id),
            silent_for: if *id == this { Some(Duration::ZERO) } else { heard(*id) },
            behind: if *id == this { Some(0) } else { behind(*id) },
        };
        Some(Electorate {
            leader: this,
            change,
            standings: membership.nodes().map(standing).collect(),
            entry: *membership.log_id(),
            target: configs.last().cloned().unwrap_or_default(),
        })
    }

    /// Notes what the leader made of the members, for those who ask.
    pub fn note_outlook(&self, outlook: Option<Outlook>) {
        *self.inner.outlook.lock().unwrap_or_else(PoisonError::into_inner) = outlook;
    }

    /// What the leader made of the members last; nothing on any other agent.
    #[must_use]
    pub fn outlook(&self) -> Option<Outlook> {
        let outlook = self.inner.outlook.lock().unwrap_or_else(PoisonError::into_inner);
        outlook.clone().filter(|_| self.inner.leadership.borrow().is_leader)
    }

    /// Replaces a voter by a learner, on the leader. The voter's raft id never returns.
    ///
    /// # Errors
    /// When the members changed since the look, or the voters do not agree in time.
    pub async fn replace_voter(
        &self,
        seen: &Electorate,
        dead: u64,
        by: u64,
    ) -> Result<(), MembershipError> {
        let _turn = self.own_turn()?;
        self.announce_change(Some(dead), true).await?;
        let mut voters = seen.target.clone();
        voters.remove(&dead);
        voters.insert(by);
        self.change_if(seen, voters).await
    }

    /// Gives a learner a vote, on the leader.
    ///
    /// # Errors
    /// As [`Consensus::replace_voter`].
    pub async fn promote(&self, seen: &Electorate, learner: u64) -> Result<(), MembershipError> {
        let _turn = self.own_turn()?;
        self.announce_change(None, true).await?;
        let mut voters = seen.target.clone();
        voters.insert(learner);
        self.change_if(seen, voters).await
    }

    /// Finishes a change that another leader left half done, on the leader.
    ///
    /// # Errors
    /// As [`Consensus::replace_voter`].
    pub async fn finish_change(&self, seen: &Electorate) -> Result<(), MembershipError> {
        let _turn = self.own_turn()?;
        self.change_if(seen, seen.target.clone()).await
    }

    /// Tells the members where this agent is, on the leader, when they know it at another address: one
    /// that started from a backup, or was alone and has moved, has nobody to tell it to.
    ///
    /// # Errors
    /// As [`Consensus::replace_voter`].
    pub async fn correct_own_address(&self, seen: &Electorate) -> Result<(), MembershipError> {
        let this = &self.inner.this;
        let known = seen.standings.iter().find(|standing| standing.raft_id == seen.leader);
        if known.is_none_or(|known| known.member == *this) || seen.change != Change::None {
            return Ok(());
        }
        let _turn = self.own_turn()?;
        tracing::info!(http_address = this.http_address, "the members learn this agent's address");
        self.change_named(seen.leader, this.clone()).await
    }

    /// Who is a learner only by name: it has been dead for as long as a voter may be.
    pub(super) fn lost_learner(&self) -> Option<(u64, NodeId)> {
        let silence = self.inner.voters.rules.silence.unwrap_or(Rules::SILENCE_DEFAULT);
        let outlook = self.outlook()?;
        let is_lost = |member: &&Seen| {
            let failed = member.failed_for.is_some_and(|failed| failed >= silence);
            !member.votes && failed && member.silent_for >= silence
        };
        outlook.members.iter().find(is_lost).map(|it| (it.raft_id, it.node_id.clone()))
    }

    /// Whether those voters that stay can go on without this one, as the leader sees them.
    pub(super) fn can_spare(&self, leaving: u64) -> Result<(), Obstacle> {
        let seen = self.electorate().map(|seen| seen.standings).unwrap_or_default();
        let staying = seen.iter().filter(|it| it.votes && it.raft_id != leaving);
        let span = |time: Duration| Span(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let known = staying.map(|it| (it.silent_for.map(span), it.behind));
        spare(&self.inner.voters.rules, known)
    }

    /// Writes into the log that the members are about to change, so that every later leader keeps its
    /// distance and knows who must not return.
    pub(super) async fn announce_change(
        &self,
        retired: Option<u64>,
        automatic: bool,
    ) -> Result<(), MembershipError> {
        let command = Command::ChangeMembers { retired, automatic };
        let committed = self.propose(vec![command]).await?;
        match committed.replies.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err(refusal)) => Err(MembershipError::Raft { cause: refusal.to_string() }),
            None => Err(MembershipError::Raft { cause: "no reply to ChangeMembers".to_owned() }),
        }
    }

    fn own_turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, MembershipError> {
        let leadership = self.inner.leadership.borrow().clone();
        if !leadership.is_leader {
            return Err(ProposeError::NotLeader { leader: leadership.leader }.into());
        }
        self.inner.membership_turn.try_lock().map_err(|_busy| MembershipError::Changed)
    }

    async fn change_if(
        &self,
        seen: &Electorate,
        voters: BTreeSet<u64>,
    ) -> Result<(), MembershipError> {
        let guard = Precondition::LastMembershipLogId { last_membership_log_id: seen.entry };
        let change = ChangeMembers::ReplaceAllVoters(voters);
        let changed = self.inner.raft.change_membership_if(change, false, [guard]);
        finished("a change of voters", tokio::time::timeout(CHANGE_PATIENCE, changed).await)
    }
}
