//! Finds members again that gossip does not know: the log says who takes part and where they serve HTTP,
//! and each tells there where it gossips now.
//!
//! An agent is told whom to gossip with when it joins. That can be nobody: when the leader that took it
//! in died before it answered, and the agent, or another that had just joined, leads next. Without this
//! such a cluster would gossip in two halves for good.

use std::net::SocketAddr;
use std::time::Duration;

use ringrift_core::id::NodeId;
use ringrift_wire::client::Client;
use ringrift_wire::status::Status;
use tokio_util::sync::CancellationToken;

use crate::consensus::{Consensus, Member};
use crate::gossip::{self, Gossip, State};

/// How often the members are compared. Gossip itself finds those out of whom it knows anybody sooner.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A member that does not answer by then is asked again at the next look.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything that is needed to find a member again.
pub(crate) struct Rediscovery {
    pub(crate) consensus: Consensus,
    pub(crate) gossip: Gossip,
}

impl Rediscovery {
    /// Looks until `stop` is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let look = async {
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                self.look().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = look => {}
        }
    }

    async fn look(&self) {
        let status = self.consensus.status();
        let own = &self.consensus.this_member().node_id;
        let members = status.voters.into_iter().chain(status.learners);
        for member in lost(members, own, &self.gossip.members()) {
            match self.ask(&member).await {
                Ok(address) => {
                    tracing::info!(node = %member.node_id, %address, "gossip had lost a member");
                    self.gossip.announce(address).await;
                }
                Err(reason) => {
                    tracing::debug!(node = %member.node_id, reason, "a member is not to be found");
                }
            }
        }
    }

    /// Where a member says that it gossips. It is asked without the cluster's token: the view is open,
    /// and a stranger may have the address of a member that is gone.
    async fn ask(&self, member: &Member) -> Result<SocketAddr, String> {
        let address = std::slice::from_ref(&member.http_address);
        let client = Client::new(address, None, PATIENCE).map_err(|error| error.to_string())?;
        let status: Status = client.get("/status").await.map_err(|error| error.to_string())?;
        let name = member.node_id.as_str();
        if status.node_id != name {
            return Err(format!("{} is {} now", member.http_address, status.node_id));
        }
        let own = status.peers.get(name).ok_or("it does not say where it gossips")?;
        own.swim_address.parse().map_err(|error| format!("{}: {error}", own.swim_address))
    }
}

/// The members of the log, without this agent, of whom gossip knows nothing good.
fn lost(
    members: impl Iterator<Item = Member>,
    own: &NodeId,
    roster: &[gossip::Member],
) -> Vec<Member> {
    let is_there = |node_id: &NodeId| {
        roster.iter().any(|known| known.node_id == *node_id && known.state != State::Failed)
    };
    members.filter(|member| member.node_id != *own && !is_there(&member.node_id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn known(name: &str, state: State) -> gossip::Member {
        gossip::Member {
            node_id: node(name),
            state,
            generation: 1,
            swim_address: SocketAddr::from(([127, 0, 0, 1], 9)),
            http_address: "127.0.0.1:1".to_owned(),
            raft_address: None,
        }
    }

    #[test]
    fn lost_are_those_that_gossip_does_not_know_or_believes_failed() {
        let member = |name: &str| Member {
            node_id: node(name),
            raft_address: "127.0.0.1:2".to_owned(),
            http_address: "127.0.0.1:1".to_owned(),
            zone: None,
        };
        let members = ["own", "alive", "suspected", "failed", "unknown"].map(member);
        let roster = [
            known("alive", State::Alive),
            known("suspected", State::Suspected),
            known("failed", State::Failed),
            known("client", State::Alive),
        ];
        let lost = lost(members.into_iter(), &node("own"), &roster);
        let names: Vec<_> = lost.iter().map(|member| member.node_id.as_str()).collect();
        assert_eq!(names, ["failed", "unknown"]);
    }
}
