//! Stage 2 reads everything that lies outside the object: what the agents know of its run.

use ringrift_wire::client::{Client as Agents, ClientError};
use ringrift_wire::problem::Code;
use ringrift_wire::run::RunStatus;

use super::validate::Valid;

/// The run as the agents know it; nothing when they have never heard of it.
///
/// # Errors
/// [`ClientError`] when no agent answers, or not with a run.
pub(super) async fn dereference(
    valid: &Valid,
    agents: &Agents,
) -> Result<Option<RunStatus>, ClientError> {
    match agents.run(&valid.run_id).await {
        Ok(run) => Ok(Some(run)),
        Err(ClientError::Refused(problem)) if problem.code == Code::RunUnknown => Ok(None),
        Err(error) => Err(error),
    }
}
