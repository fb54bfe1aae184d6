//! Calls as operations: each with the window of log indices in which it took effect, repeats of one
//! request of a session put together.

use std::collections::BTreeMap;

use super::{Kind, Verdict};
use crate::history::{Answer, Ask, Call, Outcome, Stamp, Way};

/// Log indices, both included. An operation whose outcome is not known may take effect at any time
/// after it was sent, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) lo: u64,
    pub(super) hi: u64,
}

/// Something that was asked for, once, however often it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Op<'a> {
    /// The first call.
    pub(super) call: &'a Call,
    /// The lowest index at which any try can have taken effect.
    pub(super) floor: u64,
    pub(super) window: Window,
    pub(super) result: Known<'a>,
}

/// What is known of an operation's outcome.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known<'a> {
    Done(&'a Answer),
    Refused(&'a str),
    /// It was not carried out and never will be.
    Declined,
    Nothing,
}

impl<'a> Op<'a> {
    pub(super) const fn answer(&self) -> Option<&'a Answer> {
        match self.result {
            Known::Done(answer) => Some(answer),
            Known::Refused(_) | Known::Declined | Known::Nothing => None,
        }
    }

    /// Whether it may have been carried out.
    pub(super) const fn may_be_done(&self) -> bool {
        matches!(self.result, Known::Done(_) | Known::Nothing)
    }

    /// Whether it may have been a start that was carried out while its token was good, which ended
    /// by `end`. The client's library sends a start again by itself: when the last try is refused,
    /// since the claim has ended in the meantime, an earlier one may have been in time.
    pub(super) fn may_have_started(&self, end: u64) -> bool {
        let Ask::Start(_) = &self.call.ask else { return false };
        match self.result {
            Known::Done(_) => true,
            Known::Refused(_) | Known::Nothing => self.floor <= end,
            Known::Declined => false,
        }
    }
}

/// The lowest index at which each call can have taken effect: beyond every index that anybody had
/// seen before it was sent.
pub(super) fn floors(history: &[Call]) -> Vec<u64> {
    let mut by_sent: Vec<usize> = (0..history.len()).collect();
    by_sent.sort_unstable_by_key(|at| history[*at].sent);
    let mut answers: Vec<(u64, u64)> =
        history.iter().filter_map(|call| Some((call.answered, call.index()?))).collect();
    answers.sort_unstable();
    let mut answers = answers.into_iter().peekable();
    let mut floors = vec![0; history.len()];
    let mut highest = 0;
    for at in by_sent {
        while let Some((_, index)) = answers.next_if(|(when, _)| *when < history[at].sent) {
            highest = highest.max(index);
        }
        floors[at] = highest + 1;
    }
    floors
}

/// All operations of a history. Finds repeats that were answered otherwise than the first time.
pub(super) fn of<'a>(history: &'a [Call], verdict: &mut Verdict) -> Vec<Op<'a>> {
    let floors = floors(history);
    let mut ops = Vec::with_capacity(history.len());
    let mut stamped: BTreeMap<Stamp, Vec<usize>> = BTreeMap::new();
    for (at, call) in history.iter().enumerate() {
        match call.stamp {
            Some(stamp) => stamped.entry(stamp).or_default().push(at),
            None => ops.push(alone(call, floors[at])),
        }
    }
    for (stamp, mut calls) in stamped {
        calls.sort_unstable_by_key(|at| history[*at].sent);
        let Some(first) = calls.first().copied() else { continue };
        let answered = calls.iter().map(|at| &history[*at]).filter(|call| !call.is_open());
        let mut result = Known::Nothing;
        let mut hi = u64::MAX;
        for call in answered {
            hi = hi.min(call.index().unwrap_or(u64::MAX));
            match (result, known(call)) {
                (Known::Nothing, now) => result = now,
                (before, now) => {
                    verdict.seen.repeats += 1;
                    if !same(before, now) {
                        let text = format!(
                            "session {} request {} was answered {before:?}, and when it was sent \
                             again {now:?}",
                            stamp.session, stamp.seq
                        );
                        verdict.find(Kind::Doubled, text);
                    }
                }
            }
        }
        let window = Window { lo: floors[first].min(hi), hi };
        ops.push(Op { call: &history[first], floor: window.lo, window, result });
    }
    ops.sort_by_key(|op| (op.window.lo, op.window.hi));
    ops
}

fn known(call: &Call) -> Known<'_> {
    match &call.outcome {
        Outcome::Done(_, answer) => Known::Done(answer),
        Outcome::Refused(_, code) => Known::Refused(code),
        // A session's requests are sent again by the client's library.
        Outcome::Declined(_) | Outcome::Unknown(_) => Known::Nothing,
    }
}

fn alone(call: &Call, floor: u64) -> Op<'_> {
    let hi = call.index().unwrap_or(u64::MAX);
    let floor = floor.min(hi);
    // The client's library sends the others again by itself, so an earlier entry may have had the
    // effect.
    let sent_once = match &call.ask {
        Ask::Add(items) => items.iter().any(|item| item.key.is_none()),
        Ask::Start(_) | Ask::Heartbeat { .. } | Ask::Complete { .. } => false,
        Ask::Claim { .. }
        | Ask::Fail { .. }
        | Ask::Release(_)
        | Ask::Cancel(_)
        | Ask::Look(_)
        | Ask::Lock { .. }
        | Ask::Unlock { .. } => true,
    };
    // These are answered by what holds at the entry that is named, whatever came of earlier tries.
    let of_its_entry = matches!(&call.ask, Ask::Start(_) | Ask::Heartbeat { .. });
    let exact = call.way == Way::Stream && (sent_once || of_its_entry) && !call.is_open();
    let lo = if exact { hi } else { floor };
    // Over HTTP an agent may have passed it on before, to one that no longer led.
    let declined = matches!(call.outcome, Outcome::Declined(_));
    let surely = declined && sent_once && call.way == Way::Stream;
    let result = if surely { Known::Declined } else { known(call) };
    Op { call, floor, window: Window { lo, hi }, result }
}

/// Whether a repeat was answered as the first time. A claim that is told again leaves out what is
/// no longer held, and says how long the rest is held by now.
fn same(before: Known<'_>, now: Known<'_>) -> bool {
    match (before, now) {
        (Known::Done(Answer::Claimed(before)), Known::Done(Answer::Claimed(now))) => {
            now.iter().all(|now| before.iter().any(|before| before.hold == now.hold))
        }
        (Known::Done(before), Known::Done(now)) => before == now,
        (Known::Refused(before), Known::Refused(now)) => before == now,
        (Known::Done(_), Known::Refused(_)) | (Known::Refused(_), Known::Done(_)) => false,
        (Known::Declined | Known::Nothing, _) | (_, Known::Declined | Known::Nothing) => true,
    }
}
