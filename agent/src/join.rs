//! How an agent becomes part of a cluster, and stays known to it under its present addresses.
//!
//! An agent with a membership on disk is part of its cluster already; it only tells the leader where
//! it is now and asks whom to gossip with. Any other starts a cluster, or asks until one takes it.

mod rediscovery;

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use ringrift_core::machine::Machine;
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::problem::Code;
use ringrift_wire::status::{Join, Joined};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{ClusterToken, Entry};
use crate::consensus::{Consensus, MembershipError};
use crate::gossip::Gossip;
pub(crate) use crate::join::rediscovery::Rediscovery;

/// First pause between two rounds of asking, and the longest one.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An agent is taken in within a learner's catching up, which the leader bounds at 30 s.
const JOIN_PATIENCE: Duration = Duration::from_secs(45);
/// With `--bootstrap`: so long none of the joined agents has shown a cluster before one is started.
/// Agents that start together need a moment to listen.
const BOOTSTRAP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a restarted single agent looks for its own leadership before its cluster gets the name
/// that a crash kept it from getting.
const NAMING_PATIENCE: Duration = Duration::from_secs(30);

/// Why an agent cannot start a cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The log refuses.
    #[error("cannot start a cluster: {0}")]
    Initialize(#[from] MembershipError),
    /// No randomness for the cluster's name, or no TCP stack.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        cause: String,
    },
}

/// Everything that joining needs.
pub(crate) struct Joiner {
    /// What this agent tells of itself.
    pub(crate) own: Join,
    /// The flags, for an agent that is part of nothing yet.
    pub(crate) entry: Entry,
    /// Nothing for a client.
    pub(crate) consensus: Option<Consensus>,
    pub(crate) gossip: Gossip,
    pub(crate) token: Option<ClusterToken>,
    pub(crate) clock: Clock,
    /// Where the reason is shown while the agent is part of nothing.
    pub(crate) joining: watch::Sender<Option<String>>,
    /// Seed of the pauses: agents that start together must not ask together.
    pub(crate) chance: u64,
}

/// What became of an agent that asked to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    /// It is part of a cluster, or was asked to stop before.
    Settled,
    /// There are enough voters and learners: it is to go on as a client.
    AsClient,
}

/// What one round of asking brought.
enum Round {
    /// Somebody took this agent in.
    Joined(Joined),
    /// Nobody did. `nowhere` is true when no answer showed that a cluster exists, `retired` when it
    /// is told that it was removed for good.
    Refused { reason: String, nowhere: bool, retired: bool },
}

impl Joiner {
    /// Becomes part of a cluster and makes itself known, or ends when `stop` is cancelled.
    ///
    /// # Errors
    /// [`JoinError`] when a cluster of its own cannot be started.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<Entered, JoinError> {
        tokio::select! {
            () = stop.cancelled() => Ok(Entered::Settled),
            outcome = self.enter() => outcome,
        }
    }

    async fn enter(mut self) -> Result<Entered, JoinError> {
        let is_member = self.consensus.as_ref().is_some_and(Consensus::is_initialized);
        match (self.consensus.clone(), self.entry.clone()) {
            (Some(consensus), _) if is_member => {
                self.joining.send_replace(None);
                self.finish_naming(&consensus).await;
            }
            (Some(consensus), Entry::Found) => {
                self.found(&consensus).await?;
                return Ok(Entered::Settled);
            }
            (Some(_) | None, Entry::Join { .. } | Entry::Found) => {}
        }
        self.ask_around().await
    }

    async fn found(&self, consensus: &Consensus) -> Result<(), JoinError> {
        let cluster_id = drawn_cluster_id()?;
        consensus.initialize(cluster_id.clone()).await?;
        tracing::info!(cluster_id, "cluster started");
        self.joining.send_replace(None);
        Ok(())
    }

    /// A crash between starting a cluster and naming it leaves it without a name.
    async fn finish_naming(&self, consensus: &Consensus) {
        if consensus.status().voters.len() != 1 {
            return;
        }
        let mut leadership = consensus.leadership();
        let leads = leadership.wait_for(|leadership| leadership.is_leader);
        let Ok(Ok(_)) = tokio::time::timeout(NAMING_PATIENCE, leads).await.map(|it| it.map(drop))
        else {
            return;
        };
        if consensus.barrier().await.is_err()
            || !consensus.read(|machine: &Machine| machine.cluster_id().is_empty())
        {
            return;
        }
        let named = match drawn_cluster_id() {
            Ok(cluster_id) => consensus.initialize(cluster_id).await.map_err(JoinError::from),
            Err(error) => Err(error),
        };
        match named {
            Ok(()) => tracing::info!("cluster named, which a crash had prevented"),
            Err(error) => tracing::warn!(%error, "cluster not named"),
        }
    }

    /// Asks until somebody answers. Endless, since whoever is awaited may come back after hours.
    async fn ask_around(&mut self) -> Result<Entered, JoinError> {
        let begun = self.clock.monotonic();
        let mut chance = rand::rngs::StdRng::seed_from_u64(self.chance);
        let mut pause = PAUSE_FIRST;
        let mut was_somewhere = false;
        let mut was_told = false;
        loop {
            let addresses = self.addresses();
            if addresses.is_empty() {
                // A restarted single agent: there is nobody to ask.
                return Ok(Entered::Settled);
            }
            match self.round(&addresses).await? {
                Round::Joined(joined) => {
                    return Ok(self.settle(joined).await);
                }
                Round::Refused { reason, nowhere, retired } => {
                    was_somewhere |= !nowhere;
                    let waited = self.clock.monotonic().saturating_sub(begun);
                    if !was_somewhere
                        && waited >= BOOTSTRAP_PATIENCE
                        && self.may_bootstrap()
                        && let Some(consensus) = &self.consensus
                    {
                        tracing::info!(reason, "no agent to join has a cluster, starting one");
                        self.found(consensus).await?;
                        return Ok(Entered::Settled);
                    }
                    if retired && !std::mem::replace(&mut was_told, true) {
                        tracing::error!(reason, "this agent was removed from its cluster");
                    }
                    tracing::debug!(reason, "not joined yet");
                    let is_shown = retired || !self.is_member();
                    self.joining.send_replace(is_shown.then_some(reason));
                }
            }
            tokio::time::sleep(pause.mul_f64(chance.random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn is_member(&self) -> bool {
        self.consensus.as_ref().is_some_and(Consensus::is_initialized)
    }

    fn may_bootstrap(&self) -> bool {
        match &self.entry {
            Entry::Join { addresses: _, bootstrap } => *bootstrap && !self.is_member(),
            Entry::Found => false,
        }
    }

    /// Whom to ask: those that were named, and the members on disk.
    fn addresses(&self) -> Vec<String> {
        let mut addresses = match &self.entry {
            Entry::Join { addresses, bootstrap: _ } => addresses.clone(),
            Entry::Found => Vec::new(),
        };
        if let Some(consensus) = &self.consensus {
            let status = consensus.status();
            let members = status.voters.into_iter().chain(status.learners);
            addresses.extend(members.map(|member| member.http_address));
        }
        addresses.retain(|address| *address != self.own.http_address);
        addresses.sort();
        addresses.dedup();
        addresses
    }

    async fn round(&self, addresses: &[String]) -> Result<Round, JoinError> {
        let mut reasons = Vec::with_capacity(addresses.len());
        let (mut nowhere, mut retired) = (true, false);
        for address in addresses {
            let token = self.token.as_ref().map(|token| token.reveal().to_owned());
            let client = Client::new(std::slice::from_ref(address), token, JOIN_PATIENCE);
            let client = client.map_err(|error| JoinError::System {
                what: "set up an HTTP client",
                cause: error.to_string(),
            })?;
            match client.post::<Join, Joined>("/cluster/join", &self.own).await {
                Ok(joined) => return Ok(Round::Joined(joined)),
                Err(error) => {
                    nowhere &= shows_no_cluster(&error);
                    let code = error.problem().map(|problem| problem.code);
                    retired |= code == Some(Code::MemberRetired);
                    reasons.push(format!("{address}: {error}"));
                }
            }
        }
        Ok(Round::Refused { reason: reasons.join("; "), nowhere, retired })
    }

    async fn settle(&self, joined: Joined) -> Entered {
        let Joined { part, cluster_id, swim_seeds, voters_wanted } = joined;
        tracing::info!(part, cluster_id, "joined");
        if let Some(consensus) = &self.consensus {
            if part == "client" {
                return Entered::AsClient;
            }
            let own = consensus.voter_policy().wanted.get();
            let theirs = voters_wanted.and_then(|wanted| usize::try_from(wanted).ok());
            if let Some(theirs) = theirs.filter(|theirs| *theirs != own) {
                tracing::warn!(
                    own,
                    theirs,
                    "--voters is not that of the leader, whose value counts while it leads"
                );
            }
        }
        self.gossip.set_cluster(&cluster_id).await;
        self.gossip.join(swim_seeds).await;
        self.joining.send_replace(None);
        Entered::Settled
    }
}

/// Whether an error leaves it open that the agent there has no cluster. A refusal for any other
/// reason comes from a cluster.
fn shows_no_cluster(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Unanswered { .. } => true,
        ClientError::Refused(problem) => problem.code == Code::NoCluster,
        ClientError::Foreign { .. } => false,
    }
}

/// A name that no other cluster has, most likely.
///
/// # Errors
/// When there is no randomness.
pub(crate) fn drawn_cluster_id() -> Result<String, JoinError> {
    let chance = getrandom::u32().map_err(|error| JoinError::System {
        what: "draw the cluster's name",
        cause: error.to_string(),
    })?;
    Ok(format!("ringrift-{chance:08x}"))
}
