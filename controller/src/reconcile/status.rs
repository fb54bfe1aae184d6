//! Stage 5 tells what was seen: the digest by server-side apply to `/status`, under a field manager of
//! its own, only when it differs, and only onto the version of the object that was read.

use std::time::Duration;

use kube::api::{ObjectMeta, Patch, PatchParams};
use ringrift_crds::Status;
use ringrift_crds::condition::{ConditionType, Reason};
use ringrift_wire::client::ClientError;
use ringrift_wire::problem::Code;
use ringrift_wire::run::RunStatus;
use serde_json::json;
use tracing::warn;

use super::events::Event;
use super::{Kind, Means, StageError, api, digest, run_id};

/// Owns the status of every object.
const FIELD_MANAGER: &str = "ringrift-controller";
/// Owns the condition `Malformed` alone, so that telling of an object that cannot be read takes
/// nothing away from what was written while it could.
const GUARD_FIELD_MANAGER: &str = "ringrift-controller-guard";
/// Longest time of one write. A slow API server must not hold up the looks at other objects.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the API server did not answer within {} s", WRITE_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Api(#[from] kube::Error),
}

/// What there is to tell.
#[derive(Debug)]
pub(super) enum Finding<'a> {
    /// The run as the agents see it.
    Seen(&'a RunStatus),
    /// The agents could not be asked; it is tried again.
    Away { reason: Reason, message: String },
    /// It will never be a run.
    Refused { reason: Reason, message: String },
}

impl Finding<'_> {
    /// What a failed stage means for the object.
    pub(super) fn from_error(error: &StageError) -> Self {
        let message = error.to_string();
        let error = match error {
            StageError::Invalid(_) => {
                return Self::Refused { reason: Reason::SpecInvalid, message };
            }
            StageError::Agents(error) => error.as_ref(),
        };
        let problem = match error {
            ClientError::Unreachable { .. } | ClientError::Unanswered { .. } => {
                return Self::Away { reason: Reason::AgentsUnreachable, message };
            }
            ClientError::Foreign { .. } => {
                return Self::Away { reason: Reason::AgentsFaulty, message };
            }
            ClientError::Refused(problem) => problem,
        };
        match verdict_on(problem.code) {
            Ok(reason) => Self::Away { reason, message },
            Err(reason) => Self::Refused { reason, message },
        }
    }
}

/// Whether a refusal passes with time (`Ok`) or stays whatever is tried (`Err`).
const fn verdict_on(code: Code) -> Result<Reason, Reason> {
    match code {
        Code::Unauthorized => Ok(Reason::AgentsUnauthorized),
        Code::Backpressure | Code::StorageFull => Ok(Reason::QueueFull),
        Code::QueueUnknown => Ok(Reason::QueueUnknown),
        Code::LeaderUnknown
        | Code::LeaderUnreachable
        | Code::CommitTimeout
        | Code::NoCluster
        | Code::NodeUnreachable
        | Code::Unavailable => Ok(Reason::AgentsUnavailable),
        Code::MalformedBody
        | Code::UnknownField
        | Code::MissingField
        | Code::WrongType
        | Code::InvalidValue
        | Code::BodyTooLarge
        | Code::RunConflict => Err(Reason::SpecRefused),
        Code::UnsupportedMediaType
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::WorkUnknown
        | Code::WorkEnded
        | Code::Fenced
        | Code::KeyConflict
        | Code::QueueInUse
        | Code::MemberRetired
        | Code::SessionUnknown
        | Code::SessionStale
        | Code::LockHeld
        | Code::LockNotHeld
        | Code::RunUnknown
        | Code::RunEnded
        | Code::Unsupported
        | Code::Internal => Ok(Reason::AgentsFaulty),
    }
}

/// Whether the object's own run has ended and the status says so: then there is nothing to do, ever.
pub(super) fn has_ended<K: Kind>(object: &K) -> bool {
    object.status().is_some_and(|status| {
        status.run_id.as_deref() == Some(run_id::<K>(object.meta()).as_str())
            && (digest::is_true(status, ConditionType::Complete)
                || digest::is_true(status, ConditionType::Failed))
    })
}

/// Writes the digest when it differs. Says whether the run has ended.
///
/// # Errors
/// [`WriteError`] when the API server refuses, does not answer, or has a newer version of the object.
pub(super) async fn write<K: Kind>(
    object: &K,
    means: &Means,
    finding: &Finding<'_>,
) -> Result<bool, WriteError> {
    let metadata = object.meta();
    let before = object.status().cloned().unwrap_or_default();
    let run_id = run_id::<K>(metadata);
    let now = means.clock.wall();
    let after = digest::digest(&before, metadata.generation, &run_id, finding, now);
    let complete = digest::is_true(&after, ConditionType::Complete);
    let failed = digest::is_true(&after, ConditionType::Failed);
    if digest::differs(&before, &after) {
        patch::<K>(means, metadata, FIELD_MANAGER, &after).await?;
        means.metrics.status_written(K::NAME);
        if before.start_time.is_none() && after.start_time.is_some() {
            means.events.publish::<K>(metadata, &Event::Submitted { run_id: &run_id }).await;
        }
        if complete || failed {
            let (reason, message) = digest::ending(finding);
            let event = Event::Ended { well: complete, reason, message };
            means.events.publish::<K>(metadata, &event).await;
        }
    }
    Ok(complete || failed)
}

/// Tells of an object that cannot be read: by log, event and, where the API server itself can read it,
/// condition. It is not tried again before the object changes.
///
/// # Errors
/// [`WriteError`] when the API server does not answer.
pub(super) async fn tell_malformed<K: Kind>(
    means: &Means,
    metadata: &ObjectMeta,
    error: &str,
) -> Result<(), WriteError> {
    let name = metadata.name.as_deref().unwrap_or_default();
    warn!(kind = K::NAME, name, error, "object cannot be read");
    let status = digest::malformed(metadata.generation, error, means.clock.wall());
    match patch::<K>(means, metadata, GUARD_FIELD_MANAGER, &status).await {
        Ok(()) => {}
        // A field of another type than the schema's: no status can be applied to such an object.
        Err(WriteError::Api(kube::Error::Api(refusal))) => {
            warn!(kind = K::NAME, name, %refusal, "object cannot be told about in its status");
        }
        Err(error) => return Err(error),
    }
    means.events.publish::<K>(metadata, &Event::Malformed { error }).await;
    Ok(())
}

async fn patch<K: Kind>(
    means: &Means,
    metadata: &ObjectMeta,
    field_manager: &str,
    status: &Status,
) -> Result<(), WriteError> {
    let name = metadata.name.as_deref().unwrap_or_default();
    // With the version that was read, so that a replica that was paused writes over nothing newer.
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "resourceVersion": metadata.resource_version },
        "status": status,
    });
    let objects = api::<K>(means, metadata);
    let how = PatchParams::apply(field_manager).force();
    let apply = Patch::Apply(&body);
    let write = objects.patch_status(name, &how, &apply);
    match tokio::time::timeout(WRITE_TIMEOUT, write).await {
        Ok(outcome) => Ok(outcome.map(drop)?),
        Err(_elapsed) => Err(WriteError::Timeout),
    }
}
