//! Why an item waits.

use super::{Bench, task};
use crate::id::WorkId;
use crate::machine::Reason;
use crate::queue::command::Command;
use crate::queue::item::{Dependency, Needs, NewItem, Predecessor};
use crate::queue::resources::{Capacity, Demand, Teller};
use crate::queue::tenant::QueueSettings;
use crate::time::Span;

fn words(bench: &Bench, id: WorkId) -> Vec<&'static str> {
    bench.machine.why(id).iter().map(Reason::as_str).collect()
}

#[test]
fn every_reason_is_told_with_its_numbers() {
    let mut bench = Bench::default();
    let delayed = bench.enqueue(vec![NewItem { delay: Span::seconds(90), ..task("a") }])[0];
    let told = bench.machine.why(delayed)[0].to_string();
    assert_eq!(told, "its time comes in 90.000 s");

    let after = vec![Dependency { on: Predecessor::Item(delayed), ok: true }];
    let blocked = bench.enqueue(vec![NewItem { after, ..task("a") }])[0];
    let told = bench.machine.why(blocked)[0].to_string();
    assert_eq!(told, "1 items that come first have not ended, w1 among them");

    let group = || NewItem { group: Some("g".parse().expect("a name")), ..task("a") };
    let mates = bench.enqueue(vec![group(), group()]);
    assert_eq!(words(&bench, mates[1]), ["group_busy"]);
    assert_eq!(words(&bench, mates[0]), ["no_claimer"]);
    let last = bench.enqueue(vec![task("a")])[0];
    assert_eq!(bench.machine.why(last)[0].to_string(), "1 claimable items are before it");

    let full = QueueSettings { max_running: Some(0), ..QueueSettings::default() };
    let queue = crate::id::QueueName::default();
    bench.apply(Command::SetQueue { queue, settings: full }).expect("set");
    assert_eq!(bench.machine.why(last)[0].to_string(), "queue default holds 0 items of at most 0");
    assert!(bench.machine.why(WorkId(99)).is_empty());
}

#[test]
fn room_is_missing_for_now_or_for_ever() {
    let mut bench = Bench::default();
    let demand = Demand { gpu_milli: 2_000, ..Demand::default() };
    let needs = Needs { demand, ..Needs::default() };
    let ids = bench.enqueue(vec![NewItem { needs, ..task("a") }; 2]);
    let told = |bench: &Bench| bench.machine.why(ids[1])[0].to_string();
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
