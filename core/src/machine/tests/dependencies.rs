//! What waits for what, and who excludes whom.

use super::{Bench, task};
use crate::id::WorkId;
use crate::limits;
use crate::queue::command::{Command, Refusal, Reply};
use crate::queue::item::{Cause, Dependency, NewItem, Predecessor, State, Status};
use crate::time::Span;

fn after(on: Predecessor, ok: bool) -> NewItem {
    NewItem { after: [Dependency { on, ok }].into(), ..task("a") }
}

fn finish(bench: &mut Bench) -> WorkId {
    let held = bench.claim("n", 1)[0];
    bench.complete(held).expect("completed");
    held.0
}

fn tick(bench: &mut Bench) {
    bench.apply(Command::Tick).expect("time passes");
}

#[test]
fn an_item_waits_for_the_completion_of_another() {
    let mut bench = Bench::default();
    let ids = bench.enqueue(vec![task("a"), after(Predecessor::Earlier(0), true)]);
    assert_eq!(bench.status(ids[1]), Status::Blocked);
    assert_eq!(finish(&mut bench), ids[0]);
    assert!(bench.machine.next_due().is_some(), "there is somebody to tell");
    assert_eq!(finish(&mut bench), ids[1]);
}

#[test]
fn an_item_is_told_of_both_ends_when_two_come_at_once() {
    let mut bench = Bench::default();
    let short = NewItem { pending_timeout: Some(Span::seconds(1)), ..task("a") };
    let on = |place| Dependency { on: Predecessor::Earlier(place), ok: false };
    let both = NewItem { after: [on(0), on(1)].into(), ..task("a") };
    let ids = bench.enqueue(vec![short.clone(), short, both]);
    bench.now = 1_000;
    tick(&mut bench);
    assert_eq!([0, 1].map(|at| bench.status(ids[at])), [Status::Dead; 2]);
    assert_eq!(bench.status(ids[2]), Status::Ready);
}

#[test]
fn a_bad_end_is_the_end_of_all_that_needed_a_good_one() {
    let mut bench = Bench::default();
    let first = bench.enqueue(vec![task("a")])[0];
    let second = bench.enqueue(vec![after(Predecessor::Item(first), true)])[0];
    let third = bench.enqueue(vec![after(Predecessor::Item(second), true)])[0];
    let any = bench.enqueue(vec![after(Predecessor::Item(second), false)])[0];
    bench.apply(Command::Cancel { work_id: first }).expect("cancelled");
    tick(&mut bench);
    for (id, on) in [(second, first), (third, second)] {
        let cause = match &bench.machine.item(id).expect("known").state {
            State::Dead { cause, .. } => *cause,
            other => panic!("{other:?}"),
        };
        assert_eq!(cause, Cause::Dependency(on));
    }
    assert_eq!(bench.status(any), Status::Ready, "any end will do");
}

#[test]
fn a_redriven_item_waits_again_for_what_it_waited_for() {
    let mut bench = Bench::default();
    let once = NewItem { attempts_max: 1, ..task("a") };
    let needs_two = NewItem {
        after: [0, 1].map(|at| Dependency { on: Predecessor::Earlier(at), ok: true }).into(),
        ..task("a")
    };
    let ids = bench.enqueue(vec![task("a"), once, needs_two]);
    assert_eq!(finish(&mut bench), ids[0]);
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    assert_eq!(bench.fail(held), None);
    tick(&mut bench);
    assert_eq!(bench.status(ids[2]), Status::Dead);
    let redrive = |at: usize| Command::Redrive { work_id: ids[at] };
    let refused = bench.apply(redrive(2));
    assert!(matches!(refused, Err(Refusal::Invalid { field, .. }) if field == "work_id"));
    bench.apply(redrive(1)).expect("redriven");
    bench.apply(redrive(2)).expect("redriven");
    assert_eq!(bench.status(ids[2]), Status::Blocked);
    assert_eq!(finish(&mut bench), ids[1]);
    assert_eq!(finish(&mut bench), ids[2]);
}

/// More wait for the dead item than one command tells. Those that were not told yet wait on.
#[test]
fn who_is_not_told_of_a_death_before_the_redrive_waits_on() {
    let mut bench = Bench::default();
    let once = NewItem { attempts_max: 1, ..task("a") };
    let first = bench.enqueue(vec![once])[0];
    let waits = || after(Predecessor::Item(first), true);
    let most = limits::DUE_PER_COMMAND_MAX as u64;
    bench.enqueue(vec![waits(); limits::DUE_PER_COMMAND_MAX]);
    bench.enqueue(vec![waits(); 5]);
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    assert_eq!(bench.fail(held), None);
    bench.apply(Command::Redrive { work_id: first }).expect("redriven");
    let counts = bench.machine.counts();
    assert_eq!((counts.dead, counts.blocked, counts.ready), (most, 5, 1));
    tick(&mut bench);
    assert_eq!(bench.machine.counts().blocked, 5);
}

#[test]
fn what_can_never_run_is_refused() {
    let mut bench = Bench::default();
    let dead = bench.enqueue(vec![task("a")])[0];
    bench.apply(Command::Cancel { work_id: dead }).expect("cancelled");
    let invalid = |reply| matches!(reply, Err(Refusal::Invalid { .. }));
    assert!(invalid(bench.apply(Command::Enqueue(vec![after(Predecessor::Item(dead), true)]))));
    assert!(invalid(bench.apply(Command::Enqueue(vec![after(Predecessor::Earlier(0), true)]))));
    let unknown = bench.apply(Command::Enqueue(vec![after(Predecessor::Item(WorkId(9)), true)]));
    assert_eq!(unknown, Err(Refusal::UnknownWork(WorkId(9))));
    assert_eq!(bench.enqueue(vec![after(Predecessor::Item(dead), false)]).len(), 1);
    let Ok(Reply::Enqueued(array)) =
        bench.apply(Command::EnqueueArray { request: task("a"), count: 2 })
    else {
        panic!("not enqueued")
    };
    let of_array = after(Predecessor::Item(array[0].0), false);
    assert!(invalid(bench.apply(Command::Enqueue(vec![of_array]))), "it has no record yet");
}

#[test]
fn one_item_of_a_group_is_held_at_a_time() {
    let mut bench = Bench::default();
    let grouped = || NewItem { group: Some("board".parse().expect("a name")), ..task("a") };
    let ids = bench.enqueue(vec![grouped(), grouped(), task("a")]);
    let held = bench.claim("n", 9);
    assert_eq!(held.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[0], ids[2]]);
    assert!(bench.claim("n", 9).is_empty());
    bench.complete(held[0]).expect("completed");
    assert_eq!(bench.claim("n", 9)[0].0, ids[1]);
    bench.now += 10_000;
    tick(&mut bench);
    assert_eq!(bench.claim("n", 9).len(), 2, "a lost lease frees the group");
}

#[test]
fn deadlines_end_what_nobody_takes_or_ends() {
    let mut bench = Bench::default();
    let pending = NewItem { pending_timeout: Some(Span::seconds(3)), ..task("a") };
    let total = NewItem { total_timeout: Some(Span::seconds(5)), ..task("b") };
    let ids = bench.enqueue(vec![pending.clone(), pending, total]);
    let held = bench.claim("n", 1)[0];
    bench.now = 3_000;
    tick(&mut bench);
    assert_eq!(bench.status(ids[0]), Status::Claimed, "it was claimed in time");
    assert_eq!(bench.status(ids[1]), Status::Dead);
    let other = bench.claim("n", 1)[0];
    assert_eq!(other.0, ids[2]);
    bench.start(other).expect("started");
    bench.now = 5_000;
    tick(&mut bench);
    assert_eq!(bench.status(ids[2]), Status::Dead, "whoever holds it");
    assert!(super::fenced(&bench.complete(other)));
    bench.complete(held).expect("the other one goes on");
}

#[test]
fn a_dead_item_gets_its_attempts_again_and_keeps_its_history() {
    let mut bench = Bench::default();
    let once = NewItem { attempts_max: 1, ..task("a") };
    let id = bench.enqueue(vec![once])[0];
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    assert_eq!(bench.fail(held), None);
    assert_eq!(bench.apply(Command::Redrive { work_id: id }), Ok(Reply::Done));
    let item = bench.machine.item(id).expect("known");
    assert_eq!((item.attempts, item.deliveries), (0, 1));
    assert_eq!(item.last_error.as_deref(), Some("exit status 1"));
    finish(&mut bench);
    let again = bench.apply(Command::Redrive { work_id: id });
    assert_eq!(again, Err(Refusal::Ended { work_id: id, state: "completed".into() }));
    assert_eq!(bench.machine.totals().redriven, 1);
}
