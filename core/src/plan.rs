//! Planners: what a run asks for next.
//!
//! [`plan`] is a pure function of the run. The leader proposes its answer as one command, valid for
//! one version of the run, so that neither a fail-over nor two leaders can do a step twice. A step
//! may be cut short by a bound; planning again on the advanced run goes on, and answers nothing once
//! nothing is to do.
//!
//! **Verdicts do not depend on arrival.** Quick pairs arrive first, and with chess engines quick
//! pairs are often won ones: a test on whatever has arrived accepts far too often. So each match-up
//! is tested along its contiguous prefix in index order, after every pair, as if one machine had
//! played pair after pair. A pair that cannot be played counts in the same order: it ends the run
//! only when the prefix has come to it undecided.

mod gauntlet;
mod job;
mod pairs;
mod tournament;

#[cfg(test)]
pub(crate) mod chance;
#[cfg(test)]
pub(crate) mod tests;

use crate::limits;
use crate::run::{Advance, Run, RunSpec};

/// Work type of a Job's tasks.
pub const WORK_TYPE_TASK: &str = "process";
/// Work type of pairs.
pub const WORK_TYPE_PAIR: &str = "pair";

/// Pairs of a prefix that are tested again with every step until a step is made only to remember
/// that they were: without it, a window as large as the run would make planning quadratic.
const UNREMEMBERED_MAX: u64 = 64;

/// The next step of a run whose queue takes `room` more items; nothing when there is nothing to do.
///
/// Without room there may still be something: a match-up is decided, or the run ends. Nothing without
/// room means that the run may have to wait for some.
#[must_use]
pub fn plan(run: &Run, room: u64) -> Option<Advance> {
    if run.outcome.is_some() {
        return None;
    }
    // One step is one log entry, however much room there is.
    let items_max = usize::try_from(room).unwrap_or(usize::MAX).min(limits::BATCH_ITEMS_MAX);
    let advance = match &run.spec {
        RunSpec::Job(spec) => job::step(run, spec, items_max),
        RunSpec::Gauntlet(spec) => gauntlet::step(run, spec, items_max),
        RunSpec::Tournament(spec) => tournament::step(run, spec, items_max),
    };
    changes_something(run, &advance).then_some(advance)
}

fn changes_something(run: &Run, advance: &Advance) -> bool {
    let Advance { plan, enqueue, fallen_handled, close, outcome } = advance;
    let remembered =
        |tested: &[[u32; 5]]| -> u64 { tested.iter().flatten().copied().map(u64::from).sum() };
    let learned = remembered(&plan.tested).saturating_sub(remembered(&run.plan.tested));
    !enqueue.is_empty()
        || *fallen_handled > 0
        || !close.is_empty()
        || outcome.is_some()
        || learned >= UNREMEMBERED_MAX
}
