//! What a cancelled item's process takes until its holder has stopped it.

use super::{Bench, claimer, fenced, job, task};
use crate::id::{Token, WorkId};
use crate::limits;
use crate::queue::command::{Command, Refusal, Reply};
use crate::queue::item::{Needs, NewItem, Status};
use crate::queue::resources::{Capacity, Demand, Teller};
use crate::time::Span;

/// Two items of one group; a node of one device, which both need.
fn bench() -> (Bench, Vec<WorkId>) {
    let mut bench = Bench::default();
    let demand = Demand { gpu_milli: 1_000, ..Demand::default() };
    let needs = Needs { demand, ..Needs::default() };
    let group = Some("board".parse().expect("a name"));
    let item = NewItem { needs, group, total_timeout: Some(Span::seconds(60)), ..task("a") };
    let ids = bench.enqueue(vec![item.clone(), item]);
    for node in ["n", "other"] {
        has(&mut bench, node, 1);
    }
    (bench, ids)
}

fn has(bench: &mut Bench, node: &str, gpu_devices: u16) {
    let capacity = Some(Capacity { gpu_devices, ..Capacity::default() });
    let node = node.parse().expect("a name");
    bench.apply(Command::SetCapacity { node, capacity, by: Teller::Agent }).expect("set");
}

fn cancel(bench: &mut Bench, held: (WorkId, Token)) {
    bench.apply(Command::Cancel { work_id: held.0 }).expect("cancelled");
    assert_eq!(bench.status(held.0), Status::Cancelled, "at once, for whoever looks");
}

fn beat(bench: &mut Bench, held: (WorkId, Token)) {
    let (node, lease) = (claimer("n").node, Span::seconds(10));
    let told = bench.apply(Command::Heartbeat { node, claims: vec![held], lease });
    assert_eq!(told, Ok(Reply::Renewed { renewed: 0, lost: vec![held.0] }));
}

#[test]
fn a_cancelled_item_keeps_its_device_and_its_group_until_its_holder_speaks() {
    let (mut bench, ids) = bench();
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    cancel(&mut bench, held);
    // Its process still runs: neither its device nor its group is free.
    assert!(bench.claim("n", 1).is_empty());
    assert!(bench.claim("other", 1).is_empty());
    assert_eq!(bench.machine.explain(&[]).why(ids[1])[0].as_str(), "group_busy");
    assert!(fenced(&bench.complete(held)));
    assert_eq!(bench.claim("n", 1)[0].0, ids[1]);
}

#[test]
fn a_holder_that_was_told_has_so_long_to_stop() {
    let (mut bench, ids) = bench();
    let held = bench.claim("n", 1)[0];
    cancel(&mut bench, held);
    bench.now = 1_000;
    beat(&mut bench, held);
    bench.now = 2_000;
    beat(&mut bench, held);
    bench.now = 1_000 + limits::STOP_TIME.0 - 1;
    assert!(bench.claim("n", 1).is_empty());
    assert_eq!(bench.machine.next_due().map(|due| due.0), Some(bench.now + 1));
    bench.now += 1;
    assert_eq!(bench.claim("n", 1)[0].0, ids[1], "counted from when it was told first");
}

#[test]
fn a_holder_that_is_never_heard_of_has_stopped_when_its_lease_ends() {
    let (mut bench, ids) = bench();
    let held = bench.claim("n", 1)[0];
    cancel(&mut bench, held);
    bench.now = 9_999;
    assert!(bench.claim("n", 1).is_empty());
    bench.now = 10_000;
    assert_eq!(bench.claim("n", 1)[0].0, ids[1]);
}

#[test]
fn a_deadline_ends_an_item_but_not_its_process() {
    let (mut bench, ids) = bench();
    let held = bench.claim("n", 1)[0];
    bench.now = 50_001;
    bench.apply(Command::Tick).expect("time passes");
    let held = (held.0, bench.claim("n", 1)[0].1);
    bench.now = 60_000;
    assert!(bench.claim("n", 1).is_empty(), "all are past their deadline");
    assert_eq!(bench.status(ids[0]), Status::Dead);
    let item = |bench: &mut Bench| {
        let group = Some("board".parse().expect("a name"));
        bench.enqueue(vec![NewItem { group, ..task("a") }])
    };
    let next = item(&mut bench)[0];
    assert!(bench.claim("n", 1).is_empty());
    assert!(fenced(&bench.complete(held)));
    assert_eq!(bench.claim("n", 1)[0].0, next);
}

#[test]
fn a_node_that_is_gone_or_has_less_stops_nothing() {
    let (mut bench, ids) = bench();
    let held = bench.claim("n", 1)[0];
    cancel(&mut bench, held);
    bench.apply(Command::ExpireNode { node: claimer("n").node }).expect("expired");
    let held = bench.claim("other", 1)[0];
    assert_eq!(held.0, ids[1]);
    cancel(&mut bench, held);
    has(&mut bench, "other", 0);
    let ((work_id, token), delay) = (held, Span::default());
    let refused = bench.apply(Command::Release { work_id, token, delay });
    assert!(matches!(refused, Err(Refusal::Fenced { .. })));
}

#[test]
fn the_end_of_a_run_and_of_an_array_stops_their_items() {
    let mut bench = Bench::default();
    bench.machine.bounds.records = 2;
    bench.apply(Command::EnqueueArray { request: task("a"), count: 4 }).expect("enqueued");
    let held = bench.claim("n", 2);
    bench.apply(Command::CancelArray { array: WorkId(1) }).expect("cancelled");
    assert_eq!(bench.machine.counts().unfinished(), 0);
    let run = || "r".parse().expect("a name");
    let queue = crate::id::QueueName::default();
    bench.apply(Command::SubmitRun { run: run(), queue, spec: job() }).expect("submitted");
    // What is being stopped counts: claims and cancellations by turns must not pile it up.
    let full = bench.apply(Command::Enqueue(vec![task("a")]));
    assert_eq!(full, Err(Refusal::Full { held: 2, limit: 2 }));
    for held in held {
        assert!(fenced(&bench.complete(held)));
    }
    bench.enqueue(vec![task("a")]);
}
