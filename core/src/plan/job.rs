//! A Job: keep `parallelism` tasks outstanding until all completions are done.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::WORK_TYPE_TASK;
use crate::queue::item::{NewItem, Origin, Payload};
use crate::run::{Advance, JobSpec, Outcome, Run};
use crate::time::Span;

/// The next step of a Job, with at most `items_max` new tasks.
///
/// As with Kubernetes' own Jobs, a task has failed for good when its attempts are used up, and then
/// the Job has failed: its other tasks are cancelled, since the machine cancels what a run that has
/// ended still has outstanding.
pub(super) fn step(run: &Run, spec: &JobSpec, items_max: usize) -> Advance {
    let mut advance = Advance {
        plan: run.plan.clone(),
        enqueue: Vec::new(),
        fallen_handled: 0,
        close: Vec::new(),
        outcome: outcome(run, spec),
    };
    if advance.outcome.is_some() {
        return advance;
    }
    let next = run.plan.next.first().copied().unwrap_or(0);
    let ended = run.ledger.tasks_done.saturating_add(run.ledger.tasks_failed);
    // A spec that asks for no parallelism would never end; validation refuses it at the edge.
    let room = spec.parallelism.max(1).saturating_sub(next.saturating_sub(ended));
    let batch = u32::try_from(items_max).unwrap_or(u32::MAX);
    let end = next.saturating_add(room.min(batch)).min(spec.completions.max(next));
    advance.enqueue = (next..end).map(|index| task(run, spec, index)).collect();
    advance.plan.next = vec![end];
    advance
}

fn outcome(run: &Run, spec: &JobSpec) -> Option<Outcome> {
    let done = run.ledger.tasks_done;
    if let Some(first) = run.fallen.first() {
        let message = format!(
            "task {} died after its last attempt: {}; {done} of {} tasks had ended well",
            first.origin.index, first.error, spec.completions
        );
        return Some(Outcome::Failed { reason: "TasksFailed".to_string(), message });
    }
    if run.ledger.tasks_failed > 0 {
        let message = format!(
            "{} tasks died; {done} of {} tasks had ended well",
            run.ledger.tasks_failed, spec.completions
        );
        return Some(Outcome::Failed { reason: "TasksFailed".to_string(), message });
    }
    (done >= spec.completions).then_some(Outcome::Succeeded)
}

fn task(run: &Run, spec: &JobSpec, index: u32) -> NewItem {
    let origin = Origin { run: run.id.clone(), matchup: 0, index, replay: 0 };
    NewItem {
        key: Some(key(&origin)),
        queue: run.queue.clone(),
        work_type: WORK_TYPE_TASK.to_string(),
        priority: spec.priority,
        payload: Payload::OfRun(origin),
        needs: spec.needs.clone(),
        attempts_max: spec.attempts_max,
        attempt_timeout: spec.attempt_timeout,
        pending_timeout: None,
        total_timeout: None,
        delay: Span(0),
        group: None,
        after: Box::default(),
        notify: false,
    }
}

/// The idempotency key of a run's item: the same part of a run is never enqueued twice.
pub(super) fn key(origin: &Origin) -> String {
    let Origin { run, matchup, index, replay } = origin;
    format!("run/{run}/{matchup}/{index}/{replay}")
}
