//! The capacity ledger.

use super::{Bench, task};
use crate::id::{NodeId, WorkId};
use crate::queue::command::{Command, Reply};
use crate::queue::item::{Needs, NewItem, State, Status};
use crate::queue::resources::{Capacity, Demand, Teller};

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
