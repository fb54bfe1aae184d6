//! Starting: the disk first, then the raft core, then the port.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::consensus::barrier::Barrier;
use crate::consensus::log::wal::Wal;
use crate::consensus::log::{Log, LogStore};
use crate::consensus::machine::snapshot::SnapshotDirectory;
use crate::consensus::machine::{Shared, StateMachine};
use crate::consensus::network::Network;
use crate::consensus::network::link::Caller;
use crate::consensus::propose::Proposer;
use crate::consensus::room::voters::{self, Words};
use crate::consensus::room::{self, Room};
use crate::consensus::transport::{Listener, Tcp, Transport};
use crate::consensus::trips::Pacer;
use crate::consensus::vocabulary::Raft;
use crate::consensus::watchdog::{self, Flushes};
use crate::consensus::{Consensus, ConsensusConfig, ConsensusError, Inner, Member};
use crate::consensus::{compaction, hint, identity, restore, runtime, server, status};

impl Consensus {
    /// Opens the log and the snapshots, starts the raft core and serves the raft port.
    ///
    /// # Errors
    /// When the settings contradict each other, the disk is damaged or in use, or the port is taken.
    pub async fn open(config: ConsensusConfig, clock: Clock) -> Result<Self, ConsensusError> {
        Self::open_on(config, clock, |log| Box::new(log)).await
    }

    /// As [`Consensus::open`], on a log that tests may wrap.
    pub(super) async fn open_on(
        config: ConsensusConfig,
        clock: Clock,
        wrap: impl FnOnce(Wal) -> Box<dyn Log>,
    ) -> Result<Self, ConsensusError> {
        // Settings that contradict each other must not touch the disk.
        let settings = config.timing.raft_config()?;
        let directory = config.data_dir.join("raft");
        let failed = |what| {
            let path = directory.clone();
            move |source: io::Error| ConsensusError::Disk { what, path, source }
        };
        restore::refuse_unfinished(&directory)?;
        std::fs::create_dir_all(&directory).map_err(failed("create"))?;
        room::prepare(&directory).map_err(failed("look at the disk under"))?;
        // The log locks its directory, so it is opened before anything else is touched.
        let mut log = Wal::open(&directory.join("log")).map_err(failed("open the log in"))?;
        let raft_id = identity::of_log(&directory, &mut log)?;
        let disk = Disk::open(&directory, clock, raft_id, wrap(log))?;
        let transport = Arc::new(Tcp);
        let consensus = Self::start(config, clock, Ground { settings, disk, transport }).await?;
        let watch = room::watch(Arc::downgrade(&consensus.inner), directory);
        consensus.inner.watch_over([AbortOnDropHandle::new(tokio::spawn(watch))]);
        Ok(consensus)
    }

    /// Starts the raft core on what there is.
    pub(super) async fn start(
        config: ConsensusConfig,
        clock: Clock,
        ground: Ground,
    ) -> Result<Self, ConsensusError> {
        let Ground { settings, disk: Disk { raft_id, log, snapshots, shared }, transport } = ground;
        let flushes = Flushes::new(clock);
        let log = LogStore::new(log, flushes.clone());
        let (listener, listen) = bind(&*transport, config.listen).await?;
        let raft_address = with_port(config.raft_address, listen);
        let ConsensusConfig { node_id, http_address, zone, timing, voters, .. } = config;
        let this =
            Member { node_id: node_id.clone(), raft_address, http_address, zone: zone.clone() };

        let caller = Arc::new(Caller::new(node_id, raft_id, Arc::clone(&shared), transport));
        let machine = StateMachine::new(Arc::clone(&shared), snapshots.clone());
        let words = Arc::new(Words::new(clock));
        let pacer = Pacer::new(clock, timing.round_trip_max());
        let network = Network::new(Arc::clone(&caller), pacer, Arc::clone(&words));
        let raft = raft_core(raft_id, settings, network, log.clone(), machine).await?;

        let (proposer, proposals) = Proposer::new(raft.clone(), Arc::clone(&shared), clock);
        let (leadership, observer) = status::observe(&raft, Arc::clone(&shared)).await?;
        let (barrier, rounds) = Barrier::new(
            raft.clone(),
            Arc::clone(&shared),
            Arc::clone(&caller),
            leadership.clone(),
        );
        let (ends, hinting) = hint::watch::hints(raft.clone(), Arc::clone(&caller));
        let room = Arc::<Room>::default();
        let service = server::Service {
            raft: raft.clone(),
            room: Arc::clone(&room),
            this: Arc::clone(&caller),
            zone,
            shared: Arc::clone(&shared),
            snapshots: snapshots.clone(),
            arrivals: server::receive::Arrivals::default(),
            ends,
        };
        let tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(server::serve(listener, service))),
            AbortOnDropHandle::new(tokio::spawn(proposals)),
            AbortOnDropHandle::new(tokio::spawn(observer)),
            AbortOnDropHandle::new(tokio::spawn(rounds)),
            AbortOnDropHandle::new(tokio::spawn(hinting)),
        ];
        tracing::info!(raft_id = format!("{raft_id:016x}"), %listen, "consensus open");
        let inner = Inner {
            raft,
            raft_id,
            this,
            listen,
            shared,
            log,
            flushes,
            room,
            words,
            snapshots,
            caller,
            proposer,
            barrier,
            leadership,
            voters,
            membership_turn: tokio::sync::Mutex::new(()),
            outlook: Mutex::new(None),
            backup_turn: Arc::new(tokio::sync::Semaphore::new(1)),
            tasks: Mutex::new(tasks),
        };
        let inner = Arc::new(inner);
        inner.look_after_itself();
        Ok(Self { inner })
    }
}

impl Inner {
    /// Begins to watch the disks, and how long the log grows.
    fn look_after_itself(self: &Arc<Self>) {
        self.watch_over([
            AbortOnDropHandle::new(tokio::spawn(watchdog::watch(Arc::downgrade(self)))),
            AbortOnDropHandle::new(tokio::spawn(compaction::watch(Arc::downgrade(self)))),
            AbortOnDropHandle::new(tokio::spawn(voters::watch(Arc::downgrade(self)))),
        ]);
    }

    /// Keeps tasks that end with consensus.
    fn watch_over(&self, tasks: impl IntoIterator<Item = AbortOnDropHandle<()>>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
    }
}

/// What consensus stands on.
pub(super) struct Ground {
    pub(super) settings: Arc<openraft::Config>,
    pub(super) disk: Disk,
    pub(super) transport: Arc<dyn Transport>,
}

/// What the disk holds of this agent.
pub(super) struct Disk {
    pub(super) raft_id: u64,
    pub(super) log: Box<dyn Log>,
    pub(super) snapshots: SnapshotDirectory,
    pub(super) shared: Arc<Shared>,
}

impl Disk {
    /// Reads what lies beside an open log.
    ///
    /// # Errors
    /// When it cannot be read, or lacks what the log has dropped.
    pub(super) fn open(
        directory: &Path,
        clock: Clock,
        raft_id: u64,
        log: Box<dyn Log>,
    ) -> Result<Self, ConsensusError> {
        let failed = |what| {
            let path = directory.to_owned();
            move |source: io::Error| ConsensusError::Disk { what, path, source }
        };
        let snapshots = SnapshotDirectory::open(directory.join("snapshots"));
        let snapshots = snapshots.map_err(failed("open the snapshots in"))?;
        let replica = snapshots.load().map_err(failed("load the snapshot in"))?;
        if let Some(purged) = log.ends().purged
            && replica.applied.is_none_or(|applied| applied.index < purged.index)
        {
            let problem = format!(
                "begins behind entry {}, and no snapshot holds what was before",
                purged.index
            );
            return Err(ConsensusError::Log { path: directory.join("log"), problem });
        }
        let shared = Arc::new(Shared::new(replica, clock));
        Ok(Self { raft_id, log, snapshots, shared })
    }
}

async fn raft_core(
    raft_id: u64,
    settings: Arc<openraft::Config>,
    network: Network,
    log: LogStore,
    machine: StateMachine,
) -> Result<Raft, ConsensusError> {
    // It ticks five times between two heartbeats.
    runtime::instant::is_looked_at_every(Duration::from_millis(settings.heartbeat_interval));
    let started = Raft::new(raft_id, settings, network, log, machine).await;
    started.map_err(|fatal| ConsensusError::Start { cause: fatal.to_string() })
}

async fn bind(
    transport: &dyn Transport,
    address: SocketAddr,
) -> Result<(Box<dyn Listener>, SocketAddr), ConsensusError> {
    let failed = |source| ConsensusError::Listen { address, source };
    let listener = transport.listen(address).await.map_err(failed)?;
    let address = listener.address().map_err(failed)?;
    Ok((listener, address))
}

/// Fills in the port that a listener on port 0 got.
fn with_port(address: String, listen: SocketAddr) -> String {
    match address.strip_suffix(":0") {
        Some(host) => format!("{host}:{}", listen.port()),
        None => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::consensus::{Timing, VoterPolicy};

    async fn open(data_dir: &Path) -> Result<Consensus, ConsensusError> {
        let config = ConsensusConfig {
            node_id: "a".parse().unwrap(),
            data_dir: data_dir.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            raft_address: "127.0.0.1:0".to_owned(),
            http_address: "a.invalid:8770".to_owned(),
            zone: None,
            timing: Timing::safe(),
            voters: VoterPolicy::default(),
        };
        Consensus::open(config, Clock::start()).await
    }

    /// Starts once, founds a cluster if told so, and answers the raft id.
    async fn run(data_dir: &Path, founds: bool) -> u64 {
        let consensus = open(data_dir).await.unwrap();
        if founds {
            consensus.initialize("test".to_owned()).await.unwrap();
        }
        consensus.halt().await;
        consensus.inner.raft_id
    }

    fn refused(opened: Result<Consensus, ConsensusError>, expected: &str) {
        match opened {
            Err(ConsensusError::Log { path: _, problem }) if problem.contains(expected) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("must be refused"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_voter_that_lost_its_log_alone_does_not_start() {
        let directory = tempfile::tempdir().unwrap();
        let (raft, kept) = (directory.path().join("raft"), directory.path().join("kept"));
        run(directory.path(), true).await;
        std::fs::rename(raft.join("log"), &kept).unwrap();
        refused(open(directory.path()).await, "is empty");
        refused(open(directory.path()).await, "is empty");
        std::fs::remove_dir_all(raft.join("log")).unwrap();
        std::fs::rename(&kept, raft.join("log")).unwrap();
        let consensus = open(directory.path()).await.unwrap();
        assert!(consensus.is_initialized());
        consensus.halt().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_voter_that_lost_everything_comes_back_as_another() {
        let directory = tempfile::tempdir().unwrap();
        let before = run(directory.path(), true).await;
        std::fs::remove_dir_all(directory.path().join("raft")).unwrap();
        assert_ne!(run(directory.path(), false).await, before);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_that_ended_before_its_raft_id_was_kept_goes_on_with_that_of_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let before = run(directory.path(), false).await;
        std::fs::remove_file(directory.path().join("raft/raft-id")).unwrap();
        assert_eq!(run(directory.path(), false).await, before);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_log_of_another_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for directory in [&one, &other] {
            run(directory.path(), false).await;
        }
        let log = one.path().join("raft/log");
        std::fs::remove_dir_all(&log).unwrap();
        std::fs::rename(other.path().join("raft/log"), &log).unwrap();
        refused(open(one.path()).await, "is the log of raft id");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_was_cut_does_not_start_without_its_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let consensus = open(directory.path()).await.unwrap();
        consensus.initialize("test".to_owned()).await.unwrap();
        consensus.compact().await.unwrap();
        while consensus.status().purged.is_none() {
            tokio::task::yield_now().await;
        }
        consensus.halt().await;
        std::fs::remove_file(directory.path().join("raft/snapshots/current.snapshot")).unwrap();
        refused(open(directory.path()).await, "no snapshot holds");
    }
}
