//! Planners held against a sequential reader of the same results, under any order of arrival.

mod order;
pub(crate) mod world;

use std::collections::BTreeMap;

use world::{Script, World};

use super::plan;
use crate::limits;
use crate::queue::item::{Needs, Payload};
use crate::queue::resources::Demand;
use crate::run::{
    Contestant, Decision, DecisionKind, GauntletSpec, JobSpec, Limit, Outcome, Play, RunSpec, Sprt,
    SprtModel, Stop, Task, TournamentSpec, Verdict,
};
use crate::time::Span;

pub(crate) fn contestant(name: &str) -> Contestant {
    Contestant {
        name: name.into(),
        argv: vec!["own".into()],
        options: BTreeMap::new(),
        limit: Limit::Nodes(100),
    }
}

pub(crate) fn play(window: u32) -> Play {
    Play {
        seed: 1,
        opening_plies: 8,
        plies_max: 400,
        reply_timeout: Span::seconds(10),
        window,
        priority: 50,
        demand: Demand::default(),
    }
}

pub(crate) fn gauntlet(baselines: usize, window: u32, pairs_min: u32, pairs_max: u32) -> RunSpec {
    RunSpec::Gauntlet(GauntletSpec {
        candidate: contestant("candidate"),
        baselines: (0..baselines).map(|i| contestant(&format!("baseline-{i}"))).collect(),
        play: play(window),
        stop: Stop {
            pairs_min,
            pairs_max,
            sprt: Sprt {
                model: SprtModel::Normalized,
                elo0_milli: 0,
                elo1_milli: 100_000,
                alpha_ppm: 50_000,
                beta_ppm: 50_000,
            },
        },
    })
}

pub(crate) fn tournament(players: usize, window: u32, pairs: u32) -> RunSpec {
    RunSpec::Tournament(TournamentSpec {
        contestants: (0..players).map(|i| contestant(&format!("player-{i}"))).collect(),
        play: play(window),
        pairs,
    })
}

pub(crate) fn job(completions: u32, parallelism: u32) -> RunSpec {
    RunSpec::Job(JobSpec {
        task: Task { argv: vec!["true".into()], env: BTreeMap::new() },
        completions,
        parallelism,
        attempts_max: 4,
        attempt_timeout: Span::seconds(5),
        priority: 70,
        needs: Needs::default(),
    })
}

#[test]
fn a_job_keeps_its_parallelism_outstanding_and_ends_with_its_last_task() {
    let mut world = World::new(job(10, 3), Script::equals(1));
    world.plan_all();
    assert_eq!(world.outstanding_indices(0), [0, 1, 2]);
    let step = plan(&world.run, u64::MAX);
    assert_eq!(step, None, "nothing happened since");
    world.complete(1);
    world.plan_all();
    assert_eq!(world.outstanding_indices(0), [0, 2, 3]);
    let outcome = world.finish(7);
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(world.run.ledger.tasks_done, 10);
}

#[test]
fn a_jobs_item_carries_what_the_job_asked_for() {
    let mut world = World::new(job(1, 3), Script::equals(1));
    let step = plan(&world.run, u64::MAX).unwrap();
    let [item] = step.enqueue.as_slice() else { panic!("one task, not {:?}", step.enqueue) };
    assert_eq!(item.key.as_deref(), Some("run/test/0/0/0"));
    assert_eq!((item.work_type.as_str(), item.priority, item.attempts_max), ("process", 70, 4));
    assert_eq!(item.attempt_timeout, Span::seconds(5));
    world.plan_all();
}

#[test]
fn a_job_fails_with_its_first_dead_task() {
    let mut world = World::new(
        job(10, 3),
        Script { deaths: |_, index| u16::from(index == 4), ..Script::equals(1) },
    );
    let outcome = world.finish(3);
    let Outcome::Failed { reason, message } = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "TasksFailed");
    let done = world.run.ledger.tasks_done;
    assert_eq!(
        message,
        format!("task 4 died after its last attempt: crash; {done} of 10 tasks had ended well")
    );
}

#[test]
fn a_large_job_is_enqueued_in_bounded_steps() {
    let mut world = World::new(job(2_500, 10_000), Script::equals(1));
    let sizes: Vec<usize> = (0..3).map(|_| world.plan_once().unwrap().enqueue.len()).collect();
    assert_eq!(sizes, [limits::BATCH_ITEMS_MAX, limits::BATCH_ITEMS_MAX, 500]);
    assert_eq!(plan(&world.run, u64::MAX), None);
}

#[test]
fn match_ups_advance_together_within_their_windows() {
    let mut world = World::new(tournament(3, 2, 5), Script::equals(1));
    let step = world.plan_once().unwrap();
    let order: Vec<(u16, u32)> = step
        .enqueue
        .iter()
        .map(|item| match &item.payload {
            Payload::OfRun(origin) => (origin.matchup, origin.index),
            other @ (Payload::Opaque(_) | Payload::OfArray(_)) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
    let item = &step.enqueue[4];
    assert_eq!(item.key.as_deref(), Some("run/test/1/1/0"));
    assert_eq!((item.work_type.as_str(), item.priority, item.attempts_max), ("pair", 50, 3));
    // 400 plies, two games, 10 s each.
    assert_eq!(item.attempt_timeout, Span::seconds(8_000));
    assert_eq!(world.finish(5), Outcome::Standings);
    assert_eq!(
        world.run.ledger.pairs.iter().map(crate::pages::Pages::len).collect::<Vec<_>>(),
        [5, 5, 5]
    );
}

#[test]
fn every_play_of_a_pair_needs_what_the_run_says() {
    let demand = Demand { gpu_milli: 500, memory_mib: 64, ..Demand::default() };
    let mut specs = [tournament(3, 2, 5), gauntlet(2, 2, 2, 4)];
    for spec in &mut specs {
        match spec {
            RunSpec::Tournament(spec) => spec.play.demand = demand,
            RunSpec::Gauntlet(spec) => spec.play.demand = demand,
            RunSpec::Job(_) => panic!("a Job has no pairs"),
        }
        let script = Script { deaths: |_, index| u16::from(index == 0), ..Script::equals(1) };
        let mut world = World::new(spec.clone(), script);
        for _ in 0..2 {
            let step = world.plan_once().expect("pairs, and then what died once more");
            assert!(!step.enqueue.is_empty());
            assert!(step.enqueue.iter().all(|item| item.needs == spec.needs()), "{step:?}");
            assert_eq!(step.enqueue[0].needs.demand, demand);
            world.complete(0);
        }
    }
}

#[test]
fn a_pair_is_played_again_with_the_same_index_and_then_given_up() {
    // The pair at index 1 dies with every replay but the last one.
    let script = Script { deaths: |_, index| if index == 1 { 3 } else { 0 }, ..Script::equals(1) };
    let mut world = World::new(tournament(2, 4, 3), script);
    assert_eq!(world.finish(1), Outcome::Standings);
    assert_eq!(world.run.failures_count, 3);

    let script = Script { deaths: |_, index| if index == 1 { 4 } else { 0 }, ..Script::equals(1) };
    let mut world = World::new(tournament(2, 4, 3), script);
    let outcome = world.finish(1);
    let Outcome::Failed { reason, message } = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "PairUnplayable");
    assert_eq!(message, "pair 1 of player-0 against player-1 brought no score in 4 plays: crash");
    assert_eq!(world.run.failures_count, 4);
}

#[test]
fn an_unplayable_pair_behind_the_decision_does_not_matter() {
    // The candidate wins everything, and is done long before pair 60.
    let winner = Script { law: [0.0, 0.0, 0.0, 0.1, 0.9], ..Script::equals(3) };
    let mut calm = World::new(gauntlet(1, 64, 10, 200), winner.clone());
    assert_eq!(calm.finish(4), Outcome::Verdict(Verdict::Promote));
    let decision = calm.run.plan.decided[0].unwrap();
    assert!(decision.pairs < 60, "{decision:?}");

    let script = Script { deaths: |_, index| if index == 60 { 9 } else { 0 }, ..winner };
    for schedule in 0..20 {
        let mut world = World::new(gauntlet(1, 64, 10, 200), script.clone());
        assert_eq!(world.finish(schedule), Outcome::Verdict(Verdict::Promote));
        assert_eq!(world.run.plan.decided[0], Some(decision));
    }
}

#[test]
fn no_decision_falls_before_pairs_min_and_none_after_pairs_max() {
    let winner = Script { law: [0.0, 0.0, 0.0, 0.0, 1.0], ..Script::equals(3) };
    let mut world = World::new(gauntlet(1, 8, 150, 200), winner);
    assert_eq!(world.finish(1), Outcome::Verdict(Verdict::Promote));
    let accept = |pairs| Some(Decision { kind: DecisionKind::AcceptH1, pairs });
    assert_eq!(world.run.plan.decided, [accept(150)]);

    let level = Script { law: [0.0, 0.0, 1.0, 0.0, 0.0], ..Script::equals(3) };
    let mut world = World::new(gauntlet(1, 8, 1, 3), level);
    assert_eq!(world.finish(1), Outcome::Verdict(Verdict::Inconclusive));
    let out = Decision { kind: DecisionKind::Inconclusive, pairs: 3 };
    assert_eq!(world.run.plan.decided, [Some(out)]);
    assert_eq!(world.run.ledger.pairs[0].len(), 3);
}

#[test]
fn one_rejection_rejects_and_one_doubt_forbids_promotion() {
    use DecisionKind::{AcceptH0, AcceptH1, Inconclusive};
    let verdict = |kinds: &[Option<DecisionKind>]| {
        let decided: Vec<_> =
            kinds.iter().map(|kind| kind.map(|kind| Decision { kind, pairs: 1 })).collect();
        super::gauntlet::verdict(&decided)
    };
    assert_eq!(verdict(&[Some(AcceptH1), Some(AcceptH1)]), Some(Verdict::Promote));
    assert_eq!(verdict(&[Some(AcceptH1), Some(Inconclusive)]), Some(Verdict::Inconclusive));
    assert_eq!(verdict(&[Some(Inconclusive), Some(AcceptH1)]), Some(Verdict::Inconclusive));
    assert_eq!(verdict(&[Some(Inconclusive), Some(AcceptH0)]), Some(Verdict::Reject));
    assert_eq!(verdict(&[Some(AcceptH0), Some(AcceptH1)]), Some(Verdict::Reject));
    assert_eq!(verdict(&[Some(AcceptH0), None]), None, "all match-ups are awaited");
    assert_eq!(verdict(&[]), Some(Verdict::Inconclusive));
}

#[test]
fn what_was_tested_is_remembered_even_when_nothing_else_changes() {
    let level = Script { law: [0.0, 0.0, 1.0, 0.0, 0.0], ..Script::equals(3) };
    let mut world = World::new(gauntlet(1, 500, 500, 500), level);
    world.plan_all();
    for index in 0..63 {
        world.complete_index(index);
        assert_eq!(plan(&world.run, u64::MAX), None);
    }
    world.complete_index(63);
    let step = world.plan_once().unwrap();
    assert_eq!(step.plan.tested, [[0, 0, 64, 0, 0]]);
    assert_eq!((step.enqueue.len(), step.close.len(), step.outcome), (0, 0, None));
    assert_eq!(plan(&world.run, u64::MAX), None);
}

#[test]
fn specs_that_validation_would_refuse_still_end() {
    let specs = [
        job(0, 1),
        job(3, 0),
        tournament(0, 1, 4),
        tournament(1, 1, 4),
        tournament(3, 0, 2),
        tournament(3, 1, 0),
        gauntlet(0, 1, 1, 4),
        gauntlet(2, 0, 9, 4),
        gauntlet(2, 1, 0, 0),
    ];
    for spec in specs {
        let mut world = World::new(spec.clone(), Script::equals(9));
        let outcome = world.finish(2);
        assert!(!matches!(outcome, Outcome::Failed { .. }), "{spec:?} ended as {outcome:?}");
    }
}
