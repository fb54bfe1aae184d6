//! Ends: each acknowledged item has ended once, as its last holder said, or as its bounds say.

use ringrift_core::id::{Token, WorkId};

use super::adds::{Item, Items};
use super::ops::Op;
use super::{Kind, Verdict};
use crate::history::{Answer, Ask, Call, Outcome, Seen};

/// How an item ended, as far as is known.
#[derive(Default)]
struct End<'a> {
    /// Completions that were accepted, by token.
    completed: Vec<(Token, &'a Op<'a>)>,
    /// Somebody was told that it is dead.
    dead: bool,
    /// Somebody was told that it is cancelled.
    cancelled: bool,
}

pub(super) fn check(items: &Items<'_>, verdict: &mut Verdict) {
    for (id, item) in items {
        let end = end_of(item);
        once(*id, &end, verdict);
        for look in &item.looks {
            if let Some(Answer::Seen(seen)) = look.answer() {
                agrees(*id, item, &end, look, seen, verdict);
            }
        }
        let exists = item.acknowledged || !item.claims.is_empty();
        if exists && !has_ended(item, &end) {
            let text = format!(
                "{id} ({}) was acknowledged, and nobody knows of its end",
                item.spec.map_or("no name", |spec| spec.name.as_str())
            );
            verdict.find(Kind::Lost, text);
        }
    }
}

fn end_of<'a>(item: &'a Item<'a>) -> End<'a> {
    let mut end = End::default();
    for (token, said) in &item.said {
        let accepted = |op: &&Op<'_>| matches!(op.answer(), Some(Answer::Completed(_)));
        end.completed.extend(said.iter().find(accepted).map(|op| (*token, op)));
        end.dead |= said.iter().any(|op| matches!(op.answer(), Some(Answer::Failed(None))));
    }
    end.cancelled = item.cancels.iter().any(|op| op.answer().is_some());
    end
}

fn once(id: WorkId, end: &End<'_>, verdict: &mut Verdict) {
    verdict.seen.completed += u64::from(!end.completed.is_empty());
    if end.completed.len() > 1 {
        let tokens: Vec<_> = end.completed.iter().map(|(token, _)| token.to_string()).collect();
        let text = format!("completions of {id} were accepted under {}", tokens.join(" and "));
        verdict.find(Kind::Doubled, text);
    }
    let ends = [!end.completed.is_empty(), end.dead, end.cancelled];
    if ends.iter().filter(|it| **it).count() > 1 {
        let text = format!("{id} was said to be completed, dead, cancelled: {ends:?}");
        verdict.find(Kind::Doubled, text);
    }
}

/// Whether somebody knows how it ended.
fn has_ended(item: &Item<'_>, end: &End<'_>) -> bool {
    let ended =
        |seen: &Seen| matches!(seen.status.as_deref(), Some("completed" | "failed" | "cancelled"));
    let mut looks = item.looks.iter();
    let looks = looks.any(|look| matches!(look.answer(), Some(Answer::Seen(seen)) if ended(seen)));
    looks || !end.completed.is_empty() || end.dead || end.cancelled
}

/// What a reader saw must be what holders did.
fn agrees(
    id: WorkId,
    item: &Item<'_>,
    end: &End<'_>,
    look: &Op<'_>,
    seen: &Seen,
    verdict: &mut Verdict,
) {
    let status = seen.status.as_deref();
    // What ended before the reader asked.
    let completed = end.completed.iter().find(|(_, op)| op.window.hi < look.window.lo);
    if let Some((token, op)) = completed
        && status != Some("completed")
    {
        let text = format!(
            "{id} was completed under {token} by {}, and was {} behind it",
            op.window.hi,
            status.unwrap_or("not there")
        );
        verdict.find(Kind::Lost, text);
    }
    match status {
        Some("completed") => {
            let known: Vec<_> = match end.completed.first() {
                Some((_, op)) => result_of(op).into_iter().collect(),
                None => {
                    let said = item.said.values().flatten().filter(|op| op.may_be_done());
                    said.filter_map(result_of).collect()
                }
            };
            if !known.iter().any(|result| Some(*result) == seen.result.as_ref()) {
                let text =
                    format!("{id} has the result {:?}, which is none of {known:?}", seen.result);
                verdict.find(Kind::Order, text);
            }
        }
        Some("cancelled") => {
            if !item.cancels.iter().any(Op::may_be_done) {
                verdict.find(Kind::Order, format!("{id} is cancelled, and nobody asked for it"));
            }
        }
        Some("failed") => died_with_reason(id, item, verdict),
        Some(_) => {}
        None => {
            if item.acknowledged && end.completed.is_empty() {
                verdict.find(Kind::Lost, format!("{id} was acknowledged, and is not there"));
            }
        }
    }
}

fn result_of<'a>(op: &Op<'a>) -> Option<&'a String> {
    if let Ask::Complete { result, .. } = &op.call.ask { Some(result) } else { None }
}

/// A dead item has used up its attempts, or its holder said that no other can help.
fn died_with_reason(id: WorkId, item: &Item<'_>, verdict: &mut Verdict) {
    let started = |(token, said): &(&Token, &Vec<Op<'_>>)| {
        // One that was given back does not count.
        let releases =
            |op: &Op<'_>| matches!(&op.call.ask, Ask::Release(_)) && op.answer().is_some();
        item.may_have_started(**token) && !said.iter().any(releases)
    };
    let attempts = item.said.iter().filter(started).count();
    let most = item.spec.map_or(0, |spec| spec.attempts_max);
    let given_up = item
        .said
        .values()
        .flatten()
        .any(|op| matches!(&op.call.ask, Ask::Fail { retry: false, .. }) && op.may_be_done());
    if !given_up && u32::try_from(attempts).is_ok_and(|attempts| attempts < most) {
        let text = format!("{id} is dead after {attempts} of {most} attempts");
        verdict.find(Kind::Lost, text);
    }
}

/// Items whose end nobody knows of yet, and those that were completed, in the order of their answers.
pub(crate) fn standing(history: &[Call]) -> (Vec<WorkId>, Vec<WorkId>) {
    let mut ignored = Verdict::default();
    let ops = super::ops::of(history, &mut ignored);
    let clock = super::clock::Clock::default();
    let items = super::adds::check(&ops, &clock, &mut ignored);
    let exists = |item: &Item<'_>| item.acknowledged || !item.claims.is_empty();
    let open = items.iter().filter(|(_, item)| exists(item) && !has_ended(item, &end_of(item)));
    let open = open.map(|(id, _)| *id).collect();
    let completed = history.iter().filter_map(|call| {
        let Ask::Complete { hold, .. } = &call.ask else { return None };
        matches!(call.outcome, Outcome::Done(..)).then_some(hold.item)
    });
    (open, completed.collect())
}
