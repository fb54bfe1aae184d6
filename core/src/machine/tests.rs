//! One rule a test, through `apply` only.

mod arrays;
mod bounds;
mod claims;
mod dependencies;
mod events;
mod items;
mod locks;
mod members;
mod nodes;
mod runs;
mod sessions;
mod stops;
mod tenants;
mod why;

use std::collections::{BTreeMap, BTreeSet};

use super::Machine;
use crate::id::{Position, QueueName, Token, WorkId};
use crate::queue::command::{Batch, Claim, Command, PairResult, Refusal, Reply, WorkResult};
use crate::queue::item::{Needs, NewItem, Payload, State, Status};
use crate::queue::resources::Demand;
use crate::run::{
    Contestant, Ending, GameResult, GauntletSpec, JobSpec, Limit, Play, RunSpec, Score, Sprt,
    SprtModel, Stop, Task,
};
use crate::time::{Moment, Span};

pub(super) fn task(work_type: &str) -> NewItem {
    NewItem {
        key: None,
        queue: QueueName::default(),
        work_type: work_type.into(),
        priority: 50,
        payload: Payload::Opaque("{}".into()),
        needs: Needs::default(),
        attempts_max: 3,
        attempt_timeout: Span::seconds(60),
        pending_timeout: None,
        total_timeout: None,
        delay: Span(0),
        group: None,
        after: Box::default(),
        notify: false,
    }
}

pub(super) fn job() -> RunSpec {
    RunSpec::Job(JobSpec {
        task: Task { argv: vec!["true".into()], env: BTreeMap::new() },
        completions: 4,
        parallelism: 4,
        attempts_max: 2,
        attempt_timeout: Span::seconds(60),
        priority: 50,
        needs: Needs::default(),
    })
}

/// One candidate against two baselines.
pub(super) fn gauntlet() -> RunSpec {
    let contestant = |name: &str| Contestant {
        name: name.into(),
        argv: vec!["own".into()],
        options: BTreeMap::new(),
        limit: Limit::Nodes(100),
    };
    RunSpec::Gauntlet(GauntletSpec {
        candidate: contestant("candidate"),
        baselines: vec![contestant("first"), contestant("second")],
        play: Play {
            seed: 1,
            opening_plies: 8,
            plies_max: 200,
            reply_timeout: Span::seconds(10),
            window: 8,
            priority: 50,
            demand: Demand::default(),
        },
        stop: Stop {
            pairs_min: 2,
            pairs_max: 10,
            sprt: Sprt {
                model: SprtModel::Normalized,
                elo0_milli: 0,
                elo1_milli: 50_000,
                alpha_ppm: 50_000,
                beta_ppm: 50_000,
            },
        },
    })
}

pub(super) fn pair_result(scored: bool) -> PairResult {
    let game = |score, ending| GameResult { score, ending, plies: 60, moves_hash: 7 };
    let second = if scored {
        game(Ok(Score::Win), Ending::Checkmate)
    } else {
        game(Err("engine crashed".into()), Ending::Crash)
    };
    PairResult { games: [game(Ok(Score::Draw), Ending::Repetition), second] }
}

/// A machine, its log position and its clock.
#[derive(Default)]
pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) now: u64,
    pub(super) index: u64,
}

impl Bench {
    pub(super) fn apply(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.index += 1;
        let position = Position { term: 1, index: self.index };
        let batch = Batch { now: Moment(self.now), commands: vec![command] };
        let reply = self.machine.apply(position, &batch).remove(0);
        assert_eq!(self.machine.violations(), Vec::<String>::new());
        reply
    }

    pub(super) fn enqueue(&mut self, items: Vec<NewItem>) -> Vec<WorkId> {
        match self.apply(Command::Enqueue(items)) {
            Ok(Reply::Enqueued(ids)) => ids.into_iter().map(|(id, _)| id).collect(),
            other => panic!("not enqueued: {other:?}"),
        }
    }

    pub(super) fn claim(&mut self, node: &str, limit: u32) -> Vec<(WorkId, Token)> {
        self.claim_as(Claim { limit, ..claimer(node) })
    }

    pub(super) fn claim_as(&mut self, claim: Claim) -> Vec<(WorkId, Token)> {
        let Ok(Reply::Claimed(items)) = self.apply(Command::Claim(claim)) else {
            panic!("not claimed")
        };
        let token = |state: &State| match state {
            State::Claimed(lease) => lease.token,
            other => panic!("claimed as {other:?}"),
        };
        items.iter().map(|item| (item.id, token(&item.state))).collect()
    }

    pub(super) fn start(&mut self, (work_id, token): (WorkId, Token)) -> Result<Reply, Refusal> {
        self.apply(Command::Start { work_id, token })
    }

    pub(super) fn complete(&mut self, held: (WorkId, Token)) -> Result<Reply, Refusal> {
        self.complete_with(held, None)
    }

    pub(super) fn complete_with(
        &mut self,
        (work_id, token): (WorkId, Token),
        pair: Option<PairResult>,
    ) -> Result<Reply, Refusal> {
        let result = WorkResult { text: "{\"ok\":true}".into(), pair };
        self.apply(Command::Complete { work_id, token, result, then: Vec::new() })
    }

    pub(super) fn fail(&mut self, (work_id, token): (WorkId, Token)) -> Option<Moment> {
        let error = "exit status 1".into();
        match self.apply(Command::Fail { work_id, token, error, retry: true }) {
            Ok(Reply::Failed { retry_at }) => retry_at,
            other => panic!("not failed: {other:?}"),
        }
    }

    pub(super) fn status(&self, id: WorkId) -> Status {
        self.machine.item(id).expect("a known item").status()
    }

    fn attempts(&self, id: WorkId) -> u32 {
        self.machine.item(id).expect("a known item").attempts
    }
}

pub(super) fn claimer(node: &str) -> Claim {
    Claim {
        node: node.parse().expect("a name"),
        capabilities: BTreeSet::new(),
        labels: BTreeMap::new(),
        work_types: BTreeSet::new(),
        limit: 1,
        lease: Span::seconds(10),
    }
}

pub(super) fn fenced(reply: &Result<Reply, Refusal>) -> bool {
    matches!(reply, Err(Refusal::Fenced { .. }))
}
