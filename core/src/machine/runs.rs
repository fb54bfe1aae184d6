//! Runs: submission, planner steps, the ledger, the end.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::admission::Source;
use super::{Machine, clip, invalid};
use crate::event::Event;
use crate::id::{NodeId, QueueName, RunId, WorkId};
use crate::limits;
use crate::pages::Pages;
use crate::queue::command::{PairResult, Refusal, Reply};
use crate::queue::item::{NewItem, Origin, Payload};
use crate::run::report::Kind;
use crate::run::{Advance, Fallen, Ledger, Outcome, Pair, PlanState, Run, RunSpec};

impl Machine {
    /// Registers a run; the same spec for the same queue under the same id again is no new one.
    pub(super) fn submit_run(
        &mut self,
        id: &RunId,
        queue: &QueueName,
        spec: &RunSpec,
    ) -> Result<Reply, Refusal> {
        if let Some(known) = self.facts.runs.get(id) {
            return if known.queue == *queue && known.spec == *spec {
                Ok(Reply::RunAccepted { fresh: false })
            } else {
                Err(Refusal::RunConflict(id.clone()))
            };
        }
        check_spec(spec)?;
        // A full queue takes a run: its items wait for room.
        self.check_room(queue, 0)?;
        if self.facts.runs.len() >= limits::RUNS_MAX && !self.forget_oldest_run() {
            return Err(Refusal::TooManyRuns(self.facts.runs.len() as u64));
        }
        let matchups = spec.matchups();
        let planned = matchups.max(1);
        let run = Run {
            id: id.clone(),
            queue: queue.clone(),
            spec: spec.clone(),
            version: 0,
            submitted: self.facts.now,
            ended: None,
            plan: PlanState {
                next: vec![0; planned],
                decided: vec![None; planned],
                ..PlanState::default()
            },
            ledger: Ledger { pairs: vec![Pages::default(); matchups], ..Ledger::default() },
            fallen: Vec::new(),
            failures: Vec::new(),
            failures_count: 0,
            outcome: None,
        };
        self.index.enter_run(&run);
        self.facts.runs.insert(id.clone(), Arc::new(run));
        self.record(Event::RunSubmitted { run: id.clone(), kind: Kind::of(spec) });
        Ok(Reply::RunAccepted { fresh: true })
    }

    /// Carries out a planner's step, if the run is still as the planner saw it.
    pub(super) fn advance_run(
        &mut self,
        id: &RunId,
        version: u64,
        advance: &Advance,
    ) -> Result<Reply, Refusal> {
        let run = self.active_run(id)?;
        if run.version != version {
            let current = run.version;
            return Err(Refusal::StaleRun { run: id.clone(), current, planned: version });
        }
        let Advance { plan, enqueue, fallen_handled, close, outcome } = advance;
        let handled = usize::try_from(*fallen_handled).unwrap_or(usize::MAX);
        if handled > run.fallen.len() {
            let problem = format!("is {handled} of {} fallen items", run.fallen.len());
            return Err(invalid("fallen_handled", problem));
        }
        check_parts(run, enqueue)?;
        let outstanding = self.run_items(id).outstanding.saturating_add(enqueue.len() as u64);
        if outstanding > u64::from(limits::RUN_OUTSTANDING_MAX) {
            let problem = format!(
                "would make {outstanding} outstanding items of at most {}",
                limits::RUN_OUTSTANDING_MAX
            );
            return Err(invalid("enqueue", problem));
        }
        let admissions = self.examine(enqueue, Source::Planner)?;

        let numbers = self.admit_all(enqueue, admissions);
        let fresh = numbers.iter().filter(|(_, fresh)| *fresh).count() as u64;
        self.facts.totals.planned += fresh;
        if let Some(run) = self.facts.run_mut(id) {
            run.version += 1;
            run.plan = plan.clone();
            run.fallen.drain(..handled);
        }
        for matchup in close {
            self.close_matchup(id, *matchup);
        }
        if let Some(outcome) = outcome {
            self.end_run(id, outcome.clone());
        }
        Ok(Reply::Done)
    }

    /// Ends a run as cancelled. A repeat changes nothing.
    pub(super) fn cancel_run(&mut self, id: &RunId) -> Result<Reply, Refusal> {
        if self.run(id).is_some_and(|run| run.outcome == Some(Outcome::Cancelled)) {
            return Ok(Reply::Done);
        }
        self.active_run(id)?;
        if let Some(run) = self.facts.run_mut(id) {
            run.version += 1;
        }
        self.end_run(id, Outcome::Cancelled);
        Ok(Reply::Done)
    }

    fn active_run(&self, id: &RunId) -> Result<&Run, Refusal> {
        let run = self.facts.runs.get(id).ok_or_else(|| Refusal::UnknownRun(id.clone()))?;
        if run.ended.is_some() { Err(Refusal::RunEnded(id.clone())) } else { Ok(run) }
    }

    fn end_run(&mut self, id: &RunId, outcome: Outcome) {
        let outstanding = self.index.runs.get(id).map(|of_run| of_run.outstanding.clone());
        for (_, item) in outstanding.unwrap_or_default() {
            self.call_off(item);
        }
        let now = self.facts.now;
        if let Some(run) = self.facts.run_mut(id) {
            self.index.leave_run(run);
            run.ended = Some(now);
            run.outcome = Some(outcome.clone());
            self.index.enter_run(run);
            self.record(Event::RunEnded { run: id.clone(), outcome });
        }
    }

    fn close_matchup(&mut self, id: &RunId, matchup: u16) {
        let Some(of_run) = self.index.runs.get(id) else {
            return;
        };
        let span = (matchup, WorkId(u64::MIN))..=(matchup, WorkId(u64::MAX));
        let outstanding: Vec<_> = of_run.outstanding.range(span).map(|(_, item)| *item).collect();
        for item in outstanding {
            self.call_off(item);
        }
    }

    fn forget_oldest_run(&mut self) -> bool {
        let Some((_, id)) = self.index.ended.first().cloned() else {
            return false;
        };
        if let Some(run) = self.facts.runs.remove(&id) {
            self.index.leave_run(&run);
        }
        true
    }

    /// Records what a completed item brought to its run. The first accepted result of a pair stays.
    pub(super) fn credit(&mut self, id: WorkId, node: &NodeId, brought: Option<&PairResult>) {
        let Some(origin) = self.origin_in_active_run(id) else {
            return;
        };
        let at = self.facts.now;
        let Some(run) = self.facts.run_mut(&origin.run) else {
            return;
        };
        let Some(pairs) = run.ledger.pairs.get_mut(usize::from(origin.matchup)) else {
            run.ledger.tasks_done = run.ledger.tasks_done.saturating_add(1);
            run.version += 1;
            return;
        };
        if pairs.contains_key(&origin.index) {
            return;
        }
        match scored(brought) {
            Ok(result) => {
                let pair =
                    Pair { work_id: id, node: node.clone(), at, games: result.games.clone() };
                pairs.insert(origin.index, pair);
                run.version += 1;
            }
            Err(error) => self.fall(id, error),
        }
    }

    /// Tells the run of an item that it will bring nothing.
    pub(super) fn fall(&mut self, id: WorkId, error: String) {
        let Some(origin) = self.origin_in_active_run(id) else {
            return;
        };
        let Some(run) = self.facts.run_mut(&origin.run) else {
            return;
        };
        if matches!(run.spec, RunSpec::Job(_)) {
            run.ledger.tasks_failed = run.ledger.tasks_failed.saturating_add(1);
        }
        let fallen = Fallen { origin, error };
        if run.failures.len() < limits::RUN_FAILURES_KEPT {
            run.failures.push(fallen.clone());
        }
        run.failures_count += 1;
        run.fallen.push(fallen);
        run.version += 1;
    }

    fn origin_in_active_run(&self, id: WorkId) -> Option<Origin> {
        let origin = self.item(id)?.origin()?;
        let run = self.run(&origin.run)?;
        run.ended.is_none().then(|| origin.clone())
    }
}

/// The two games, if both have a score.
fn scored(brought: Option<&PairResult>) -> Result<&PairResult, String> {
    let Some(result) = brought else {
        return Err("the result holds no pair".to_string());
    };
    for (number, game) in result.games.iter().enumerate() {
        if let Err(error) = &game.score {
            return Err(clip(&format!("game {}: {error}", number + 1)));
        }
    }
    Ok(result)
}

/// The bounds that the machine itself relies on. What makes sense is judged at the edge.
fn check_spec(spec: &RunSpec) -> Result<(), Refusal> {
    let (contestants, window, field) = match spec {
        RunSpec::Job(job) => {
            if job.completions > limits::RUN_ITEMS_MAX {
                let problem = format!("must be at most {}", limits::RUN_ITEMS_MAX);
                return Err(invalid("completions", problem));
            }
            (1, job.parallelism, "parallelism")
        }
        RunSpec::Gauntlet(gauntlet) => {
            (gauntlet.baselines.len().saturating_add(1), gauntlet.play.window, "play.window")
        }
        RunSpec::Tournament(tournament) => {
            (tournament.contestants.len(), tournament.play.window, "play.window")
        }
    };
    if contestants > limits::CONTESTANTS_MAX {
        let problem = format!("are {contestants} of at most {}", limits::CONTESTANTS_MAX);
        return Err(invalid("contestants", problem));
    }
    let lines = spec.matchups().max(1) as u64;
    let outstanding = lines.saturating_mul(u64::from(window));
    if window == 0 || outstanding > u64::from(limits::RUN_OUTSTANDING_MAX) {
        let most = u64::from(limits::RUN_OUTSTANDING_MAX) / lines;
        return Err(invalid(field, format!("must be 1 to {most}, not {window}")));
    }
    Ok(())
}

/// Whether a planner's items are parts of its own run.
fn check_parts(run: &Run, enqueue: &[NewItem]) -> Result<(), Refusal> {
    let lines = run.spec.matchups().max(1);
    let needs = run.spec.needs();
    for (at, request) in enqueue.iter().enumerate() {
        let own = match &request.payload {
            Payload::OfRun(Origin { run: of, matchup, index, replay: _ }) => {
                *of == run.id && usize::from(*matchup) < lines && *index < limits::RUN_ITEMS_MAX
            }
            Payload::Opaque(_) | Payload::OfArray(_) => false,
        };
        if !own {
            return Err(invalid(format!("enqueue[{at}].payload"), "is no part of this run"));
        }
        if request.queue != run.queue {
            let problem = format!("must be {}, the run's own", run.queue);
            return Err(invalid(format!("enqueue[{at}].queue"), problem));
        }
        if request.needs != needs {
            return Err(invalid(format!("enqueue[{at}].needs"), "must be the run's own"));
        }
    }
    Ok(())
}
