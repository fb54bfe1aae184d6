//! Keys, cancellation, what is asked of the machine.

use std::collections::BTreeMap;

use super::{Bench, fenced, task};
use crate::id::{NodeId, QueueName, WorkId};
use crate::queue::command::{Command, Refusal, Reply, WorkResult};
use crate::queue::item::{NewItem, Status};
use crate::queue::tenant::QueueSettings;

#[test]
fn a_key_stands_for_one_request() {
    let mut bench = Bench::default();
    let keyed = |priority| NewItem { key: Some("k".into()), priority, ..task("a") };
    let first = bench.apply(Command::Enqueue(vec![keyed(1), task("b"), keyed(1)]));
    assert_eq!(
        first,
        Ok(Reply::Enqueued(vec![(WorkId(1), true), (WorkId(2), true), (WorkId(1), false)]))
    );
    let again = bench.apply(Command::Enqueue(vec![keyed(1)]));
    assert_eq!(again, Ok(Reply::Enqueued(vec![(WorkId(1), false)])));
    let other = bench.apply(Command::Enqueue(vec![task("c"), keyed(2)]));
    assert_eq!(other, Err(Refusal::KeyConflict { key: "k".into(), work_id: WorkId(1) }));
    assert_eq!(bench.machine.counts().ready, 2, "all of a batch or none of it");
    let held = bench.claim("n", 1)[0];
    bench.complete(held).expect("completed");
    let ended = bench.apply(Command::Enqueue(vec![keyed(1)]));
    assert_eq!(ended, Ok(Reply::Enqueued(vec![(WorkId(1), false)])), "also after its end");
}

#[test]
fn a_key_belongs_to_its_queue() {
    let mut bench = Bench::default();
    let queue: QueueName = "team".parse().expect("a name");
    let settings = QueueSettings::default();
    bench.apply(Command::SetQueue { queue: queue.clone(), settings }).expect("set");
    let keyed = || NewItem { key: Some("k".into()), ..task("a") };
    let other = NewItem { queue, priority: 1, ..keyed() };
    let both = bench.enqueue(vec![keyed(), other.clone()]);
    assert_eq!(both, [WorkId(1), WorkId(2)]);
    let again = bench.apply(Command::Enqueue(vec![other, keyed()]));
    assert_eq!(again, Ok(Reply::Enqueued(vec![(WorkId(2), false), (WorkId(1), false)])));
}

/// Who asked for a thousand items must not be told that the one which is there is all of them.
#[test]
fn an_item_is_no_array_and_an_array_no_other_one() {
    let mut bench = Bench::default();
    let keyed = |key: &str| NewItem { key: Some(key.into()), ..task("a") };
    let array = |key: &str, count| Command::EnqueueArray { request: keyed(key), count };
    let conflict =
        |key: &str, id| Err(Refusal::KeyConflict { key: key.into(), work_id: WorkId(id) });
    bench.enqueue(vec![keyed("item")]);
    assert_eq!(bench.apply(array("item", 1)), conflict("item", 1));
    bench.apply(array("array", 2)).expect("enqueued");
    assert_eq!(bench.apply(Command::Enqueue(vec![keyed("array")])), conflict("array", 2));
    // A forgotten array is known by its digest alone.
    bench.apply(Command::CancelArray { array: WorkId(2) }).expect("cancelled");
    assert!(bench.machine.array(WorkId(2)).is_none());
    assert_eq!(bench.apply(array("array", 3)), conflict("array", 2));
    assert_eq!(bench.apply(Command::Enqueue(vec![keyed("array")])), conflict("array", 2));
    let again = bench.apply(array("array", 2));
    assert_eq!(again, Ok(Reply::Enqueued(vec![(WorkId(2), false)])));
}

#[test]
fn a_repeated_completion_names_what_follows_again() {
    let mut bench = Bench::default();
    bench.enqueue(vec![task("a"), NewItem { key: Some("k".into()), ..task("b") }]);
    let (work_id, token) = bench.claim("n", 1)[0];
    let then = || vec![task("c"), NewItem { key: Some("k".into()), ..task("b") }];
    let complete = |then| {
        let result = WorkResult { text: "{}".into(), pair: None };
        Command::Complete { work_id, token, result, then }
    };
    let first = bench.apply(complete(then()));
    let added = vec![(WorkId(3), true), (WorkId(2), false)];
    assert_eq!(first, Ok(Reply::Completed { then: added }));
    assert_eq!(bench.apply(complete(then())), first);
    assert_eq!(bench.machine.totals().enqueued, 3);
}

#[test]
fn cancelling_takes_the_item_from_its_holder() {
    let mut bench = Bench::default();
    let ids = bench.enqueue(vec![task("a"), task("a")]);
    let held = bench.claim("n", 1)[0];
    for _ in 0..2 {
        assert_eq!(bench.apply(Command::Cancel { work_id: ids[0] }), Ok(Reply::Done));
    }
    assert!(fenced(&bench.complete(held)));
    let held = bench.claim("n", 1)[0];
    bench.complete(held).expect("completed");
    let refused = bench.apply(Command::Cancel { work_id: ids[1] });
    assert_eq!(refused, Err(Refusal::Ended { work_id: ids[1], state: "completed".into() }));
    assert_eq!(
        bench.apply(Command::Cancel { work_id: WorkId(9) }),
        Err(Refusal::UnknownWork(WorkId(9)))
    );
}

#[test]
fn a_cluster_is_named_once() {
    let mut bench = Bench::default();
    assert_eq!(bench.machine.cluster_id(), "");
    let name = |cluster_id: &str| Command::InitCluster { cluster_id: cluster_id.into() };
    assert_eq!(bench.apply(name("first")), Ok(Reply::Done));
    assert_eq!(bench.apply(name("first")), Ok(Reply::Done));
    assert!(bench.apply(name("second")).is_err());
    assert!(Bench::default().apply(name("")).is_err());
    assert_eq!(bench.machine.cluster_id(), "first");
}

#[test]
fn nodes_are_counted_by_what_they_hold_and_what_ended_there() {
    let mut bench = Bench::default();
    bench.enqueue(vec![task("a"), task("a"), task("b")]);
    let held = bench.claim("n", 2);
    bench.complete(held[0]).expect("completed");
    let n: NodeId = "n".parse().expect("a name");
    assert_eq!(bench.machine.node_totals(), BTreeMap::from([(&n, (1, 2))]));
    assert_eq!(bench.machine.held_by(&n).map(|i| i.id).collect::<Vec<_>>(), [held[1].0]);
    assert_eq!(bench.machine.held(9).count(), 1);
    assert_eq!(bench.machine.counts_by_type(), BTreeMap::from([("a", 1), ("b", 1)]));
    let newest = bench.machine.history(9, None).map(|i| i.id).collect::<Vec<_>>();
    assert_eq!(newest, [held[0].0]);
    assert_eq!(bench.machine.history(9, Some(Status::Dead)).count(), 0);
}
