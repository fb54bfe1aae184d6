//! Who is taken in, who is refused, and what a newcomer gets.

use ringrift_agent::consensus::{
    Member, MembershipError, Part, ProposeError, Timing, VoterCount, VoterPolicy,
};
use ringrift_core::time::Span;
use ringrift_core::voters::Obstacle;

use crate::harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_lost_its_disk_is_refused_until_it_was_removed() {
    let mut agents = cluster(&["a", "b", "c"]).await;
    let wiped = agents.pop().unwrap();
    wiped.consensus.halt().await;
    let wiped = Agent::fresh("c").await;
    let refused = agents[0].consensus.add_member(wiped.member()).await.unwrap_err();
    assert_eq!(refused, MembershipError::WipedVoter { node_id: wiped.node_id() });

    agents[0].consensus.remove_member(&wiped.node_id()).await.unwrap();
    assert_eq!(agents[0].consensus.status().voters.len(), 2);
    let part = agents[0].consensus.add_member(wiped.member()).await.unwrap();
    assert_eq!(part, Part::Voter);
    let (_, id) = propose_until_accepted(&agents, "k").await;
    eventually("the new voter has it", || has(&wiped, id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_is_refused_for_good_and_the_leader_is_not_removed() {
    let mut agents = cluster(&["a", "b", "c"]).await;
    let refused = agents[0].consensus.remove_member(&agents[0].node_id()).await.unwrap_err();
    assert_eq!(refused, MembershipError::Leads { node_id: agents[0].node_id() });
    let gone = agents.pop().unwrap();
    agents[0].consensus.remove_member(&gone.node_id()).await.unwrap();
    let refused = agents[0].consensus.add_member(gone.member()).await.unwrap_err();
    assert!(matches!(refused, MembershipError::Retired { .. }), "{refused:?}");
    assert!(refused.to_string().contains("move its data directory away"), "{refused}");

    // The next leader knows of it, and so does one that starts again.
    agents[0].consensus.transfer(Some(&agents[1].node_id())).await.unwrap();
    let leader = leader_of(&agents).await;
    let refused = leader.consensus.add_member(gone.member()).await.unwrap_err();
    assert!(matches!(refused, MembershipError::Retired { .. }), "{refused:?}");
    let gone = gone.restarted().await;
    let (_, id) = propose_until_accepted(&agents, "k").await;
    assert!(!has(&gone, id));
    assert_eq!(leader_of(&agents).await.consensus.status().voters.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_member_again_is_harmless_and_the_fourth_stays_a_learner() {
    let agents = cluster(&["a", "b", "c"]).await;
    let leader = &agents[0].consensus;
    assert_eq!(leader.add_member(agents[1].member()).await.unwrap(), Part::Voter);
    let fourth = Agent::fresh("d").await;
    assert_eq!(leader.add_member(fourth.member()).await.unwrap(), Part::Learner);
    assert_eq!(leader.add_member(fourth.member()).await.unwrap(), Part::Learner);
    let status = leader.status();
    assert_eq!((status.voters.len(), status.learners), (3, vec![fourth.member()]));
    let (_, id) = propose_until_accepted(&agents, "k").await;
    eventually("the learner follows", || has(&fourth, id)).await;
    let refused = fourth.consensus.add_member(agents[1].member()).await;
    let leader = Some(agents[0].member());
    assert_eq!(refused, Err(MembershipError::Propose(ProposeError::NotLeader { leader })));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_vote_when_five_are_wanted_and_beyond_two_learners_all_are_clients() {
    let voters = VoterPolicy { wanted: VoterCount::new(5).unwrap(), ..VoterPolicy::default() };
    let mut agents = Vec::new();
    let mut parts = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let agent = Agent::fresh_as(name, Timing::safe(), voters).await;
        match agents.first() {
            None => agent.consensus.initialize("test".to_owned()).await.unwrap(),
            Some(Agent { consensus, .. }) => {
                parts.push(consensus.add_member(agent.member()).await.unwrap());
            }
        }
        agents.push(agent);
    }
    use Part::{Client, Learner, Voter};
    assert_eq!(parts, [Voter, Voter, Voter, Voter, Learner, Learner, Client]);
    let electorate = agents[0].consensus.electorate().unwrap();
    assert_eq!(electorate.standings.len(), 7);
    assert_eq!(electorate.standings.iter().filter(|standing| standing.votes).count(), 5);
    assert!(agents[1].consensus.electorate().is_none(), "only the leader knows");
    assert!(!agents[7].consensus.is_initialized(), "a client has no part in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_another_cluster_and_impostors_are_refused() {
    let agents = cluster(&["a"]).await;
    let foreign = Agent::fresh("x").await;
    foreign.consensus.initialize("other".to_owned()).await.unwrap();
    let refused = agents[0].consensus.add_member(foreign.member()).await.unwrap_err();
    assert!(matches!(refused, MembershipError::Unreachable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("belongs to cluster"), "{refused}");

    let newcomer = Agent::fresh("b").await;
    let misnamed = Member { node_id: "z".parse().unwrap(), ..newcomer.member() };
    let refused = agents[0].consensus.add_member(misnamed).await.unwrap_err();
    assert!(matches!(refused, MembershipError::Impostor { .. }), "{refused:?}");

    let again = foreign.consensus.initialize("third".to_owned()).await.unwrap_err();
    assert_eq!(again, MembershipError::Initialized { cluster_id: "other".to_owned() });
    foreign.consensus.initialize("other".to_owned()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_joiner_gets_the_snapshot_when_the_log_is_gone() {
    let mut agents = cluster(&["a"]).await;
    let mut ids = Vec::new();
    for number in 0..100 {
        let committed = agents[0].consensus.propose(enqueue(&format!("k{number}"))).await.unwrap();
        ids.push(enqueued(&committed));
    }
    agents[0].consensus.compact().await.unwrap();
    eventually("the log is purged", || agents[0].consensus.status().purged.is_some()).await;

    let late = Agent::fresh("b").await;
    agents[0].consensus.add_member(late.member()).await.unwrap();
    let (_, last) = propose_until_accepted(&agents, "after").await;
    eventually("the rest of the log follows the snapshot", || has(&late, last)).await;
    assert!(ids.iter().all(|id| has(&late, *id)));
    assert!(late.consensus.status().purged.is_some(), "it got the log, not the snapshot");

    // Both start again from snapshot and log.
    for agent in [agents.remove(0), late] {
        agents.push(agent.restarted().await);
    }
    leader_of(&agents).await;
    for agent in &agents {
        assert!(ids.iter().all(|id| has(agent, *id)), "{} lost what its snapshot held", agent.name);
        // The new leader has to say first that it is committed.
        eventually("what came behind the snapshot is applied", || has(agent, last)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_moved_follows_again_under_the_leader_that_knew_it_before() {
    let mut agents = cluster(&["a", "b", "c"]).await;
    let moved = agents.pop().unwrap().moved().await;
    let leader = leader_of(&agents).await;
    assert_eq!(leader.consensus.add_member(moved.member()).await.unwrap(), Part::Voter);
    let (_, id) = propose_until_accepted(&agents, "k").await;
    eventually("it follows at its new address", || has(&moved, id)).await;
    // Its own picture too: that the item reached it could come of a snapshot.
    eventually("it knows the leader", || moved.consensus.status().leader.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_is_not_removed_when_those_that_stay_could_not_go_on() {
    let mut agents = cluster(&["a", "b", "c"]).await;
    let dead = agents.pop().unwrap();
    dead.consensus.halt().await;
    let leader = leader_of(&agents).await;
    let other = agents.iter().find(|agent| agent.name != leader.name).unwrap();
    let Span(contact_ms) = VoterPolicy::default().rules.contact;
    let silent = || {
        let seen = leader.consensus.electorate().unwrap();
        let dead = seen.standings.iter().find(|it| it.member.node_id == dead.node_id()).unwrap();
        dead.silent_for.is_none_or(|silent_for| silent_for.as_millis() >= contact_ms.into())
    };
    eventually("the dead one is silent", silent).await;
    let refused = leader.consensus.remove_member(&other.node_id()).await;
    let obstacle = Obstacle::NoMajority { well: 1, majority: 2 };
    let node_id = other.node_id();
    assert_eq!(refused, Err(MembershipError::Needed { node_id, obstacle }));
    leader.consensus.remove_member(&dead.node_id()).await.unwrap();
    propose_until_accepted(&agents, "goes on").await;
    leader.consensus.remove_member(&other.node_id()).await.unwrap();
}
