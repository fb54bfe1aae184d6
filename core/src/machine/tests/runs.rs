//! Runs: submission, steps, ledger, end.

use super::{Bench, gauntlet, job, pair_result, task};
use crate::id::{QueueName, RunId, Token, WorkId};
use crate::machine::RunItems;
use crate::queue::command::{Command, Refusal, Reply};
use crate::queue::item::{Needs, NewItem, Origin, Payload, Status};
use crate::queue::resources::Demand;
use crate::run::{Advance, Outcome, PlanState, Run, RunSpec};
use crate::time::Moment;

fn id() -> RunId {
    "r".parse().expect("a name")
}

fn submit(spec: RunSpec) -> Command {
    Command::SubmitRun { run: id(), queue: QueueName::default(), spec }
}

fn part(matchup: u16, index: u32, replay: u16) -> NewItem {
    NewItem {
        key: Some(format!("run/r/{matchup}/{index}/{replay}")),
        payload: Payload::OfRun(Origin { run: id(), matchup, index, replay }),
        attempts_max: 1,
        ..task("pair")
    }
}

fn items(outstanding: u64, running: u64) -> RunItems {
    RunItems { outstanding, running, crowded: false }
}

fn nothing() -> Advance {
    Advance {
        plan: PlanState::default(),
        enqueue: vec![],
        fallen_handled: 0,
        close: vec![],
        outcome: None,
    }
}

impl Bench {
    fn with_run(spec: RunSpec) -> Self {
        let mut bench = Self::default();
        let reply = bench.apply(submit(spec));
        assert_eq!(reply, Ok(Reply::RunAccepted { fresh: true }));
        bench
    }

    fn run(&self) -> &Run {
        self.machine.run(&id()).expect("the run")
    }

    fn advance(&mut self, advance: Advance) -> Result<Reply, Refusal> {
        let version = self.run().version;
        self.apply(Command::AdvanceRun { run: id(), version, advance })
    }

    fn play(&mut self, parts: Vec<NewItem>) -> Vec<(WorkId, Token)> {
        self.advance(Advance { enqueue: parts, ..nothing() }).expect("advanced");
        let held = self.claim("n", 50);
        for held in &held {
            self.start(*held).expect("started");
        }
        held
    }
}

#[test]
fn a_run_is_submitted_once_under_its_id() {
    let mut bench = Bench::with_run(gauntlet());
    let again = bench.apply(submit(gauntlet()));
    assert_eq!(again, Ok(Reply::RunAccepted { fresh: false }));
    let other = bench.apply(submit(job()));
    assert_eq!(other, Err(Refusal::RunConflict(id())));
    assert_eq!(bench.run().ledger.pairs.len(), 2, "one line for each match-up");
    assert_eq!(bench.machine.runs().count(), 1);
    assert_eq!(bench.machine.active_runs().count(), 1);
}

#[test]
fn a_step_counts_only_for_the_version_it_was_planned_on() {
    let mut bench = Bench::with_run(gauntlet());
    let step = |version| Command::AdvanceRun {
        run: id(),
        version,
        advance: Advance { enqueue: vec![part(0, 0, 0)], ..nothing() },
    };
    assert_eq!(bench.apply(step(0)), Ok(Reply::Done));
    let stale = Err(Refusal::StaleRun { run: id(), current: 1, planned: 0 });
    assert_eq!(bench.apply(step(0)), stale);
    assert_eq!(bench.machine.totals().planned, 1, "two leaders cannot do one step twice");
    assert_eq!(bench.machine.run_items(&id()), items(1, 0));
}

#[test]
fn a_step_may_bring_only_parts_of_its_own_run() {
    let mut bench = Bench::with_run(gauntlet());
    let demand = Demand { gpu_milli: 10, ..Demand::default() };
    let foreign = Origin { run: "other".parse().expect("a name"), matchup: 0, index: 0, replay: 0 };
    let bad = [
        task("pair"),
        part(2, 0, 0),
        NewItem { payload: Payload::OfRun(foreign), ..part(0, 0, 0) },
        NewItem { key: Some("mine".into()), ..part(0, 0, 0) },
        NewItem { needs: Needs { demand, ..Needs::default() }, ..part(0, 0, 0) },
    ];
    for item in bad {
        let refused = bench.advance(Advance { enqueue: vec![part(0, 1, 0), item], ..nothing() });
        assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{refused:?}");
    }
    assert_eq!((bench.run().version, bench.machine.totals().enqueued), (0, 0));
}

#[test]
fn the_first_accepted_result_of_a_pair_stays() {
    let mut bench = Bench::with_run(gauntlet());
    let held = bench.play(vec![part(1, 4, 0), part(1, 4, 1)]);
    let version = bench.run().version;
    bench.now = 77;
    bench.complete_with(held[1], Some(pair_result(true))).expect("completed");
    bench.complete_with(held[1], Some(pair_result(true))).expect("the same once more");
    bench.complete_with(held[0], Some(pair_result(true))).expect("completed, too late");
    let run = bench.run();
    let pair = run.ledger.pairs[1].get(&4).unwrap();
    assert_eq!((pair.work_id, pair.at, pair.node.as_str()), (held[1].0, Moment(77), "n"));
    assert_eq!(run.version, version + 1, "one change of the run");
    assert_eq!(run.failures_count, 0);
}

#[test]
fn a_pair_without_score_is_no_result() {
    let mut bench = Bench::with_run(gauntlet());
    let held = bench.play(vec![part(0, 0, 0), part(0, 1, 0)]);
    bench.complete_with(held[0], Some(pair_result(false))).expect("completed");
    bench.complete_with(held[1], None).expect("completed");
    let run = bench.run();
    assert!(run.ledger.pairs[0].is_empty());
    let errors: Vec<_> = run.fallen.iter().map(|fallen| fallen.error.as_str()).collect();
    assert_eq!(errors, ["game 2: engine crashed", "the result holds no pair"]);
    assert_eq!(run.failures.len(), 2);
    let handled = Advance { fallen_handled: 1, enqueue: vec![part(0, 0, 1)], ..nothing() };
    bench.advance(handled).expect("advanced");
    assert_eq!(bench.run().fallen.len(), 1, "handled ones leave from the front");
    let too_many = bench.advance(Advance { fallen_handled: 2, ..nothing() });
    assert!(matches!(too_many, Err(Refusal::Invalid { field, .. }) if field == "fallen_handled"));
}

#[test]
fn dead_and_cancelled_parts_are_reported_to_their_run() {
    let mut bench = Bench::with_run(gauntlet());
    let held = bench.play(vec![part(0, 0, 0), part(0, 1, 0), part(0, 2, 0)]);
    assert_eq!(bench.fail(held[0]), None);
    bench.apply(Command::Cancel { work_id: held[1].0 }).expect("cancelled");
    bench.now += 10_000;
    bench.apply(Command::Tick).expect("ticked");
    let fallen: Vec<_> = bench.run().fallen.iter().map(|fallen| fallen.origin.index).collect();
    assert_eq!(fallen, [0, 1, 2]);
    assert_eq!(bench.run().failures_count, 3);
}

#[test]
fn a_job_counts_its_tasks() {
    let mut bench = Bench::with_run(job());
    let held = bench.play(vec![part(0, 0, 0), part(0, 1, 0), part(0, 2, 0)]);
    assert_eq!(bench.machine.run_items(&id()), items(3, 3));
    bench.complete(held[0]).expect("completed");
    bench.complete(held[0]).expect("the same once more");
    bench.fail(held[1]);
    let run = bench.run();
    assert_eq!((run.ledger.tasks_done, run.ledger.tasks_failed), (1, 1));
    assert_eq!(bench.machine.run_items(&id()), items(1, 1));
}

#[test]
fn a_closed_matchup_and_an_ended_run_cancel_what_is_outstanding() {
    let mut bench = Bench::with_run(gauntlet());
    let held = bench.play(vec![part(0, 0, 0), part(1, 0, 0), part(0, 1, 0)]);
    bench.advance(Advance { close: vec![0], ..nothing() }).expect("advanced");
    let statuses = |bench: &Bench| held.iter().map(|(id, _)| bench.status(*id)).collect::<Vec<_>>();
    assert_eq!(statuses(&bench), [Status::Cancelled, Status::Running, Status::Cancelled]);
    let outcome = Some(Outcome::Standings);
    bench.advance(Advance { outcome, ..nothing() }).expect("advanced");
    assert_eq!(statuses(&bench), [Status::Cancelled; 3]);
    assert!(bench.complete_with(held[1], Some(pair_result(true))).is_err());
    let run = bench.run();
    assert_eq!((run.ended, run.outcome.as_ref()), (Some(Moment(0)), Some(&Outcome::Standings)));
    assert!(run.fallen.is_empty(), "what the planner called off is no failure");
    assert_eq!(bench.advance(nothing()), Err(Refusal::RunEnded(id())));
    assert_eq!(bench.apply(Command::CancelRun { run: id() }), Err(Refusal::RunEnded(id())));
    assert_eq!(bench.machine.active_runs().count(), 0);
}

#[test]
fn a_cancelled_run_is_over_and_stays_so() {
    let mut bench = Bench::with_run(gauntlet());
    bench.play(vec![part(0, 0, 0), part(1, 0, 0)]);
    for _ in 0..2 {
        assert_eq!(bench.apply(Command::CancelRun { run: id() }), Ok(Reply::Done));
    }
    assert_eq!(bench.machine.counts().cancelled, 2);
    assert_eq!(bench.machine.run_items(&id()), RunItems::default());
    let unknown: RunId = "none".parse().expect("a name");
    let refused = bench.apply(Command::CancelRun { run: unknown.clone() });
    assert_eq!(refused, Err(Refusal::UnknownRun(unknown)));
}
