//! Locks.

use super::Bench;
use crate::id::{LockName, Token};
use crate::queue::command::{Command, Refusal, Reply};
use crate::time::{Moment, Span};

fn name() -> LockName {
    "leader".parse().expect("a name")
}

fn acquire(bench: &mut Bench, owner: &str) -> Result<Reply, Refusal> {
    bench.apply(Command::LockAcquire { name: name(), owner: owner.into(), ttl: Span::seconds(5) })
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
