//! Tenants' queues: shares, limits, aging.

use std::collections::BTreeMap;

use super::{Bench, claimer, job, task};
use crate::id::{Position, QueueName, WorkId};
use crate::limits;
use crate::plan::plan;
use crate::queue::command::{Batch, Command, Refusal, Reply, WorkResult};
use crate::queue::item::{NewItem, State};
use crate::queue::tenant::QueueSettings;
use crate::time::{Moment, Span};

fn queue(name: &str) -> QueueName {
    name.parse().expect("a name")
}

fn of(name: &str) -> NewItem {
    NewItem { queue: queue(name), ..task("a") }
}

fn set(bench: &mut Bench, name: &str, settings: QueueSettings) {
    let command = Command::SetQueue { queue: queue(name), settings };
    assert_eq!(bench.apply(command), Ok(Reply::Done));
}

fn weight(weight: u32) -> QueueSettings {
    QueueSettings { weight, ..QueueSettings::default() }
}

fn array(name: &str, count: u32) -> Command {
    Command::EnqueueArray { request: of(name), count }
}

/// Claims and completes so many, one after another, and counts by queue.
fn serve(bench: &mut Bench, items: u32, pause: u64) -> BTreeMap<String, u32> {
    let mut served = BTreeMap::new();
    let apply = |bench: &mut Bench, command| {
        bench.index += 1;
        let position = Position { term: 1, index: bench.index };
        let batch = Batch { now: Moment(bench.now), commands: vec![command] };
        bench.machine.apply(position, &batch).remove(0).expect("done")
    };
    for _ in 0..items {
        let Reply::Claimed(items) = apply(bench, Command::Claim(claimer("n"))) else {
            panic!("not claimed")
        };
        let Some(item) = items.first() else {
            break;
        };
        let State::Claimed(lease) = &item.state else { panic!("{item:?}") };
        *served.entry(item.request.queue.to_string()).or_default() += 1;
        let result = WorkResult { text: "{}".into(), pair: None };
        let (work_id, token) = (item.id, lease.token);
        apply(bench, Command::Complete { work_id, token, result, then: vec![] });
        bench.now += pause;
    }
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
    served
}

#[test]
fn queues_share_by_weight_while_both_have_work() {
    let mut bench = Bench::default();
    set(&mut bench, "heavy", weight(3));
    set(&mut bench, "light", weight(1));
    for name in ["heavy", "light"] {
        bench.apply(array(name, 10_000)).expect("enqueued");
    }
    let served = serve(&mut bench, 400, 10);
    assert!((298..=302).contains(&served["heavy"]), "{served:?}");
}

#[test]
fn queues_share_what_is_held_by_weight_too() {
    let mut bench = Bench::default();
    set(&mut bench, "heavy", weight(3));
    set(&mut bench, "light", weight(1));
    bench.apply(array("light", 100)).expect("enqueued");
    // Alone it takes what it wants; then the other catches up.
    assert_eq!(bench.claim("n", 20).len(), 20);
    bench.apply(array("heavy", 100)).expect("enqueued");
    bench.now += 5_000;
    bench.claim("n", 60);
    let held = |name| bench.machine.queues()[&queue(name)].1.held;
    let (heavy, light) = (held("heavy"), held("light"));
    assert!(heavy >= 2 * light, "{heavy} and {light}, on the way to three to one");
}

#[test]
fn an_idle_queue_saves_up_no_more_than_seconds() {
    let mut bench = Bench::default();
    for name in ["busy", "idle"] {
        set(&mut bench, name, weight(1));
    }
    bench.apply(array("busy", 100_000)).expect("enqueued");
    // One item each 10 ms for two minutes.
    serve(&mut bench, 12_000, 10);
    bench.apply(array("idle", 100_000)).expect("enqueued");
    // Over the ten seconds that follow, the one that was busy gets half of its half at least.
    let served = serve(&mut bench, 1_000, 10);
    assert!(served["busy"] >= 250, "{served:?}");
    assert!(served["idle"] >= 500, "{served:?}");
}

#[test]
fn limits_hold_back_a_queue_and_nobody_else() {
    let mut bench = Bench::default();
    set(
        &mut bench,
        "small",
        QueueSettings { max_running: Some(1), max_queued: Some(2), ..weight(9) },
    );
    bench.enqueue(vec![of("small"), of("small"), task("a")]);
    let full = bench.apply(Command::Enqueue(vec![of("small")]));
    assert_eq!(full, Err(Refusal::QueueFull { queue: queue("small"), held: 2, limit: 2 }));
    let mut held = bench.claim("n", 9);
    held.sort();
    assert_eq!(held.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 3]);
    bench.complete(held[0]).expect("completions are always admitted");
    assert_eq!(bench.claim("n", 9)[0].0, WorkId(2));
}

#[test]
fn a_queue_must_exist_and_stays_while_it_holds_something() {
    let mut bench = Bench::default();
    let unknown = bench.apply(Command::Enqueue(vec![of("team")]));
    assert_eq!(unknown, Err(Refusal::UnknownQueue(queue("team"))));
    set(&mut bench, "team", weight(1));
    bench.enqueue(vec![of("team")]);
    let remove = || Command::RemoveQueue { queue: queue("team") };
    let in_use = |held, runs| Err(Refusal::QueueInUse { queue: queue("team"), held, runs });
    assert_eq!(bench.apply(remove()), in_use(1, 0));
    serve(&mut bench, 1, 0);
    // A run between two steps holds nothing, and needs its queue all the same.
    assert_eq!(bench.apply(submit("r", "team")), Ok(Reply::RunAccepted { fresh: true }));
    assert_eq!(bench.apply(remove()), in_use(0, 1));
    bench.apply(Command::CancelRun { run: "r".parse().expect("a name") }).expect("cancelled");
    assert_eq!(bench.apply(remove()), Ok(Reply::Done));
}

fn submit(run: &str, name: &str) -> Command {
    Command::SubmitRun { run: run.parse().expect("a name"), queue: queue(name), spec: job() }
}

#[test]
fn a_run_goes_to_the_queue_that_it_names() {
    let mut bench = Bench::default();
    let unknown = Err(Refusal::UnknownQueue(queue("team")));
    assert_eq!(bench.apply(submit("r", "team")), unknown);
    set(&mut bench, "team", QueueSettings { max_queued: Some(2), ..weight(1) });
    assert_eq!(bench.apply(submit("r", "team")), Ok(Reply::RunAccepted { fresh: true }));
    assert_eq!(bench.apply(submit("r", "team")), Ok(Reply::RunAccepted { fresh: false }));
    let elsewhere = bench.apply(submit("r", "default"));
    assert!(matches!(elsewhere, Err(Refusal::RunConflict(_))), "{elsewhere:?}");

    let step = |bench: &mut Bench, room: u64| {
        let run = bench.machine.active_runs().next().expect("the run");
        let (run, version, advance) = (run.id.clone(), run.version, plan(run, room));
        let advance = advance?;
        Some(bench.apply(Command::AdvanceRun { run, version, advance }))
    };
    // The planner sees the room that there is; one that does not is refused.
    let full = Refusal::QueueFull { queue: queue("team"), held: 0, limit: 2 };
    assert_eq!(step(&mut bench, u64::MAX), Some(Err(full)));
    assert_eq!(bench.machine.room(&queue("team")), 2);
    assert_eq!(step(&mut bench, 2), Some(Ok(Reply::Done)));
    assert_eq!(bench.machine.queues()[&queue("team")].1.queued, 2);
    assert_eq!(bench.machine.room(&queue("team")), 0);
    assert_eq!(step(&mut bench, 0), None);
    assert!(bench.machine.run_items(&"r".parse().expect("a name")).crowded);
    // What a worker holds waits no longer, so there is room for one more.
    bench.claim("n", 1);
    assert_eq!(bench.machine.room(&queue("team")), 1);
    assert_eq!(step(&mut bench, 1), Some(Ok(Reply::Done)));
    assert_eq!(bench.machine.room(&queue("none")), 0, "nothing goes where there is no queue");
}

#[test]
fn waiting_raises_an_item_above_newer_and_more_urgent_ones() {
    let mut bench = Bench::default();
    let with = |priority| NewItem { priority, ..task("a") };
    let old = bench.enqueue(vec![with(30)])[0];
    bench.now = limits::AGING_STEP.0 * 2;
    let urgent = bench.enqueue(vec![with(55)])[0];
    let first = bench.claim("n", 1)[0];
    assert_eq!(first.0, urgent, "30 has come to 50");
    bench.complete(first).expect("completed");
    bench.now += limits::AGING_STEP.0;
    bench.enqueue(vec![with(59)]);
    assert_eq!(bench.claim("n", 1)[0].0, old, "and now to 60");
}

#[test]
fn a_delayed_item_counts_as_waiting_in_its_queue() {
    let mut bench = Bench::default();
    set(&mut bench, "team", QueueSettings { max_queued: Some(1), ..weight(1) });
    bench.enqueue(vec![NewItem { delay: Span::seconds(60), ..of("team") }]);
    assert!(matches!(
        bench.apply(Command::Enqueue(vec![of("team")])),
        Err(Refusal::QueueFull { .. })
    ));
}
