//! Arrays: many items in the room of one.

use super::{Bench, claimer, task};
use crate::id::{Token, WorkId};
use crate::limits;
use crate::machine::{ArrayEnds, Reason};
use crate::queue::command::{Claim, Command, Refusal, Reply};
use crate::queue::item::{Element, NewItem, Payload, Status};
use crate::time::{Moment, Span};

fn array(request: NewItem, count: u32) -> Command {
    Command::EnqueueArray { request, count }
}

fn element(bench: &Bench, id: WorkId) -> Option<Element> {
    match &bench.machine.item(id)?.request.payload {
        Payload::OfArray(element) => Some(*element),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_million_items_take_the_room_of_one_until_they_are_claimed() {
    let mut bench = Bench::default();
    assert_eq!(
        bench.apply(array(task("a"), 1_000_000)),
        Ok(Reply::Enqueued(vec![(WorkId(1), true)]))
    );
    let written = serde_json::to_string(&bench.machine.freeze()).expect("a snapshot").len();
    assert!(written < 2_000, "{written} bytes");
    assert_eq!(bench.machine.counts().ready, 1_000_000);
    let claimed = bench.claim_as(Claim { limit: 256, ..claimer("n") });
    let ids: Vec<_> = claimed.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, (1..=256).collect::<Vec<_>>());
    assert_eq!(element(&bench, WorkId(7)), Some(Element { array: WorkId(1), index: 6 }));
    let status = bench.machine.array(WorkId(1)).expect("known");
    assert_eq!((status.count, status.unclaimed, status.outstanding), (1_000_000, 999_744, 256));
    // Further work has its own numbers, behind the array's.
    assert_eq!(bench.enqueue(vec![task("b")]), [WorkId(1_000_001)]);
}

#[test]
fn an_unclaimed_item_can_be_seen_and_cancelled_by_itself() {
    let mut bench = Bench::default();
    bench.apply(array(task("a"), 5)).expect("enqueued");
    let seen = bench.machine.unclaimed(WorkId(3)).expect("unclaimed");
    assert_eq!((seen.id, seen.status()), (WorkId(3), Status::Ready));
    assert_eq!(bench.apply(Command::Cancel { work_id: WorkId(3) }), Ok(Reply::Done));
    assert_eq!(bench.status(WorkId(3)), Status::Cancelled);
    let left: Vec<_> = bench.claim("n", 9).iter().map(|(id, _)| id.0).collect();
    assert_eq!(left, [1, 2, 4, 5]);
    assert_eq!(bench.machine.unclaimed(WorkId(5)), None, "claimed by now");
}

#[test]
fn cancelling_an_array_ends_all_that_has_not_ended() {
    let mut bench = Bench::default();
    bench.apply(array(task("a"), 10)).expect("enqueued");
    let held = bench.claim("n", 2);
    bench.complete(held[0]).expect("completed");
    assert_eq!(bench.apply(Command::CancelArray { array: WorkId(1) }), Ok(Reply::Done));
    assert!(super::fenced(&bench.complete(held[1])));
    assert_eq!(bench.machine.totals().cancelled, 9);
    assert_eq!(bench.machine.counts().unfinished(), 0);
    let unknown = Command::CancelArray { array: WorkId(2) };
    assert_eq!(bench.apply(unknown), Err(Refusal::UnknownWork(WorkId(2))));
}

#[test]
fn an_array_knows_how_its_items_ended_even_when_they_are_forgotten() {
    let mut bench = Bench::default();
    let once = NewItem { attempts_max: 1, ..task("a") };
    bench.apply(array(once, 100)).expect("enqueued");
    let held = bench.claim("n", 4);
    bench.complete(held[0]).expect("completed");
    bench.complete(held[1]).expect("completed");
    bench.start(held[2]).expect("started");
    assert_eq!(bench.fail(held[2]), None, "it had one attempt");
    let ended = |bench: &Bench| bench.machine.array(WorkId(1)).expect("known").ended;
    assert_eq!(ended(&bench), ArrayEnds { completed: 2, dead: 1, cancelled: 0 });
    bench.apply(Command::Redrive { work_id: held[2].0 }).expect("redriven");
    assert_eq!(ended(&bench).dead, 0);
    bench.apply(Command::Cancel { work_id: WorkId(50) }).expect("cancelled");
    assert_eq!(ended(&bench).cancelled, 1);
    let status = bench.machine.array(WorkId(1)).expect("known");
    assert_eq!((status.unclaimed, status.outstanding), (95, 2));
    bench.apply(Command::CancelArray { array: WorkId(1) }).expect("cancelled");
    assert_eq!(ended(&bench), ArrayEnds { completed: 2, dead: 0, cancelled: 98 });
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
}

#[test]
fn an_array_waits_for_its_delay_and_repeats_by_its_key() {
    let mut bench = Bench::default();
    let late = NewItem { key: Some("k".into()), delay: Span::seconds(5), ..task("a") };
    bench.apply(array(late.clone(), 3)).expect("enqueued");
    assert_eq!(bench.machine.counts().delayed, 3);
    assert!(bench.claim("n", 9).is_empty());
    assert_eq!(bench.machine.next_due().map(|due| due.0), Some(5_000));
    bench.now = 5_000;
    assert_eq!(bench.claim("n", 9).len(), 3);
    let again = bench.apply(array(late.clone(), 3));
    assert_eq!(again, Ok(Reply::Enqueued(vec![(WorkId(1), false)])));
    let longer = bench.apply(array(late, 4));
    assert_eq!(longer, Err(Refusal::KeyConflict { key: "k".into(), work_id: WorkId(1) }));
}

fn ids(held: &[(WorkId, Token)]) -> Vec<u64> {
    held.iter().map(|(id, _)| id.0).collect()
}

#[test]
fn an_item_that_is_tried_again_goes_before_those_that_never_were() {
    let mut bench = Bench::default();
    bench.apply(array(task("a"), 100)).expect("enqueued");
    bench.now = 1_000;
    let held = bench.claim("n", 3);
    bench.start(held[1]).expect("started");
    bench.now = bench.fail(held[1]).expect("another attempt").0;
    assert_eq!(ids(&bench.claim("n", 2)), [2, 4]);
    let once = NewItem { attempts_max: 1, ..task("a") };
    bench.apply(array(once, 100)).expect("enqueued");
    bench.claim("n", 96);
    let dead = bench.claim("n", 1)[0];
    bench.start(dead).expect("started");
    assert_eq!(bench.fail(dead), None);
    bench.apply(Command::Redrive { work_id: dead.0 }).expect("redriven");
    assert_eq!(bench.claim("n", 1)[0].0, dead.0);
}

/// All that an array may have on its way waits for another attempt: that must end by itself, and
/// nobody behind the array waits for it.
#[test]
fn a_full_array_steps_aside_until_its_own_items_have_ended() {
    let mut bench = Bench::default();
    bench.machine.bounds.array_outstanding = 2;
    bench.apply(array(task("a"), 4)).expect("enqueued");
    let other = bench.enqueue(vec![task("b"); 2]);
    let held = bench.claim("n", 3);
    assert_eq!(ids(&held), [1, 2, other[0].0], "one claim knows what it takes itself");
    bench.start(held[0]).expect("started");
    let retry_at = bench.fail(held[0]).expect("another attempt");
    let told = bench.machine.explain(&[]).why(WorkId(3));
    let full = Reason::ArrayFull { array: WorkId(1), outstanding: 2, limit: 2 };
    assert_eq!(told, [full]);
    assert_eq!(ids(&bench.claim("n", 2)), [other[1].0]);
    assert!(!bench.machine.claimable(&claimer("n")), "there is nothing to ask for");
    assert_eq!(bench.machine.ready(9).count(), 0);
    bench.now = retry_at.0;
    bench.apply(Command::Tick).expect("time passes");
    assert!(bench.machine.claimable(&claimer("n")));
    let again = bench.claim("n", 2);
    assert_eq!(ids(&again), [1]);
    bench.complete(again[0]).expect("completed");
    assert_eq!(ids(&bench.claim("n", 2)), [3]);
}

#[test]
fn arrays_wait_while_there_are_too_many_records_and_retries_go_on() {
    let mut bench = Bench::default();
    bench.machine.bounds.records = 2;
    bench.apply(array(task("a"), 4)).expect("enqueued");
    let held = bench.claim("n", 9);
    assert_eq!(ids(&held), [1, 2]);
    assert_eq!(bench.machine.explain(&[]).why(WorkId(3)), [Reason::Full { held: 2, limit: 2 }]);
    let (work_id, token, delay) = (WorkId(2), held[1].1, Span::default());
    bench.apply(Command::Release { work_id, token, delay }).expect("released");
    assert_eq!(ids(&bench.claim("n", 9)), [2]);
    bench.apply(Command::Cancel { work_id: WorkId(4) }).expect("what ends needs no room");
    assert_eq!(bench.status(WorkId(4)), Status::Cancelled);
    bench.complete(held[0]).expect("completed");
    assert_eq!(ids(&bench.claim("n", 9)), [3]);
}

#[test]
fn single_cancellations_cut_an_array_into_so_many_parts() {
    let mut bench = Bench::default();
    let parts = limits::ARRAY_PARTS_MAX as u64;
    bench.apply(array(task("a"), limits::ARRAY_OUTSTANDING_MAX)).expect("enqueued");
    let position = |index| crate::id::Position { term: 1, index };
    let cancel = |id| Command::Cancel { work_id: WorkId(id) };
    let commands = (1..parts).map(|part| cancel(2 * part)).collect();
    let batch = |commands| crate::queue::command::Batch { now: Moment(0), commands };
    let answers = bench.machine.apply(position(2), &batch(commands));
    assert!(answers.iter().all(Result::is_ok));
    bench.index = 2;
    let refused = bench.apply(cancel(2 * parts));
    assert!(matches!(refused, Err(Refusal::Invalid { field, .. }) if field == "work_id"));
    bench.apply(cancel(2 * parts - 1)).expect("at the edge of a part");
    assert_eq!(bench.apply(Command::CancelArray { array: WorkId(1) }), Ok(Reply::Done));
}

#[test]
fn an_array_has_at_most_so_many_items_on_their_way() {
    let mut bench = Bench::default();
    bench.apply(array(task("a"), limits::ARRAY_OUTSTANDING_MAX + 10)).expect("enqueued");
    let mut claimed = 0;
    for _ in 0..100 {
        bench.index += 1;
        let claim = Command::Claim(Claim { limit: 256, ..claimer("n") });
        let position = crate::id::Position { term: 1, index: bench.index };
        let batch = crate::queue::command::Batch {
            now: crate::time::Moment(bench.now),
            commands: vec![claim],
        };
        let Ok(Reply::Claimed(items)) = bench.machine.apply(position, &batch).remove(0) else {
            panic!("not claimed")
        };
        claimed += items.len();
    }
    assert_eq!(claimed, limits::ARRAY_OUTSTANDING_MAX as usize);
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
}
