//! Claims: what each token was good for, one after another.

use super::adds::{Item, Items};
use super::clock::Clock;
use super::episode::Episode;
use super::{Kind, Verdict};

pub(super) fn check(items: &Items<'_>, clock: &Clock, verdict: &mut Verdict) {
    for (id, item) in items {
        let mut claims = item.claims.iter().peekable();
        while let Some((token, grant)) = claims.next() {
            let next = claims.peek().map(|(token, grant)| (**token, **grant));
            let said = item.said.get(token).map(Vec::as_slice).unwrap_or_default();
            let (id, token, cancels) = (*id, *token, item.cancels.as_slice());
            Episode { id, token, grant, next, said, cancels }.check(item, clock, verdict);
        }
        unclaimed(item, verdict);
    }
}

/// Nobody may act under a token that no claim gave out.
fn unclaimed(item: &Item<'_>, verdict: &mut Verdict) {
    for (token, said) in &item.said {
        if item.claims.contains_key(token) {
            continue;
        }
        for op in said.iter().filter(|op| op.answer().is_some()) {
            let text = format!("{:?} was accepted under a token of no claim", op.call.ask);
            verdict.find(Kind::Order, text);
        }
    }
}
