//! Steps the planners of active runs after each change.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use ringrift_core::id::RunId;
use ringrift_core::plan::plan;
use ringrift_core::queue::command::{Command, Refusal};
use ringrift_core::run::Run;

use crate::consensus::{Consensus, ProposeError};
use crate::leader::leads;

/// Runs that are planned at once. Planning copies the run, so this bounds that memory too.
const PLANS_AT_ONCE_MAX: usize = 4;
/// Changes are collected for this long: a run that gets a thousand results a second is planned fifty
/// times a second, not a thousand times.
const PLAN_INTERVAL: Duration = Duration::from_millis(20);

/// What came of planning one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planned {
    /// Nothing is to do before its version changes.
    Settled(u64),
    /// It moved on; look again.
    Moved,
    /// The step did not go through; look again soon.
    Failed,
    /// Consensus has stopped.
    Stopped,
}

/// Steps runs whenever they change. Returns when consensus has stopped.
pub(super) async fn step_runs(consensus: &Consensus) {
    let mut applied = consensus.applied();
    while leads(consensus).await {
        // The version of each active run at which its planner had nothing to do.
        let mut settled: BTreeMap<RunId, u64> = BTreeMap::new();
        let leadership = consensus.leadership();
        while leadership.borrow().is_leader {
            applied.borrow_and_update();
            let due = runs_to_plan(consensus, &mut settled);
            let idle = due.is_empty();
            let planned: Vec<(RunId, Planned)> = futures::stream::iter(due)
                .map(|id| step(consensus, id))
                .buffer_unordered(PLANS_AT_ONCE_MAX)
                .collect()
                .await;
            for (id, planned) in planned {
                match planned {
                    Planned::Settled(version) => {
                        settled.insert(id, version);
                    }
                    Planned::Moved | Planned::Failed => {}
                    Planned::Stopped => return,
                }
            }
            tokio::time::sleep(PLAN_INTERVAL).await;
            // While something is unsettled the loop goes on by itself; else a change wakes it.
            if idle && applied.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The active runs that changed since their planner had nothing to do. Forgets runs that ended.
fn runs_to_plan(consensus: &Consensus, settled: &mut BTreeMap<RunId, u64>) -> Vec<RunId> {
    let mut due = Vec::new();
    let mut still = BTreeMap::new();
    consensus.read(|machine| {
        for run in machine.active_runs() {
            match settled.get(&run.id) {
                Some(version) if *version == run.version => {
                    still.insert(run.id.clone(), *version);
                }
                Some(_) | None => due.push(run.id.clone()),
            }
        }
    });
    *settled = still;
    due
}

/// Plans one run as it is now and proposes the step.
async fn step(consensus: &Consensus, id: RunId) -> (RunId, Planned) {
    let run = consensus.read(|machine| machine.run(&id).cloned());
    let planned = match run.filter(|run| run.outcome.is_none()) {
        None => Planned::Moved,
        Some(run) => propose_step(consensus, run).await,
    };
    (id, planned)
}

async fn propose_step(consensus: &Consensus, run: Run) -> Planned {
    let version = run.version;
    let id = run.id.clone();
    // A long ledger takes milliseconds to judge; the runtime's threads serve others meanwhile.
    let advance = match tokio::task::spawn_blocking(move || plan(&run)).await {
        Ok(Some(advance)) => advance,
        Ok(None) => return Planned::Settled(version),
        Err(error) => {
            tracing::error!(run = %id, version, %error, "planning failed; the run waits for its next change");
            return Planned::Settled(version);
        }
    };
    let command = Command::AdvanceRun { run: id.clone(), version, advance };
    if command.brings_work() && consensus.admit().is_err() {
        return Planned::Failed;
    }
    let committed = match consensus.propose(vec![command]).await {
        Ok(committed) => committed,
        Err(ProposeError::Stopped { .. }) => return Planned::Stopped,
        Err(error @ ProposeError::TooLarge { .. }) => {
            tracing::error!(run = %id, version, %error, "a planner's step is too large");
            return Planned::Settled(version);
        }
        Err(
            ProposeError::NotLeader { .. }
            | ProposeError::Timeout
            | ProposeError::Overloaded { .. },
        ) => return Planned::Failed,
    };
    match committed.replies.into_iter().next() {
        Some(Ok(_)) => Planned::Moved,
        // Another result came in between, or somebody ended the run.
        Some(Err(Refusal::StaleRun { .. } | Refusal::RunEnded(_) | Refusal::UnknownRun(_))) => {
            Planned::Moved
        }
        // The queue has no room for the run's items yet.
        Some(Err(Refusal::Full { .. })) => Planned::Failed,
        Some(Err(refusal)) => {
            tracing::error!(run = %id, version, %refusal, "the machine refuses a planner's step");
            Planned::Settled(version)
        }
        None => Planned::Failed,
    }
}
