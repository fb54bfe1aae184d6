//! Agents for the tests: each with a directory of its own and a port that the system chose.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ringrift_agent::clock::Clock;
use ringrift_agent::consensus::{
    Committed, Consensus, ConsensusConfig, Member, Part, Timing, VoterPolicy,
};
use ringrift_core::id::{NodeId, Position, QueueName, WorkId};
use ringrift_core::queue::command::{Command, Reply};
use ringrift_core::queue::item::{Needs, NewItem, Payload};
use ringrift_core::time::Span;
use tempfile::TempDir;

/// Far more than anything here takes on a machine with other work; a hang still ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// An agent's consensus and the directory that outlives it.
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) directory: TempDir,
    pub(crate) consensus: Consensus,
}

pub(crate) async fn open(name: &str, directory: &Path, listen: SocketAddr) -> Consensus {
    open_with(name, directory, listen, Timing::safe()).await
}

pub(crate) async fn open_with(
    name: &str,
    directory: &Path,
    listen: SocketAddr,
    timing: Timing,
) -> Consensus {
    open_as(name, directory, listen, timing, VoterPolicy::default()).await
}

pub(crate) async fn open_as(
    name: &str,
    directory: &Path,
    listen: SocketAddr,
    timing: Timing,
    voters: VoterPolicy,
) -> Consensus {
    open_in(None, name, directory, listen, timing, voters).await
}

async fn open_in(
    zone: Option<&str>,
    name: &str,
    directory: &Path,
    listen: SocketAddr,
    timing: Timing,
    voters: VoterPolicy,
) -> Consensus {
    let config = ConsensusConfig {
        node_id: name.parse().unwrap(),
        data_dir: directory.to_owned(),
        listen,
        raft_address: "127.0.0.1:0".to_owned(),
        http_address: format!("{name}.invalid:8770"),
        zone: zone.map(|zone| zone.parse().unwrap()),
        timing,
        voters,
    };
    Consensus::open(config, Clock::start()).await.unwrap()
}

impl Agent {
    pub(crate) async fn fresh(name: &str) -> Self {
        Self::fresh_with(name, Timing::safe()).await
    }

    async fn fresh_with(name: &str, timing: Timing) -> Self {
        Self::fresh_as(name, timing, VoterPolicy::default()).await
    }

    pub(crate) async fn fresh_as(name: &str, timing: Timing, voters: VoterPolicy) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let consensus = open_as(name, directory.path(), listen, timing, voters).await;
        Self { name: name.to_owned(), directory, consensus }
    }

    /// One that says a zone.
    pub(crate) async fn fresh_in(zone: &str, name: &str, voters: VoterPolicy) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let timing = Timing::safe();
        let path = directory.path();
        let consensus = open_in(Some(zone), name, path, listen, timing, voters).await;
        Self { name: name.to_owned(), directory, consensus }
    }

    /// Stops without a word to the others, then starts again from the same disk and address.
    pub(crate) async fn restarted(self) -> Self {
        let Self { name, directory, consensus } = self;
        let listen = consensus.raft_listen_address();
        consensus.halt().await;
        let consensus = open(&name, directory.path(), listen).await;
        Self { name, directory, consensus }
    }

    /// Stops without a word to the others, then starts again from the same disk at another address.
    pub(crate) async fn moved(self) -> Self {
        let Self { name, directory, consensus } = self;
        consensus.halt().await;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let consensus = open(&name, directory.path(), anywhere).await;
        Self { name, directory, consensus }
    }

    pub(crate) fn member(&self) -> Member {
        self.consensus.this_member().clone()
    }

    pub(crate) fn node_id(&self) -> NodeId {
        self.name.parse().unwrap()
    }
}

/// A cluster of voters; the first one leads.
pub(crate) async fn cluster(names: &[&str]) -> Vec<Agent> {
    cluster_with(names, Timing::safe()).await
}

pub(crate) async fn cluster_with(names: &[&str], timing: Timing) -> Vec<Agent> {
    let mut agents: Vec<Agent> = Vec::new();
    for name in names {
        let agent = Agent::fresh_with(name, timing).await;
        match agents.first() {
            None => agent.consensus.initialize("test".to_owned()).await.unwrap(),
            Some(leader) => {
                let part = leader.consensus.add_member(agent.member()).await.unwrap();
                assert_eq!(part, Part::Voter);
            }
        }
        agents.push(agent);
    }
    agents
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, poll).await.is_ok(), "not in time: {what}");
}

/// The agent that leads with the consent of a majority.
pub(crate) async fn leader_of(agents: &[Agent]) -> &Agent {
    let search = async {
        loop {
            for agent in agents {
                if agent.consensus.leadership().borrow().is_leader
                    && agent.consensus.barrier().await.is_ok()
                {
                    return agent;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("no leader in time")
}

pub(crate) fn item(key: &str) -> NewItem {
    NewItem {
        key: Some(key.to_owned()),
        queue: QueueName::default(),
        work_type: "test".to_owned(),
        priority: 50,
        payload: Payload::Opaque("{}".to_owned()),
        needs: Needs::default(),
        attempts_max: 3,
        attempt_timeout: Span::seconds(60),
        pending_timeout: None,
        total_timeout: None,
        delay: Span(0),
        group: None,
        after: Box::default(),
        notify: false,
    }
}

pub(crate) fn enqueue(key: &str) -> Vec<Command> {
    vec![Command::Enqueue(vec![item(key)])]
}

pub(crate) fn enqueued(committed: &Committed) -> WorkId {
    match committed.replies.as_slice() {
        [Ok(Reply::Enqueued(items))] => items[0].0,
        other => panic!("one enqueued item expected, got {other:?}"),
    }
}

/// Proposes on whoever leads until it is accepted. The key makes repeats harmless.
pub(crate) async fn propose_until_accepted(agents: &[Agent], key: &str) -> (Position, WorkId) {
    let attempt = async {
        loop {
            let leader = leader_of(agents).await;
            if let Ok(committed) = leader.consensus.propose(enqueue(key)).await {
                return (committed.position, enqueued(&committed));
            }
        }
    };
    tokio::time::timeout(PATIENCE, attempt).await.expect("no proposal accepted in time")
}

pub(crate) fn has(agent: &Agent, id: WorkId) -> bool {
    agent.consensus.read(|machine| machine.item(id).is_some())
}
