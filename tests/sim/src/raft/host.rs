//! One agent on one machine: a runtime of its own with a clock that the world moves, a disk, a wall
//! clock, and consensus as the agent runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringrift_agent::clock::Clock;
use ringrift_agent::consensus::simulation::{self, Disk, Planted, Seat};
use ringrift_agent::consensus::{
    Consensus, ConsensusConfig, ConsensusError, Member, Timing, VoterPolicy,
};
use ringrift_core::id::NodeId;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::chance::Chance;
use crate::fault::node_name;
use crate::raft::net::{Machine, Net, address_of};
use crate::raft::socket::Port;

/// One step of the world.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// How consensus is set in a world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) timing: Timing,
    pub(crate) snapshot_entries: u64,
    pub(crate) tail_entries: u64,
    pub(crate) planted: Option<Planted>,
}

/// How an agent goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fall {
    /// Its process ends; its kernel closes its connections.
    Process,
    /// Its machine loses power.
    Power,
}

/// What an agent answered, and what it was asked, as its world knows it.
pub(crate) type Outbox<T> = Arc<Mutex<Vec<T>>>;

/// What runs while an agent is up.
struct Running {
    opening: Option<JoinHandle<Result<Consensus, ConsensusError>>>,
    consensus: Option<Consensus>,
    /// Last, since the others have tasks in it.
    runtime: Runtime,
}

pub(crate) struct Host {
    pub(crate) id: usize,
    pub(crate) name: NodeId,
    settings: Settings,
    net: Net,
    chance: Chance,
    /// What decides the agent's next draw.
    draws: Option<u64>,
    directory: TempDir,
    pub(crate) disk: Disk,
    wall: &'static AtomicU64,
    /// What the wall clock is ahead of the world.
    pub(crate) wall_ahead: u64,
    running: Option<Running>,
    /// Counts its starts.
    pub(crate) life: u64,
    /// Whether this life is saying goodbye.
    pub(crate) leaving: bool,
    /// While it is stopped: until when, and how long it has been so far.
    paused: Option<(u64, u64)>,
    /// The flush in progress: when it ends, and how many records it takes.
    flushing: Option<(u64, usize)>,
    /// The longest flush, in milliseconds, and until when the disk hangs or is full.
    pub(crate) flush_max: u64,
    pub(crate) hangs_until: u64,
    pub(crate) full_until: u64,
}

impl Host {
    pub(crate) fn new(
        id: usize,
        settings: Settings,
        net: Net,
        wall: &'static AtomicU64,
        mut chance: Chance,
    ) -> Result<Self, String> {
        let directory = scratch()?;
        let draws = Some(chance.next());
        let disk = Disk::default();
        if let Some(planted) = settings.planted {
            disk.plant(planted);
        }
        Ok(Self {
            id,
            name: node_name(id)?,
            settings,
            net,
            chance,
            draws,
            directory,
            disk,
            wall,
            wall_ahead: 0,
            running: None,
            life: 0,
            leaving: false,
            paused: None,
            flushing: None,
            flush_max: 2,
            hangs_until: 0,
            full_until: 0,
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Its consensus, when it is up, awake and open.
    pub(crate) fn consensus(&self) -> Option<&Consensus> {
        let running = self.running.as_ref().filter(|_| self.paused.is_none())?;
        running.consensus.as_ref()
    }

    /// The agent as others see it.
    pub(crate) fn member(&self) -> Member {
        let address = address_of(self.id).to_string();
        let (node_id, raft_address) = (self.name.clone(), address.clone());
        Member { node_id, raft_address, http_address: address, zone: None }
    }

    /// Starts the agent on what its disk holds.
    pub(crate) fn start(&mut self, now: u64) -> Result<(), String> {
        self.life += 1;
        self.leaving = false;
        self.wall.store(now + self.wall_ahead, Ordering::Relaxed);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // What disk work on another thread answers is looked at when there is nothing else to
            // do, in the order in which it was asked for: so it cannot race.
            .global_queue_interval(u32::MAX)
            .max_blocking_threads(1)
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        self.net.set_machine(self.id, Machine::Listens);
        let address: SocketAddr = address_of(self.id);
        let Member { node_id, raft_address, http_address, zone } = self.member();
        let config = ConsensusConfig {
            node_id,
            data_dir: self.directory.path().to_owned(),
            listen: address,
            raft_address,
            http_address,
            zone,
            timing: self.settings.timing,
            voters: VoterPolicy::default(),
        };
        let seat = Seat {
            disk: self.disk.clone(),
            transport: Arc::new(Port { net: self.net.clone(), host: self.id }),
            raft_id: self.chance.next(),
            snapshot_entries: self.settings.snapshot_entries,
            tail_entries: self.settings.tail_entries,
        };
        let wall = self.wall;
        let opening = runtime.spawn(async move {
            let consensus = simulation::open(config, Clock::simulated(wall), seat).await?;
            let leading = consensus.clone();
            tokio::spawn(async move { simulation::lead(&leading).await });
            Ok(consensus)
        });
        self.running = Some(Running { opening: Some(opening), consensus: None, runtime });
        Ok(())
    }

    /// The agent is gone from one moment to the next.
    pub(crate) fn fall(&mut self, fall: Fall) {
        let machine = match fall {
            Fall::Process => Machine::Refuses,
            Fall::Power => Machine::Dark,
        };
        self.net.set_machine(self.id, machine);
        self.running = None;
        self.paused = None;
        self.flushing = None;
        let backlog = self.disk.backlog();
        self.disk.crash(self.chance.below(backlog + 1));
    }

    /// Its disk is lost with all that was on it; with `keep_name` somebody copied the raft id.
    pub(crate) fn wipe(&mut self, keep_name: bool) -> Result<Disk, String> {
        let lost = std::mem::take(&mut self.disk);
        if let Some(planted) = self.settings.planted {
            self.disk.plant(planted);
        }
        let directory = scratch()?;
        if keep_name {
            let raft = |directory: &TempDir| directory.path().join("raft");
            std::fs::create_dir_all(raft(&directory)).map_err(|error| error.to_string())?;
            let copied = std::fs::copy(
                raft(&self.directory).join("raft-id"),
                raft(&directory).join("raft-id"),
            );
            copied.map_err(|error| format!("no raft id to keep: {error}"))?;
        }
        self.directory = directory;
        Ok(lost)
    }

    /// Stops the process where it is. Its kernel goes on.
    pub(crate) fn pause(&mut self, until: u64) {
        if self.running.is_some() && self.paused.is_none() {
            self.paused = Some((until, 0));
        }
    }

    /// Ends a pause now.
    pub(crate) fn wake(&mut self) {
        if let Some((until, _)) = &mut self.paused {
            *until = 0;
        }
    }

    /// Runs something beside the agent, in its runtime.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(running) = &self.running {
            running.runtime.spawn(work);
        }
    }

    /// One millisecond passes.
    pub(crate) fn step(&mut self, now: u64) -> Result<(), String> {
        self.wall.store(now + self.wall_ahead, Ordering::Relaxed);
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let mut missed = 0;
        if let Some((until, so_far)) = &mut self.paused {
            *so_far += 1;
            if *until > now {
                return Ok(());
            }
            missed = *so_far - 1;
            self.paused = None;
        }
        let before = simulation::decide_chance(self.draws);
        running.runtime.block_on(async {
            if missed > 0 {
                tokio::time::advance(Duration::from_millis(missed)).await;
            }
            tokio::time::sleep(STEP).await;
        });
        self.draws = simulation::decide_chance(before);
        if let Some(opening) = running.opening.take_if(|opening| opening.is_finished()) {
            let opened = running.runtime.block_on(opening).map_err(|error| error.to_string())?;
            match opened {
                Ok(consensus) => running.consensus = Some(consensus),
                // The supervisor starts it again, as it does with any whose disk fails.
                Err(_) if self.disk.is_broken() => {}
                Err(error) => return Err(format!("{} does not start: {error}", self.name)),
            }
        }
        Ok(())
    }

    /// Its disk works for a millisecond, if it does.
    pub(crate) fn turn_disk(&mut self, now: u64) {
        if self.running.is_none() {
            return;
        }
        if self.full_until > now {
            self.disk.break_down(std::io::ErrorKind::StorageFull);
            return;
        }
        if self.hangs_until > now {
            return;
        }
        match self.flushing {
            Some((at, count)) if at <= now => {
                self.disk.flush(count);
                self.flushing = None;
            }
            Some(_) => return,
            None => {}
        }
        let backlog = self.disk.backlog();
        if backlog > 0 {
            // One flush serves all that came during the one before.
            self.flushing = Some((now + self.chance.between(0, self.flush_max), backlog));
        }
    }
}

/// A directory for snapshots; in memory where the system has such a place, since a world flushes them
/// to its own disk anyway.
fn scratch() -> Result<TempDir, String> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.map_err(|error| format!("no directory: {error}"))
}

/// Takes what an agent put there.
pub(crate) fn take<T>(outbox: &Outbox<T>) -> Vec<T> {
    std::mem::take(&mut *outbox.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Puts something there.
pub(crate) fn put<T>(outbox: &Outbox<T>, item: T) {
    outbox.lock().unwrap_or_else(PoisonError::into_inner).push(item);
}
