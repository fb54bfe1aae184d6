//! Stage 4 gives the agents the run when they do not have it.

use ringrift_wire::client::{Client as Agents, ClientError};
use tracing::info;

use super::build::{Applied, Prepared, Run};

/// Submits the run when the agents do not have it. Submitting twice is harmless, so it does not
/// matter whether an earlier attempt took effect.
///
/// # Errors
/// [`ClientError`] when no agent answers or the agents refuse.
pub(super) async fn apply(
    run: Run<Prepared>,
    agents: &Agents,
) -> Result<Run<Applied>, ClientError> {
    match run.into_parts() {
        Prepared::Known(seen) => Ok(Run::applied(seen)),
        Prepared::Missing(submit) => {
            let submitted = agents.submit(&submit).await?;
            info!(run_id = submitted.run_id, status = submitted.status, "run submitted");
            let seen = agents.run(&submitted.run_id).await?;
            Ok(Run::applied(Box::new(seen)))
        }
    }
}
