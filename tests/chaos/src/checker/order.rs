//! The order of the log against the order in which clients asked and heard, and claims that found
//! nothing.

use std::collections::BTreeMap;

use super::ops::floors;
use super::{Kind, Verdict};
use crate::history::{Answer, Ask, Call, Micros, Outcome};

/// A request whose outcome is not known may still be on its way for so long: far more than an agent
/// or a connection keeps one.
const ON_ITS_WAY: Micros = 60_000_000;

pub(super) fn check(history: &[Call], verdict: &mut Verdict) {
    real_time(history, verdict);
    terms(history, verdict);
    nothing_there(history, verdict);
}

/// What was asked for after an answer was heard comes later in the log.
fn real_time(history: &[Call], verdict: &mut Verdict) {
    for (call, floor) in history.iter().zip(floors(history)) {
        let Some(index) = call.index() else { continue };
        let read = match &call.ask {
            Ask::Claim { wait_ms, .. } if found_nothing(call) => {
                // Whoever waits in vain is told so by an agent that need not lead any more.
                if *wait_ms > 0 {
                    continue;
                }
                true
            }
            ask => matches!(ask, Ask::Look(_)),
        };
        // What is only read needs no entry of its own.
        let least = floor - u64::from(read);
        if index < least {
            let text = format!(
                "client {} asked for {:?} when index {} had been seen, and was answered from index \
                 {index}",
                call.client,
                call.ask,
                floor - 1
            );
            verdict.find(Kind::Order, text);
        }
    }
}

/// An index has one term, and terms grow with it.
fn terms(history: &[Call], verdict: &mut Verdict) {
    let mut terms: BTreeMap<u64, u64> = BTreeMap::new();
    for call in history {
        let (Outcome::Done(position, _) | Outcome::Refused(position, _)) = &call.outcome else {
            continue;
        };
        let term = *terms.entry(position.index).or_insert(position.term);
        if term != position.term {
            let text =
                format!("index {} has the terms {term} and {}", position.index, position.term);
            verdict.find(Kind::Order, text);
        }
    }
    let mut before = (0, 0);
    for (index, term) in terms {
        if term < before.1 {
            let text = format!(
                "term {} at index {} comes before term {term} at {index}",
                before.1, before.0
            );
            verdict.find(Kind::Order, text);
        }
        before = (index, term);
    }
}

fn found_nothing(call: &Call) -> bool {
    matches!(&call.outcome, Outcome::Done(_, Answer::Claimed(grants)) if grants.is_empty())
}

/// A claim that does not wait and finds nothing, while an item was there that nobody can have held.
fn nothing_there(history: &[Call], verdict: &mut Verdict) {
    let mut lost_claims: Vec<Micros> = Vec::new();
    let mut first_claims: BTreeMap<u64, Micros> = BTreeMap::new();
    for call in history {
        if matches!(call.ask, Ask::Claim { .. }) && call.is_open() {
            lost_claims.push(call.sent);
        }
        let mut taken = Vec::new();
        if let Ask::Cancel(id) = &call.ask {
            taken.push(id.0);
        }
        if let Outcome::Done(_, Answer::Claimed(grants)) = &call.outcome {
            taken.extend(grants.iter().map(|grant| grant.hold.item.0));
        }
        for id in taken {
            let sent = first_claims.entry(id).or_insert(call.sent);
            *sent = call.sent.min(*sent);
        }
    }
    lost_claims.sort_unstable();
    // Times at which something was surely there: from an add's answer to the first claim's sending.
    let mut there: Vec<(Micros, Micros, u64)> = Vec::new();
    for call in history {
        let (Ask::Add(items), Outcome::Done(_, Answer::Added(added))) = (&call.ask, &call.outcome)
        else {
            continue;
        };
        for (item, (id, fresh)) in items.iter().zip(added) {
            if *fresh && item.delay_ms == 0 {
                let until = first_claims.get(&id.0).copied().unwrap_or(Micros::MAX);
                if until > call.answered {
                    there.push((call.answered, until, id.0));
                }
            }
        }
    }
    there.sort_unstable();
    let mut empty: Vec<&Call> = history
        .iter()
        .filter(|call| {
            let waits = !matches!(&call.ask, Ask::Claim { wait_ms: 0, .. });
            !waits && call.stamp.is_none() && found_nothing(call)
        })
        .collect();
    empty.sort_unstable_by_key(|call| call.sent);
    // Of what began before the claim, what stays longest.
    let mut began = there.into_iter().peekable();
    let mut longest: Option<(Micros, Micros, u64)> = None;
    for claim in empty {
        verdict.seen.empty += 1;
        while let Some(next) = began.next_if(|(from, _, _)| *from < claim.sent) {
            if longest.is_none_or(|(_, until, _)| until < next.1) {
                longest = Some(next);
            }
        }
        let Some((from, until, id)) = longest.filter(|(_, until, _)| *until > claim.answered)
        else {
            continue;
        };
        let early = from.saturating_sub(ON_ITS_WAY);
        let first_lost = lost_claims.partition_point(|sent| *sent < early);
        let perhaps_held = lost_claims.get(first_lost).is_some_and(|sent| *sent < claim.answered);
        if !perhaps_held {
            let text = format!(
                "client {} found nothing at {} us, but w{id} was there from {from} to {until} us",
                claim.client, claim.sent
            );
            verdict.find(Kind::Order, text);
        }
    }
}
