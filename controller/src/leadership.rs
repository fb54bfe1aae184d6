//! Which replica writes: a Lease in the controller's own namespace.
//!
//! Losing it parks this replica and never ends it. The elector has a client of its own, without
//! retries, and each call has its own timeout, so that a slow API server cannot make a holder believe
//! for too long. A replica that was paused and writes late does no harm: submitting and cancelling a
//! run are idempotent, and a status is written only onto the version of the object that was read.

mod election;

use std::sync::Arc;
use std::time::Duration;

use election::{CALL_TIMEOUT, Election, LEASE_DURATION, Move, RETRY_PERIOD, Record};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::http::Pulse;
use crate::metrics::Metrics;

/// Of an orderly end: short, and not zero, which Kubernetes refuses.
const RELEASED_DURATION_SECONDS: i32 = 1;

/// Why a look at the Lease came to nothing.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Api(#[from] kube::Error),
}

/// One replica's part in the election.
pub(crate) struct Elector {
    pub(crate) leases: Api<Lease>,
    pub(crate) lease: String,
    pub(crate) identity: String,
    pub(crate) clock: Clock,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) metrics: Metrics,
}

impl Elector {
    /// Takes part until `stop` says so, and tells `leads` whether this replica may write. At the end
    /// it gives the Lease back.
    pub(crate) async fn run(self, leads: watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
        let mut election = Election::new(self.identity.clone());
        let mut held: Option<Lease> = None;
        while !*stop.borrow() {
            self.pulse.turned(self.clock.monotonic());
            match self.turn(&mut election).await {
                Ok(lease) => {
                    self.pulse.seen_api();
                    held = lease;
                }
                Err(error) => {
                    warn!(%error, lease = self.lease, "lease could not be read or written")
                }
            }
            self.tell(&leads, election.leads(self.clock.monotonic()));
            let pause = self.pause(&election);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
            }
            self.tell(&leads, election.leads(self.clock.monotonic()));
        }
        if election.leads(self.clock.monotonic()) {
            self.tell(&leads, false);
            self.release(held).await;
        }
    }

    /// Never sleeps past the moment at which this replica has to stop writing.
    fn pause(&self, election: &Election) -> Duration {
        election
            .leads_for(self.clock.monotonic())
            .map_or(RETRY_PERIOD, |left| left.min(RETRY_PERIOD))
    }

    fn tell(&self, leads: &watch::Sender<bool>, now: bool) {
        self.metrics.leads(now);
        let changed = leads.send_if_modified(|before| std::mem::replace(before, now) != now);
        if changed {
            info!(leads = now, identity = self.identity, lease = self.lease, "leadership changed");
        }
    }

    /// One look at the Lease, and the write that it calls for. Gives the Lease when this replica
    /// holds it.
    async fn turn(&self, election: &mut Election) -> Result<Option<Lease>, LeaseError> {
        let found = call(self.leases.get_opt(&self.lease)).await?;
        let began = self.clock.monotonic();
        let record = found.as_ref().map(record_of);
        let written = match (election.decide(began, record), found) {
            (Move::Wait, _) => {
                election.lost();
                return Ok(None);
            }
            (Move::Create, _) => {
                let lease = self.wanted(None);
                call(self.leases.create(&PostParams::default(), &lease)).await
            }
            (Move::Take | Move::Renew, found) => {
                let lease = self.wanted(found);
                call(self.leases.replace(&self.lease, &PostParams::default(), &lease)).await
            }
        };
        match written {
            Ok(lease) => {
                election.held(began);
                Ok(Some(lease))
            }
            Err(LeaseError::Api(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() =>
            {
                debug!(lease = self.lease, "another replica wrote the lease first");
                election.lost();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The Lease as it is when this replica holds it.
    fn wanted(&self, found: Option<Lease>) -> Lease {
        let now = MicroTime(self.clock.wall());
        let before = found.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let renews = before.holder_identity.as_deref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0);
        let metadata = found.map_or_else(
            || ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() },
            |lease| lease.metadata,
        );
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
                acquire_time: if renews { before.acquire_time } else { Some(now.clone()) },
                lease_transitions: Some(transitions.saturating_add(i32::from(!renews))),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Lets another replica begin at once. When this fails, it begins after the Lease has run out.
    async fn release(&self, held: Option<Lease>) {
        let Some(mut lease) = held else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(RELEASED_DURATION_SECONDS);
            spec.renew_time = Some(MicroTime(self.clock.wall()));
        }
        match call(self.leases.replace(&self.lease, &PostParams::default(), &lease)).await {
            Ok(_) => info!(lease = self.lease, "lease given back"),
            Err(error) => warn!(%error, lease = self.lease, "lease could not be given back"),
        }
    }
}

fn record_of(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
    }
}

async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    match tokio::time::timeout(CALL_TIMEOUT, request).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(LeaseError::Timeout),
    }
}
