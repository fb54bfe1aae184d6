//! The agent as a whole: its shells are built here, run as one set of tasks, and stopped in order.

mod tasks;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringrift_core::id::NodeId;
use ringrift_core::limits;
use ringrift_core::membership::Profile;
use ringrift_telemetry::logging::LoggingError;
use ringrift_telemetry::metrics::MetricsError;
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::status::Join;
pub use tasks::Part;
use tasks::{Stops, Tasks};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::capacity::Offer;
use crate::claims::Hub;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, host_and_port};
use crate::consensus::{Consensus, ConsensusConfig, ConsensusError};
use crate::data_dir::{DataDir, DataDirError};
use crate::gossip::{Gossip, GossipConfig, GossipError};
use crate::http::forward::Peers;
use crate::http::{self, App, observe};
use crate::join::{Entered, JoinError, Joiner, Rediscovery};
use crate::leader;
use crate::metrics::Metrics;
use crate::stream::Streams;
use crate::worker::{self, WorkerConfig, WorkerError};

/// The worker's patience with its own agent: longer than the longest wait of a claim of its.
const WORKER_PATIENCE: Duration = Duration::from_secs(30);
/// Attempts to start again with what was just given back, and the pause between them: a second, while
/// a thread that ends closes its socket.
const RESTART_ATTEMPTS_MAX: u32 = 20;
const RESTART_PAUSE: Duration = Duration::from_millis(50);

/// Why the agent did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Logging cannot be set up.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The HTTP port cannot be had.
    #[error("cannot listen for HTTP on {address}: {cause}; choose another --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The advertised host has no address.
    #[error("--advertise {host} has no address: {cause}")]
    Advertise {
        /// The host.
        host: String,
        /// What the system said.
        cause: String,
    },
    /// Consensus cannot start.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// Gossip cannot start.
    #[error(transparent)]
    Gossip(#[from] GossipError),
    /// Metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// No HTTP client can be set up.
    #[error("cannot set up an HTTP client: {0}")]
    Client(#[from] ClientError),
    /// No cluster can be started.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The worker cannot begin.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The system refused something.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        cause: String,
    },
    /// Consensus stopped under the running agent, most likely since its disk failed.
    #[error("consensus has stopped: {cause}; see to the disk, then start the agent again")]
    ConsensusStopped {
        /// Why.
        cause: String,
    },
    /// A part ended that should not: a fault of this program.
    #[error("{part:?} ended unexpectedly: {cause}")]
    Fault {
        /// Which one.
        part: Part,
        /// What is known.
        cause: String,
    },
}

fn system(what: &'static str, cause: &impl ToString) -> RunError {
    RunError::System { what, cause: cause.to_string() }
}

/// Runs an agent until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`] when it cannot start, or when a part of it fails.
pub fn blocking(config: Config) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| system("start the runtime", &error))?;
    runtime.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|error| system("wait for SIGTERM", &error))?;
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(|error| system("wait for SIGINT", &error))?;
        let agent = Agent::start(config, Clock::start()).await?;
        #[expect(clippy::print_stdout, reason = "the one line that says where the agent is")]
        {
            println!("{}", agent.greeting());
        }
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("stopping on SIGTERM"),
                _ = interrupt.recv() => tracing::info!("stopping on SIGINT"),
            }
        };
        agent.run(shutdown).await
    })
}

/// An agent whose shells are up.
pub struct Agent {
    app: Arc<App>,
    config: Config,
    data_dir: Arc<DataDir>,
    http_listen: SocketAddr,
    listener: TcpListener,
    joiner: Joiner,
    worker: WorkerConfig,
    offer: Offer,
    /// The line of claims that wait; nothing on an agent that never leads.
    line: Option<AbortOnDropHandle<()>>,
}

impl Agent {
    /// Opens everything that can fail: the directory, the ports, the log.
    ///
    /// # Errors
    /// [`RunError`]; nothing is left running then.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, RunError> {
        let settings = config.clone();
        let chance = getrandom::u64().map_err(|error| system("draw random numbers", &error))?;
        let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
        let node_id = own_name(&config, &data_dir, chance)?;
        let (listener, http_listen) = bind_http(config.listen).await?;
        let http_address = host_and_port(&config.advertise, http_listen.port());

        let consensus = open_consensus(&config, &data_dir, &node_id, &http_address, clock).await?;
        let generation = data_dir.next_generation(clock.wall().0)?;
        let gossip =
            start_gossip(&config, &node_id, &http_address, consensus.as_ref(), generation, clock)
                .await?;
        let is_member = consensus.as_ref().is_some_and(Consensus::is_initialized);
        let reason = (!is_member).then(|| "it has just started".to_owned());
        let (joining, joining_seen) = watch::channel(reason);
        let own = Join {
            node_id: node_id.to_string(),
            http_address,
            swim_address: gossip.advertised_address().to_string(),
            raft_address: consensus.as_ref().map(|it| it.this_member().raft_address.clone()),
        };
        let joiner = Joiner {
            own,
            entry: config.entry.clone(),
            consensus: consensus.clone(),
            gossip: gossip.clone(),
            token: config.token.clone(),
            clock,
            joining,
            chance,
        };
        let worker = worker_config(&config, &data_dir, node_id.clone());
        let offer = offer(&config, &data_dir, &node_id, own_client(&config, http_listen)?);
        let (claims, line) = match &consensus {
            Some(consensus) => {
                let (hub, line) = Hub::new(consensus.clone());
                (hub, Some(AbortOnDropHandle::new(tokio::spawn(line))))
            }
            None => (Hub::closed(), None),
        };
        let app = App {
            node_id,
            clock,
            consensus,
            gossip,
            token: config.token,
            metrics: Metrics::new()?,
            joining: joining_seen,
            stopping: CancellationToken::new(),
            peers: Peers::new().map_err(|error| system("set up an HTTP client", &error))?,
            spool: data_dir.spool(),
            match_program: config.match_program,
            claims,
            lock_waits: http::locks::line::Waits::new(chance),
            streams: Streams::new(),
            requests: observe::Places::new(),
            waits: Semaphore::new(config.waits_max),
            openapi: OnceLock::new(),
        };
        let app = Arc::new(app);
        let config = settings;
        Ok(Self { app, config, data_dir, http_listen, listener, joiner, worker, offer, line })
    }

    /// Where it listens and stores, in one line.
    #[must_use]
    pub fn greeting(&self) -> String {
        let raft = match &self.app.consensus {
            Some(consensus) => format!("raft {}/tcp", consensus.raft_listen_address().port()),
            None => "no raft".to_owned(),
        };
        format!(
            "ringrift-agent {} listens on http://{} (swim {}/udp, {raft}), stores in {}",
            self.app.node_id,
            self.http_listen,
            self.app.gossip.listen_address().port(),
            self.data_dir.path().display()
        )
    }

    /// Its name.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.app.node_id
    }

    /// Where it serves HTTP.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_listen
    }

    /// Serves until `shutdown` completes, then stops in order: the worker hands its items back, the
    /// members hear a farewell, leadership goes to another, and requests in progress end. When the
    /// cluster has enough voters and learners, it goes on as a client under the same addresses.
    ///
    /// # Errors
    /// [`RunError`] when a part fails; the others are stopped in the same order first.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut agent = self;
        loop {
            let (clock, settings) = (agent.app.clock, agent.settings_of_a_client());
            match agent.serve(shutdown.as_mut()).await? {
                Entered::Settled => return Ok(()),
                // A client asks for no part, so this happens once.
                Entered::AsClient => agent = start_again(settings, clock).await?,
            }
        }
    }

    /// Its settings as a client that is found where this agent was.
    fn settings_of_a_client(&self) -> Config {
        Config {
            client: true,
            listen: self.http_listen,
            swim_port: self.app.gossip.listen_address().port(),
            ..self.config.clone()
        }
    }

    /// Serves until it is to stop, or to go on as a client.
    async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<Entered, RunError> {
        let Self {
            app,
            config: _,
            data_dir,
            http_listen: _,
            listener,
            joiner,
            worker,
            offer,
            line: _line,
        } = self;
        let stops = Stops::default();
        let mut tasks = Tasks::default();
        let serving = http::serve(listener, Arc::clone(&app), stops.http.clone());
        tasks.spawn(Part::Http, async {
            serving.await.map_err(|error| system("serve HTTP", &error))
        });
        let (joining, stop) = (joiner, stops.duties.clone());
        let as_client = CancellationToken::new();
        let enough = as_client.clone();
        tasks.spawn(Part::Joining, async move {
            match joining.run(stop).await? {
                Entered::Settled => {}
                Entered::AsClient => enough.cancel(),
            }
            Ok(())
        });
        let stop = stops.worker.clone();
        let working = worker::run(worker, offer.client.clone(), app.clock, stop);
        tasks.spawn(Part::Worker, async { Ok(working.await?) });
        let stop = stops.offer.clone();
        tasks.spawn(Part::Offering, async {
            offer.run(stop).await;
            Ok(())
        });
        tasks.spawn(Part::Keeping, tasks::keep(Arc::clone(&app), data_dir, stops.duties.clone()));
        if let Some(consensus) = app.consensus.clone() {
            let (duties, gossip) = (consensus.clone(), app.gossip.clone());
            let stop = stops.duties.clone();
            tasks.spawn(Part::Duties, async {
                leader::run(duties, gossip, stop).await;
                Ok(())
            });
            let rediscovery =
                Rediscovery { consensus: consensus.clone(), gossip: app.gossip.clone() };
            let stop = stops.duties.clone();
            tasks.spawn(Part::Rediscovery, async {
                rediscovery.run(stop).await;
                Ok(())
            });
            tasks.spawn(Part::Watching, tasks::watch_consensus(consensus, stops.duties.clone()));
        }
        let outcome = tokio::select! {
            () = shutdown => Ok(Entered::Settled),
            () = as_client.cancelled() => Ok(Entered::AsClient),
            error = tasks.first_failure() => Err(error),
        };
        if let Err(error) = &outcome {
            tracing::error!(%error, "a part has failed, stopping the agent");
        }
        tasks::stop_in_order(&app, &stops, &mut tasks).await;
        tasks.end().await;
        outcome
    }
}

/// Starts with what another one has just given back: the system may take a moment.
async fn start_again(config: Config, clock: Clock) -> Result<Agent, RunError> {
    tracing::info!("there are enough voters and learners, going on as a client");
    for _ in 0..RESTART_ATTEMPTS_MAX {
        match Agent::start(config.clone(), clock).await {
            Err(
                error @ (RunError::Listen { .. }
                | RunError::Gossip(_)
                | RunError::DataDir(DataDirError::InUse { .. })),
            ) => tracing::debug!(%error, "not given back yet"),
            started => return started,
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
    Agent::start(config, clock).await
}

async fn bind_http(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let refused = |cause| RunError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    Ok((listener, bound))
}

fn own_name(config: &Config, data_dir: &DataDir, chance: u64) -> Result<NodeId, RunError> {
    let host = rustix::system::uname();
    let host_name = host.nodename().to_string_lossy();
    let four_digits = u16::try_from(chance & 0xffff).unwrap_or(0);
    Ok(data_dir.node_id(config.node_id.clone(), &host_name, four_digits)?)
}

async fn start_gossip(
    config: &Config,
    node_id: &NodeId,
    http_address: &str,
    consensus: Option<&Consensus>,
    generation: u64,
    clock: Clock,
) -> Result<Gossip, RunError> {
    let cluster = consensus.map(|it| it.read(|machine| machine.cluster_id().to_owned()));
    let gossip = GossipConfig {
        node_id: node_id.clone(),
        cluster: cluster.unwrap_or_default(),
        listen: SocketAddr::new(config.listen.ip(), config.swim_port),
        advertise: Some(resolve(&config.advertise, config.swim_port).await?),
        http_address: http_address.to_owned(),
        raft_address: consensus.map(|it| it.this_member().raft_address.clone()),
        generation,
        profile: Profile::default(),
    };
    Ok(Gossip::start(gossip, clock)?)
}

/// Nothing for a client, which takes no part.
async fn open_consensus(
    config: &Config,
    data_dir: &DataDir,
    node_id: &NodeId,
    http_address: &str,
    clock: Clock,
) -> Result<Option<Consensus>, RunError> {
    if config.client {
        return Ok(None);
    }
    let consensus = ConsensusConfig {
        node_id: node_id.clone(),
        data_dir: data_dir.path().to_owned(),
        listen: SocketAddr::new(config.listen.ip(), config.raft_port),
        raft_address: host_and_port(&config.advertise, config.raft_port),
        http_address: http_address.to_owned(),
        zone: config.zone.clone(),
        timing: config.profile.timing(),
        voters: config.voters,
    };
    Ok(Some(Consensus::open(consensus, clock).await?))
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr, RunError> {
    let refuse = |cause: String| RunError::Advertise { host: host.to_owned(), cause };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let mut found =
        tokio::net::lookup_host((host, port)).await.map_err(|error| refuse(error.to_string()))?;
    found.next().ok_or_else(|| refuse("its name is not known".to_owned()))
}

/// A client of this agent itself.
fn own_client(config: &Config, listen: SocketAddr) -> Result<Client, RunError> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let own = SocketAddr::new(ip, listen.port()).to_string();
    let token = config.token.as_ref().map(|token| token.reveal().to_owned());
    // What a worker says carries the token of its claim, which tells repeats apart.
    Ok(Client::new(&[own], token, WORKER_PATIENCE)?.without_sessions())
}

fn offer(config: &Config, data_dir: &DataDir, node_id: &NodeId, client: Client) -> Offer {
    Offer {
        node_id: node_id.clone(),
        works: config.slots > 0,
        given: config.given,
        data_dir: data_dir.path().to_owned(),
        client,
    }
}

fn worker_config(config: &Config, data_dir: &DataDir, node_id: NodeId) -> WorkerConfig {
    WorkerConfig {
        node_id,
        slots: config.slots,
        capabilities: config.capabilities.clone(),
        labels: config.labels.clone(),
        match_program: config
            .match_program
            .clone()
            .unwrap_or_else(|| PathBuf::from("ringrift-match")),
        leash_program: config.leash_program.clone(),
        spool_dir: data_dir.spool(),
        lease: limits::LEASE_DEFAULT,
    }
}
