//! The capacity ledger.

use super::{Bench, gauntlet, job, task};
use crate::id::{NodeId, QueueName, WorkId};
use crate::plan::plan;
use crate::queue::command::{Command, Reply};
use crate::queue::item::{Needs, NewItem, State, Status};
use crate::queue::resources::{Capacity, Demand, Teller};
use crate::queue::tenant::QueueSettings;
use crate::run::RunSpec;

fn gpu(milli: u32) -> NewItem {
    let demand = Demand { gpu_milli: milli, ..Demand::default() };
    NewItem { needs: Needs { demand, ..Needs::default() }, ..task("a") }
}

fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn says(bench: &mut Bench, name: &str, capacity: Option<Capacity>, by: Teller) {
    let command = Command::SetCapacity { node: node(name), capacity, by };
    assert_eq!(bench.apply(command), Ok(Reply::Done));
}

fn has(bench: &mut Bench, name: &str, gpu_devices: u16) {
    let capacity = Capacity { gpu_devices, ..Capacity::default() };
    says(bench, name, Some(capacity), Teller::Operator);
}

fn devices(bench: &Bench, id: WorkId) -> Vec<(u16, u16)> {
    match &bench.machine.item(id).expect("known").state {
        State::Claimed(lease) => lease.share.gpus.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_claim_reserves_and_an_end_gives_back() {
    let mut bench = Bench::default();
    has(&mut bench, "n", 2);
    bench.enqueue(vec![gpu(1_000), gpu(1_000), gpu(1_000)]);
    let held = bench.claim("n", 9);
    assert_eq!(held.len(), 2);
    assert_eq!(
        [devices(&bench, held[0].0), devices(&bench, held[1].0)],
        [[(0, 1_000)], [(1, 1_000)]]
    );
    assert!(bench.claim("n", 9).is_empty());
    bench.complete(held[0]).expect("completed");
    let next = bench.claim("n", 9)[0].0;
    assert_eq!(devices(&bench, next), [(0, 1_000)]);
}

/// Submits a run to a queue, and carries its first step out.
fn begin(bench: &mut Bench, queue: &QueueName, spec: RunSpec) {
    let run = "r".parse().expect("a name");
    let submit = Command::SubmitRun { run, queue: queue.clone(), spec };
    assert_eq!(bench.apply(submit), Ok(Reply::RunAccepted { fresh: true }));
    let run = bench.machine.active_runs().next().expect("the run");
    let room = bench.machine.room_for(run);
    let (run, version, advance) = (run.id.clone(), run.version, plan(run, room));
    let advance = advance.expect("a first step");
    assert_eq!(bench.apply(Command::AdvanceRun { run, version, advance }), Ok(Reply::Done));
}

#[test]
fn a_jobs_tasks_go_only_where_a_device_is_free_and_reserve_it() {
    let RunSpec::Job(mut spec) = job() else { panic!("a Job") };
    spec.needs.demand = Demand { gpu_milli: 1_000, memory_mib: 600, ..Demand::default() };
    let mut bench = Bench::default();
    begin(&mut bench, &QueueName::default(), RunSpec::Job(spec));
    assert!(bench.claim("silent", 9).is_empty(), "it never said what it has");
    says(
        &mut bench,
        "plain",
        Some(Capacity { memory_mib: 9_000, ..Capacity::default() }),
        Teller::Agent,
    );
    assert!(bench.claim("plain", 9).is_empty(), "it has no device");
    let capacity = Capacity { memory_mib: 1_300, gpu_devices: 4, ..Capacity::default() };
    says(&mut bench, "large", Some(capacity), Teller::Agent);
    let held = bench.claim("large", 9);
    assert_eq!(held.len(), 2, "memory for two of four");
    assert_eq!(
        [devices(&bench, held[0].0), devices(&bench, held[1].0)],
        [[(0, 1_000)], [(1, 1_000)]]
    );
    let reserved = |bench: &Bench| {
        let mut nodes = bench.machine.capacities();
        nodes.find(|(name, ..)| name.as_str() == "large").map(|(_, _, it)| it.memory_mib)
    };
    assert_eq!(reserved(&bench), Some(1_200));
    bench.enqueue(vec![NewItem {
        needs: Needs {
            demand: Demand { memory_mib: 200, ..Demand::default() },
            ..Needs::default()
        },
        ..task("a")
    }]);
    assert!(bench.claim("large", 9).is_empty(), "what a run holds is taken for others too");
}

#[test]
fn a_pair_reserves_its_part_of_a_device_and_counts_in_its_queue() {
    let RunSpec::Gauntlet(mut spec) = gauntlet() else { panic!("a gauntlet") };
    spec.play.demand = Demand { gpu_milli: 250, ..Demand::default() };
    let mut bench = Bench::default();
    let team: QueueName = "team".parse().expect("a name");
    let settings = QueueSettings { max_gpu_milli: Some(750), ..QueueSettings::default() };
    let set = Command::SetQueue { queue: team.clone(), settings };
    assert_eq!(bench.apply(set), Ok(Reply::Done));
    begin(&mut bench, &team, RunSpec::Gauntlet(spec));
    assert!(bench.claim("silent", 9).is_empty());
    has(&mut bench, "n", 2);
    let held = bench.claim("n", 9);
    assert_eq!(held.len(), 3, "as many as the queue's devices allow");
    for (work_id, _) in &held {
        assert_eq!(devices(&bench, *work_id), [(0, 250)]);
    }
    bench.enqueue(vec![gpu(1_000), gpu(500)]);
    let others = bench.claim("n", 9);
    assert_eq!(others.len(), 1, "one device is whole, and the other has a quarter left");
    assert_eq!(devices(&bench, others[0].0), [(1, 1_000)]);
    bench.complete_with(held[0], Some(super::pair_result(true))).expect("completed");
    assert_eq!(bench.claim("n", 1).len(), 1, "its part is free again");
}

#[test]
fn who_never_said_what_it_has_gets_nothing_that_needs_room() {
    let mut bench = Bench::default();
    bench.enqueue(vec![gpu(1_000), task("a")]);
    assert_eq!(bench.claim("n", 9).len(), 1);
    has(&mut bench, "n", 1);
    assert_eq!(bench.claim("n", 9).len(), 1);
}

#[test]
fn a_node_that_lost_a_device_loses_its_newest_claims() {
    let mut bench = Bench::default();
    has(&mut bench, "n", 2);
    let ids = bench.enqueue(vec![gpu(1_000), gpu(1_000)]);
    bench.claim("n", 9);
    has(&mut bench, "n", 1);
    assert_eq!([bench.status(ids[0]), bench.status(ids[1])], [Status::Claimed, Status::Ready]);
    says(&mut bench, "n", None, Teller::Operator);
    assert_eq!(bench.status(ids[0]), Status::Ready);
}

#[test]
fn an_operators_word_stands_until_it_is_taken_back() {
    let mut bench = Bench::default();
    let devices = |gpu_devices| Some(Capacity { gpu_devices, ..Capacity::default() });
    let known = |bench: &Bench| bench.machine.capacity(&node("n")).map(|it| it.gpu_devices);
    says(&mut bench, "n", devices(4), Teller::Agent);
    assert_eq!(known(&bench), Some(4));
    says(&mut bench, "n", devices(1), Teller::Operator);
    bench.enqueue(vec![gpu(1_000), gpu(1_000)]);
    let held = bench.claim("n", 9);
    assert_eq!(held.len(), 1, "one device is kept back by the operator");
    for word in [devices(4), None] {
        says(&mut bench, "n", word, Teller::Agent);
        assert_eq!(known(&bench), Some(1));
    }
    bench.apply(Command::ExpireNode { node: node("n") }).expect("expired");
    assert_eq!(known(&bench), Some(1), "a node that is gone keeps what the operator said");
    says(&mut bench, "n", None, Teller::Operator);
    assert_eq!(known(&bench), None);
    says(&mut bench, "n", devices(4), Teller::Agent);
    assert_eq!(bench.claim("n", 9).len(), 2);
    bench.apply(Command::ExpireNode { node: node("n") }).expect("expired");
    assert_eq!(known(&bench), None, "what the agent of a lost node said is no room");
}

#[test]
fn a_lost_node_gives_its_items_back_at_once() {
    let mut bench = Bench::default();
    let ids = bench.enqueue(vec![task("a"), task("a")]);
    let held = bench.claim("n", 9);
    bench.start(held[0]).expect("started");
    let lost = bench.apply(Command::ExpireNode { node: node("n") });
    assert_eq!(lost, Ok(Reply::Ticked { expired: 2 }));
    assert_eq!([bench.attempts(ids[0]), bench.attempts(ids[1])], [1, 0]);
    assert_eq!(bench.claim("other", 9).len(), 2);
    assert!(super::fenced(&bench.complete(held[0])));
}
