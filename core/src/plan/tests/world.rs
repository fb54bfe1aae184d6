//! The least machine that carries out planner steps, and a worker that finishes items in any order.

use std::collections::BTreeSet;

use crate::id::{NodeId, WorkId};
use crate::limits;
use crate::plan::chance::{Chance, SELF_PLAY};
use crate::plan::plan;
use crate::queue::item::{Origin, Payload};
use crate::run::{
    Advance, Ending, Fallen, GameResult, Ledger, Outcome, Pair, PlanState, Run, RunSpec, Score,
};
use crate::time::Moment;

/// What every item brings, whoever plays it and whenever.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Law of pair results.
    pub(crate) law: [f64; 5],
    /// Seed of the results.
    pub(crate) seed: u64,
    /// How many plays of the pair or task at (match-up, index) die.
    pub(crate) deaths: fn(u16, u32) -> u16,
}

impl Script {
    pub(crate) fn equals(seed: u64) -> Self {
        Self { law: SELF_PLAY, seed, deaths: |_, _| 0 }
    }

    pub(crate) fn pair(&self, matchup: u16, index: u32) -> [Score; 2] {
        let place = (u64::from(matchup) << 32) | u64::from(index);
        let mut chance = Chance::new(self.seed ^ place.wrapping_mul(0xd6e8_feb8_6659_fd93));
        chance.pair_of(&self.law)
    }
}

pub(crate) struct World {
    pub(crate) run: Run,
    script: Script,
    outstanding: Vec<Origin>,
    keys: BTreeSet<String>,
    /// The most that the run's queue holds.
    pub(crate) queue_max: u64,
}

pub(crate) fn game(score: Score) -> GameResult {
    GameResult { score: Ok(score), ending: Ending::Checkmate, plies: 40, moves_hash: 0 }
}

pub(crate) fn pair(scores: [Score; 2]) -> Pair {
    let node: NodeId = "node-1".parse().unwrap();
    Pair { work_id: WorkId(1), node, at: Moment(0), games: scores.map(game) }
}

pub(crate) fn fresh(spec: RunSpec) -> Run {
    Run {
        id: "test".parse().unwrap(),
        queue: "team".parse().unwrap(),
        ledger: Ledger {
            pairs: vec![crate::pages::Pages::default(); spec.matchups()],
            tasks_done: 0,
            tasks_failed: 0,
        },
        spec,
        version: 0,
        submitted: Moment(0),
        ended: None,
        plan: PlanState::default(),
        fallen: Vec::new(),
        failures: Vec::new(),
        failures_count: 0,
        outcome: None,
    }
}

impl World {
    pub(crate) fn new(spec: RunSpec, script: Script) -> Self {
        let (outstanding, keys) = (Vec::new(), BTreeSet::new());
        Self { run: fresh(spec), script, outstanding, keys, queue_max: u64::MAX }
    }

    fn room(&self) -> u64 {
        self.queue_max.saturating_sub(self.outstanding.len() as u64)
    }

    /// One planner step, carried out.
    pub(crate) fn plan_once(&mut self) -> Option<Advance> {
        let room = self.room();
        let advance = plan(&self.run, room)?;
        assert_eq!(plan(&self.run, room).as_ref(), Some(&advance), "planning is a function");
        assert!(advance.enqueue.len() as u64 <= room, "{} items", advance.enqueue.len());
        self.apply(advance.clone());
        Some(advance)
    }

    /// Planner steps until nothing is to do, and one more to see that this is so.
    pub(crate) fn plan_all(&mut self) {
        const STEPS_MAX: usize = 10_000;
        for _ in 0..STEPS_MAX {
            if self.plan_once().is_none() {
                assert_eq!(plan(&self.run, self.room()), None);
                return;
            }
        }
        panic!("the planner asks for more and more: {:?}", self.run.plan);
    }

    fn apply(&mut self, advance: Advance) {
        assert!(self.run.outcome.is_none(), "a step after the end");
        let Advance { plan, enqueue, fallen_handled, close, outcome } = advance;
        assert!(enqueue.len() <= limits::BATCH_ITEMS_MAX);
        assert!(outcome.is_none() || enqueue.is_empty());
        self.run.fallen.drain(..fallen_handled as usize);
        for item in enqueue {
            let Payload::OfRun(origin) = item.payload else { panic!("opaque item of a run") };
            assert_eq!(item.queue, self.run.queue);
            assert!(self.keys.insert(item.key.unwrap()), "{origin:?} was enqueued twice");
            assert!(origin.index < plan.next[usize::from(origin.matchup)]);
            self.outstanding.push(origin);
        }
        self.outstanding.retain(|origin| !close.contains(&origin.matchup));
        self.run.plan = plan;
        self.run.outcome = outcome;
        self.run.version += 1;
        if self.run.outcome.is_some() {
            self.outstanding.clear();
        }
        self.check_bounds();
    }

    fn check_bounds(&self) {
        let (pairs_max, window) = match &self.run.spec {
            RunSpec::Job(spec) => (spec.completions, spec.parallelism),
            RunSpec::Gauntlet(spec) => (spec.stop.pairs_max, spec.play.window),
            RunSpec::Tournament(spec) => (spec.pairs, spec.play.window),
        };
        for (matchup, next) in (0..).zip(&self.run.plan.next) {
            assert!(*next <= pairs_max, "match-up {matchup} asks for {next} of {pairs_max}");
            let outstanding = self.outstanding_indices(matchup);
            assert!(outstanding.len() <= window.max(1) as usize, "{outstanding:?} of {window}");
            let mut indices = outstanding.clone();
            indices.dedup();
            assert_eq!(indices, outstanding, "one play of a pair at a time");
        }
    }

    /// Indices of a match-up's outstanding items, in order.
    pub(crate) fn outstanding_indices(&self, matchup: u16) -> Vec<u32> {
        let mine = self.outstanding.iter().filter(|origin| origin.matchup == matchup);
        let mut indices: Vec<u32> = mine.map(|origin| origin.index).collect();
        indices.sort_unstable();
        indices
    }

    /// Ends the outstanding item at `place` as the script says.
    pub(crate) fn complete(&mut self, place: usize) {
        let origin = self.outstanding.swap_remove(place);
        self.run.version += 1;
        let is_job = matches!(self.run.spec, RunSpec::Job(_));
        if origin.replay < (self.script.deaths)(origin.matchup, origin.index) {
            self.run.ledger.tasks_failed += u32::from(is_job);
            self.run.failures_count += 1;
            self.run.fallen.push(Fallen { origin, error: "crash".into() });
        } else if is_job {
            self.run.ledger.tasks_done += 1;
        } else {
            let scores = self.script.pair(origin.matchup, origin.index);
            let pairs = &mut self.run.ledger.pairs[usize::from(origin.matchup)];
            assert!(pairs.insert(origin.index, pair(scores)).is_none(), "{origin:?} came twice");
        }
    }

    /// Ends the outstanding item with this index of match-up 0.
    pub(crate) fn complete_index(&mut self, index: u32) {
        let place = self.outstanding.iter().position(|o| o.matchup == 0 && o.index == index);
        self.complete(place.unwrap());
    }

    /// Plays to the end: the schedule says in which order items end, and how often the planner
    /// looks.
    pub(crate) fn finish(&mut self, schedule: u64) -> Outcome {
        const STEPS_MAX: usize = 1_000_000;
        let mut chance = Chance::new(schedule);
        let lag = chance.below(8) + 1;
        for _ in 0..STEPS_MAX {
            if self.outstanding.is_empty() || chance.below(lag) == 0 {
                self.plan_all();
            }
            if let Some(outcome) = &self.run.outcome {
                return outcome.clone();
            }
            assert!(!self.outstanding.is_empty(), "the run is stuck: {:?}", self.run.plan);
            let place = chance.below(self.outstanding.len());
            self.complete(place);
        }
        panic!("the run never ended: {:?}", self.run.plan);
    }
}
