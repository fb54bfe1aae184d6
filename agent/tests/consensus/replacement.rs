//! Dead voters are replaced by learners, by leaders with real gossip and real logs; only the durations
//! are shorter than in life.

use std::net::{Ipv4Addr, SocketAddr};

use ringrift_agent::clock::Clock;
use ringrift_agent::consensus::{Member, MembershipError, Part, Timing, VoterPolicy};
use ringrift_agent::gossip::{Gossip, GossipConfig, Profile};
use ringrift_agent::leader;
use ringrift_core::time::Span;
use ringrift_core::voters::{Decision, Rules};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::*;

/// An agent with gossip and with the duties of a leader.
struct Full {
    agent: Agent,
    gossip: Gossip,
    stop: CancellationToken,
    duties: JoinHandle<()>,
}

/// Everything a hundredth as long, so that a test sees all of it.
fn hasty() -> VoterPolicy {
    let rules = Rules {
        silence: Some(Span(1_500)),
        rest: Span(500),
        replacement_gap: Span::seconds(3_600),
        warm_for: Span(500),
        warm_entries: 1_000,
        // Longer than a busy machine needs for a heartbeat.
        contact: Span::seconds(1),
    };
    VoterPolicy { rules, ..VoterPolicy::default() }
}

impl Full {
    async fn fresh(name: &str, generation: u64) -> Self {
        Self::of(Agent::fresh_as(name, Timing::safe(), hasty()).await, generation)
    }

    fn of(agent: Agent, generation: u64) -> Self {
        let config = GossipConfig {
            node_id: agent.node_id(),
            cluster: "test".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            http_address: format!("{}.invalid:8770", agent.name),
            raft_address: Some(agent.member().raft_address),
            generation,
            profile: Profile::default(),
        };
        let gossip = Gossip::start(config, Clock::start()).unwrap();
        let stop = CancellationToken::new();
        let duties =
            tokio::spawn(leader::run(agent.consensus.clone(), gossip.clone(), stop.clone()));
        Self { agent, gossip, stop, duties }
    }

    async fn joins(&self, other: &Self) {
        self.gossip.join(vec![other.gossip.advertised_address().to_string()]).await;
    }

    /// Ends as a crash would.
    async fn die(self) -> Agent {
        let Self { agent, gossip, stop, duties } = self;
        stop.cancel();
        tokio::time::timeout(PATIENCE, duties).await.unwrap().unwrap();
        agent.consensus.halt().await;
        drop(gossip);
        agent
    }
}

/// Three voters and a learner; the first one leads.
async fn four() -> Vec<Full> {
    let mut agents = Vec::new();
    for name in ["a", "b", "c", "d"] {
        agents.push(Full::fresh(name, 1).await);
    }
    together(agents).await
}

/// Agents that were taken in one after another; the first one leads.
async fn together(agents: Vec<Full>) -> Vec<Full> {
    let mut all: Vec<Full> = Vec::new();
    for full in agents {
        match all.first() {
            None => full.agent.consensus.initialize("test".to_owned()).await.unwrap(),
            Some(first) => {
                full.joins(first).await;
                // Where it stands is not for others to say.
                let member = Member { zone: None, ..full.agent.member() };
                first.agent.consensus.add_member(member).await.unwrap();
            }
        }
        all.push(full);
    }
    all
}

fn voters(full: &Full) -> Vec<String> {
    let status = full.agent.consensus.status();
    let mut names: Vec<_> = status.voters.iter().map(|it| it.node_id.to_string()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_replaced_and_returns_as_a_learner_with_a_fresh_disk() {
    let mut all = four().await;
    assert_eq!(voters(&all[0]), ["a", "b", "c"]);
    let dead = all.remove(2).die().await;
    eventually("d votes in its place", || voters(&all[0]) == ["a", "b", "d"]).await;
    eventually("the others know", || voters(&all[2]) == ["a", "b", "d"]).await;
    let retired = all[0].agent.consensus.read(|machine| machine.members().retired());
    assert_eq!(retired, 1);

    // It comes back with the disk that it had.
    let back = dead.restarted().await;
    let refused = all[0].agent.consensus.add_member(back.member()).await.unwrap_err();
    assert!(matches!(refused, MembershipError::Retired { .. }), "{refused:?}");
    back.consensus.halt().await;

    // It comes back with an empty one, gets a snapshot, and starts again, twice.
    let leader = &all[0].agent.consensus;
    for number in 0..50 {
        leader.propose(enqueue(&format!("k{number}"))).await.unwrap();
    }
    leader.compact().await.unwrap();
    let mut fresh = Agent::fresh("c").await;
    assert_eq!(leader.add_member(fresh.member()).await.unwrap(), Part::Learner);
    for round in 0..2 {
        fresh = fresh.restarted().await;
        let committed = leader.propose(enqueue(&format!("after {round}"))).await.unwrap();
        let id = enqueued(&committed);
        eventually("it follows", || has(&fresh, id)).await;
    }
    assert_eq!(voters(&all[0]), ["a", "b", "d"], "it is a learner");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_asked_for_its_zone_and_the_zone_says_whose_turn_it_is() {
    // Both learners are surely ready: a busy machine may hold a heartbeat up.
    let patient = Rules { contact: Span::seconds(20), ..hasty().rules };
    let policy = VoterPolicy { rules: patient, ..hasty() };
    let mut agents = Vec::new();
    let zones = [("a", "east"), ("b", "west"), ("c", "south"), ("d", "west"), ("e", "south")];
    for (name, zone) in zones {
        agents.push(Full::of(Agent::fresh_in(zone, name, policy).await, 1));
    }
    let mut all = together(agents).await;
    let leader = all[0].agent.consensus.clone();
    let known = || {
        let standings = leader.electorate().map(|it| it.standings).unwrap_or_default();
        let told = standings.into_iter().map(|it| it.member);
        let mut told: Vec<_> = told.map(|it| (it.node_id.to_string(), it.zone)).collect();
        told.sort();
        told.into_iter().filter_map(|(_, zone)| zone).map(|it| it.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(known(), ["east", "west", "south", "west", "south"]);
    all.remove(2).die().await;
    eventually("e votes in the place of c", || voters(&all[0]) == ["a", "b", "e"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_dead_voter_waits_for_an_operator_who_gets_it_done_at_once() {
    let mut all = four().await;
    let fifth = Full::fresh("e", 1).await;
    fifth.joins(&all[0]).await;
    let leader = all[0].agent.consensus.clone();
    assert_eq!(leader.add_member(fifth.agent.member()).await.unwrap(), Part::Learner);
    all.push(fifth);
    all.remove(2).die().await;
    eventually("c is replaced", || !voters(&all[0]).contains(&"c".to_owned())).await;
    let now = voters(&all[0]);
    let next = now.iter().find(|name| ["d", "e"].contains(&name.as_str())).unwrap().clone();
    // Whoever took its place dies too.
    let at = all.iter().position(|full| full.agent.name == next).unwrap();
    all.remove(at).die().await;
    let waits = || match leader.outlook().map(|outlook| outlook.decision) {
        Some(Decision::Wait { obstacle, .. }) => obstacle.word(),
        _ => "",
    };
    eventually("it waits for the hour to pass", || waits() == "just_replaced").await;
    assert_eq!(voters(&all[0]).len(), 3, "three stay three");

    leader.remove_member(&next.parse().unwrap()).await.unwrap();
    let last = if next == "d" { "e" } else { "d" };
    eventually("the last one gets a vote", || voters(&all[0]) == ["a", "b", last]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_decided_on_an_older_membership_does_nothing() {
    let agents = cluster(&["a", "b", "c"]).await;
    let leader = &agents[0].consensus;
    let fourth = Agent::fresh("d").await;
    leader.add_member(fourth.member()).await.unwrap();
    let old = leader.electorate().unwrap();
    let fifth = Agent::fresh("e").await;
    leader.add_member(fifth.member()).await.unwrap();
    let id = |name: &str| {
        let standing = old.standings.iter().find(|it| it.member.node_id.as_str() == name);
        standing.unwrap().raft_id
    };
    let refused = leader.replace_voter(&old, id("c"), id("d")).await;
    assert_eq!(refused, Err(MembershipError::Changed));
    assert_eq!(leader.status().voters.len(), 3);
    // Announced, but not gone: it is still one of us, and nobody refuses it.
    let committed = leader.propose(enqueue("k")).await.unwrap();
    let id = enqueued(&committed);
    eventually("it follows", || has(&agents[2], id)).await;
    assert_eq!(leader.add_member(agents[2].member()).await, Ok(Part::Voter));
}
