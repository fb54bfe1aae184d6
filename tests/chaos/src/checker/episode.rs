//! One claim of one item: from its grant to its end, and what its token was good for.

use ringrift_core::id::{Token, WorkId};

use super::adds::Item;
use super::clock::Clock;
use super::ops::{Known, Op};
use super::{Kind, Verdict};
use crate::history::{Answer, Ask, Grant};

/// A claim, and the token of the next one that is known.
pub(super) struct Episode<'a> {
    pub(super) id: WorkId,
    pub(super) token: Token,
    pub(super) grant: &'a Grant,
    pub(super) next: Option<(Token, &'a Grant)>,
    pub(super) said: &'a [Op<'a>],
    pub(super) cancels: &'a [Op<'a>],
}

/// How an operation under a token was answered.
enum Ruling {
    /// As that of the holder.
    Accepted,
    /// As that of somebody who does not hold the item.
    Fenced,
    Unknown,
}

fn ruling(op: &Op<'_>) -> Ruling {
    match op.result {
        Known::Done(Answer::Renewed(false)) | Known::Refused(_) => Ruling::Fenced,
        Known::Done(_) => Ruling::Accepted,
        // One that surely was not carried out says nothing of the holder either.
        Known::Declined | Known::Nothing => Ruling::Unknown,
    }
}

/// Whether the operation ends the claim when it is carried out.
pub(super) fn ends(op: &Op<'_>) -> bool {
    matches!(&op.call.ask, Ask::Complete { .. } | Ask::Fail { .. } | Ask::Release(_))
}

fn completes(op: &Op<'_>) -> bool {
    matches!(&op.call.ask, Ask::Complete { .. })
}

impl Episode<'_> {
    pub(super) fn check(&self, item: &Item<'_>, clock: &Clock, verdict: &mut Verdict) {
        for op in self.said {
            match ruling(op) {
                Ruling::Accepted => self.accepted(op, clock, verdict),
                Ruling::Fenced => self.fenced(op, clock, verdict),
                Ruling::Unknown => {}
            }
        }
        if let Some((token, next)) = self.next {
            self.handed_on(token, next, clock, verdict);
        }
        self.attempts(item, verdict);
    }

    /// What a holder was allowed must lie inside of its claim.
    fn accepted(&self, op: &Op<'_>, clock: &Clock, verdict: &mut Verdict) {
        let Self { id, token, .. } = self;
        let (lo, hi) = (op.window.lo, op.window.hi);
        let asked = &op.call.ask;
        if hi < token.index {
            verdict.find(Kind::Order, format!("{asked:?} was answered at {hi}, before its claim"));
        }
        if let Some((next, _)) = self.next
            && lo > next.index
        {
            let text = format!(
                "{id} was claimed under {next}, and behind it, at {lo}, {asked:?} was accepted"
            );
            verdict.find(Kind::Order, text);
        }
        let ended = self.said.iter().find(|end| {
            ends(end)
                && matches!(ruling(end), Ruling::Accepted)
                && end.window.hi < lo
                && !(completes(end) && completes(op))
        });
        if let Some(end) = ended {
            let text = format!(
                "{:?} ended the claim by {}, and behind it, at {lo}, {asked:?} was accepted",
                end.call.ask, end.window.hi
            );
            verdict.find(Kind::Order, text);
        }
        let renewed = self.said.iter().any(|op| matches!(&op.call.ask, Ask::Heartbeat { .. }));
        // A repeat of a completion is accepted for ever.
        let repeats = self.said.iter().any(|other| {
            completes(op)
                && completes(other)
                && other.may_be_done()
                && other.call.sent < op.call.sent
        });
        if !renewed && !repeats && clock.at_least(lo) >= self.grant.deadline_ms {
            let text = format!(
                "{id}: the lease under {token} ended at {} ms, and at {} ms {asked:?} was accepted",
                self.grant.deadline_ms,
                clock.at_least(lo)
            );
            verdict.find(Kind::Order, text);
        }
    }

    /// What was refused as no holder's must have a reason.
    fn fenced(&self, op: &Op<'_>, clock: &Clock, verdict: &mut Verdict) {
        verdict.seen.fenced += 1;
        let hi = op.window.hi;
        let taken = self.next.is_some_and(|(next, _)| next.index <= hi);
        let expired = clock.at_most(hi) >= self.held_until(op.window.lo, clock);
        if !taken && !expired && !self.may_have_ended(hi, op) {
            let text = format!(
                "{:?} was refused at {hi}, where {} was surely held under {}",
                op.call.ask, self.id, self.token
            );
            verdict.find(Kind::Lost, text);
        }
    }

    /// The next claim begins behind the end of this one.
    fn handed_on(&self, token: Token, next: &Grant, clock: &Clock, verdict: &mut Verdict) {
        let id = self.id;
        let completed =
            self.said.iter().find(|op| completes(op) && matches!(ruling(op), Ruling::Accepted));
        if completed.is_some() {
            let text =
                format!("{id} was completed under {} and claimed again under {token}", self.token);
            verdict.find(Kind::Doubled, text);
            return;
        }
        let now = clock.at_least(token.index);
        let expired = now >= self.held_until(token.index, clock);
        let given_up = |op: &Op<'_>| {
            ends(op) && !completes(op) && op.may_be_done() && op.window.lo <= token.index
        };
        let given_up = self.said.iter().any(given_up);
        if !expired && !given_up {
            let text = format!(
                "{id} is held by two: under {} until {} ms, and under {token} from {now} ms \
                 (until {})",
                self.token,
                self.held_until(token.index, clock),
                next.deadline_ms
            );
            verdict.find(Kind::Doubled, text);
        }
        for op in self.said {
            if let Some(Answer::Failed(retry_at)) = op.answer()
                && retry_at.is_none_or(|at| now < at)
            {
                let text = format!(
                    "{id} failed under {} and was to wait until {retry_at:?}; it was claimed at {now}",
                    self.token
                );
                verdict.find(Kind::Order, text);
            }
        }
    }

    /// Unix milliseconds until which the lease surely ran, as far as renewals before `index` are known.
    fn held_until(&self, index: u64, clock: &Clock) -> u64 {
        let renewals = self.said.iter().filter(|op| op.window.hi < index);
        let renewals = renewals.filter_map(|op| {
            let Ask::Heartbeat { lease_ms, .. } = &op.call.ask else { return None };
            let renewed = matches!(op.answer(), Some(Answer::Renewed(true)));
            renewed.then(|| clock.at_least(op.window.lo).saturating_add(*lease_ms))
        });
        renewals.fold(self.grant.deadline_ms, u64::max)
    }

    /// Whether another operation may have ended the claim by this index.
    fn may_have_ended(&self, index: u64, but: &Op<'_>) -> bool {
        let ending = |op: &Op<'_>| op.may_be_done() && op.window.lo <= index;
        let said = self.said.iter().filter(|op| ends(op) && !std::ptr::eq(op.call, but.call));
        said.chain(self.cancels).any(ending)
    }

    /// The claim says how many attempts were started before it, and not given back.
    fn attempts(&self, item: &Item<'_>, verdict: &mut Verdict) {
        let (mut surely, mut perhaps) = (0, 0);
        for (token, said) in item.said.range(..self.token) {
            let mut starts = said.iter().filter(|op| matches!(&op.call.ask, Ask::Start(_)));
            let given_back = said.iter().filter(|op| matches!(&op.call.ask, Ask::Release(_)));
            let started = starts.any(|op| op.answer().is_some());
            let released = given_back.clone().any(|op| op.answer().is_some());
            let may_be_released = given_back.clone().any(Op::may_be_done);
            surely += u32::from(started && !may_be_released);
            perhaps += u32::from(item.may_have_started(*token) && !released);
        }
        let attempts = self.grant.attempts;
        if !(surely..=perhaps).contains(&attempts) {
            let text = format!(
                "{}: the claim under {} counts {attempts} attempts, not {surely} to {perhaps}",
                self.id, self.token
            );
            verdict.find(Kind::Order, text);
        }
    }
}
