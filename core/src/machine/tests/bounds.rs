//! Bounds: refused at the edge, forgotten in order, never exceeded.

use super::{Bench, claimer, gauntlet, job, task};
use crate::id::{QueueName, RunId, Token, WorkId};
use crate::limits;
use crate::plan::plan;
use crate::queue::command::{Batch, Claim, Command, Refusal, Reply, WorkResult};
use crate::queue::item::{Item, Needs, NewItem, Origin, Payload};
use crate::run::RunSpec;
use crate::time::{Moment, Span};

fn field(reply: Result<Reply, Refusal>) -> String {
    match reply {
        Err(Refusal::Invalid { field, .. }) => field,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

fn origin() -> Origin {
    let run = "r".parse().expect("a name");
    Origin { run, matchup: 0, index: 0, replay: 0 }
}

/// Changes one field of a sound request.
type Spoil = fn(&mut NewItem);

#[test]
fn what_breaks_a_bound_is_refused_by_the_name_of_its_field() {
    let spoiled: [(&str, Spoil); 13] = [
        ("priority", |item| item.priority = 101),
        ("work_type", |item| item.work_type.clear()),
        ("key", |item| item.key = Some(String::new())),
        ("key", |item| item.key = Some("x".repeat(limits::KEY_BYTES_MAX + 1))),
        ("key", |item| item.key = Some("run/r/0/0/0".into())),
        ("payload", |item| {
            item.payload = Payload::Opaque("x".repeat(limits::PAYLOAD_BYTES_MAX + 1));
        }),
        ("payload", |item| item.payload = Payload::OfRun(origin())),
        ("attempts_max", |item| item.attempts_max = 0),
        ("attempts_max", |item| item.attempts_max = limits::ATTEMPTS_MAX + 1),
        ("attempt_timeout", |item| item.attempt_timeout = Span(0)),
        ("delay", |item| item.delay = Span(u64::MAX)),
        ("needs.capabilities", |item| {
            item.needs.capabilities = (0..=limits::NEEDS_MAX).map(|n| n.to_string()).collect();
        }),
        ("needs.labels", |item| {
            let value = "x".repeat(limits::NAME_BYTES_MAX + 1);
            item.needs.labels.insert("zone".into(), value);
        }),
    ];
    let mut bench = Bench::default();
    for (name, spoil) in spoiled {
        let mut item = task("a");
        spoil(&mut item);
        let refused = field(bench.apply(Command::Enqueue(vec![task("a"), item])));
        assert_eq!(refused, format!("items[1].{name}"));
    }
    let too_many = vec![task("a"); limits::BATCH_ITEMS_MAX + 1];
    assert_eq!(field(bench.apply(Command::Enqueue(too_many))), "items");
    let lease = Span(999);
    let bad = [
        ("limit", Claim { limit: 0, ..claimer("n") }),
        ("limit", Claim { limit: 257, ..claimer("n") }),
        ("lease", Claim { lease, ..claimer("n") }),
    ];
    for (name, claim) in bad {
        assert_eq!(field(bench.apply(Command::Claim(claim))), name);
    }
    assert_eq!(bench.machine.totals().enqueued, 0, "nothing of it came in");
}

#[test]
fn a_full_queue_refuses_more_but_goes_on_completing() {
    let mut bench = Bench::default();
    bench.enqueue(vec![task("a")]);
    let held = bench.claim("n", 1)[0];
    // The count is what decides; a million real items would only make the test slow.
    let limit = limits::ITEMS_UNFINISHED_MAX as u64;
    bench.machine.index.counts.delayed = limit - 1;
    let batch = |command| Batch { now: Moment(0), commands: vec![command] };
    let mut apply = |index, command| {
        let position = crate::id::Position { term: 1, index };
        bench.machine.apply(position, &batch(command)).remove(0)
    };
    let refused = apply(10, Command::Enqueue(vec![task("a")]));
    assert_eq!(refused, Err(Refusal::Full { held: limit, limit }));
    let result = WorkResult { text: "{}".into(), pair: None };
    let complete = Command::Complete { work_id: held.0, token: held.1, result, then: vec![] };
    assert_eq!(apply(11, complete), Ok(Reply::Completed { then: vec![] }));
    assert!(apply(12, Command::Enqueue(vec![task("a")])).is_ok());
}

#[test]
fn what_ends_makes_room_for_what_follows_from_it() {
    let mut bench = Bench::default();
    (bench.machine.bounds.records, bench.machine.bounds.follow_ups) = (2, 1);
    bench.enqueue(vec![task("a"), task("a")]);
    assert!(matches!(bench.apply(Command::Enqueue(vec![task("a")])), Err(Refusal::Full { .. })));
    let end = |bench: &mut Bench, follow_ups| {
        let (work_id, token) = bench.claim("n", 1)[0];
        let result = WorkResult { text: "{}".into(), pair: None };
        let then = vec![task("a"); follow_ups];
        bench.apply(Command::Complete { work_id, token, result, then })
    };
    end(&mut bench, 1).expect("one for one");
    end(&mut bench, 2).expect("some more are let pass");
    let full = Err(Refusal::Full { held: 3, limit: 3 });
    assert_eq!(end(&mut bench, 2), full, "but not without end");
    end(&mut bench, 1).expect("one for one, always");
    assert_eq!(end(&mut bench, 0), Ok(Reply::Completed { then: vec![] }));
}

#[test]
fn large_items_fill_the_queue_before_many_do() {
    let mut bench = Bench::default();
    let item = |bytes: usize| NewItem { payload: Payload::Opaque("x".repeat(bytes)), ..task("a") };
    let most = 2 * item(1_000).bytes();
    assert_eq!(item(1_000).bytes(), limits::RECORD_BYTES + 1_001);
    (bench.machine.bounds.bytes, bench.machine.bounds.follow_up_bytes) = (most, 0);
    bench.enqueue(vec![item(1_000)]);
    assert!(!bench.machine.is_full());
    let heavy = |bytes| Err(Refusal::TooHeavy { bytes, limit: most });
    let refused = bench.apply(Command::Enqueue(vec![item(1_001)]));
    assert_eq!(refused, heavy(most / 2));
    bench.apply(Command::EnqueueArray { request: item(1_000), count: 9 }).expect("in the rest");
    assert!(bench.machine.is_full());
    let held = bench.claim("n", 9);
    assert_eq!(held.len(), 1, "an array gives nothing away while it has no room");
    assert_eq!(bench.machine.explain(&[]).why(WorkId(3))[0].as_str(), "too_heavy");
    let (work_id, token) = held[0];
    let complete = |payload| {
        let result = WorkResult { text: "{}".into(), pair: None };
        Command::Complete { work_id, token, result, then: vec![item(payload)] }
    };
    assert_eq!(bench.apply(complete(1_001)), heavy(most));
    bench.apply(complete(1_000)).expect("one for one");
    let held = bench.claim("n", 9);
    bench.complete(held[0]).expect("completed");
    assert_eq!(bench.claim("n", 9).len(), 2, "now there is room for two of them");
}

#[test]
fn ended_items_are_forgotten_by_their_bytes_too() {
    let mut bench = Bench::default();
    let once = NewItem { attempts_max: 1, ..task("a") };
    bench.machine.bounds.finished_bytes = 3 * once.bytes();
    bench.enqueue(vec![once; 8]);
    for (at, held) in bench.claim("n", 8).into_iter().enumerate() {
        bench.start(held).expect("started");
        if at % 2 == 0 {
            bench.complete(held).expect("completed");
        } else {
            assert_eq!(bench.fail(held), None);
        }
    }
    // Results and errors count, so there is room for two of each.
    let counts = bench.machine.counts();
    assert_eq!((counts.completed, counts.dead), (2, 2));
    assert!(bench.machine.item(WorkId(8)).is_some());
}

#[test]
fn kinds_of_items_are_bounded_since_a_claim_looks_at_each() {
    let mut bench = Bench::default();
    let kind = |n: usize| task(&format!("kind-{n}"));
    for first in (0..limits::CLASSES_MAX).step_by(512) {
        bench.enqueue((first..first + 512).map(kind).collect());
    }
    let next = || Command::Enqueue(vec![kind(limits::CLASSES_MAX)]);
    let limit = limits::CLASSES_MAX as u64;
    assert_eq!(bench.apply(next()), Err(Refusal::TooManyKinds { limit }));
    bench.enqueue(vec![kind(0)]);
    for id in [2, limits::CLASSES_MAX as u64] {
        bench.apply(Command::Cancel { work_id: WorkId(id) }).expect("cancelled");
    }
    bench.apply(next()).expect("room again");
}

#[test]
fn a_run_waits_while_there_are_too_many_kinds_and_goes_on_after() {
    let mut bench = Bench::default();
    let kind = |n: usize| task(&format!("kind-{n}"));
    for first in (0..limits::CLASSES_MAX).step_by(512) {
        bench.enqueue((first..first + 512).map(kind).collect());
    }
    let run: RunId = "r".parse().expect("a name");
    let queue = QueueName::default();
    let submit = Command::SubmitRun { run: run.clone(), queue: queue.clone(), spec: job() };
    assert_eq!(bench.apply(submit), Ok(Reply::RunAccepted { fresh: true }));
    let step = |bench: &mut Bench, room: Option<u64>| {
        let known = bench.machine.run(&run).expect("the run");
        let room = room.unwrap_or_else(|| bench.machine.room_for(known));
        let (version, advance) = (known.version, plan(known, room)?);
        Some(bench.apply(Command::AdvanceRun { run: run.clone(), version, advance }))
    };
    // The planner sees that there is no room for it; one that does not is refused, and not for good.
    assert_eq!(step(&mut bench, None), None);
    assert!(bench.machine.run_items(&run).crowded);
    let limit = limits::CLASSES_MAX as u64;
    assert!(bench.machine.room(&queue) > 0);
    assert_eq!(step(&mut bench, Some(1)), Some(Err(Refusal::TooManyKinds { limit })));
    bench.apply(Command::Cancel { work_id: WorkId(1) }).expect("cancelled");
    assert_eq!(step(&mut bench, Some(1)), Some(Ok(Reply::Done)));
    // Its own kind is there now, so there is room for more of it.
    assert_eq!(step(&mut bench, None), Some(Ok(Reply::Done)));
    assert_eq!(bench.machine.run_items(&run).outstanding, 4);
}

#[test]
fn a_burst_of_expiries_is_spread_over_commands_without_showing() {
    let mut bench = Bench::default();
    let most = limits::DUE_PER_COMMAND_MAX;
    let items = |n| Command::Enqueue(vec![task("a"); n]);
    bench.apply(items(limits::BATCH_ITEMS_MAX)).expect("enqueued");
    bench.apply(items(100)).expect("enqueued");
    let mut held = Vec::new();
    while held.len() < most + 100 {
        held.extend(bench.claim("n", 256));
    }
    bench.now += 10_000;
    let tick = |bench: &mut Bench| bench.apply(Command::Tick);
    let (work_id, token): (WorkId, Token) = *held.last().expect("the last one");
    let expired = u32::try_from(most).expect("a small bound");
    assert_eq!(tick(&mut bench), Ok(Reply::Ticked { expired }));
    assert_eq!(bench.machine.counts().claimed, 100, "the rest comes with the next command");
    let result = WorkResult { text: "{}".into(), pair: None };
    // A batch of its own would expire the rest first: look past the sweep.
    let late = bench.machine.complete(work_id, token, &result, &[]);
    assert!(matches!(late, Err(Refusal::Fenced { .. })), "ended is ended, swept or not");
    assert_eq!(tick(&mut bench), Ok(Reply::Ticked { expired: 99 }));
}

#[test]
fn finished_items_are_forgotten_oldest_first_but_their_keys_are_not() {
    let mut bench = Bench::default();
    let keyed = |n: u64| NewItem { key: Some(format!("k{n}")), ..task("a") };
    let batches = limits::ITEMS_FINISHED_MAX / limits::BATCH_ITEMS_MAX + 1;
    let size = limits::BATCH_ITEMS_MAX as u64;
    for batch in 0..batches as u64 {
        let position = crate::id::Position { term: 1, index: batch + 1 };
        let enqueue = Command::Enqueue((batch * size..(batch + 1) * size).map(keyed).collect());
        let cancel = |n| Command::Cancel { work_id: WorkId(n + 1) };
        let cancels = (batch * size..(batch + 1) * size).map(cancel);
        let commands = std::iter::once(enqueue).chain(cancels).collect();
        bench.machine.apply(position, &Batch { now: Moment(batch), commands });
    }
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
    assert_eq!(bench.machine.counts().cancelled, limits::ITEMS_FINISHED_MAX as u64);
    assert_eq!(bench.machine.totals().cancelled, batches as u64 * size);
    assert!(bench.machine.item(WorkId(size)).is_none(), "the oldest are gone");
    assert!(bench.machine.item(WorkId(size + 1)).is_some());
    bench.index = 1_000;
    let again = bench.apply(Command::Enqueue(vec![keyed(7)]));
    assert_eq!(again, Ok(Reply::Enqueued(vec![(WorkId(8), false)])));
    let other = NewItem { priority: 1, ..keyed(7) };
    let conflict = bench.apply(Command::Enqueue(vec![other]));
    assert_eq!(conflict, Err(Refusal::KeyConflict { key: "k7".into(), work_id: WorkId(8) }));
    let text = serde_json::to_string(&bench.machine.freeze()).expect("a snapshot");
    let restored: super::Machine = serde_json::from_str(&text).expect("the same snapshot");
    assert_eq!(restored, bench.machine);
}

#[test]
fn runs_are_bounded_and_active_ones_never_dropped() {
    let mut bench = Bench::default();
    let submit = |n: usize| Command::SubmitRun {
        run: format!("run-{n}").parse().expect("a name"),
        queue: QueueName::default(),
        spec: job(),
    };
    let position = |index| crate::id::Position { term: 1, index };
    let commands = (0..limits::RUNS_MAX).map(submit).collect();
    bench.machine.apply(position(1), &Batch { now: Moment(0), commands });
    bench.index = 1;
    let most = limits::RUNS_MAX as u64;
    assert_eq!(bench.apply(submit(limits::RUNS_MAX)), Err(Refusal::TooManyRuns(most)));
    let run = || "run-77".parse().expect("a name");
    bench.apply(Command::CancelRun { run: run() }).expect("cancelled");
    assert!(bench.machine.run(&run()).is_some(), "ended runs are kept while there is room");
    bench.apply(submit(limits::RUNS_MAX)).expect("room again");
    assert!(bench.machine.run(&run()).is_none());
}

#[test]
fn a_run_that_could_hold_too_many_items_is_refused() {
    let mut bench = Bench::default();
    let mut wide = gauntlet();
    if let RunSpec::Gauntlet(spec) = &mut wide {
        spec.play.window = limits::RUN_OUTSTANDING_MAX / 2 + 1;
    }
    let run = "r".parse().expect("a name");
    let submit = Command::SubmitRun { run, queue: QueueName::default(), spec: wide };
    assert_eq!(field(bench.apply(submit)), "play.window");
}

/// A million of them wait: what is a few bytes more takes the next larger block of the allocator.
#[test]
fn an_item_and_its_counters_fill_a_block_of_384_bytes() {
    let counters = 2 * size_of::<usize>();
    assert!(size_of::<Item>() + counters <= 384, "{}", size_of::<Item>());
}

/// Cost must not grow with the queue: a claim among items that do not fit looks at none of them.
#[test]
fn a_hundred_thousand_items_are_no_burden() {
    let mut bench = Bench::default();
    let needs = Needs { capabilities: ["gpu".to_string()].into(), ..Needs::default() };
    let mut index = 0;
    let mut apply = |bench: &mut Bench, command| {
        index += 1;
        let position = crate::id::Position { term: 1, index };
        bench.machine.apply(position, &Batch { now: Moment(index), commands: vec![command] });
    };
    let unfit = NewItem { priority: 100, needs, ..task("training") };
    for _ in 0..100 {
        apply(&mut bench, Command::Enqueue(vec![unfit.clone(); limits::BATCH_ITEMS_MAX]));
    }
    apply(&mut bench, Command::Enqueue(vec![task("a"); limits::BATCH_ITEMS_MAX]));
    // With a scan this would be 10^9 looks at items.
    for _ in 0..10_000 {
        apply(&mut bench, Command::Claim(claimer("n")));
    }
    assert_eq!(bench.machine.counts().claimed, 1_000);
    assert_eq!(bench.machine.counts().ready, 100_000);
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
}
