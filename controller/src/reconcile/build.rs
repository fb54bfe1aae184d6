//! Stage 3 puts together what is to be done, and asks nobody. The stage stands in the type: a status
//! cannot be made of a run that was only prepared.

use ringrift_wire::run::{RunStatus, Submit};

use super::validate::Valid;

/// A run on its way to the agents.
#[derive(Debug)]
pub(super) struct Run<Stage>(Stage);

/// Known what is to be done.
#[derive(Debug)]
pub(super) enum Prepared {
    /// The agents have it.
    Known(Box<RunStatus>),
    /// They have to be given it.
    Missing(Box<Submit>),
}

/// The agents have it.
#[derive(Debug)]
pub(super) struct Applied(Box<RunStatus>);

impl Run<Prepared> {
    pub(super) fn into_parts(self) -> Prepared {
        self.0
    }

    /// The next stage, with what the agents say now.
    pub(super) fn applied(seen: Box<RunStatus>) -> Run<Applied> {
        Run(Applied(seen))
    }
}

impl Run<Applied> {
    /// What the agents say of it.
    pub(super) fn seen(&self) -> &RunStatus {
        &self.0.0
    }
}

/// A run that the agents have is left alone, for a spec does not change.
pub(super) fn build(valid: Valid, known: Option<RunStatus>) -> Run<Prepared> {
    let Valid { run_id, queue, spec } = valid;
    Run(match known {
        Some(seen) => Prepared::Known(Box::new(seen)),
        None => Prepared::Missing(Box::new(Submit { run_id, queue, spec })),
    })
}
