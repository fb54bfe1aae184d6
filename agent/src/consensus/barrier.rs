//! Barriers: a read behind one reflects everything that was committed before it began.
//!
//! The leader notes how far the log is committed, asks the voters whether they have turned to another vote
//! since, and waits until its replica is as far (*read index*: Ongaro, "Consensus: Bridging Theory and
//! Practice", section 6.4). While a majority has not turned away after the note was made, nobody else can
//! have committed anything before it. Readers that come while a round is under way share the next one.
//!
//! A question is no heartbeat: it keeps nobody from campaigning, so that readers cannot keep a leader in
//! office that has lost its followers or given up.
//!
//! openraft has read barriers too. Those of the release in use may let a deposed leader's read pass:
//! `docs/adr/2026-11-22-barriers-of-our-own.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringrift_core::id::Position;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::consensus::machine::{Shared, position_of};
use crate::consensus::network::link::{Caller, Link};
use crate::consensus::vocabulary::{LogId, Raft, Vote};
use crate::consensus::wire::{Purpose, Request, Response};
use crate::consensus::{Leadership, Member, ProposeError};

/// Readers that wait for the next round; further ones wait for a place. More than one agent serves at
/// once.
const READERS_MAX: usize = 4_096;
/// The longest wait of a reader: a round among well peers takes a trip there and back, but it may have to
/// wait for the one before it, and for a replica that is behind.
const BARRIER_PATIENCE: Duration = Duration::from_secs(5);
/// A majority that says nothing for so long is out of reach, and whoever asks finds the leader elsewhere.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(1);
/// A question that is not answered by then is asked again: it was lost, or the voter's raft core waits for
/// its disk.
const QUESTION_PATIENCE: Duration = Duration::from_millis(500);
/// Questions to one voter that are not answered yet, those of earlier rounds included, which a quicker
/// majority ended without it: a voter may be so many rounds behind.
const QUESTIONS_MAX: usize = 8;
/// Pause before a question is asked again, and before a new leader is asked how far it is.
const QUESTION_PAUSE: Duration = Duration::from_millis(10);

type Outcome = Result<Position, ProposeError>;

/// The end that readers hold.
#[derive(Clone)]
pub(super) struct Barrier {
    readers: mpsc::Sender<oneshot::Sender<Outcome>>,
}

impl Barrier {
    /// A barrier, and the task that goes its rounds.
    pub(super) fn new(
        raft: Raft,
        shared: Arc<Shared>,
        caller: Arc<Caller>,
        leadership: watch::Receiver<Leadership>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (readers, mut arriving) = mpsc::channel(READERS_MAX);
        let mut rounds = Rounds::new(raft, shared, caller, leadership);
        let task = async move {
            while let Some(first) = arriving.recv().await {
                let mut readers: Vec<oneshot::Sender<Outcome>> = vec![first];
                while readers.len() < READERS_MAX
                    && let Ok(next) = arriving.try_recv()
                {
                    readers.push(next);
                }
                let outcome = rounds.go(&mut readers).await;
                for reader in readers {
                    // It may have given up.
                    let _ = reader.send(outcome.clone());
                }
            }
        };
        (Self { readers }, task)
    }

    /// Waits until the replica here reflects what was committed before the call.
    pub(super) async fn pass(&self) -> Outcome {
        let round = async {
            let (tell, told) = oneshot::channel();
            let gone = || ProposeError::Stopped { cause: "read barriers have ended".to_owned() };
            self.readers.send(tell).await.map_err(|_closed| gone())?;
            told.await.unwrap_or_else(|_closed| Err(gone()))
        };
        let late = |_elapsed| Err(ProposeError::NotLeader { leader: None });
        tokio::time::timeout(BARRIER_PATIENCE, round).await.unwrap_or_else(late)
    }
}

/// How a leader stands when a round begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    vote: Vote,
    /// The last committed entry that the leader knows of.
    committed: Option<LogId>,
    /// The voters; two sets while they change.
    voters: Vec<BTreeSet<u64>>,
    /// Where each voter's raft listener is.
    addresses: BTreeMap<u64, String>,
}

impl Standing {
    /// Up to where a read must see. Nothing until an entry of the leader's own term is committed: before,
    /// it does not know what its predecessors have committed.
    fn read_index(&self) -> Option<LogId> {
        self.committed.filter(|last| *last.committed_leader_id() == self.vote.leader_id)
    }

    /// Whether those are enough.
    fn is_majority(&self, some: &BTreeSet<u64>) -> bool {
        self.voters.iter().all(|set| set.intersection(some).count() > set.len() / 2)
    }
}

/// A voter that is asked.
struct Voter {
    /// A connection of its own, opened when it is needed: a question waits behind no append.
    link: Arc<Link>,
    unanswered: usize,
}

impl Voter {
    fn new(caller: &Arc<Caller>, id: u64, address: &str) -> Self {
        let link = Link::new(Arc::clone(caller), id, address.to_owned(), Purpose::Barrier);
        Self { link: Arc::new(link), unanswered: 0 }
    }
}

/// What came of a question.
struct Answer {
    voter: u64,
    /// The round that it was asked in.
    round: u64,
    /// Whether the voter has not turned away; nothing when the question was lost.
    stays: Option<bool>,
}

struct Rounds {
    raft: Raft,
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    leadership: watch::Receiver<Leadership>,
    round: u64,
    voters: BTreeMap<u64, Voter>,
    /// At most [`QUESTIONS_MAX`] for each voter, and those to a former address until they are late.
    asked: JoinSet<Answer>,
}

impl Rounds {
    fn new(
        raft: Raft,
        shared: Arc<Shared>,
        caller: Arc<Caller>,
        leadership: watch::Receiver<Leadership>,
    ) -> Self {
        let (voters, asked) = (BTreeMap::new(), JoinSet::new());
        Self { raft, shared, caller, leadership, round: 0, voters, asked }
    }

    /// One round for all readers; ends early when none waits any more.
    async fn go(&mut self, readers: &mut [oneshot::Sender<Outcome>]) -> Outcome {
        let given_up = futures::future::join_all(readers.iter_mut().map(oneshot::Sender::closed));
        tokio::select! {
            biased;
            outcome = self.round() => outcome,
            _ = given_up => Err(ProposeError::Timeout),
        }
    }

    async fn round(&mut self) -> Outcome {
        let (standing, upto) = loop {
            let standing = self.standing().await?;
            if let Some(upto) = standing.read_index() {
                break (standing, upto);
            }
            tokio::time::sleep(QUESTION_PAUSE).await;
        };
        let confirmed = self.is_confirmed(&standing);
        if tokio::time::timeout(CONFIRM_PATIENCE, confirmed).await != Ok(true) {
            return Err(ProposeError::NotLeader { leader: None });
        }
        let mut applied = self.shared.applied();
        let reached = applied.wait_for(|applied| *applied >= upto.index).await;
        let stopped = |_gone| ProposeError::Stopped { cause: "nothing is applied any more".into() };
        reached.map_err(stopped)?;
        Ok(position_of(upto))
    }

    /// How this agent stands as a leader, from one look at the raft core.
    async fn standing(&self) -> Result<Standing, ProposeError> {
        let this = self.caller.raft_id();
        let look = self.raft.with_raft_state(move |state| {
            let vote = *state.vote_ref();
            let members = state.membership_state.effective();
            let address = |(id, member): (&u64, &Member)| (*id, member.raft_address.clone());
            let leads = state.server_state.is_leader() && vote.leader_id.node_id == this;
            (leads && vote.committed).then(|| Standing {
                vote,
                committed: state.local_committed().copied(),
                voters: members.get_joint_config().clone(),
                addresses: members.nodes().map(address).collect(),
            })
        });
        match look.await {
            Ok(Some(standing)) => Ok(standing),
            Ok(None) => {
                let leader = self.leadership.borrow().leader.clone();
                // What was seen of leadership may be older than what the core says.
                let leader = leader.filter(|leader| leader.node_id != *self.caller.node_id());
                Err(ProposeError::NotLeader { leader })
            }
            Err(fatal) => Err(ProposeError::Stopped { cause: fatal.to_string() }),
        }
    }

    /// Whether a majority of the voters, asked now, has not turned away; this agent has not.
    async fn is_confirmed(&mut self, standing: &Standing) -> bool {
        let this = self.caller.raft_id();
        self.round = self.round.saturating_add(1);
        self.voters.retain(|id, _| standing.addresses.contains_key(id));
        let mut unasked: BTreeSet<u64> = standing.voters.iter().flatten().copied().collect();
        let mut undecided = unasked.clone();
        unasked.remove(&this);
        let mut staying = BTreeSet::from([this]);
        while !standing.is_majority(&staying) && standing.is_majority(&undecided) {
            unasked.retain(|id| !self.ask(*id, standing));
            // Otherwise nothing is under way, and nobody is left who could be asked.
            let Some(Ok(Answer { voter, round, stays })) = self.asked.join_next().await else {
                return false;
            };
            if let Some(voter) = self.voters.get_mut(&voter) {
                voter.unanswered = voter.unanswered.saturating_sub(1);
            }
            // What was asked before this round says nothing about it.
            if round != self.round {
                continue;
            }
            match stays {
                Some(true) => staying.insert(voter),
                Some(false) => undecided.remove(&voter),
                None => unasked.insert(voter),
            };
        }
        standing.is_majority(&staying)
    }

    /// Asks a voter, unless it owes too many answers. Answers whether it is asked.
    fn ask(&mut self, id: u64, standing: &Standing) -> bool {
        let Some(address) = standing.addresses.get(&id) else {
            return false;
        };
        let fresh = || Voter::new(&self.caller, id, address);
        let voter = self.voters.entry(id).or_insert_with(fresh);
        if voter.link.address() != address {
            *voter = Voter::new(&self.caller, id, address);
        }
        if voter.unanswered >= QUESTIONS_MAX {
            return false;
        }
        voter.unanswered = voter.unanswered.saturating_add(1);
        let (link, vote, round) = (Arc::clone(&voter.link), standing.vote, self.round);
        self.asked
            .spawn(async move { Answer { voter: id, round, stays: question(&link, vote).await } });
        true
    }
}

/// Whether a voter has not turned to a later vote; nothing when it does not say.
async fn question(link: &Arc<Link>, vote: Vote) -> Option<bool> {
    match link.call(&Request::Follows(vote), QUESTION_PATIENCE).await {
        Ok(Response::Follows(follows)) => Some(follows),
        Ok(_) | Err(_) => {
            tokio::time::sleep(QUESTION_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId as _;

    use super::*;
    use crate::consensus::vocabulary::LeaderId;

    fn standing(term: u64, committed: Option<(u64, u64)>, voters: &[&[u64]]) -> Standing {
        Standing {
            vote: Vote { leader_id: LeaderId::new(term, 1), committed: true },
            committed: committed.map(|(term, index)| LogId::new(LeaderId::new(term, 1), index)),
            voters: voters.iter().map(|set| set.iter().copied().collect()).collect(),
            addresses: BTreeMap::new(),
        }
    }

    #[test]
    fn a_new_leader_does_not_know_how_far_the_log_is_committed() {
        assert_eq!(standing(3, None, &[]).read_index(), None);
        assert_eq!(standing(3, Some((2, 9)), &[]).read_index(), None);
        let upto = standing(3, Some((3, 10)), &[]).read_index();
        assert_eq!(upto.map(|upto| upto.index), Some(10));
    }

    #[test]
    fn a_majority_is_one_of_each_set_of_voters() {
        let confirmed = |voters: &[&[u64]], some: &[u64]| {
            standing(3, None, voters).is_majority(&some.iter().copied().collect())
        };
        assert!(confirmed(&[&[1]], &[1]));
        assert!(!confirmed(&[&[1, 2, 3]], &[1]));
        assert!(confirmed(&[&[1, 2, 3]], &[1, 3]));
        assert!(!confirmed(&[&[1, 2, 3, 4]], &[1, 2]), "half is no majority");
        assert!(!confirmed(&[&[1, 2, 3]], &[1, 4, 5]), "who has no vote does not count");
        assert!(!confirmed(&[&[1, 2, 3], &[3, 4, 5]], &[1, 2, 3]));
        assert!(confirmed(&[&[1, 2, 3], &[3, 4, 5]], &[1, 3, 4]));
        assert!(!confirmed(&[&[2, 3]], &[1, 2]), "a leader that leaves has no vote");
    }
}
