//! What was accepted is everywhere, in order, and survives.

use ringrift_agent::consensus::{ProposeError, Role};
use ringrift_core::queue::command::Command;
use ringrift_core::queue::item::{NewItem, Payload};

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_leader_accepted_is_on_every_agent() {
    let agents = cluster(&["a", "b", "c"]).await;
    let committed = agents[0].consensus.propose(enqueue("k")).await.unwrap();
    let id = enqueued(&committed);
    for agent in &agents {
        let mut applied = agent.consensus.applied();
        let reached = applied.wait_for(|index| *index >= committed.position.index);
        tokio::time::timeout(PATIENCE, reached).await.expect("not applied in time").unwrap();
        assert!(has(agent, id), "{} published an index before what it names", agent.name);
        assert_eq!(agent.consensus.read(|machine| machine.cluster_id().to_owned()), "test");
    }
    let status = agents[2].consensus.status();
    assert_eq!(status.voters.len(), 3);
    assert_eq!(status.leader, Some(agents[0].member()));
    assert_eq!(status.role, Role::Follower);
    assert!(agents[2].consensus.is_initialized());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_names_the_leader_and_confirms_no_reads() {
    let agents = cluster(&["a", "b"]).await;
    let follower = &agents[1];
    eventually("the follower knows the leader", || follower.consensus.status().leader.is_some())
        .await;
    let expected = ProposeError::NotLeader { leader: Some(agents[0].member()) };
    assert_eq!(follower.consensus.propose(enqueue("k")).await.unwrap_err(), expected);
    assert_eq!(follower.consensus.barrier().await.unwrap_err(), expected);
    let written = agents[0].consensus.propose(enqueue("k")).await.unwrap();
    assert!(agents[0].consensus.barrier().await.unwrap() >= written.position);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_dies_the_others_go_on_and_it_catches_up_later() {
    let mut agents = cluster(&["a", "b", "c"]).await;
    let (before, first) = propose_until_accepted(&agents, "before").await;
    let listen = agents[0].consensus.raft_listen_address();
    let Agent { name, directory, consensus } = agents.remove(0);
    consensus.halt().await;
    assert!(matches!(consensus.propose(enqueue("late")).await, Err(ProposeError::Stopped { .. })));
    drop(consensus);

    let (after, second) = propose_until_accepted(&agents, "after").await;
    assert!(after > before && after.term > before.term, "{before:?} then {after:?}");
    assert!(has(leader_of(&agents).await, first));

    let consensus = open(&name, directory.path(), listen).await;
    agents.push(Agent { name, directory, consensus });
    eventually("the old leader catches up", || has(&agents[2], second)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_survives_when_all_agents_die_at_once() {
    let mut agents = cluster(&["a", "b", "c"]).await;
    let mut ids = Vec::new();
    for number in 0..50 {
        let committed = agents[0].consensus.propose(enqueue(&format!("k{number}"))).await.unwrap();
        ids.push(enqueued(&committed));
    }
    let now = agents[0].consensus.read(|machine| machine.now());
    let mut again = Vec::new();
    for agent in agents.drain(..) {
        agent.consensus.halt().await;
        again.push(agent);
    }
    for agent in again {
        let agent = agent.restarted().await;
        assert!(agent.consensus.is_initialized());
        agents.push(agent);
    }
    let leader = leader_of(&agents).await;
    assert!(ids.iter().all(|id| has(leader, *id)));
    assert!(leader.consensus.read(|machine| machine.now()) >= now);
    // Idempotency keys survived too: the same key is the same item.
    let (_, id) = propose_until_accepted(&agents, "k7").await;
    assert_eq!(id, ids[7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_proposals_share_entries_and_each_caller_gets_its_own_replies() {
    const CALLERS: u64 = 64;
    const EACH: u64 = 25;
    let agents = cluster(&["a", "b", "c"]).await;
    let leader = &agents[0].consensus;
    let before = leader.status().last_log_index;
    let callers = (0..CALLERS).map(|caller| {
        let leader = leader.clone();
        tokio::spawn(async move {
            let mut last = None;
            for number in 0..EACH {
                let key = format!("caller {caller}, item {number}");
                let committed = leader.propose(enqueue(&key)).await.unwrap();
                let id = enqueued(&committed);
                let found = leader.read(|machine| machine.item(id).unwrap().request.key.clone());
                assert_eq!(found, Some(key), "the replies of another caller");
                let order = Some((committed.position, id));
                assert!(last < order, "{last:?} then {order:?}");
                last = order;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let entries = leader.status().last_log_index - before;
    let proposals = CALLERS * EACH;
    assert!(entries < proposals / 2, "{proposals} proposals made {entries} entries");
    assert_eq!(leader.read(|machine| machine.counts().ready), proposals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_leaves_hands_over() {
    let mut agents = cluster(&["a", "b", "c"]).await;
    let (before, id) = propose_until_accepted(&agents, "before").await;
    let leaving = agents.remove(0);
    leaving.consensus.shutdown().await;
    let (after, _) = propose_until_accepted(&agents, "after").await;
    assert!(after.term > before.term);
    assert!(agents.iter().any(|agent| has(agent, id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_entry_cannot_hold_is_refused_before_it_is_proposed() {
    let agents = cluster(&["a"]).await;
    let leader = &agents[0].consensus;
    let too_many = vec![Command::Tick; 1_001];
    let refused = leader.propose(too_many).await.unwrap_err();
    assert_eq!(refused, ProposeError::TooLarge { what: "commands", size: 1_001, limit: 1_000 });
    let large = Payload::Opaque("x".repeat(9 * 1024 * 1024));
    let refused =
        leader.propose(vec![Command::Enqueue(vec![NewItem { payload: large, ..item("k") }])]);
    assert!(matches!(refused.await, Err(ProposeError::TooLarge { what: "bytes", .. })));
    // Large entries that are allowed pass: each of these fills an entry.
    let items = |start: u32| {
        let large = |n| NewItem {
            payload: Payload::Opaque("x".repeat(60 * 1024)),
            ..item(&format!("large {n}"))
        };
        vec![Command::Enqueue((start..start + 100).map(large).collect())]
    };
    let follower = Agent::fresh("b").await;
    leader.add_member(follower.member()).await.unwrap();
    let proposals = (0..4).map(|part| leader.propose(items(part * 100)));
    for outcome in futures::future::join_all(proposals).await {
        assert!(outcome.unwrap().replies[0].is_ok());
    }
    let all = |machine: &ringrift_core::machine::Machine| machine.counts().ready == 400;
    eventually("the follower has all", || follower.consensus.read(all)).await;
}
