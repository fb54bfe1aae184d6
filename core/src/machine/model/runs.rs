//! The model's runs.

use super::{Answer, By, Model, RunRow, Standing};
use crate::event::Event;
use crate::id::RunId;
use crate::queue::command::PairResult;
use crate::queue::item::{Needs, NewItem, Origin, Payload};
use crate::run::report::Kind;
use crate::run::{Advance, Outcome, RunSpec};

impl Model {
    pub(super) fn submit(&mut self, id: &RunId, queue: &str, spec: &RunSpec) -> Answer {
        if let Some(known) = self.runs.iter().find(|row| row.id == *id) {
            let same = known.spec == *spec && known.queue == queue;
            return if same { Answer::Run(false) } else { Answer::Refused("RunConflict") };
        }
        if queue != "default" && !self.lanes.contains_key(queue) {
            return Answer::Refused("UnknownQueue");
        }
        self.runs.push(RunRow {
            id: id.clone(),
            queue: queue.to_owned(),
            spec: spec.clone(),
            version: 0,
            pairs: vec![],
            tasks: (0, 0),
            fallen: vec![],
            failures: 0,
            outcome: None,
        });
        let kind = match spec {
            RunSpec::Job(_) => Kind::Job,
            RunSpec::Gauntlet(_) => Kind::Gauntlet,
            RunSpec::Tournament(_) => Kind::Tournament,
        };
        self.tell(Event::RunSubmitted { run: id.clone(), kind });
        Answer::Run(true)
    }

    pub(super) fn advance(&mut self, id: &RunId, version: u64, advance: &Advance) -> Answer {
        let Some(at) = self.runs.iter().position(|row| row.id == *id) else {
            return Answer::Refused("UnknownRun");
        };
        if self.runs[at].outcome.is_some() {
            return Answer::Refused("RunEnded");
        }
        if self.runs[at].version != version {
            return Answer::Refused("StaleRun");
        }
        if advance.fallen_handled as usize > self.runs[at].fallen.len() {
            return Answer::Refused("Invalid");
        }
        let lines = match &self.runs[at].spec {
            RunSpec::Job(_) => 1,
            RunSpec::Gauntlet(spec) => spec.baselines.len(),
            RunSpec::Tournament(spec) => spec.contestants.len() * (spec.contestants.len() - 1) / 2,
        };
        let queue = self.runs[at].queue.clone();
        let pair = |demand| Needs { demand, ..Needs::default() };
        let needs = match &self.runs[at].spec {
            RunSpec::Job(spec) => spec.needs.clone(),
            RunSpec::Gauntlet(spec) => pair(spec.play.demand),
            RunSpec::Tournament(spec) => pair(spec.play.demand),
        };
        let own = |item: &NewItem| match &item.payload {
            Payload::OfRun(origin) => {
                origin.run == *id
                    && usize::from(origin.matchup) < lines
                    && item.queue.as_str() == queue
                    && item.needs == needs
            }
            Payload::Opaque(_) | Payload::OfArray(_) => false,
        };
        if !advance.enqueue.iter().all(own) {
            return Answer::Refused("Invalid");
        }
        if let refused @ Answer::Refused(_) = self.enqueue(&advance.enqueue, By::Planner) {
            return refused;
        }
        self.runs[at].version += 1;
        self.runs[at].fallen.drain(..advance.fallen_handled as usize);
        self.end_parts(|part| part.run == *id && advance.close.contains(&part.matchup));
        if let Some(outcome) = &advance.outcome {
            self.end_run(at, outcome.clone());
        }
        Answer::Done
    }

    pub(super) fn end_run(&mut self, at: usize, outcome: Outcome) {
        self.runs[at].outcome = Some(outcome.clone());
        let id = self.runs[at].id.clone();
        self.end_parts(|part| part.run == id);
        self.tell(Event::RunEnded { run: id, outcome });
    }

    fn end_parts(&mut self, which: impl Fn(&Origin) -> bool) {
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            if row.unfinished() && row.origin().is_some_and(|part| which(&part)) {
                self.stop(at);
                self.rows[at].standing = Standing::Cancelled;
            }
        }
    }

    /// The active run of an item.
    pub(super) fn run_of(&mut self, at: usize) -> Option<(Origin, &mut RunRow)> {
        let origin = self.rows[at].origin()?;
        let run = self.runs.iter_mut().find(|row| row.id == origin.run)?;
        run.outcome.is_none().then_some((origin, run))
    }

    pub(super) fn bring(&mut self, at: usize, brought: Option<&PairResult>) {
        let work = self.rows[at].id;
        let Some((origin, run)) = self.run_of(at) else {
            return;
        };
        if matches!(run.spec, RunSpec::Job(_)) {
            run.tasks.0 += 1;
            run.version += 1;
            return;
        }
        if run.pairs.iter().any(|(m, i, _)| (*m, *i) == (origin.matchup, origin.index)) {
            return;
        }
        if brought.is_some_and(|pair| pair.games.iter().all(|game| game.score.is_ok())) {
            run.pairs.push((origin.matchup, origin.index, work));
            run.version += 1;
        } else {
            self.lose(at);
        }
    }

    pub(super) fn lose(&mut self, at: usize) {
        let Some((origin, run)) = self.run_of(at) else {
            return;
        };
        if matches!(run.spec, RunSpec::Job(_)) {
            run.tasks.1 += 1;
        }
        run.fallen.push(origin);
        run.failures += 1;
        run.version += 1;
    }
}
