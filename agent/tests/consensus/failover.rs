//! How long nothing is accepted when the leader goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringrift_agent::clock::Clock;
use ringrift_agent::consensus::{CONTACT_LOST, Consensus, ProposeError, Timing, TransferError};
use ringrift_core::queue::command::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::*;

/// Rounds of a test run. `RINGRIFT_ROUNDS=30` measures.
const ROUNDS: usize = 5;
/// Callers that propose without a pause.
const WRITERS: usize = 32;
/// So slow that no election timeout ends within a test's patience with a gap, on the busiest disk.
const SLOW: Timing = Timing { heartbeat_ms: 250, election_min_ms: 20_000, election_max_ms: 30_000 };
/// Whoever is faster did not wait for an election timeout, which takes 50 s here.
const GAP_MAX: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "who measures asks for more rounds")]
fn rounds() -> usize {
    std::env::var("RINGRIFT_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap())
}

/// Writers that propose on whoever leads, and how much was accepted.
struct Load {
    accepted: Arc<AtomicU64>,
    stop: CancellationToken,
    writers: JoinSet<()>,
}

impl Load {
    fn start(agents: &[Agent]) -> Self {
        let (accepted, stop) = (Arc::<AtomicU64>::default(), CancellationToken::new());
        let mut writers = JoinSet::new();
        let all: Vec<Consensus> = agents.iter().map(|agent| agent.consensus.clone()).collect();
        for _ in 0..WRITERS {
            let (all, accepted, stop) = (all.clone(), Arc::clone(&accepted), stop.clone());
            writers.spawn(async move {
                while !stop.is_cancelled() {
                    let leads = |it: &&Consensus| it.leadership().borrow().is_leader;
                    let done = match all.iter().find(leads) {
                        Some(leader) => leader.propose(vec![Command::Tick]).await.is_ok(),
                        None => false,
                    };
                    if done {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            });
        }
        Self { accepted, stop, writers }
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.writers.join_next().await {
            ended.unwrap();
        }
    }
}

/// From the moment that `goes` begins until one of the others accepts a proposal.
async fn gap(agents: &mut Vec<Agent>, goes: impl AsyncFnOnce(Consensus)) -> Duration {
    let clock = Clock::start();
    let at = {
        let name = leader_of(agents).await.name.clone();
        agents.iter().position(|agent| agent.name == name).unwrap()
    };
    let load = Load::start(agents);
    let enough = load.accepted.load(Ordering::Relaxed) + 200;
    eventually("the load is accepted", || load.accepted.load(Ordering::Relaxed) >= enough).await;

    let Agent { name, directory, consensus } = agents.remove(at);
    let others: Vec<Consensus> = agents.iter().map(|agent| agent.consensus.clone()).collect();
    let listen = consensus.raft_listen_address();
    let begin = clock.monotonic();
    let next = tokio::spawn(async move {
        loop {
            for other in &others {
                if other.propose(vec![Command::Tick]).await.is_ok() {
                    return clock.monotonic();
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    goes(consensus).await;
    let end = tokio::time::timeout(PATIENCE, next).await.expect("no leader in time").unwrap();
    load.end().await;

    let consensus = open_with(&name, directory.path(), listen, SLOW).await;
    agents.push(Agent { name, directory, consensus });
    let (_, id) = propose_until_accepted(agents, "round").await;
    eventually("everybody has all", || agents.iter().all(|agent| has(agent, id))).await;
    let known = |agent: &Agent| agent.consensus.status().leader.is_some();
    eventually("everybody knows the leader", || agents.iter().all(known)).await;
    end.saturating_sub(begin)
}

/// The longest; all of it is printed.
#[expect(clippy::print_stdout, reason = "the measurement")]
fn distribution(what: &str, mut gaps: Vec<Duration>) -> Duration {
    gaps.sort();
    let at = |percent: usize| gaps[(gaps.len() * percent).div_ceil(100).max(1) - 1];
    let ms: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    println!("{what}: {} rounds, p50 {:?}, p99 {:?}, all in ms {ms:?}", gaps.len(), at(50), at(99));
    at(100)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_leader_is_replaced_before_its_lease_ends() {
    let mut agents = cluster_with(&["a", "b", "c"], SLOW).await;
    let mut gaps = Vec::new();
    for _ in 0..rounds() {
        gaps.push(gap(&mut agents, async |leader| leader.halt().await).await);
    }
    let longest = distribution("crash to next accepted proposal", gaps);
    assert!(longest < GAP_MAX, "{longest:?}: the voters waited for the election timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_is_hardly_missed() {
    let mut agents = cluster_with(&["a", "b", "c"], SLOW).await;
    let mut gaps = Vec::new();
    for _ in 0..rounds() {
        gaps.push(gap(&mut agents, async |leader| leader.shutdown().await).await);
    }
    let longest = distribution("leave to next accepted proposal", gaps);
    assert!(longest < GAP_MAX, "{longest:?}: leadership was not handed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_whom_it_is_given() {
    let agents = cluster_with(&["a", "b", "c"], SLOW).await;
    propose_until_accepted(&agents, "before").await;
    for name in ["c", "b", "a"] {
        // A busy disk may keep the heir longer than the leader waits; then it leads a little later.
        let move_on = async {
            while leader_of(&agents).await.name != name {
                let leader = leader_of(&agents).await;
                match leader.consensus.transfer(Some(&name.parse().unwrap())).await {
                    Ok(heir) => assert_eq!(heir.node_id.as_str(), name),
                    Err(error) => {
                        assert!(!matches!(error, TransferError::NoHeir { .. }), "{error}")
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, move_on).await.expect("not moved in time");
        propose_until_accepted(&agents, name).await;
    }
    let leader = leader_of(&agents).await;
    let nobody = leader.consensus.transfer(Some(&"x".parse().unwrap())).await.unwrap_err();
    assert_eq!(nobody, TransferError::NoHeir { node_id: Some("x".parse().unwrap()) });
    let follower = agents[1].consensus.transfer(None).await.unwrap_err();
    assert!(matches!(follower, TransferError::Propose(ProposeError::NotLeader { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_to_a_dead_voter_leaves_the_cluster_with_a_leader() {
    let mut agents = cluster_with(&["a", "b", "c"], SLOW).await;
    let (before, _) = propose_until_accepted(&agents, "before").await;
    let dead = agents.pop().unwrap();
    dead.consensus.halt().await;
    let clock = Clock::start();
    let refused = agents[0].consensus.transfer(Some(&dead.node_id())).await.unwrap_err();
    assert_eq!(refused, TransferError::Refused { node_id: Some(dead.node_id()) });
    // Without standing again it would lead on and accept nothing, as long as its heartbeats go out.
    let (after, _) = propose_until_accepted(&agents, "after").await;
    assert!(after.term > before.term, "{before:?} then {after:?}");
    let gap = clock.monotonic();
    assert!(gap < GAP_MAX, "{gap:?}: the election timeout was waited for");
    assert_eq!(leader_of(&agents).await.name, "a", "it stood for election again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_says_so_whatever_it_calls_itself() {
    let (leads, follows) = tokio::join!(cluster(&["a", "b", "c"]), cluster(&["d", "e", "f"]));
    let [cut_off_leader, others @ ..] = leads.as_slice() else { panic!("three agents") };
    let [leader, follower, third] = follows.as_slice() else { panic!("three agents") };
    leader_of(&leads).await;
    leader_of(&follows).await;
    for well in leads.iter().chain(&follows) {
        assert_eq!(well.consensus.out_of_touch(), None);
    }
    for gone in others.iter().chain([leader, third]) {
        gone.consensus.halt().await;
    }
    for agent in [cut_off_leader, follower] {
        let lost = || agent.consensus.out_of_touch().is_some_and(|age| age >= CONTACT_LOST);
        eventually("it has had no word for too long", lost).await;
        assert!(agent.consensus.backup().await.is_err());
    }
}
