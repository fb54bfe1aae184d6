//! One object, from the wish to the status, in five stages:
//!
//! | stage | asks | gives |
//! |---|---|---|
//! | [`dereference`] | the agents | what they know of the run |
//! | [`validate`] | nobody | the wish in the agents' words; the only reader of a raw spec |
//! | [`build`] | nobody | the run, prepared |
//! | [`apply`] | the agents | the run, applied |
//! | [`status`] | the API server | the digest, written when it differs |
//!
//! The three kinds differ in `validate` alone. [`release`] is the way back: what a deleted object
//! needs before it may go.
//!
//! Progress is polled: an active object is looked at again after [`ACTIVE_PERIOD`], and never twice
//! within [`pace::PERIOD_MIN`], however often it changes. An ended object is not looked at any more.

mod apply;
mod build;
mod dereference;
mod digest;
mod events;
mod pace;
mod release;
mod retry;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use events::Events;
use futures::StreamExt as _;
use kube::api::{
    Api, ObjectMeta, PartialObjectMeta, PartialObjectMetaExt as _, Resource as _, ResourceExt as _,
};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller, Error as ControllerError};
use kube::runtime::{finalizer, watcher};
use pace::Pace;
use retry::Retries;
use ringrift_crds::FINALIZER;
use ringrift_wire::client::{Client as Agents, ClientError};
use status::Finding;
use tracing::{debug, warn};
pub(crate) use validate::Kind;

use crate::clock::Clock;
use crate::metrics::{Metrics, Outcome};

/// Pause between two looks at a run that goes on.
const ACTIVE_PERIOD: Duration = Duration::from_secs(2);
/// Longest time of one look: every call inside has its own timeout; this is for their sum.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects of one kind that are looked at together. The agents answer in milliseconds, so this gives
/// thousands of looks a second, and a burst of new objects still cannot flood them.
const LOOKS_MAX: u16 = 16;

/// What every look works with.
pub(crate) struct Means {
    pub(crate) kube: kube::Client,
    pub(crate) agents: Agents,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) pace: Pace,
    pub(crate) retries: Retries,
    pub(crate) releases: Retries,
}

impl Means {
    pub(crate) fn new(
        kube: kube::Client,
        agents: Agents,
        identity: &str,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        let events = Events::new(kube.clone(), identity);
        Self {
            kube,
            agents,
            events,
            metrics,
            clock,
            pace: Pace::default(),
            retries: Retries::default(),
            releases: Retries::default(),
        }
    }
}

/// Why a look at an object has to be repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// The status tells of it already.
    #[error("the agents could not be asked: {0}")]
    Agents(Box<ClientError>),
    #[error("the status could not be written: {0}")]
    Status(#[from] status::WriteError),
    #[error("the finalizer could not be set or removed: {0}")]
    Finalizer(String),
    #[error("it took longer than {} s", LOOK_TIMEOUT.as_secs())]
    Timeout,
}

/// The metadata of an object that cannot be read is still metadata.
type Guarded<K> = DeserializeGuard<K>;

/// Looks after all objects of one kind, until dropped.
pub(crate) async fn look_after<K: Kind>(means: Arc<Means>, namespace: Option<String>) {
    let objects: Api<Guarded<K>> = match namespace {
        Some(namespace) => Api::namespaced(means.kube.clone(), &namespace),
        None => Api::all(means.kube.clone()),
    };
    Controller::new(objects, watcher::Config::default())
        .with_config(Config::default().concurrency(LOOKS_MAX))
        .run(look::<K>, retry::<K>, means)
        .for_each(|outcome| async move {
            match outcome {
                Ok((object, _)) => debug!(kind = K::NAME, name = object.name, "object looked at"),
                Err(ControllerError::ReconcilerFailed(error, object)) => {
                    let namespace = object.namespace.as_deref().unwrap_or_default();
                    warn!(kind = K::NAME, namespace, name = object.name, %error, "look failed");
                }
                // It went away while it waited for its turn.
                Err(ControllerError::ObjectNotFound(_)) => {}
                Err(error) => warn!(kind = K::NAME, %error, "watch interrupted"),
            }
        })
        .await;
}

async fn look<K: Kind>(object: Arc<Guarded<K>>, means: Arc<Means>) -> Result<Action, LookError> {
    let began = means.clock.monotonic();
    let uid = object.uid().unwrap_or_default();
    if is_live(object.meta())
        && let Some(pause) = means.pace.take(&uid, began)
    {
        return Ok(Action::requeue(pause));
    }
    let outcome = match tokio::time::timeout(LOOK_TIMEOUT, attend::<K>(&object, &means)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(LookError::Timeout),
    };
    let label = match (&outcome, &object.0) {
        (Err(_), _) => Outcome::Error,
        (Ok(_), Err(_)) => Outcome::Malformed,
        (Ok(_), Ok(_)) => Outcome::Success,
    };
    means.metrics.reconciled(K::NAME, label, means.clock.monotonic().saturating_sub(began));
    if outcome.is_ok() {
        means.retries.forget(&uid);
    }
    outcome
}

/// Called for every failed look: waits longer each time, with a spread over objects.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn retry<K: Kind>(object: Arc<Guarded<K>>, _error: &LookError, means: Arc<Means>) -> Action {
    let uid = object.uid().unwrap_or_default();
    Action::requeue(means.retries.next(&uid, means.clock.monotonic()))
}

/// Whether nobody has asked for the object's deletion.
fn is_live(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_none()
}

/// What the object's state calls for.
async fn attend<K: Kind>(object: &Guarded<K>, means: &Means) -> Result<Action, LookError> {
    let metadata = object.meta();
    match &object.0 {
        Err(invalid) if is_live(metadata) => {
            status::tell_malformed::<K>(means, metadata, &invalid.error).await?;
            Ok(Action::await_change())
        }
        Ok(readable) if is_live(metadata) && status::has_ended(readable) => {
            release::let_go::<K>(metadata, means).await?;
            Ok(Action::await_change())
        }
        Ok(_) | Err(_) => hold::<K>(object, means).await,
    }
}

/// Sets the finalizer before anything is done, and removes it after everything is undone. Metadata is
/// enough for that, so an object that cannot be read can still be deleted.
async fn hold<K: Kind>(object: &Guarded<K>, means: &Means) -> Result<Action, LookError> {
    let metadata = object.meta();
    let api = api::<K>(means, metadata);
    let held = Arc::new(metadata.clone().into_response_partial::<K>());
    let outcome = finalizer(&api, FINALIZER, held, async |event| match (event, &object.0) {
        (finalizer::Event::Apply(_), Ok(object)) => advance(object, means).await,
        // Only a live object is applied, and of those only the readable ones come here.
        (finalizer::Event::Apply(_), Err(_)) => Ok(Action::await_change()),
        (finalizer::Event::Cleanup(held), _) => release::release::<K>(&held.metadata, means).await,
    })
    .await;
    match outcome {
        Ok(action) => Ok(action),
        Err(finalizer::Error::ApplyFailed(error) | finalizer::Error::CleanupFailed(error)) => {
            Err(error)
        }
        // The object has gone while it was looked at.
        Err(finalizer::Error::RemoveFinalizer(kube::Error::Api(status)))
            if status.is_not_found() =>
        {
            Ok(Action::await_change())
        }
        Err(error) => Err(LookError::Finalizer(error.to_string())),
    }
}

/// The five stages.
async fn advance<K: Kind>(object: &K, means: &Means) -> Result<Action, LookError> {
    let outcome = pipeline(object, means).await;
    let finding = match &outcome {
        Ok(applied) => Finding::Seen(applied.seen()),
        Err(error) => Finding::from_error(error),
    };
    let ended = status::write(object, means, &finding).await?;
    match outcome {
        _ if ended => Ok(Action::await_change()),
        Ok(_) => Ok(Action::requeue(ACTIVE_PERIOD)),
        Err(StageError::Agents(error)) => Err(LookError::Agents(error)),
        // Nothing but another object helps; `ended` holds for these.
        Err(StageError::Invalid(_)) => Ok(Action::await_change()),
    }
}

/// Why the agents do not have the run.
#[derive(Debug, thiserror::Error)]
enum StageError {
    #[error("{0}")]
    Invalid(#[from] validate::Invalid),
    #[error("{0}")]
    Agents(Box<ClientError>),
}

impl From<ClientError> for StageError {
    fn from(error: ClientError) -> Self {
        Self::Agents(Box::new(error))
    }
}

async fn pipeline<K: Kind>(
    object: &K,
    means: &Means,
) -> Result<build::Run<build::Applied>, StageError> {
    let valid = validate::validate(object)?; // no client
    let known = dereference::dereference(&valid, &means.agents).await?; // reads
    let prepared = build::build(valid, known); // no client
    Ok(apply::apply(prepared, &means.agents).await?) // writes
}

/// The run's id. It follows from the object's uid, so an object that is deleted and created again
/// under its old name is another run, and submitting twice is harmless.
fn run_id<K: Kind>(metadata: &ObjectMeta) -> String {
    format!("{}-{}", K::NAME, metadata.uid.as_deref().unwrap_or_default())
}

/// The objects of the object's own namespace, by their metadata.
fn api<K: Kind>(means: &Means, metadata: &ObjectMeta) -> Api<PartialObjectMeta<K>> {
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    Api::namespaced(means.kube.clone(), namespace)
}
