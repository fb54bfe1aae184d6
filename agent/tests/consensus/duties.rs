//! What the leader does by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use ringrift_agent::clock::Clock;
use ringrift_agent::consensus::Consensus;
use ringrift_agent::gossip::{Gossip, GossipConfig, Profile, State as Presence};
use ringrift_agent::leader;
use ringrift_core::id::{QueueName, RunId};
use ringrift_core::queue::command::{Claim, Command, Reply, WorkResult};
use ringrift_core::queue::item::{Needs, State, Status};
use ringrift_core::queue::tenant::QueueSettings;
use ringrift_core::run::{JobSpec, Outcome, RunSpec, Task};
use ringrift_core::time::Span;
use tokio_util::sync::CancellationToken;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_lets_leases_end_without_being_asked() {
    let agents = cluster(&["a"]).await;
    let stop = CancellationToken::new();
    let duties =
        tokio::spawn(leader::run(agents[0].consensus.clone(), gossip("a", 1), stop.clone()));
    let leader = &agents[0].consensus;
    let id = enqueued(&leader.propose(enqueue("k")).await.unwrap());
    let claim = Claim {
        node: "worker".parse().unwrap(),
        capabilities: BTreeSet::new(),
        labels: BTreeMap::new(),
        work_types: BTreeSet::new(),
        limit: 1,
        lease: Span::seconds(1),
    };
    leader.propose(vec![Command::Claim(claim)]).await.unwrap();
    let state = || leader.read(|machine| machine.item(id).unwrap().state.clone());
    assert!(matches!(state(), State::Claimed(_)));
    eventually("the lease ends", || matches!(state(), State::Ready { .. })).await;
    stop.cancel();
    tokio::time::timeout(PATIENCE, duties).await.unwrap().unwrap();
}

fn gossip(name: &str, http_port: u16) -> Gossip {
    let config = GossipConfig {
        node_id: name.parse().unwrap(),
        cluster: "test".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertise: None,
        http_address: format!("127.0.0.1:{http_port}"),
        raft_address: None,
        generation: 1,
        profile: Profile::default(),
    };
    Gossip::start(config, Clock::start()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_holds_ends_when_it_is_gone_for_the_leader_too() {
    let agents = cluster(&["a"]).await;
    let leader = agents[0].consensus.clone();
    // Gossip gives both up. At one of them somebody still answers.
    let answers = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let own = gossip("a", 1);
    let cut_off = gossip("cut-off", answers.local_addr().unwrap().port());
    let gone = gossip("gone", closed.local_addr().unwrap().port());
    drop(closed);
    for other in [&cut_off, &gone] {
        other.join(vec![own.listen_address().to_string()]).await;
    }
    let states = |wanted: Presence| {
        let members = own.members();
        members.iter().filter(|member| member.state == wanted).count()
    };
    eventually("all are there", || states(Presence::Alive) == 3).await;
    let mut items = Vec::new();
    for node in ["cut-off", "gone"] {
        items.push(enqueued(&leader.propose(enqueue(node)).await.unwrap()));
        let claim = Claim {
            node: node.parse().unwrap(),
            capabilities: BTreeSet::new(),
            labels: BTreeMap::new(),
            work_types: BTreeSet::new(),
            limit: 1,
            lease: Span::seconds(600),
        };
        leader.propose(vec![Command::Claim(claim)]).await.unwrap();
    }

    let stop = CancellationToken::new();
    tokio::spawn(leader::run(leader.clone(), own.clone(), stop.clone()));
    let is_held = |item: usize| {
        leader.read(|machine| machine.item(items[item]).unwrap().status()) == Status::Claimed
    };
    cut_off.leave().await;
    gone.leave().await;
    eventually("gossip gives both up", || states(Presence::Failed) == 2).await;
    eventually("the claim of the one that is gone ends", || !is_held(1)).await;
    assert!(is_held(0), "somebody answers at the other one");
    drop(answers);
    eventually("the claim of the other one ends too", || !is_held(0)).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_steps_runs_to_their_end_as_their_queue_has_room() {
    let agents = cluster(&["a", "b", "c"]).await;
    let stop = CancellationToken::new();
    for agent in &agents {
        tokio::spawn(leader::run(agent.consensus.clone(), gossip("a", 1), stop.clone()));
    }
    let leader = &agents[0].consensus;
    let run: RunId = "job".parse().unwrap();
    let task = Task { argv: vec!["true".to_owned()], env: BTreeMap::new() };
    let spec = RunSpec::Job(JobSpec {
        task,
        completions: 5,
        parallelism: 2,
        attempts_max: 1,
        attempt_timeout: Span::seconds(60),
        priority: 50,
        needs: Needs::default(),
    });
    let queue: QueueName = "team".parse().unwrap();
    let settings = QueueSettings { max_queued: Some(1), ..QueueSettings::default() };
    let mut foreign = enqueue("foreign");
    for command in &mut foreign {
        let Command::Enqueue(items) = command else { panic!("{command:?}") };
        items.iter_mut().for_each(|item| item.queue = queue.clone());
    }
    let set = Command::SetQueue { queue: queue.clone(), settings };
    leader.propose(vec![set]).await.unwrap();
    let foreign = enqueued(&leader.propose(foreign).await.unwrap());
    leader.propose(vec![Command::SubmitRun { run: run.clone(), queue, spec }]).await.unwrap();
    // The queue is full. The planner waits, and writes nothing meanwhile.
    let index = || leader.read(|machine| machine.applied().index);
    let rest = async {
        loop {
            let before = index();
            tokio::time::sleep(POLL * 40).await;
            if index() == before {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, rest).await.is_ok(), "a full queue is not at rest");
    assert_eq!(leader.read(|machine| machine.run_items(&run).outstanding), 0);
    leader.propose(vec![Command::Cancel { work_id: foreign }]).await.unwrap();
    let outcome = || leader.read(|machine| machine.run(&run).unwrap().outcome.clone());
    let work = async {
        while outcome().is_none() {
            work_once(leader).await;
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, work).await.is_ok(), "the run does not end");
    assert_eq!(outcome(), Some(Outcome::Succeeded));
    stop.cancel();
}

/// Claims one item and completes it.
async fn work_once(leader: &Consensus) {
    let claim = Claim {
        node: "worker".parse().unwrap(),
        capabilities: BTreeSet::new(),
        labels: BTreeMap::new(),
        work_types: BTreeSet::new(),
        limit: 1,
        lease: Span::seconds(60),
    };
    let claimed = leader.propose(vec![Command::Claim(claim)]).await.unwrap();
    let Some(Ok(Reply::Claimed(items))) = claimed.replies.into_iter().next() else {
        panic!("a claim must be answered");
    };
    for item in items {
        let State::Claimed(lease) = item.state else { panic!("{item:?} must be claimed") };
        let (work_id, token) = (item.id, lease.token);
        let result = WorkResult { text: "{}".to_owned(), pair: None };
        let commands = vec![
            Command::Start { work_id, token },
            Command::Complete { work_id, token, result, then: vec![] },
        ];
        let done = leader.propose(commands).await.unwrap();
        assert!(done.replies.iter().all(Result::is_ok), "{:?}", done.replies);
    }
}
