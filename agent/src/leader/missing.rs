//! Nodes that are gone: what they hold need not wait for its leases, and what they have is no room.
//!
//! SWIM says that a node has failed; that is a hint and moves nothing by itself. The leader looks for
//! itself, by a connection to the node's HTTP port. Only when that is refused or meets silence too,
//! the node's claims are to end. Should it live after all, its results are refused by their tokens.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use ringrift_core::id::NodeId;
use ringrift_core::queue::command::{Command, Reply};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::consensus::{Committed, Consensus};
use crate::gossip::{Gossip, Member, State};
use crate::leader::leads;

/// Nodes that are looked at at once. A rack that lost its power is dozens.
const CHECKS_AT_ONCE_MAX: usize = 16;
/// A node that lives answers within a round trip; a machine that vanished answers nothing.
const CHECK_PATIENCE: Duration = Duration::from_secs(1);
/// Pause before a node that could not be judged is looked at again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What a connection to a node's HTTP port came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Somebody answers there.
    Answered,
    /// Nobody listens there, or nothing came back.
    Gone,
    /// This machine could not even try.
    Unknown,
}

/// A node that SWIM gave up, to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Suspect {
    node_id: NodeId,
    generation: u64,
    http_address: String,
}

/// Which nodes were dealt with, each in one life: a node that starts again has a later generation.
#[derive(Debug, Default)]
struct Departures {
    settled: BTreeMap<NodeId, u64>,
}

impl Departures {
    /// The nodes to look at: failed, not dealt with in this life, and of some weight: they hold
    /// something, or count as room. Forgets
    /// nodes that gossip has forgotten.
    fn suspects(&mut self, members: &[Member], holds: impl Fn(&NodeId) -> bool) -> Vec<Suspect> {
        self.settled.retain(|node_id, _| members.iter().any(|member| member.node_id == *node_id));
        let fresh = |member: &&Member| {
            self.settled.get(&member.node_id).is_none_or(|settled| *settled < member.generation)
        };
        members
            .iter()
            .filter(|member| member.state == State::Failed)
            .filter(fresh)
            .filter(|member| holds(&member.node_id))
            .map(|member| Suspect {
                node_id: member.node_id.clone(),
                generation: member.generation,
                http_address: member.http_address.clone(),
            })
            .collect()
    }

    /// Whether what the suspect holds is to end: nobody answered, and nobody heard of it meanwhile.
    fn is_gone(suspect: &Suspect, check: Check, members: &[Member]) -> bool {
        let still_failed = members.iter().any(|member| {
            member.node_id == suspect.node_id
                && member.generation == suspect.generation
                && member.state == State::Failed
        });
        check == Check::Gone && still_failed
    }

    /// The claims of the suspect's life were ended.
    fn settle(&mut self, suspect: Suspect) {
        self.settled.insert(suspect.node_id, suspect.generation);
    }
}

/// Ends the claims of nodes that are gone, while this agent leads. Returns when consensus or gossip
/// has stopped.
pub(super) async fn expire_missing(consensus: &Consensus, gossip: &Gossip) {
    let mut changes = gossip.changes();
    while leads(consensus).await {
        let mut departures = Departures::default();
        let leadership = consensus.leadership();
        while leadership.borrow().is_leader {
            changes.borrow_and_update();
            let open = look(consensus, gossip, &mut departures).await;
            if !wait(&mut changes, open).await {
                return;
            }
        }
    }
}

/// Looks once at everybody who is suspected. Answers whether some of them are still open.
async fn look(consensus: &Consensus, gossip: &Gossip, departures: &mut Departures) -> bool {
    let members = gossip.members();
    let suspects = consensus.read(|machine| {
        departures.suspects(&members, |node_id| {
            machine.held_by(node_id).next().is_some() || machine.is_counted_on(node_id)
        })
    });
    let mut checks = futures::stream::iter(suspects)
        .map(|suspect| async {
            let check = check(&suspect.http_address).await;
            (suspect, check)
        })
        .buffer_unordered(CHECKS_AT_ONCE_MAX);
    let mut open = false;
    while let Some((suspect, check)) = checks.next().await {
        if !Departures::is_gone(&suspect, check, &gossip.members()) {
            open = true;
            continue;
        }
        let command = Command::ExpireNode { node: suspect.node_id.clone() };
        match consensus.propose(vec![command]).await {
            Ok(Committed { position: _, replies }) => {
                let expired = match replies.first() {
                    Some(Ok(Reply::Ticked { expired })) => *expired,
                    _ => 0,
                };
                tracing::info!(node_id = %suspect.node_id, expired, "a node is gone, its claims end");
                departures.settle(suspect);
            }
            Err(error) => {
                tracing::debug!(node_id = %suspect.node_id, %error, "claims of a node not ended");
                open = true;
            }
        }
    }
    open
}

/// Waits for news of the members, a short time only while something is open. False when gossip ended.
async fn wait(changes: &mut watch::Receiver<u64>, open: bool) -> bool {
    if !open {
        // Claims that a failed node holds are older than its failure, so only news matter; but a
        // claim that was on its way is found by the next look.
        let news = tokio::time::timeout(CHECK_INTERVAL * 10, changes.changed()).await;
        return !matches!(news, Ok(Err(_)));
    }
    tokio::time::sleep(CHECK_INTERVAL).await;
    changes.has_changed().is_ok()
}

async fn check(http_address: &str) -> Check {
    match tokio::time::timeout(CHECK_PATIENCE, TcpStream::connect(http_address)).await {
        Ok(Ok(_connected)) => Check::Answered,
        Err(_elapsed) => Check::Gone,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable => Check::Gone,
            // No network here, no descriptors, a name that does not resolve: that is this machine's.
            _ => Check::Unknown,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::net::TcpListener;

    use super::*;

    fn member(name: &str, generation: u64, state: State) -> Member {
        Member {
            node_id: name.parse().unwrap(),
            state,
            generation,
            swim_address: SocketAddr::from(([127, 0, 0, 1], 1)),
            http_address: format!("{name}.invalid:8770"),
            raft_address: None,
        }
    }

    fn names(suspects: &[Suspect]) -> Vec<&str> {
        suspects.iter().map(|suspect| suspect.node_id.as_str()).collect()
    }

    #[test]
    fn who_failed_and_holds_something_is_looked_at() {
        let members = [
            member("alive", 1, State::Alive),
            member("failed", 1, State::Failed),
            member("idle", 1, State::Failed),
            member("suspected", 1, State::Suspected),
        ];
        let holds = |node_id: &NodeId| node_id.as_str() != "idle";
        let mut departures = Departures::default();
        assert_eq!(names(&departures.suspects(&members, holds)), ["failed"]);
    }

    #[test]
    fn a_life_is_settled_once() {
        let failed = [member("a", 1, State::Failed)];
        let mut departures = Departures::default();
        let suspect = departures.suspects(&failed, |_| true).pop().unwrap();
        assert_eq!(departures.suspects(&failed, |_| true).len(), 1, "not before it is settled");
        departures.settle(suspect);
        assert!(departures.suspects(&failed, |_| true).is_empty());
        let again = [member("a", 2, State::Failed)];
        assert_eq!(names(&departures.suspects(&again, |_| true)), ["a"], "it came back and failed");
        departures.suspects(&[], |_| true);
        assert!(departures.settled.is_empty(), "what gossip forgets is forgotten");
    }

    #[test]
    fn only_who_is_silent_to_the_leader_too_is_gone() {
        let suspect =
            Departures::default().suspects(&[member("a", 3, State::Failed)], |_| true).remove(0);
        let gone = |check, member| Departures::is_gone(&suspect, check, &[member]);
        assert!(gone(Check::Gone, member("a", 3, State::Failed)));
        assert!(!gone(Check::Answered, member("a", 3, State::Failed)));
        assert!(!gone(Check::Unknown, member("a", 3, State::Failed)));
        assert!(!gone(Check::Gone, member("a", 4, State::Alive)), "it refuted meanwhile");
        assert!(!gone(Check::Gone, member("a", 4, State::Failed)), "another life");
        assert!(!Departures::is_gone(&suspect, Check::Gone, &[]));
    }

    #[tokio::test]
    async fn a_closed_port_is_gone_and_an_open_one_is_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(check(&address).await, Check::Answered);
        drop(listener);
        assert_eq!(check(&address).await, Check::Gone);
        assert_eq!(check("no address").await, Check::Unknown);
    }
}
