//! Steps the planners of active runs after each change.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use ringrift_core::id::RunId;
use ringrift_core::machine::Machine;
use ringrift_core::plan::plan;
use ringrift_core::queue::command::{Command, Refusal};
use ringrift_core::run::Run;

use crate::consensus::{Consensus, ProposeError, aside};
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
    /// Nothing is to do before its version changes or its queue has room.
    Crowded(u64),
    /// It moved on; look again.
    Moved,
    /// The step did not go through; look again soon.
    Failed,
    /// Consensus has stopped.
    Stopped,
}

/// A run whose planner had nothing to do.
#[derive(Debug, Clone, Copy)]
struct Settled {
    version: u64,
    /// Whether room in its queue might give the planner something to do.
    crowded: bool,
}

/// Steps runs whenever they change. Returns when consensus has stopped.
pub(super) async fn step_runs(consensus: &Consensus) {
    let mut applied = consensus.applied();
    while leads(consensus).await {
        let mut settled: BTreeMap<RunId, Settled> = BTreeMap::new();
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
                        settled.insert(id, Settled { version, crowded: false });
                    }
                    Planned::Crowded(version) => {
                        settled.insert(id, Settled { version, crowded: true });
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

/// The active runs for which something changed since their planner had nothing to do. Forgets runs
/// that ended.
fn runs_to_plan(consensus: &Consensus, settled: &mut BTreeMap<RunId, Settled>) -> Vec<RunId> {
    let mut due = Vec::new();
    let mut still = BTreeMap::new();
    consensus.read(|machine| {
        for run in machine.active_runs() {
            match settled.get(&run.id) {
                Some(known) if is_settled(machine, run, *known) => {
                    still.insert(run.id.clone(), *known);
                }
                Some(_) | None => due.push(run.id.clone()),
            }
        }
    });
    *settled = still;
    due
}

fn is_settled(machine: &Machine, run: &Run, known: Settled) -> bool {
    let Settled { version, crowded } = known;
    version == run.version && !(crowded && machine.room_for(run) > 0)
}

/// Plans one run as it is now and proposes the step.
async fn step(consensus: &Consensus, id: RunId) -> (RunId, Planned) {
    let run = consensus.read(|machine| {
        let run = machine.run(&id).filter(|run| run.outcome.is_none())?;
        Some((run.clone(), machine.room_for(run)))
    });
    let planned = match run {
        None => Planned::Moved,
        Some((run, room)) => propose_step(consensus, run, room).await,
    };
    (id, planned)
}

async fn propose_step(consensus: &Consensus, run: Run, room: u64) -> Planned {
    let version = run.version;
    let id = run.id.clone();
    // A long ledger takes milliseconds to judge; the runtime's threads serve others meanwhile.
    let advance = match aside(move || plan(&run, room)).await {
        Ok(Some(advance)) => advance,
        // Nothing goes into the log while the queue is full.
        Ok(None) if room == 0 => return Planned::Crowded(version),
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
        // Others have taken the room meanwhile.
        Some(Err(
            Refusal::Full { .. }
            | Refusal::TooHeavy { .. }
            | Refusal::TooManyKinds { .. }
            | Refusal::QueueFull { .. },
        )) => Planned::Failed,
        Some(Err(refusal)) => {
            tracing::error!(run = %id, version, %refusal, "the machine refuses a planner's step");
            Planned::Settled(version)
        }
        None => Planned::Failed,
    }
}
