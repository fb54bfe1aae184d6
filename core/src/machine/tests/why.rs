//! Why an item waits.

use super::{Bench, claimer as claims, task};
use crate::id::WorkId;
use crate::machine::{Claimer, Reason};
use crate::queue::command::{Claim, Command};
use crate::queue::item::{Dependency, Needs, NewItem, Predecessor};
use crate::queue::resources::{Capacity, Demand, Teller};
use crate::queue::tenant::QueueSettings;
use crate::time::Span;

fn words(bench: &Bench, id: WorkId) -> Vec<&'static str> {
    bench.machine.explain(&[]).why(id).iter().map(Reason::as_str).collect()
}

#[test]
fn every_reason_is_told_with_its_numbers() {
    let mut bench = Bench::default();
    let delayed = bench.enqueue(vec![NewItem { delay: Span::seconds(90), ..task("a") }])[0];
    let told = bench.machine.explain(&[]).why(delayed)[0].to_string();
    assert_eq!(told, "its time comes in 90.000 s");

    let after = [Dependency { on: Predecessor::Item(delayed), ok: true }].into();
    let blocked = bench.enqueue(vec![NewItem { after, ..task("a") }])[0];
    let told = bench.machine.explain(&[]).why(blocked)[0].to_string();
    assert_eq!(told, "1 items that come first have not ended, w1 among them");

    let group = || NewItem { group: Some("g".parse().expect("a name")), ..task("a") };
    let mates = bench.enqueue(vec![group(), group()]);
    assert_eq!(words(&bench, mates[1]), ["group_busy"]);
    assert_eq!(words(&bench, mates[0]), ["no_claimer"]);
    let last = bench.enqueue(vec![task("a")])[0];
    assert_eq!(
        bench.machine.explain(&[]).why(last)[0].to_string(),
        "1 claimable items are before it"
    );

    let full = QueueSettings { max_running: Some(0), ..QueueSettings::default() };
    let queue = crate::id::QueueName::default();
    bench.apply(Command::SetQueue { queue, settings: full }).expect("set");
    assert_eq!(
        bench.machine.explain(&[]).why(last)[0].to_string(),
        "queue default holds 0 items of at most 0"
    );
    assert!(bench.machine.explain(&[]).why(WorkId(99)).is_empty());
}

#[test]
fn room_is_missing_for_now_or_for_ever() {
    let mut bench = Bench::default();
    let demand = Demand { gpu_milli: 2_000, ..Demand::default() };
    let needs = Needs { demand, ..Needs::default() };
    let ids = bench.enqueue(vec![NewItem { needs, ..task("a") }; 2]);
    let told = |bench: &Bench| bench.machine.explain(&[]).why(ids[1])[0].to_string();
    let has = |bench: &mut Bench, node: &str, gpu_devices| {
        let capacity = Some(Capacity { gpu_devices, ..Capacity::default() });
        let node = node.parse().expect("a name");
        bench.apply(Command::SetCapacity { node, capacity, by: Teller::Agent }).expect("set");
    };
    has(&mut bench, "small", 1);
    let none = "none of 1 nodes that said what they have is large enough";
    assert_eq!(told(&bench), none);
    has(&mut bench, "large", 2);
    assert_eq!(bench.claim("large", 1).len(), 1);
    assert_eq!(told(&bench), "none of 1 large enough nodes of 2 has room now");
    has(&mut bench, "other", 4);
    assert_eq!(words(&bench, ids[1]), ["no_claimer"]);
}

fn claimer(node: &str, capability: &str, label: &str) -> Claimer {
    Claimer {
        node: node.parse().expect("a name"),
        capabilities: [capability.to_owned()].into(),
        labels: [("zone".to_owned(), label.to_owned())].into(),
        work_types: ["a".to_owned()].into(),
    }
}

#[test]
fn an_item_that_nobody_could_run_says_so_wherever_it_stands() {
    let mut bench = Bench::default();
    let needs = |capability: &str, label: &str| Needs {
        capabilities: [capability.to_owned()].into(),
        labels: [("zone".to_owned(), label.to_owned())].into(),
        ..Needs::default()
    };
    let with = |needs| NewItem { needs, ..task("a") };
    let plain = bench.enqueue(vec![task("a")])[0];
    let odd = bench.enqueue(vec![
        with(needs("tpu", "x")),
        with(needs("gpu", "moon")),
        NewItem { work_type: "b".to_owned(), ..task("b") },
        with(needs("gpu", "x")),
    ]);
    let known = [claimer("n", "gpu", "x"), claimer("m", "cpu", "x")];
    let why = |bench: &Bench, known: &[Claimer], id| {
        let reasons = bench.machine.explain(known).why(id);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        (reasons[0].as_str(), reasons[0].numbers())
    };
    let numbers = |types, capabilities, labels| {
        vec![
            ("claimers", 2),
            ("other_types", types),
            ("lacking_capabilities", capabilities),
            ("lacking_labels", labels),
            ("too_small", 0),
        ]
    };
    assert_eq!(why(&bench, &known, odd[0]), ("no_capable_node", numbers(0, 2, 0)));
    assert_eq!(why(&bench, &known, odd[1]), ("no_capable_node", numbers(0, 1, 1)));
    assert_eq!(why(&bench, &known, odd[2]), ("no_capable_node", numbers(2, 0, 0)));
    assert_eq!(why(&bench, &known, odd[3]).0, "in_line");
    assert_eq!(why(&bench, &known, plain).0, "no_claimer");
    assert_eq!(why(&bench, &[], odd[0]).0, "in_line", "nothing is known of claimers");
    // A node that is not known holds something: it may be the one that can.
    assert_eq!(bench.claim("other", 1).len(), 1);
    assert_eq!(why(&bench, &known, odd[1]).0, "in_line");
}

#[test]
fn room_on_a_node_that_lacks_a_label_does_not_count() {
    let mut bench = Bench::default();
    let demand = Demand { gpu_milli: 1_000, ..Demand::default() };
    let labels = [("zone".to_owned(), "x".to_owned())].into();
    let needs = Needs { demand, labels, ..Needs::default() };
    let ids = bench.enqueue(vec![NewItem { needs, ..task("a") }; 2]);
    for node in ["n", "m"] {
        let capacity = Some(Capacity { gpu_devices: 1, ..Capacity::default() });
        let node = node.parse().expect("a name");
        bench.apply(Command::SetCapacity { node, capacity, by: Teller::Agent }).expect("set");
    }
    let known = [claimer("n", "gpu", "x"), claimer("m", "gpu", "y")];
    let told = |bench: &Bench| bench.machine.explain(&known).why(ids[1])[0].to_string();
    assert_eq!(told(&bench), "1 claimable items are before it");
    let labels = [("zone".to_owned(), "x".to_owned())].into();
    assert_eq!(bench.claim_as(Claim { labels, ..claims("n") }).len(), 1);
    assert_eq!(told(&bench), "none of 1 large enough nodes of 2 has room now");
}

#[test]
fn every_waiting_item_is_counted_once() {
    let mut bench = Bench::default();
    let first = bench.enqueue(vec![NewItem { delay: Span::seconds(90), ..task("a") }])[0];
    let after = [Dependency { on: Predecessor::Item(first), ok: true }].into();
    let group = || NewItem { group: Some("g".parse().expect("a name")), ..task("a") };
    let demand = Demand { gpu_milli: 1_000, ..Demand::default() };
    let large = NewItem { needs: Needs { demand, ..Needs::default() }, ..task("a") };
    bench.enqueue(vec![NewItem { after, ..task("a") }, group(), group(), group(), large]);
    let array = NewItem { work_type: "b".to_owned(), ..task("b") };
    bench.apply(Command::EnqueueArray { request: array, count: 100 }).expect("added");
    let known = [claimer("n", "gpu", "x")];
    let counts = bench.machine.explain(&known).counts();
    let expected = [
        ("delayed", 1),
        ("dependencies", 1),
        ("group_busy", 2),
        ("in_line", 1),
        ("no_capable_node", 100),
        ("no_node_large_enough", 1),
    ];
    assert_eq!(counts, expected.into());
    let machine = bench.machine.counts();
    let waiting = machine.delayed + machine.blocked + machine.ready;
    assert_eq!(counts.values().sum::<u64>(), waiting);
}
