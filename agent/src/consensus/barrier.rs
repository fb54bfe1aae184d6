//! Barriers: a read behind one reflects everything that was committed before it began.
//!
//! The leader notes how far the log is committed, asks the voters whether they still follow it, and waits
//! until its replica is as far (*read index*: Ongaro, "Consensus: Bridging Theory and Practice", section
//! 6.4). What a majority confirms after the note was made, no other leader has overtaken before. Readers
//! that come while a round is under way share the next one.
//!
//! openraft has read barriers too. Those of the release in use may let a deposed leader's read pass:
//! `docs/adr/2026-11-22-barriers-of-our-own.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use ringrift_core::id::Position;
use tokio::sync::{mpsc, oneshot, watch};

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
/// A question that is not answered by then was lost, or the follower's raft core waits for its disk.
const QUESTION_PATIENCE: Duration = Duration::from_millis(500);
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
        let mut rounds = Rounds { raft, shared, caller, leadership, links: BTreeMap::new() };
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
            let gone = || ProposeError::Stopped { cause: "no rounds are gone any more".to_owned() };
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

    /// Whether those who follow are enough.
    fn is_confirmed_by(&self, followers: &BTreeSet<u64>) -> bool {
        self.voters.iter().all(|set| set.intersection(followers).count() > set.len() / 2)
    }
}

/// What a voter says of a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Follows,
    /// It knows of a later leader, or candidate.
    Deposes,
}

struct Rounds {
    raft: Raft,
    shared: Arc<Shared>,
    caller: Arc<Caller>,
    leadership: watch::Receiver<Leadership>,
    /// A connection to each voter, opened when it is needed: a question waits behind nothing.
    links: BTreeMap<u64, Arc<Link>>,
}

impl Rounds {
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
            (vote.committed && vote.leader_id.node_id == this).then(|| Standing {
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

    /// Whether a majority of the voters, asked now, follows; this agent follows itself.
    async fn is_confirmed(&mut self, standing: &Standing) -> bool {
        let mut followers = BTreeSet::from([self.caller.raft_id()]);
        let others: BTreeSet<u64> = standing.voters.iter().flatten().copied().collect();
        self.links.retain(|id, link| {
            standing.addresses.get(id).is_some_and(|address| address == link.address())
        });
        let mut asked = FuturesUnordered::new();
        for id in others.difference(&followers.clone()) {
            let Some(address) = standing.addresses.get(id) else {
                continue;
            };
            let link = self.links.entry(*id).or_insert_with(|| {
                let caller = Arc::clone(&self.caller);
                Arc::new(Link::new(caller, *id, address.clone(), Purpose::Heartbeat))
            });
            let (id, link, vote) = (*id, Arc::clone(link), standing.vote);
            asked.push(async move { (id, ask(&link, vote).await) });
        }
        while !standing.is_confirmed_by(&followers) {
            match asked.next().await {
                Some((id, Word::Follows)) => followers.insert(id),
                Some((_, Word::Deposes)) | None => return false,
            };
        }
        true
    }
}

/// Asks a voter until it answers. A heartbeat that carries nothing asks just that: it is refused by whoever
/// has seen a later vote, and an answer to it can be to nothing else.
async fn ask(link: &Arc<Link>, vote: Vote) -> Word {
    let heartbeat =
        AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
    let request = Request::Append(heartbeat);
    loop {
        match link.call(&request, QUESTION_PATIENCE).await {
            Ok(Response::Append(appended)) => {
                return match appended.response {
                    AppendEntriesResponse::HigherVote(_) => Word::Deposes,
                    AppendEntriesResponse::Success
                    | AppendEntriesResponse::PartialSuccess(_)
                    | AppendEntriesResponse::Conflict => Word::Follows,
                };
            }
            Ok(_) | Err(_) => tokio::time::sleep(QUESTION_PAUSE).await,
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
    fn a_majority_of_each_set_of_voters_must_follow() {
        let confirmed = |voters: &[&[u64]], followers: &[u64]| {
            standing(3, None, voters).is_confirmed_by(&followers.iter().copied().collect())
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
