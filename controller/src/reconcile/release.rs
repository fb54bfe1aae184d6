//! The way back: cancels the run of a deleted object, so that no worker goes on for nobody, and lets
//! an object go whose run has ended.

use std::time::Duration;

use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::runtime::controller::Action;
use ringrift_crds::FINALIZER;
use ringrift_wire::client::ClientError;
use ringrift_wire::problem::Code;
use serde_json::json;
use tracing::{info, warn};

use super::events::Event;
use super::{Kind, LookError, Means, api, run_id};

/// A deleted object is let go after so long, whether or not an agent could be told. A namespace
/// must not hang for ever on a queue that is gone.
const RELEASE_DEADLINE: Duration = Duration::from_secs(60);

/// Cancels the run. After an Ok, the finalizer goes.
///
/// # Errors
/// [`LookError::Agents`] while no agent could be told and the deadline has not passed.
pub(super) async fn release<K: Kind>(
    metadata: &ObjectMeta,
    means: &Means,
) -> Result<Action, LookError> {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let run_id = run_id::<K>(metadata);
    let error = match means.agents.cancel_run(&run_id).await {
        Ok(_) => None,
        Err(error) if has_nothing_to_cancel(&error) => None,
        Err(error) => Some(error),
    };
    let now = means.clock.monotonic();
    match error {
        None => info!(run_id, "run of a deleted object cancelled or over"),
        Some(error) if means.releases.failing_for(uid, now) < RELEASE_DEADLINE => {
            means.releases.next(uid, now);
            return Err(LookError::Agents(Box::new(error)));
        }
        Some(error) => {
            warn!(run_id, %error, "run of a deleted object may go on: no agent could be told");
            means.metrics.run_abandoned(K::NAME);
            means.events.publish::<K>(metadata, &Event::RunAbandoned { run_id: &run_id }).await;
        }
    }
    means.releases.forget(uid);
    means.pace.forget(uid);
    Ok(Action::await_change())
}

/// Takes the finalizer from an object whose run has ended: there is nothing left to cancel, so the
/// object can be deleted whether or not a controller runs.
///
/// # Errors
/// [`LookError::Finalizer`] when the API server refuses or does not answer.
pub(super) async fn let_go<K: Kind>(metadata: &ObjectMeta, means: &Means) -> Result<(), LookError> {
    let present = metadata.finalizers.as_deref().unwrap_or_default();
    if !present.iter().any(|one| one == FINALIZER) {
        return Ok(());
    }
    let others: Vec<&String> = present.iter().filter(|one| *one != FINALIZER).collect();
    // With the version that was read: a list is replaced whole, and another finalizer may have come.
    let patch = Patch::Merge(json!({
        "metadata": { "finalizers": others, "resourceVersion": metadata.resource_version },
    }));
    let name = metadata.name.as_deref().unwrap_or_default();
    let objects = api::<K>(means, metadata);
    match objects.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(LookError::Finalizer(error.to_string())),
    }
}

fn has_nothing_to_cancel(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| matches!(problem.code, Code::RunUnknown | Code::RunEnded))
}
