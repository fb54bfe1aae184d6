//! Retries within a session.

use super::{Bench, claimer, task};
use crate::id::SessionId;
use crate::limits;
use crate::queue::command::{Claim, Command, Refusal, Reply, WorkResult};

const ONE: SessionId = SessionId(1);

fn say(seq: u64, acknowledged: u64, command: Command) -> Command {
    Command::InSession { session: ONE, seq, acknowledged, command: Box::new(command) }
}

#[test]
fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let mut bench = Bench::default();
    assert_eq!(bench.apply(Command::OpenSession), Ok(Reply::SessionOpened(ONE)));
    let add = || say(0, 0, Command::Enqueue(vec![task("a"), task("a")]));
    let first = bench.apply(add());
    assert_eq!(bench.apply(add()), first);
    assert_eq!(bench.machine.totals().enqueued, 2);
    let claim = || say(1, 0, Command::Claim(Claim { limit: 1, ..claimer("n") }));
    let claimed = bench.apply(claim());
    assert_eq!(bench.apply(claim()), claimed, "not the next item");
    assert_eq!(bench.machine.counts().claimed, 1);
}

#[test]
fn acknowledged_answers_are_dropped_and_their_requests_refused() {
    let mut bench = Bench::default();
    bench.apply(Command::OpenSession).expect("open");
    bench.apply(say(3, 0, Command::Tick)).expect("done");
    bench.apply(say(4, 4, Command::Tick)).expect("done");
    let stale = bench.apply(say(3, 0, Command::Tick));
    assert_eq!(stale, Err(Refusal::SessionStale { session: ONE, seq: 3, floor: 4 }));
    assert_eq!(bench.machine.session(ONE), Some((4, 1)));
}

#[test]
fn a_session_that_ended_refuses_what_it_may_have_done() {
    let mut bench = Bench::default();
    bench.apply(Command::OpenSession).expect("open");
    bench.apply(say(0, 0, Command::Tick)).expect("done");
    bench.now += limits::SESSION_TTL.0;
    let late = bench.apply(say(1, 0, Command::Enqueue(vec![task("a")])));
    assert_eq!(late, Err(Refusal::UnknownSession(ONE)));
    assert_eq!(bench.machine.counts().ready, 0);
    assert_eq!(bench.apply(Command::CloseSession { session: ONE }), Ok(Reply::Done));
}

#[test]
fn a_session_keeps_a_bounded_number_of_answers() {
    let mut bench = Bench::default();
    bench.apply(Command::OpenSession).expect("open");
    let most = limits::SESSION_ANSWERS_MAX as u64;
    for seq in 0..most {
        bench.apply(say(seq, 0, Command::Tick)).expect("done");
    }
    let full = bench.apply(say(most, 0, Command::Tick));
    assert_eq!(full, Err(Refusal::SessionFull { session: ONE, kept: most }));
    bench.apply(say(most, most, Command::Tick)).expect("what is acknowledged makes room");
}

#[test]
fn what_ends_or_keeps_work_is_carried_out_in_a_full_session() {
    let mut bench = Bench::default();
    bench.machine.bounds.session_answers = 1;
    bench.apply(Command::OpenSession).expect("open");
    bench.enqueue(vec![task("a"), task("a")]);
    bench.apply(say(0, 0, Command::Tick)).expect("done");
    let held = bench.claim("n", 2);
    let claims = held.clone();
    let (node, lease) = (claimer("n").node, claimer("n").lease);
    let renewed = bench.apply(say(1, 0, Command::Heartbeat { node, claims, lease }));
    assert_eq!(renewed, Ok(Reply::Renewed { renewed: 2, lost: vec![] }));
    let (work_id, token) = held[0];
    let result = WorkResult { text: "{}".into(), pair: None };
    let complete = || {
        let (result, then) = (result.clone(), vec![]);
        say(2, 0, Command::Complete { work_id, token, result, then })
    };
    let done = Ok(Reply::Completed { then: vec![] });
    assert_eq!([bench.apply(complete()), bench.apply(complete())], [done.clone(), done]);
    let full = Err(Refusal::SessionFull { session: ONE, kept: 1 });
    assert_eq!(bench.apply(say(3, 0, Command::Enqueue(vec![task("a")]))), full);
}
