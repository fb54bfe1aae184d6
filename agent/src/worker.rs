//! The worker: claims items from its own agent, runs them, renews its claims, reports what came out.
//!
//! One task owns the truth about what this node holds. It claims as much as there are free slots,
//! starts one task for each item, and renews all claims with one heartbeat. By its own clock, counted
//! from before a claim or heartbeat was sent, it knows until when a claim is surely its own; a
//! process is stopped before that time is over, so that no two nodes run one item at once. Should
//! this agent hang, the process's leash ends it all the same: it is told that time too.

mod claim;
mod lease;
mod report;
mod spool;
mod task;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use claim::{Ask, Claims, open_session};
use lease::{Cause, Lease, Timing};
use report::Reporter;
use ringrift_core::id::{NodeId, WorkId};
use ringrift_core::limits;
use ringrift_core::time::Span;
use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::work;
use spool::Spool;
use task::Kinds;
use tokio::task::{AbortHandle, Id, JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::process;

/// Longest wait for work in one request; see also [`Timing`].
const CLAIM_WAIT_MAX: Duration = Duration::from_secs(10);
/// Shortest time between two claims that brought nothing, should the agent not wait as asked.
const CLAIM_EMPTY_PAUSE: Duration = Duration::from_millis(250);
/// First and longest pause after a claim that failed.
const CLAIM_RETRY_FIRST: Duration = Duration::from_millis(100);
const CLAIM_RETRY_MAX: Duration = Duration::from_secs(2);
/// Longest sleep of the loop, so that a lost wake-up could never stop it.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// What ending takes at most: the polite stop, the kill, and time to report both.
const SHUTDOWN_MAX: Duration = Duration::from_secs(15);
/// Attempts between two looks at the spool directory's size.
const ATTEMPTS_PER_SWEEP: u32 = 100;

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// This agent.
    pub node_id: NodeId,
    /// Items that may run at once; 0 claims nothing.
    pub slots: u32,
    /// What this node can do, as items ask for it.
    pub capabilities: BTreeSet<String>,
    /// This node's labels.
    pub labels: BTreeMap<String, String>,
    /// The game runner, as a path or as a name to be found in PATH. Without it no pairs are claimed.
    pub match_program: PathBuf,
    /// The executable that knows the subcommand `leash`: [`process::leash::own_executable`], except
    /// in tests.
    pub leash_program: PathBuf,
    /// Where outputs and results wait; made when it is not there. No other agent may use it.
    pub spool_dir: PathBuf,
    /// Length of a claim's lease; brought between [`limits::LEASE_MIN`] and [`limits::LEASE_MAX`].
    pub lease: Span,
}

/// Why a worker could not begin.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The spool directory cannot be used.
    #[error("cannot use the spool directory {path}: {cause}")]
    Spool {
        /// The directory.
        path: PathBuf,
        /// The system's answer.
        cause: std::io::Error,
    },
}

/// Works until `cancel` is cancelled: then stops every process, gives its items back, and returns
/// within 15 seconds. The client's own timeout must be longer than a claim's wait of ten seconds.
///
/// # Errors
/// [`WorkerError::Spool`], before anything is claimed.
pub async fn run(
    config: WorkerConfig,
    client: Client,
    clock: Clock,
    cancel: CancellationToken,
) -> Result<(), WorkerError> {
    let path = config.spool_dir.clone();
    let spool = Spool::open(path.clone(), clock)
        .await
        .map_err(|cause| WorkerError::Spool { path, cause })?;
    let worker = Worker::new(config, client, clock, spool);
    worker.work(cancel).await;
    Ok(())
}

/// What an ended task of the worker brings.
enum Outcome {
    /// A session for claims, or none.
    Opened(Result<String, ClientError>),
    /// Items, or none, or an error.
    Claimed { ask: Ask, reply: Result<Vec<work::WorkItem>, ClientError> },
    /// What the last claim brought went back, and its session is closed.
    Closed,
    /// Renewals, asked for at that time.
    Renewed { sent: Duration, reply: Option<work::Renewed> },
    /// An item is done with, whatever came of it.
    Ended,
}

struct Worker {
    config: WorkerConfig,
    timing: Timing,
    kinds: Arc<Kinds>,
    reporter: Reporter,
    client: Client,
    clock: Clock,
    spool: Spool,
    held: BTreeMap<WorkId, Lease>,
    tasks: JoinSet<Outcome>,
    items: HashMap<Id, WorkId>,
    claims: Claims,
    /// The request for a session or for items, and at last what closes the session.
    claiming: Option<AbortHandle>,
    is_closing: bool,
    claim_at: Duration,
    claim_failures: u32,
    renewing: Option<AbortHandle>,
    renew_at: Duration,
    ended: u32,
    sweeping: Option<JoinHandle<()>>,
}

impl Worker {
    fn new(mut config: WorkerConfig, client: Client, clock: Clock, spool: Spool) -> Self {
        // One heartbeat must be able to name everything that is held.
        let most = u32::try_from(limits::HEARTBEAT_CLAIMS_MAX).unwrap_or(u32::MAX);
        config.slots = config.slots.min(most);
        let timing = Timing::of(config.lease);
        let environment = process::inherited_environment();
        let kinds = Arc::new(Kinds::new(&config, environment, &spool));
        let reporter = Reporter::new(client.clone(), clock, timing, spool.clone());
        Self {
            timing,
            kinds,
            reporter,
            client,
            clock,
            spool,
            held: BTreeMap::new(),
            tasks: JoinSet::new(),
            items: HashMap::new(),
            claims: Claims::default(),
            claiming: None,
            is_closing: false,
            claim_at: Duration::ZERO,
            claim_failures: 0,
            renewing: None,
            renew_at: Duration::ZERO,
            ended: 0,
            sweeping: None,
            config,
        }
    }

    async fn work(mut self, cancel: CancellationToken) {
        let leftover = self.reporter.clone();
        let leftover = tokio::spawn(async move { leftover.report_leftover().await });
        while !cancel.is_cancelled() {
            self.claim_if_free();
            self.turn(cancel.cancelled()).await;
        }
        if let Some(claiming) = self.claiming.take() {
            claiming.abort();
        }
        let (client, timing, reporter) = (self.client.clone(), self.timing, self.reporter.clone());
        let closing = std::mem::take(&mut self.claims).close(client, timing, reporter);
        self.is_closing = true;
        self.claiming = Some(self.tasks.spawn(async move {
            closing.await;
            Outcome::Closed
        }));
        self.held.values_mut().for_each(|lease| lease.stop(Cause::Shutdown));
        let deadline = self.clock.since_boot().saturating_add(SHUTDOWN_MAX);
        while (!self.held.is_empty() || self.claiming.is_some())
            && self.clock.since_boot() < deadline
        {
            self.turn(std::future::pending()).await;
        }
        leftover.abort();
        // Dropping the tasks that are left kills what they still run.
        tracing::info!(abandoned = self.held.len(), "worker has stopped");
    }

    /// Waits for one thing to happen and deals with it.
    async fn turn(&mut self, stop: impl Future<Output = ()>) {
        self.stop_expiring();
        self.renew_if_due();
        let pause = self.pause();
        tokio::select! {
            () = stop => {}
            Some(ended) = self.tasks.join_next_with_id() => self.settle(ended),
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn pause(&self) -> Duration {
        let now = self.clock.since_boot();
        let claim = self.claiming.is_none().then_some(self.claim_at).filter(|at| *at > now);
        let renew = (self.renewing.is_none() && !self.held.is_empty()).then_some(self.renew_at);
        let expiring = self.held.values().filter_map(|lease| lease.stop_at(self.timing)).min();
        let first = [claim, renew, expiring].into_iter().flatten().min();
        first.map_or(SLEEP_MAX, |at| at.saturating_sub(now)).min(SLEEP_MAX)
    }

    fn claim_if_free(&mut self) {
        let held = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        let free = self.config.slots.saturating_sub(held);
        let now = self.clock.since_boot();
        if free == 0 || self.claiming.is_some() || now < self.claim_at {
            return;
        }
        let most = u32::try_from(limits::CLAIM_ITEMS_MAX).unwrap_or(u32::MAX);
        let claim = work::Claim {
            node_id: self.config.node_id.to_string(),
            capabilities: self.config.capabilities.clone(),
            labels: self.config.labels.clone(),
            work_types: self.kinds.work_types(),
            max_items: free.min(most),
            lease_seconds: self.timing.lease().as_secs_f64(),
            wait_seconds: self.timing.claim_wait().as_secs_f64(),
        };
        let client = self.client.clone();
        if self.claims.lacks_session(now) {
            let opening = async move { Outcome::Opened(open_session(client).await) };
            self.claiming = Some(self.tasks.spawn(opening));
            return;
        }
        let ask = self.claims.next(now, self.timing, claim);
        self.claiming = Some(self.tasks.spawn(async move {
            let reply = ask.send(&client).await;
            Outcome::Claimed { ask, reply }
        }));
    }

    fn renew_if_due(&mut self) {
        let sent = self.clock.since_boot();
        if self.renewing.is_some() || self.held.is_empty() || sent < self.renew_at {
            return;
        }
        let claim = |(work_id, lease): (&WorkId, &Lease)| work::HeldClaim {
            work_id: work_id.to_string(),
            token: lease.token().to_owned(),
        };
        let heartbeat = work::Heartbeat {
            node_id: self.config.node_id.to_string(),
            claims: self.held.iter().map(claim).collect(),
            lease_seconds: self.timing.lease().as_secs_f64(),
        };
        let (client, wait) = (self.client.clone(), self.timing.request_wait());
        self.renewing = Some(self.tasks.spawn(async move {
            let reply =
                tokio::time::timeout(wait, client.post("/work/heartbeat", &heartbeat)).await;
            let reply = match reply {
                Ok(Ok(renewed)) => Some(renewed),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "heartbeat failed");
                    None
                }
                Err(_elapsed) => {
                    tracing::warn!(?wait, "heartbeat was not answered in time");
                    None
                }
            };
            Outcome::Renewed { sent, reply }
        }));
    }

    fn stop_expiring(&mut self) {
        let now = self.clock.since_boot();
        for (work_id, lease) in &mut self.held {
            if lease.stop_at(self.timing).is_some_and(|at| at <= now) {
                tracing::warn!(%work_id, "no heartbeat got through, stopping before the lease ends");
                lease.stop(Cause::LeaseEnds);
            }
        }
    }

    fn settle(&mut self, ended: Result<(Id, Outcome), JoinError>) {
        match ended {
            // What it brought is asked for again by the one that closes.
            Ok((_, Outcome::Opened(_) | Outcome::Claimed { .. })) if self.is_closing => {}
            Ok((_, Outcome::Opened(reply))) => {
                self.claiming = None;
                if !self.claims.opened(self.clock.since_boot(), reply) {
                    self.claim_later();
                }
            }
            Ok((_, Outcome::Claimed { ask, reply })) => self.settle_claim(ask.sent, reply),
            Ok((_, Outcome::Closed)) => self.claiming = None,
            Ok((_, Outcome::Renewed { sent, reply })) => self.settle_renewal(sent, reply),
            Ok((id, Outcome::Ended)) => self.settle_item(id),
            Err(error) => {
                // A claim that was aborted, or a fault of this program: the item is handed to
                // another by the end of its lease.
                if error.is_panic() {
                    tracing::error!(%error, "a task of the worker failed");
                }
                let is_other = |task: &AbortHandle| task.id() != error.id();
                self.claiming = self.claiming.take().filter(is_other);
                self.renewing = self.renewing.take().filter(is_other);
                self.settle_item(error.id());
            }
        }
    }

    fn settle_item(&mut self, id: Id) {
        let Some(work_id) = self.items.remove(&id) else {
            return;
        };
        self.held.remove(&work_id);
        self.ended = self.ended.wrapping_add(1);
        // Beside this loop, and one at a time: a disk that hangs must hold up no heartbeat.
        let is_free = self.sweeping.as_ref().is_none_or(JoinHandle::is_finished);
        if is_free && self.ended.is_multiple_of(ATTEMPTS_PER_SWEEP) {
            let spool = self.spool.clone();
            self.sweeping = Some(tokio::spawn(async move { spool.sweep().await }));
        }
    }

    fn settle_claim(&mut self, sent: Duration, reply: Result<Vec<work::WorkItem>, ClientError>) {
        self.claiming = None;
        self.claims.settle(&reply);
        let now = self.clock.since_boot();
        let items = match reply {
            Ok(items) => items,
            Err(error) => {
                tracing::debug!(%error, "claim failed, will try again");
                return self.claim_later();
            }
        };
        self.claim_failures = 0;
        self.claim_at = if items.is_empty() { sent.saturating_add(CLAIM_EMPTY_PAUSE) } else { now };
        for item in items {
            self.start(sent, item);
        }
    }

    fn claim_later(&mut self) {
        let doubled = CLAIM_RETRY_FIRST.saturating_mul(1 << self.claim_failures.min(8));
        self.claim_failures = self.claim_failures.saturating_add(1);
        let pause = doubled.min(CLAIM_RETRY_MAX);
        self.claim_at = self.clock.since_boot().saturating_add(pause);
    }

    fn start(&mut self, sent: Duration, item: work::WorkItem) {
        let (Ok(work_id), Some(token)) = (item.work_id.parse::<WorkId>(), item.token.clone())
        else {
            tracing::error!(work_id = item.work_id, "claimed an item without a number or a token");
            return;
        };
        if self.held.contains_key(&work_id) {
            tracing::error!(%work_id, "claimed an item that runs here already; left to its lease");
            return;
        }
        if self.held.is_empty() {
            self.renew_at = sent.saturating_add(self.timing.renew_period());
        }
        let until = sent.saturating_add(self.timing.lease());
        let (lease, holding) = Lease::new(token, self.clock.since_boot(), until);
        self.held.insert(work_id, lease);
        let (kinds, reporter) = (Arc::clone(&self.kinds), self.reporter.clone());
        let attempt = async move {
            task::carry_out(work_id, item, holding, &kinds, &reporter).await;
            Outcome::Ended
        };
        let id = self.tasks.spawn(attempt).id();
        self.items.insert(id, work_id);
    }

    fn settle_renewal(&mut self, sent: Duration, reply: Option<work::Renewed>) {
        self.renewing = None;
        let Some(renewed) = reply else {
            self.renew_at = self.clock.since_boot().saturating_add(self.timing.renew_retry());
            return;
        };
        self.renew_at = sent.saturating_add(self.timing.renew_period());
        let lost: BTreeSet<WorkId> = renewed.lost.iter().filter_map(|id| id.parse().ok()).collect();
        let until = sent.saturating_add(self.timing.lease());
        for (work_id, lease) in &mut self.held {
            // The heartbeat did not speak of a claim that came after it.
            if !lease.was_held_at(sent) {
                continue;
            }
            if !lost.contains(work_id) {
                lease.renew(until);
            } else if lease.stop_at(self.timing).is_some() {
                tracing::info!(%work_id, "the claim was lost or cancelled, stopping");
                lease.stop(Cause::Lost);
            }
        }
    }
}
