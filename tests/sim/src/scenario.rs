//! What there is to do in a world: items of their own, a Job, a gauntlet, and what each pair of the
//! gauntlet comes to, whoever plays it.

use std::collections::BTreeMap;

use ringrift_core::id::{Position, QueueName, RunId};
use ringrift_core::machine::Machine;
use ringrift_core::plan;
use ringrift_core::queue::command::{Batch, Claim, Command, PairResult, Reply, WorkResult};
use ringrift_core::queue::item::{
    Dependency, Item, Needs, NewItem, Origin, Payload, Predecessor, State,
};
use ringrift_core::queue::resources::Demand;
use ringrift_core::run::{
    Contestant, Ending, GameResult, GauntletSpec, JobSpec, Limit, Outcome, Play, RunSpec, Score,
    Sprt, SprtModel, Stop, Task,
};
use ringrift_core::time::{Moment, Span};

use crate::chance::Chance;
use crate::fault::node_name;

/// Steps within which the undisturbed gauntlet must end: each settles one pair.
const QUIET_STEPS_MAX: u64 = 2_000;

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    seed: u64,
    /// Enqueued batch by batch, each item under a key of its own.
    pub(crate) batches: Vec<Vec<NewItem>>,
    /// Enqueued in a session, without keys.
    pub(crate) unkeyed: Vec<Vec<NewItem>>,
    pub(crate) runs: Vec<(RunId, QueueName, RunSpec)>,
}

impl Scenario {
    pub(crate) fn new(seed: u64, chance: &mut Chance) -> Result<Self, String> {
        let mut number = 0;
        let mut batch = |chance: &mut Chance| -> Vec<NewItem> {
            (0..chance.between(1, 5)).map(|place| item(&mut number, place, chance)).collect()
        };
        let batches = (0..chance.between(8, 20)).map(|_| batch(chance)).collect();
        let mut unkeyed: Vec<_> = (0..chance.between(2, 6)).map(|_| batch(chance)).collect();
        unkeyed.iter_mut().flatten().for_each(|item| item.key = None);
        let name = |text: &str| text.parse::<RunId>().map_err(|error| error.to_string());
        let queue =
            |chance: &mut Chance| team().ok().filter(|_| chance.per_mille(300)).unwrap_or_default();
        let runs = vec![
            (name("gauntlet")?, queue(chance), gauntlet(chance)),
            (name("job")?, queue(chance), job(chance)),
        ];
        Ok(Self { seed, batches, unkeyed, runs })
    }

    /// The games of a pair. The score depends on the pair alone, as with engines at fixed nodes; a
    /// crash depends on the replay too.
    pub(crate) fn result(&self, origin: &Origin) -> PairResult {
        let Origin { run: _, matchup, index, replay } = origin;
        let pair = (u64::from(*matchup) << 32) | u64::from(*index);
        let mut pair_chance = Chance::new(self.seed ^ pair.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let score = |chance: &mut Chance| match chance.between(0, 9) {
            0..=2 => Score::Loss,
            3..=5 => Score::Draw,
            _ => Score::Win,
        };
        let mut games = [(); 2].map(|()| GameResult {
            score: Ok(score(&mut pair_chance)),
            ending: Ending::PlyLimit,
            plies: 40,
            moves_hash: pair_chance.next(),
        });
        let mut crash = Chance::new(self.seed ^ pair ^ (u64::from(*replay) << 56));
        if crash.per_mille(40) {
            games[1].score = Err("the engine crashed".to_owned());
            games[1].ending = Ending::Crash;
        }
        PairResult { games }
    }

    /// What the gauntlet comes to when nothing goes wrong: one machine, one worker, pair by pair.
    pub(crate) fn undisturbed(&self) -> Result<Option<Outcome>, String> {
        let mut machine = Machine::default();
        let (run, _, spec) = self.runs.first().ok_or("no gauntlet")?;
        let mut index = 0;
        let mut apply = |machine: &mut Machine, command: Command| {
            index += 1;
            let batch = Batch { now: Moment(index * 1_000), commands: vec![command] };
            machine.apply(Position { term: 1, index }, &batch).pop()
        };
        let queue = QueueName::default();
        let submit = Command::SubmitRun { run: run.clone(), queue, spec: spec.clone() };
        apply(&mut machine, submit);
        for _ in 0..QUIET_STEPS_MAX {
            let Some(known) = machine.run(run) else {
                return Err("the run is lost".to_owned());
            };
            if known.outcome.is_some() {
                return Ok(known.outcome.clone());
            }
            if let Some(advance) = plan::plan(known, u64::MAX) {
                let version = known.version;
                apply(&mut machine, Command::AdvanceRun { run: run.clone(), version, advance });
                continue;
            }
            let claim = Claim {
                node: node_name(0)?,
                capabilities: Default::default(),
                labels: BTreeMap::new(),
                work_types: Default::default(),
                limit: 1,
                lease: Span::seconds(60),
            };
            let Some(Ok(Reply::Claimed(items))) = apply(&mut machine, Command::Claim(claim)) else {
                return Err("an undisturbed claim was refused".to_owned());
            };
            for item in &items {
                apply(&mut machine, self.completion(item)?);
            }
        }
        Err(format!("the undisturbed gauntlet did not end in {QUIET_STEPS_MAX} steps"))
    }

    /// The command that ends a claimed item well.
    pub(crate) fn completion(&self, item: &Item) -> Result<Command, String> {
        let State::Claimed(lease) = &item.state else {
            return Err(format!("{} was handed out as {}", item.id, item.status()));
        };
        let pair = item.origin().filter(|o| o.run.as_str() == "gauntlet").map(|o| self.result(o));
        let result = WorkResult { text: "{}".to_owned(), pair };
        Ok(Command::Complete { work_id: item.id, token: lease.token, result, then: Vec::new() })
    }
}

/// The queue beside the default one.
pub(crate) fn team() -> Result<QueueName, String> {
    "team".parse().map_err(|error| format!("bad name: {error}"))
}

/// An item at a place of its batch.
fn item(number: &mut u64, place: u64, chance: &mut Chance) -> NewItem {
    *number += 1;
    let mut needs = Needs::default();
    if chance.per_mille(300) {
        needs.capabilities.insert("gpu".to_owned());
    }
    NewItem {
        key: Some(format!("item-{number}")),
        queue: team().ok().filter(|_| chance.per_mille(300)).unwrap_or_default(),
        work_type: if chance.per_mille(500) { "selfplay" } else { "training" }.to_owned(),
        priority: [10, 50, 90][chance.below(3)],
        payload: Payload::Opaque(format!("{{\"n\":{number}}}")),
        needs,
        attempts_max: [1, 3, 5][chance.below(3)],
        attempt_timeout: Span([1_200, 30_000][chance.below(2)]),
        pending_timeout: chance.per_mille(50).then_some(Span(4_000)),
        total_timeout: chance.per_mille(50).then_some(Span(9_000)),
        delay: Span([0, 0, 2_000][chance.below(3)]),
        group: chance.per_mille(150).then(|| "board".parse().ok()).flatten(),
        after: after(place, chance),
        notify: chance.per_mille(200),
    }
}

/// Some items wait for the one before them in their batch.
fn after(place: u64, chance: &mut Chance) -> Box<[Dependency]> {
    let before = place.checked_sub(1).filter(|_| chance.per_mille(250));
    let before = before.and_then(|before| u32::try_from(before).ok());
    let ok = chance.per_mille(500);
    before.map(|before| Dependency { on: Predecessor::Earlier(before), ok }).into_iter().collect()
}

fn job(chance: &mut Chance) -> RunSpec {
    RunSpec::Job(JobSpec {
        task: Task { argv: vec!["true".to_owned()], env: BTreeMap::new() },
        completions: [3, 6, 12][chance.below(3)],
        parallelism: [1, 4][chance.below(2)],
        attempts_max: 6,
        attempt_timeout: Span::seconds(30),
        priority: 50,
        needs: Needs::default(),
    })
}

fn gauntlet(chance: &mut Chance) -> RunSpec {
    let contestant = |name: &str| Contestant {
        name: name.to_owned(),
        argv: vec!["own".to_owned()],
        options: BTreeMap::new(),
        limit: Limit::Nodes(100),
    };
    RunSpec::Gauntlet(GauntletSpec {
        candidate: contestant("candidate"),
        baselines: vec![contestant("first"), contestant("second")],
        play: Play {
            seed: chance.next(),
            opening_plies: 8,
            plies_max: 200,
            reply_timeout: Span::seconds(10),
            window: [1, 4, 8][chance.below(3)],
            priority: 60,
            demand: Demand::default(),
        },
        stop: Stop {
            pairs_min: 2,
            pairs_max: [6, 12, 20][chance.below(3)],
            sprt: Sprt {
                model: SprtModel::Logistic,
                elo0_milli: 0,
                elo1_milli: 200_000,
                alpha_ppm: 100_000,
                beta_ppm: 100_000,
            },
        },
    })
}
