//! Claims, leases, attempts, retries.

use std::collections::BTreeMap;

use super::{Bench, claimer, fenced, task};
use crate::id::{NodeId, Token, WorkId};
use crate::limits;
use crate::machine::Counts;
use crate::queue::command::{Claim, Command, Reply};
use crate::queue::item::{Needs, NewItem, State, Status};
use crate::queue::resources::Demand;
use crate::time::{Moment, Span};

#[test]
fn a_claim_takes_larger_priorities_first_then_older_items() {
    let mut bench = Bench::default();
    let with = |priority| NewItem { priority, ..task("a") };
    let ids = bench.enqueue(vec![with(10), with(90), with(10), with(90), with(100)]);
    let order: Vec<_> = bench.machine.ready(10).map(|item| item.id).collect();
    let claimed: Vec<_> = bench.claim("n", 4).into_iter().map(|(id, _)| id).collect();
    assert_eq!(claimed, [ids[4], ids[1], ids[3], ids[0]]);
    assert_eq!(order[..4], claimed);
    assert_eq!(bench.claim("n", 4).len(), 1);
    assert!(bench.claim("n", 4).is_empty(), "nothing is given twice");
}

#[test]
fn order_holds_across_classes_of_needs_and_types() {
    let mut bench = Bench::default();
    let gpu = Needs { capabilities: ["gpu".to_string()].into(), ..Needs::default() };
    let items = [
        task("a"),
        NewItem { needs: gpu.clone(), ..task("a") },
        task("b"),
        NewItem { needs: gpu, ..task("b") },
        task("a"),
    ];
    let ids = bench.enqueue(items.to_vec());
    let capabilities = ["gpu".to_string(), "cpu".to_string()].into();
    let claim = Claim { capabilities, limit: 9, ..claimer("n") };
    let claimed: Vec<_> = bench.claim_as(claim).into_iter().map(|(id, _)| id).collect();
    assert_eq!(claimed, ids);
}

#[test]
fn a_claim_gets_only_what_the_claimer_can_do() {
    let mut bench = Bench::default();
    let needs = Needs {
        capabilities: ["gpu".to_string()].into(),
        labels: BTreeMap::from([("zone".to_string(), "a".to_string())]),
        demand: Demand::default(),
    };
    bench.enqueue(vec![NewItem { needs, ..task("training") }]);
    let able = Claim {
        capabilities: ["gpu".to_string()].into(),
        labels: BTreeMap::from([("zone".to_string(), "a".to_string())]),
        ..claimer("n")
    };
    let elsewhere = BTreeMap::from([("zone".to_string(), "b".to_string())]);
    assert!(bench.claim("n", 1).is_empty());
    assert!(bench.claim_as(Claim { labels: elsewhere, ..able.clone() }).is_empty());
    let types = ["selfplay".to_string()].into();
    assert!(bench.claim_as(Claim { work_types: types, ..able.clone() }).is_empty());
    assert_eq!(bench.claim_as(able).len(), 1);
}

#[test]
fn a_stale_token_changes_nothing() {
    let mut bench = Bench::default();
    let id = bench.enqueue(vec![task("a")])[0];
    let first = bench.claim("one", 1)[0];
    bench.now += 10_000;
    let second = bench.claim("two", 1)[0];
    assert_eq!(second.0, id);
    assert!(second.1 > first.1, "tokens grow");
    let before = bench.machine.item(id).cloned();
    assert!(fenced(&bench.start(first)));
    assert!(fenced(&bench.complete(first)));
    let fail = Command::Fail { work_id: id, token: first.1, error: "late".into(), retry: false };
    assert!(fenced(&bench.apply(fail)));
    assert_eq!(bench.machine.item(id).cloned(), before);
    assert_eq!(bench.complete(second), Ok(Reply::Completed { then: vec![] }));
}

#[test]
fn completing_twice_under_one_token_is_one_completion() {
    let mut bench = Bench::default();
    let id = bench.enqueue(vec![task("a")])[0];
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    assert_eq!(bench.complete(held), Ok(Reply::Completed { then: vec![] }));
    assert_eq!(bench.complete(held), Ok(Reply::Completed { then: vec![] }));
    assert_eq!(bench.machine.totals().completed, 1);
    assert!(fenced(&bench.complete((id, Token { n: 9, ..held.1 }))));
    assert!(fenced(&bench.start(held)), "what has ended does not start");
}

#[test]
fn an_attempt_counts_only_after_its_start() {
    let mut bench = Bench::default();
    let id = bench.enqueue(vec![NewItem { attempts_max: 1, ..task("a") }])[0];
    for _ in 0..5 {
        assert_eq!(bench.claim("n", 1).len(), 1);
        bench.now += 10_000;
    }
    let held = bench.claim("n", 1)[0];
    assert_eq!(bench.attempts(id), 0);
    assert!(bench.fail(held).is_some(), "given back before its start: no attempt was used");
    bench.now += limits::BACKOFF_CAP.0;
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    bench.start(held).expect("a repeat changes nothing");
    assert_eq!(bench.attempts(id), 1);
    bench.now += 10_000;
    bench.apply(Command::Tick).expect("ticked");
    assert_eq!(bench.status(id), Status::Dead, "the only attempt was used up");
}

#[test]
fn a_heartbeat_renews_all_claims_of_a_node_and_names_the_lost() {
    let mut bench = Bench::default();
    bench.enqueue(vec![task("a"), task("a"), task("a")]);
    let mut held = bench.claim("n", 2);
    let other = bench.claim("other", 1)[0];
    bench.apply(Command::Cancel { work_id: held[1].0 }).expect("cancelled");
    held.extend([other, (WorkId(99), Token::default())]);
    bench.now += 9_000;
    let node: NodeId = "n".parse().expect("a name");
    let lease = Span::seconds(10);
    let reply = bench.apply(Command::Heartbeat { node, claims: held.clone(), lease });
    assert_eq!(
        reply,
        Ok(Reply::Renewed { renewed: 1, lost: vec![held[1].0, other.0, WorkId(99)] })
    );
    bench.now += 9_000;
    bench.apply(Command::Tick).expect("ticked");
    assert_eq!(bench.status(held[0].0), Status::Claimed, "renewed");
    assert_eq!(bench.status(other.0), Status::Ready, "not renewed by another node");
}

#[test]
fn a_failed_attempt_waits_longer_each_time_and_dies_at_last() {
    let mut bench = Bench::default();
    let id = bench.enqueue(vec![NewItem { attempts_max: 4, ..task("a") }])[0];
    for attempt in 0..3_u32 {
        let held = bench.claim("n", 1)[0];
        bench.start(held).expect("started");
        let until = bench.fail(held).expect("another attempt");
        let whole = limits::BACKOFF_BASE.0 << attempt;
        let waits = until.since(Moment(bench.now)).0;
        assert!((whole / 2..=whole).contains(&waits), "attempt {attempt} waits {waits} ms");
        assert_eq!(bench.machine.next_due(), Some(until));
        bench.now = until.0 - 1;
        assert!(bench.claim("n", 1).is_empty(), "nothing runs before its time");
        bench.now = until.0;
    }
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    assert_eq!(bench.fail(held), None);
    let item = bench.machine.item(id).expect("kept");
    assert!(matches!(&item.state, State::Dead { error, .. } if **error == *"exit status 1"));
}

#[test]
fn an_attempt_that_is_given_back_does_not_count() {
    let mut bench = Bench::default();
    let id = bench.enqueue(vec![NewItem { attempts_max: 1, ..task("a") }])[0];
    for _ in 0..3 {
        let held = bench.claim("n", 1)[0];
        bench.start(held).expect("started");
        assert_eq!(bench.attempts(id), 1);
        let ((work_id, token), delay) = (held, Span::default());
        assert_eq!(bench.apply(Command::Release { work_id, token, delay }), Ok(Reply::Done));
        assert_eq!((bench.status(id), bench.attempts(id)), (Status::Ready, 0));
        assert!(fenced(&bench.apply(Command::Release { work_id, token, delay })), "once");
    }
}

#[test]
fn a_final_failure_is_not_tried_again_and_keeps_a_bounded_reason() {
    let mut bench = Bench::default();
    bench.enqueue(vec![task("a"), task("a")]);
    for (held, error) in bench.claim("n", 2).into_iter().zip(["é".repeat(5_000), String::new()]) {
        let (work_id, token) = held;
        let reply = bench.apply(Command::Fail { work_id, token, error, retry: false });
        assert_eq!(reply, Ok(Reply::Failed { retry_at: None }));
    }
    for item in bench.machine.history(9, Some(Status::Dead)) {
        let State::Dead { error, .. } = &item.state else { panic!("asked for dead ones") };
        assert!((1..=limits::ERROR_BYTES_MAX).contains(&error.len()), "a reason of bounded length");
    }
    assert_eq!(bench.machine.counts(), Counts { dead: 2, ..Counts::default() });
}

#[test]
fn an_attempt_that_takes_too_long_ends_even_when_renewed() {
    let mut bench = Bench::default();
    let attempt_timeout = Span::seconds(15);
    let id = bench.enqueue(vec![NewItem { attempt_timeout, ..task("a") }])[0];
    let held = bench.claim("n", 1)[0];
    bench.now += 5_000;
    bench.start(held).expect("started");
    bench.now += 4_000;
    let beat = Command::Heartbeat {
        node: "n".parse().expect("a name"),
        claims: vec![held],
        lease: Span::seconds(60),
    };
    bench.apply(beat).expect("renewed");
    assert_eq!(bench.machine.next_due(), Some(Moment(20_000)), "counted from the start");
    bench.now = 20_000;
    assert!(fenced(&bench.complete(held)));
    assert_eq!(bench.status(id), Status::Delayed, "it waits as after any failure");
    assert_eq!(bench.machine.next_due(), Some(Moment(50_000)), "and until its holder has heard");
    let error = bench.machine.item(id).and_then(|item| item.last_error.clone());
    assert!(error.is_some_and(|error| error.contains("longer than 15.000 s")));
}

#[test]
fn a_lost_lease_gives_the_item_back_at_once() {
    let mut bench = Bench::default();
    let id = bench.enqueue(vec![task("a")])[0];
    let held = bench.claim("n", 1)[0];
    bench.start(held).expect("started");
    bench.now += 10_000;
    assert_eq!(bench.apply(Command::Tick), Ok(Reply::Ticked { expired: 1 }));
    assert_eq!((bench.status(id), bench.attempts(id)), (Status::Ready, 1));
    assert_eq!(bench.machine.next_due(), None);
    assert_eq!(bench.machine.totals().expired, 1);
}

#[test]
fn time_never_goes_back() {
    let mut bench = Bench { now: 50_000, ..Bench::default() };
    bench.enqueue(vec![task("a")]);
    bench.now = 10_000;
    let held = bench.claim("n", 1)[0];
    assert_eq!(bench.machine.now(), Moment(50_000));
    bench.now = 59_999;
    bench.start(held).expect("the lease counts from the machine's own time");
}

#[test]
fn a_delayed_item_waits_and_then_stands_in_line_by_the_end_of_its_delay() {
    let mut bench = Bench::default();
    let late = NewItem { delay: Span::seconds(5), ..task("a") };
    let first = bench.enqueue(vec![late, task("a")]);
    assert_eq!(bench.status(first[0]), Status::Delayed);
    bench.now = 5_001;
    let last = bench.enqueue(vec![task("a")]);
    let claimed: Vec<_> = bench.claim("n", 3).into_iter().map(|(id, _)| id).collect();
    assert_eq!(claimed, [first[1], first[0], last[0]]);
}

#[test]
fn what_is_given_back_for_later_waits_for_its_time() {
    let mut bench = Bench::default();
    bench.enqueue(vec![NewItem { attempts_max: 1, ..task("a") }]);
    let (work_id, token) = bench.claim("n", 1)[0];
    let release = |delay| Command::Release { work_id, token, delay };
    let too_long = Span(limits::DELAY_MAX.0 + 1);
    assert!(bench.apply(release(too_long)).is_err());
    assert_eq!(bench.apply(release(Span::seconds(60))), Ok(Reply::Done));
    assert!(fenced(&bench.apply(release(Span::seconds(60)))), "given back once");
    assert!(bench.claim("n", 1).is_empty());
    let State::Delayed { until } = bench.machine.item(work_id).expect("known").state else {
        panic!("delayed");
    };
    assert_eq!(until, Moment(bench.now + 60_000));
    bench.now += 60_000;
    assert_eq!(bench.claim("n", 1).len(), 1, "its only attempt was not started");
}

#[test]
fn an_item_that_silences_whoever_claims_it_is_given_up() {
    let mut bench = Bench::default();
    let id = bench.enqueue(vec![task("a")])[0];
    let lose = |bench: &mut Bench| {
        assert_eq!(bench.claim("n", 1).len(), 1);
        bench.now += 10_000;
        bench.apply(Command::Tick).expect("time passes");
    };
    for _ in 1..limits::CLAIMS_LOST_MAX {
        lose(&mut bench);
    }
    // What is given back in order is no loss, however often.
    for _ in 0..=limits::CLAIMS_LOST_MAX {
        let (work_id, token) = bench.claim("n", 1)[0];
        let delay = Span::default();
        bench.apply(Command::Release { work_id, token, delay }).expect("given back");
    }
    assert_eq!((bench.status(id), bench.attempts(id)), (Status::Ready, 0));
    lose(&mut bench);
    let State::Dead { cause, error, .. } = &bench.machine.item(id).expect("known").state else {
        panic!("dead");
    };
    assert_eq!(cause.as_str(), "never_started");
    assert_eq!(&**error, "was claimed 20 times and never started, the last time by n");
    bench.apply(Command::Redrive { work_id: id }).expect("a person says so");
    lose(&mut bench);
    assert_eq!(bench.status(id), Status::Ready, "it counts from the beginning");
}
