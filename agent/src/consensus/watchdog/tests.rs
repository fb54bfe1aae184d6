//! Disks that hang and disks that fail, under real consensus.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ringrift_core::queue::command::Command;
use tempfile::TempDir;

use super::*;
use crate::consensus::log::{Done, Log, LogEnds};
use crate::consensus::vocabulary::{LogId, Vote};
use crate::consensus::{ConsensusConfig, ProposeError, Role, Timing, VoterPolicy};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_oldest_write_counts_and_an_answer_settles_all_before_it() {
    let mut unflushed = Unflushed::default();
    assert_eq!(unflushed.oldest(ms(5_000)), Duration::ZERO, "nothing is written");
    let first = unflushed.begin(ms(1_000));
    let second = unflushed.begin(ms(1_500));
    let third = unflushed.begin(ms(2_000));
    assert_eq!(unflushed.oldest(ms(3_000)), ms(2_000));
    unflushed.end(second);
    assert_eq!(unflushed.oldest(ms(3_000)), ms(1_000));
    unflushed.end(first);
    assert_eq!(unflushed.oldest(ms(3_000)), ms(1_000), "a late answer settles nothing more");
    unflushed.end(third);
    assert_eq!(unflushed.oldest(ms(9_000)), Duration::ZERO);
}

#[test]
fn leadership_is_given_up_once_a_term_and_taken_up_again_with_the_disk() {
    let mut watchdog = Watchdog::default();
    assert_eq!(watchdog.look(false, Some(3)), Act::Nothing);
    assert_eq!(watchdog.look(true, None), Act::Nothing, "a follower only says so");
    assert_eq!(watchdog.look(true, Some(3)), Act::HandOver);
    assert_eq!(watchdog.look(true, Some(3)), Act::Nothing);
    assert_eq!(watchdog.look(true, None), Act::Resume, "another leads");
    assert_eq!(watchdog.look(true, Some(5)), Act::HandOver, "it was elected again");
    assert_eq!(watchdog.look(false, Some(5)), Act::Resume);
    assert_eq!(watchdog.look(false, Some(5)), Act::Nothing);
}

/// What the disk of one agent shall do.
#[derive(Default)]
struct Fault {
    hangs: AtomicBool,
    fails: AtomicBool,
    /// Answers that are held back while it hangs, in order.
    held: Mutex<Vec<(Done, io::Result<()>)>>,
}

impl Fault {
    fn pass(self: &Arc<Self>, done: Done) -> Done {
        let fault = Arc::clone(self);
        Done::new(move |outcome| {
            if fault.fails.load(Ordering::SeqCst) {
                done.call(Err(io::Error::other("the disk is gone")));
            } else if fault.hangs.load(Ordering::SeqCst) {
                fault.held.lock().unwrap().push((done, outcome));
            } else {
                done.call(outcome);
            }
        })
    }

    fn recover(&self) {
        self.hangs.store(false, Ordering::SeqCst);
        for (done, outcome) in std::mem::take(&mut *self.held.lock().unwrap()) {
            done.call(outcome);
        }
    }
}

/// A log whose disk has a fault.
struct Faulty<L> {
    log: L,
    fault: Arc<Fault>,
}

impl<L: Log> Log for Faulty<L> {
    fn ends(&self) -> LogEnds {
        self.log.ends()
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        self.log.read(from, to, bytes_max)
    }

    fn bytes_from(&self, from: u64) -> u64 {
        self.log.bytes_from(from)
    }

    fn save_vote(&mut self, vote: Vote, done: Done) -> io::Result<()> {
        self.log.save_vote(vote, self.fault.pass(done))
    }

    fn append(&mut self, entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()> {
        self.log.append(entries, self.fault.pass(done))
    }

    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(keep)
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(upto)
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        self.log.save_committed(committed)
    }
}

struct Agent {
    consensus: Consensus,
    fault: Arc<Fault>,
    directory: TempDir,
}

fn config(name: &str, directory: &TempDir) -> ConsensusConfig {
    ConsensusConfig {
        node_id: name.parse().unwrap(),
        data_dir: directory.path().to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        raft_address: "127.0.0.1:0".to_owned(),
        http_address: format!("{name}.invalid:8770"),
        zone: None,
        timing: Timing::safe(),
        voters: VoterPolicy::default(),
    }
}

async fn agent(name: &str) -> Agent {
    let directory = tempfile::tempdir().unwrap();
    let fault = Arc::<Fault>::default();
    let on = Arc::clone(&fault);
    let config = config(name, &directory);
    let consensus =
        Consensus::open_on(config, Clock::start(), |log| Box::new(Faulty { log, fault: on }));
    Agent { consensus: consensus.await.unwrap(), fault, directory }
}

async fn three() -> Vec<Agent> {
    let agents = vec![agent("a").await, agent("b").await, agent("c").await];
    let leader = &agents[0].consensus;
    leader.initialize("test".to_owned()).await.unwrap();
    for other in &agents[1..] {
        leader.add_member(other.consensus.this_member().clone()).await.unwrap();
    }
    agents
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, poll).await.is_ok(), "not in time: {what}");
}

fn leads(agent: &Agent) -> bool {
    agent.consensus.leadership().borrow().is_leader
}

/// Lets time pass on a leader that may have begun just now, and answers the log's index.
async fn tick(leader: &Agent) -> u64 {
    let accepted = async {
        loop {
            match leader.consensus.propose(vec![Command::Tick]).await {
                Ok(committed) => return committed.position.index,
                Err(error) => assert!(leads(leader), "{error}"),
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, accepted).await.expect("no proposal accepted in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_hung_disk_hands_over_and_is_well_again_with_its_disk() {
    let agents = three().await;
    let [ill, well @ ..] = agents.as_slice() else { panic!("three agents") };
    tick(ill).await;
    assert_eq!(ill.consensus.disk_stalled(), None);

    ill.fault.hangs.store(true, Ordering::SeqCst);
    // The followers' disks carry it.
    tick(ill).await;
    assert!(leads(ill), "leadership must not change for a short stall");
    eventually("the stall is seen", || ill.consensus.disk_stalled().is_some()).await;
    eventually("another leads", || well.iter().any(leads)).await;
    let leader = well.iter().find(|agent| leads(agent)).unwrap();
    tick(leader).await;

    ill.fault.recover();
    eventually("the disk is well", || ill.consensus.disk_stalled().is_none()).await;
    let last = tick(leader).await;
    eventually("it follows", || *ill.consensus.applied().borrow() >= last).await;
    assert_eq!(ill.consensus.status().role, Role::Follower);
}

/// What a barrier asks is no heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_keep_a_leader_in_office_that_has_given_up() {
    let agents = three().await;
    let [ill, well @ ..] = agents.as_slice() else { panic!("three agents") };
    tick(ill).await;
    let reader = ill.consensus.clone();
    let reads = tokio::spawn(async move {
        let mut passed = 0_u64;
        while reader.barrier().await.is_ok() {
            passed += 1;
        }
        passed
    });
    // As the watchdog does when nobody takes over.
    ill.consensus.inner.raft.runtime_config().heartbeat(false);
    eventually("another leads", || well.iter().any(leads)).await;
    let passed =
        tokio::time::timeout(PATIENCE, reads).await.expect("the reads end with the office");
    assert!(passed.unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_its_agent_and_not_the_others() {
    let agents = three().await;
    let [ill, well @ ..] = agents.as_slice() else { panic!("three agents") };
    ill.fault.fails.store(true, Ordering::SeqCst);
    let _ = ill.consensus.propose(vec![Command::Tick]).await;
    eventually("it stops", || {
        ill.consensus.leadership().borrow().role == Role::Stopped
            || ill.consensus.status().stopped.is_some()
    })
    .await;
    let cause = ill.consensus.status().stopped.unwrap();
    assert!(cause.contains("the disk is gone"), "{cause}");
    eventually("another leads", || well.iter().any(leads)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_when_an_agent_stops_has_an_unknown_outcome_and_may_come_about() {
    let Agent { consensus, fault, directory } = agent("a").await;
    consensus.initialize("test".to_owned()).await.unwrap();
    fault.hangs.store(true, Ordering::SeqCst);
    let before = consensus.status().last_log_index;
    let proposer = consensus.clone();
    let retire = vec![Command::ChangeMembers { retired: Some(99), automatic: false }];
    let proposal = tokio::spawn(async move { proposer.propose(retire).await });
    eventually("it is in the log", || consensus.status().last_log_index > before).await;
    consensus.halt().await;
    assert_eq!(proposal.await.unwrap(), Err(ProposeError::Timeout));
    let late = consensus.propose(vec![Command::Tick]).await;
    assert!(matches!(late, Err(ProposeError::Stopped { .. })), "{late:?}");

    // The disk had it, only the answer was missing.
    let again = Consensus::open(config("a", &directory), Clock::start()).await.unwrap();
    let applied = || again.read(|machine| machine.members().is_retired(99));
    eventually("it is applied", applied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_left_to_its_heir_is_answered_before_it_stops() {
    let agents = three().await;
    let [old, heirs @ ..] = agents.as_slice() else { panic!("three agents") };
    tick(old).await;
    for heir in heirs {
        heir.fault.hangs.store(true, Ordering::SeqCst);
    }
    let before = old.consensus.status().last_log_index;
    let proposer = old.consensus.clone();
    let proposal = tokio::spawn(async move { proposer.propose(vec![Command::Tick]).await });
    eventually("it is in the log", || old.consensus.status().last_log_index > before).await;
    let leaving = old.consensus.clone();
    let leaving = tokio::spawn(async move { leaving.shutdown().await });
    tokio::time::sleep(ms(50)).await;
    for heir in heirs {
        heir.fault.recover();
    }
    leaving.await.unwrap();
    assert!(proposal.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_raft_core_waits_for_a_hung_disk_stops_all_the_same() {
    let agents = three().await;
    let [ill, well @ ..] = agents.as_slice() else { panic!("three agents") };
    tick(ill).await;
    ill.fault.hangs.store(true, Ordering::SeqCst);
    let accepted = async {
        // The followers carry what the log takes, until it takes no more.
        while ill.consensus.propose(vec![Command::Tick]).await.is_ok() {}
    };
    assert!(tokio::time::timeout(PATIENCE, accepted).await.is_ok(), "no end of what it takes");
    let stopped = tokio::time::timeout(ms(20_000), ill.consensus.shutdown()).await;
    assert!(stopped.is_ok(), "it must not wait for the disk");
    eventually("another leads", || well.iter().any(leads)).await;
}
