//! The gossip shell: a UDP socket around [`ringrift_core::membership`].
//!
//! One task owns the machine, the socket and the one queue of timers; everybody else sends it
//! messages over a bounded channel and reads the roster that it publishes. The task has a thread and
//! a runtime of its own, so that an agent whose other threads are saturated still answers probes:
//! busy must not look like dead.

mod detector;
mod envelope;
mod seeds;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use detector::{Detector, Request};
use envelope::Envelope;
use ringrift_core::id::NodeId;
use ringrift_core::membership::{Identity, IdentityError, Membership};
pub use ringrift_core::membership::{Member, Profile, ProfileError, State};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;

/// Requests to the detector that may wait. They are rare: joins, a cluster name, a farewell.
const REQUESTS_MAX: usize = 16;
/// A farewell that takes longer is not worth waiting for: the others find out by themselves.
const LEAVE_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a member needs to know of itself.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// This agent.
    pub node_id: NodeId,
    /// The cluster's id; packets of others are ignored. Empty while it is not yet known: agents that
    /// know none hear only each other. See [`Gossip::set_cluster`].
    pub cluster: String,
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// What others send to, when that is not `listen`. Port 0 stands for the port listened on.
    pub advertise: Option<SocketAddr>,
    /// Where this agent serves HTTP, as `host:port`.
    pub http_address: String,
    /// Where it replicates, as `host:port`; nothing for a client.
    pub raft_address: Option<String>,
    /// Must grow with every start: the greater of the kept one plus 1 and the wall clock's
    /// milliseconds.
    pub generation: u64,
    /// The timing.
    pub profile: Profile,
}

/// Why gossip could not start.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// The socket could not be opened.
    #[error("cannot listen for gossip on {address} (UDP): {cause}; choose another --swim-port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        cause: io::Error,
    },
    /// What this agent would tell of itself is not valid.
    #[error("cannot gossip as {node_id}: {cause}")]
    Identity {
        /// This agent.
        node_id: NodeId,
        /// What is wrong.
        cause: IdentityError,
    },
    /// No thread, or no randomness, could be had.
    #[error("cannot start the gossip thread: {cause}")]
    Thread {
        /// The system's answer.
        cause: io::Error,
    },
}

/// A handle on the running detector; cheap to clone. When the last one is dropped the detector ends
/// without a farewell, as if the agent had been killed.
#[derive(Debug, Clone)]
pub struct Gossip {
    requests: mpsc::Sender<Request>,
    roster: watch::Receiver<Arc<[Member]>>,
    changes: watch::Receiver<u64>,
    generation: watch::Receiver<u64>,
    listen_address: SocketAddr,
    advertised: SocketAddr,
    profile: Profile,
}

impl Gossip {
    /// Opens the socket and starts the detector. It knows nobody until [`Gossip::join`].
    ///
    /// # Errors
    /// As [`GossipError`] says; nothing is left running then.
    pub fn start(config: GossipConfig, clock: Clock) -> Result<Self, GossipError> {
        let listen = |cause| GossipError::Listen { address: config.listen, cause };
        let socket = UdpSocket::bind(config.listen).map_err(listen)?;
        socket.set_nonblocking(true).map_err(listen)?;
        let listen_address = socket.local_addr().map_err(listen)?;
        let advertised = advertised(config.advertise, listen_address);
        let identity = Identity::new(
            config.node_id.clone(),
            config.generation,
            advertised,
            config.http_address,
            config.raft_address,
        )
        .map_err(|cause| GossipError::Identity { node_id: config.node_id, cause })?;

        let seed = getrandom::u64()
            .map_err(|error| GossipError::Thread { cause: io::Error::other(error) })?;
        let machine = Membership::new(identity, config.profile, seed);
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (roster_sender, roster) = watch::channel(Arc::from(machine.roster()));
        let (changes_sender, changes) = watch::channel(0);
        let (generation_sender, generation) = watch::channel(config.generation);
        let publish = detector::Publish {
            roster: roster_sender,
            changes: changes_sender,
            generation: generation_sender,
        };
        let envelope = Envelope::of_cluster(&config.cluster);
        let detector = Detector::new(machine, envelope, clock, publish);
        spawn(detector, socket, inbox)?;
        let profile = config.profile;
        Ok(Self { requests, roster, changes, generation, listen_address, advertised, profile })
    }

    /// Where it listens, with the port that it got.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        self.listen_address
    }

    /// What others send to.
    #[must_use]
    pub fn advertised_address(&self) -> SocketAddr {
        self.advertised
    }

    /// The timing in force.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Announces itself to the seeds, each `host:port`, again and again: quickly until somebody
    /// answers, slowly for ever after, so that a cluster that fell apart finds together. Seeds are
    /// added to the earlier ones, up to [`SEEDS_MAX`].
    pub async fn join(&self, seeds: Vec<String>) {
        self.request(Request::Join(seeds)).await;
    }

    /// Announces itself once to whoever gossips at `address`, who is not remembered as a seed.
    pub async fn announce(&self, address: SocketAddr) {
        self.request(Request::Announce(address)).await;
    }

    /// Names the cluster, once it is known.
    pub async fn set_cluster(&self, cluster: &str) {
        self.request(Request::Cluster(cluster.to_owned())).await;
    }

    /// Everybody that is known, this agent included, sorted by node.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.roster.borrow().to_vec()
    }

    /// A number that grows with every change of [`Gossip::members`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// This agent's generation. It grows when others wrongly declared it failed; keep it on disk.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.clone()
    }

    /// Says farewell, so that the others need not find out, and stops. Takes at most a second.
    pub async fn leave(&self) {
        let (done, wait) = oneshot::channel();
        self.request(Request::Leave(done)).await;
        if tokio::time::timeout(LEAVE_WAIT_MAX, wait).await.is_err() {
            tracing::warn!("the gossip thread did not confirm the farewell in time");
        }
    }

    async fn request(&self, request: Request) {
        if self.requests.send(request).await.is_err() {
            tracing::debug!("gossip has ended already");
        }
    }
}

/// The most seeds that a member remembers: a discovery that names every pod of a large cluster must
/// not turn each join into a flood.
pub const SEEDS_MAX: usize = 64;

fn advertised(asked: Option<SocketAddr>, listening: SocketAddr) -> SocketAddr {
    match asked {
        None => listening,
        Some(address) if address.port() == 0 => SocketAddr::new(address.ip(), listening.port()),
        Some(address) => address,
    }
}

fn spawn(
    detector: Detector,
    socket: UdpSocket,
    inbox: mpsc::Receiver<Request>,
) -> Result<(), GossipError> {
    let thread = |cause| GossipError::Thread { cause };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(thread)?;
    let socket = {
        let _inside = runtime.enter();
        tokio::net::UdpSocket::from_std(socket).map_err(thread)?
    };
    std::thread::Builder::new()
        .name("gossip".to_owned())
        .spawn(move || runtime.block_on(detector.run(socket, inbox)))
        .map_err(thread)?;
    Ok(())
}
