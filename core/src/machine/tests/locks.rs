//! Locks.

use super::Bench;
use crate::id::{LockName, Token};
use crate::limits;
use crate::queue::command::{Command, Refusal, Reply};
use crate::queue::lock::Asker;
use crate::time::{Moment, Span};

fn name() -> LockName {
    "leader".parse().expect("a name")
}

fn ask(bench: &mut Bench, owner: &str, wait: Option<Span>) -> Result<Reply, Refusal> {
    ask_as(bench, owner, wait, Asker(1))
}

fn ask_as(
    bench: &mut Bench,
    owner: &str,
    wait: Option<Span>,
    asker: Asker,
) -> Result<Reply, Refusal> {
    let (owner, ttl) = (owner.into(), Span::seconds(5));
    bench.apply(Command::LockAcquire { name: name(), owner, ttl, wait, asker })
}

/// A request goes away before it is answered.
fn vanish(bench: &mut Bench, owner: &str, asker: Asker) {
    let leave = Command::LockLeave { name: name(), owner: owner.into(), asker: Some(asker) };
    assert_eq!(bench.apply(leave), Ok(Reply::Done));
}

fn acquire(bench: &mut Bench, owner: &str) -> Result<Reply, Refusal> {
    ask(bench, owner, None)
}

fn wait(bench: &mut Bench, owner: &str, seconds: u64) -> (u32, Moment) {
    match ask(bench, owner, Some(Span::seconds(seconds))) {
        Ok(Reply::LockQueued { position, until }) => (position, until),
        other => panic!("not in line: {other:?}"),
    }
}

fn holder(bench: &Bench) -> Option<(&str, Token, Moment)> {
    let lock = bench.machine.lock(&name())?;
    Some((&lock.owner, lock.token, lock.expires))
}

fn token(reply: Result<Reply, Refusal>) -> Token {
    match reply {
        Ok(Reply::Locked { token, .. }) => token,
        other => panic!("not locked: {other:?}"),
    }
}

#[test]
fn a_lock_has_one_owner_who_renews_it_under_the_same_token() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    bench.now += 3_000;
    let renewed = acquire(&mut bench, "me");
    assert_eq!(renewed, Ok(Reply::Locked { token: first, expires: Moment(8_000) }));
    assert!(matches!(
        acquire(&mut bench, "you"),
        Err(Refusal::LockHeld { owner, expires, .. }) if owner == "me" && expires == Moment(8_000)
    ));
}

#[test]
fn a_lock_frees_itself_and_fences_its_old_owner() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    assert_eq!(bench.machine.next_due(), Some(Moment(5_000)));
    bench.now = 5_000;
    let second = token(acquire(&mut bench, "you"));
    assert!(second > first);
    let refused = bench.apply(Command::LockRelease { name: name(), token: first });
    assert_eq!(refused, Err(Refusal::LockNotHeld { name: name(), token: first }));
    assert_eq!(bench.apply(Command::LockRelease { name: name(), token: second }), Ok(Reply::Done));
    assert_eq!(bench.machine.lock(&name()), None);
    bench.now = 10_000;
    assert!(token(acquire(&mut bench, "me")) > second, "tokens grow across releases");
}

#[test]
fn who_comes_first_gets_a_released_lock_in_the_same_entry() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    assert_eq!(wait(&mut bench, "you", 60), (0, Moment(60_000)));
    assert_eq!(wait(&mut bench, "they", 60), (1, Moment(60_000)));
    bench.now = 1_000;
    assert_eq!(wait(&mut bench, "you", 60), (0, Moment(61_000)), "who asks again keeps its place");
    bench.now = 2_000;
    assert!(matches!(acquire(&mut bench, "late"), Err(Refusal::LockHeld { .. })));
    assert_eq!(bench.apply(Command::LockRelease { name: name(), token: first }), Ok(Reply::Done));
    let (owner, second, expires) = holder(&bench).expect("a holder");
    assert_eq!((owner, expires), ("you", Moment(7_000)), "its time counts from here");
    assert!(second > first);
    assert!(matches!(acquire(&mut bench, "late"), Err(Refusal::LockHeld { .. })));
    assert_eq!(token(acquire(&mut bench, "you")), second, "who waited learns its token by asking");
}

#[test]
fn a_shorter_request_of_the_same_owner_takes_nothing_from_the_longer_one() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    wait(&mut bench, "you", 60);
    bench.now = 1_000;
    let shorter = Command::LockAcquire {
        name: name(),
        owner: "you".into(),
        ttl: Span::seconds(1),
        wait: Some(Span::seconds(2)),
        asker: Asker(2),
    };
    let until = Moment(60_000);
    assert_eq!(bench.apply(shorter), Ok(Reply::LockQueued { position: 0, until }));
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
    bench.now = 4_000;
    assert_eq!(bench.apply(Command::LockRelease { name: name(), token: first }), Ok(Reply::Done));
    let (owner, _, expires) = holder(&bench).expect("a holder");
    assert_eq!((owner, expires), ("you", Moment(9_000)), "who asked for five seconds has them");
}

#[test]
fn a_lock_that_ends_goes_to_the_first_whose_wait_is_not_over() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    wait(&mut bench, "you", 1);
    wait(&mut bench, "they", 60);
    assert_eq!(bench.machine.next_due(), Some(Moment(1_000)));
    bench.now = 5_000;
    assert_eq!(bench.apply(Command::Tick), Ok(Reply::Ticked { expired: 0 }));
    let (owner, second, expires) = holder(&bench).expect("a holder");
    assert_eq!((owner, expires), ("they", Moment(10_000)));
    assert!(second > first);
    assert_eq!(wait(&mut bench, "you", 1), (0, Moment(6_000)), "it stands at the end again");
}

#[test]
fn who_leaves_the_line_is_passed_over_and_a_holder_does_not_leave() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    wait(&mut bench, "you", 60);
    wait(&mut bench, "they", 60);
    for owner in ["you", "you", "nobody", "me"] {
        let leave = Command::LockLeave { name: name(), owner: owner.into(), asker: None };
        assert_eq!(bench.apply(leave), Ok(Reply::Done));
    }
    assert_eq!(holder(&bench).expect("a holder").1, first);
    assert_eq!(bench.apply(Command::LockRelease { name: name(), token: first }), Ok(Reply::Done));
    assert_eq!(holder(&bench).expect("a holder").0, "they");
}

#[test]
fn a_lock_that_nobody_was_told_of_goes_on_with_the_request_that_waited_for_it() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    wait(&mut bench, "you", 60);
    wait(&mut bench, "they", 60);
    assert_eq!(bench.apply(Command::LockRelease { name: name(), token: first }), Ok(Reply::Done));
    assert_eq!(holder(&bench).expect("a holder").0, "you");
    vanish(&mut bench, "me", Asker(1));
    assert_eq!(holder(&bench).expect("a holder").0, "you", "a stranger gives nothing back");
    vanish(&mut bench, "you", Asker(1));
    assert_eq!(holder(&bench).expect("a holder").0, "they");
    vanish(&mut bench, "they", Asker(7));
    assert_eq!(holder(&bench), None);
    // The answer to a request that asked for a free lock, or for one that was granted to it.
    token(ask_as(&mut bench, "me", Some(Span::seconds(9)), Asker(3)));
    token(ask_as(&mut bench, "me", Some(Span::seconds(9)), Asker(3)));
    vanish(&mut bench, "me", Asker(4));
    assert_eq!(holder(&bench).expect("a holder").0, "me");
    vanish(&mut bench, "me", Asker(3));
    assert_eq!(holder(&bench), None);
}

#[test]
fn who_was_told_that_it_holds_a_lock_keeps_it() {
    let mut bench = Bench::default();
    let first = token(ask_as(&mut bench, "me", None, Asker(1)));
    token(ask_as(&mut bench, "me", Some(Span::seconds(9)), Asker(2)));
    vanish(&mut bench, "me", Asker(2));
    vanish(&mut bench, "me", Asker(1));
    assert_eq!(holder(&bench).expect("a holder").1, first, "the other one may have been told");
    assert_eq!(bench.apply(Command::LockRelease { name: name(), token: first }), Ok(Reply::Done));

    let first = token(ask_as(&mut bench, "me", None, Asker(1)));
    wait(&mut bench, "you", 60);
    assert_eq!(bench.apply(Command::LockRelease { name: name(), token: first }), Ok(Reply::Done));
    let second = token(ask_as(&mut bench, "you", Some(Span::seconds(9)), Asker(5)));
    vanish(&mut bench, "you", Asker(1));
    assert_eq!(holder(&bench).expect("a holder").1, second, "it was told by asking");
    let leave = Command::LockLeave { name: name(), owner: "you".into(), asker: None };
    assert_eq!(bench.apply(leave), Ok(Reply::Done));
    assert_eq!(holder(&bench).expect("a holder").1, second, "only the place is given up");
}

#[test]
fn renewing_never_shortens_a_hold() {
    let mut bench = Bench::default();
    let first = token(acquire(&mut bench, "me"));
    let renew = Command::LockAcquire {
        name: name(),
        owner: "me".into(),
        ttl: Span::seconds(1),
        wait: None,
        asker: Asker(2),
    };
    let kept = Reply::Locked { token: first, expires: Moment(5_000) };
    assert_eq!(bench.apply(renew), Ok(kept), "another request was told so");
    assert_eq!(bench.machine.next_due(), Some(Moment(5_000)));
}

#[test]
fn a_line_has_a_bound_and_waits_have_one() {
    let mut bench = Bench::default();
    token(acquire(&mut bench, "me"));
    for number in 0..limits::LOCK_WAITERS_MAX {
        wait(&mut bench, &format!("owner-{number}"), 60);
    }
    let refused = ask(&mut bench, "late", Some(Span::seconds(60)));
    assert!(matches!(refused, Err(Refusal::LockCrowded { waiting: 256, in_all: 256, .. })));
    assert_eq!(wait(&mut bench, "owner-7", 60).0, 7, "who stands in line may ask again");
    for wait in [Span(0), limits::LOCK_WAIT_MAX.0.checked_add(1).map(Span).expect("small")] {
        let refused = ask(&mut bench, "late", Some(wait));
        assert!(matches!(refused, Err(Refusal::Invalid { field, .. }) if field == "wait"));
    }
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
}
