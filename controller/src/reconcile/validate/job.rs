//! A Job in the agents' words.

use ringrift_crds::job::{Job, JobSpec};
use ringrift_crds::status::Status;
use ringrift_wire::run;

use super::{Invalid, Kind, resources, unsigned};

impl Kind for Job {
    const NAME: &'static str = "job";

    fn run_spec(&self) -> Result<run::RunSpec, Invalid> {
        let JobSpec {
            command,
            env,
            completions,
            parallelism,
            max_attempts,
            timeout_seconds,
            priority,
            node_labels,
            queue: _,
            resources: asked,
        } = &self.spec;
        Ok(run::RunSpec::Job(run::JobSpec {
            argv: command.clone(),
            env: env.iter().map(|one| (one.name.clone(), one.value.clone())).collect(),
            completions: unsigned("spec.completions", *completions)?,
            parallelism: unsigned("spec.parallelism", *parallelism)?,
            max_attempts: unsigned("spec.maxAttempts", *max_attempts)?,
            timeout_seconds: unsigned("spec.timeoutSeconds", *timeout_seconds)?,
            priority: unsigned("spec.priority", *priority)?,
            labels: node_labels.clone(),
            resources: resources(asked)?,
        }))
    }

    fn queue(&self) -> &str {
        &self.spec.queue
    }

    fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }
}
