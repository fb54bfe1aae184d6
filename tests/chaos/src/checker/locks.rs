//! Locks: one owner at a time, under tokens that grow.

use std::collections::BTreeMap;

use ringrift_core::id::Token;

use super::clock::Clock;
use super::ops::{Known, Op};
use super::{Kind, Verdict};
use crate::history::{Answer, Ask};

/// One ownership of a lock.
#[derive(Default)]
struct Hold<'a> {
    owner: &'a str,
    /// Unix milliseconds until which it surely was held, unless released.
    until: u64,
    releases: Vec<Op<'a>>,
}

type Lock<'a> = BTreeMap<Token, Hold<'a>>;

pub(super) fn check(ops: &[Op<'_>], clock: &Clock, verdict: &mut Verdict) {
    let mut locks: BTreeMap<&str, Lock<'_>> = BTreeMap::new();
    for op in ops {
        if let Ask::Unlock { name, token } = &op.call.ask {
            locks.entry(name).or_default().entry(*token).or_default().releases.push(*op);
        }
        let Ask::Lock { name, owner, .. } = &op.call.ask else { continue };
        let Some(Answer::Locked { token, expires_ms }) = op.answer() else { continue };
        let hold = locks.entry(name).or_default().entry(*token).or_default();
        if hold.owner.is_empty() {
            hold.owner = owner;
            verdict.seen.locks += 1;
        }
        if hold.owner != owner {
            let text =
                format!("lock {name} has two owners under {token}: {} and {owner}", hold.owner);
            verdict.find(Kind::Doubled, text);
        }
        hold.until = hold.until.max(*expires_ms);
    }
    for (name, lock) in &locks {
        let mut holds = lock.iter().peekable();
        while let Some((token, hold)) = holds.next() {
            let next = holds.peek().map(|(token, _)| **token);
            one_after_another(name, *token, hold, next, clock, verdict);
            released(name, *token, hold, clock, verdict);
        }
    }
}

fn one_after_another(
    name: &str,
    token: Token,
    hold: &Hold<'_>,
    next: Option<Token>,
    clock: &Clock,
    verdict: &mut Verdict,
) {
    let Some(next) = next else { return };
    let released = hold.releases.iter().any(|op| op.may_be_done() && op.window.lo <= next.index);
    if !released && clock.at_most(next.index) < hold.until {
        let text = format!(
            "lock {name} was held under {token} until {} ms and taken under {next} at {} ms",
            hold.until,
            clock.at_most(next.index)
        );
        verdict.find(Kind::Doubled, text);
    }
    for op in hold.releases.iter().filter(|op| op.answer().is_some()) {
        if op.window.lo > next.index {
            let text =
                format!("lock {name} was taken under {next}, and behind it released under {token}");
            verdict.find(Kind::Order, text);
        }
    }
}

/// A release is accepted once, and refused only for a reason.
fn released(name: &str, token: Token, hold: &Hold<'_>, clock: &Clock, verdict: &mut Verdict) {
    let accepted = hold.releases.iter().filter(|op| op.answer().is_some()).count();
    if accepted > 1 {
        let text = format!("lock {name} was released {accepted} times under {token}");
        verdict.find(Kind::Doubled, text);
    }
    for refused in &hold.releases {
        let Known::Refused(_) = refused.result else { continue };
        let other = hold.releases.iter().any(|op| {
            !std::ptr::eq(op.call, refused.call)
                && op.may_be_done()
                && op.window.lo <= refused.window.hi
        });
        if !other && clock.at_most(refused.window.hi) < hold.until {
            let text =
                format!("the release of lock {name} under {token} was refused while it held");
            verdict.find(Kind::Lost, text);
        }
    }
}
