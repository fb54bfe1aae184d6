//! Whether what the clients saw can be explained by one queue that does one thing after another.
//!
//! Answers carry positions of the log, so no search is needed: each operation has a window of log
//! indices in which it took effect, mostly of one index. Every rule here says that no choice of
//! places inside of the windows explains what was seen; so a finding is a fault, and what is not
//! known is never held against the queue. The time of the check grows with n log n.
//!
//! What is checked, each item and each lock for itself, since linearizability of the parts is that of
//! the whole:
//!
//! * real time: what was asked for after an answer has a later position (`order`);
//! * one log: an index has one term, terms and replicated time grow with it (`order`, `clock`);
//! * adds: one item a name and a key, numbered in the order of the log (`adds`);
//! * claims: tokens grow, no claim begins before the one before has ended, what a token allows ends
//!   with its claim, and nothing is refused without a reason (`claims`);
//! * ends: what was acknowledged has ended in the end, once (`ends`);
//! * sessions: a repeat is answered as the first time (`ops`);
//! * locks: as claims (`locks`).

mod adds;
mod claims;
mod clock;
pub(crate) mod ends;
mod episode;
mod locks;
mod ops;
mod order;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::history::{Call, Outcome};

/// Findings that are kept; further ones are counted.
const FINDINGS_KEPT: usize = 200;

/// What a finding says about the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Something acknowledged is not there.
    Lost,
    /// Something was carried out twice.
    Doubled,
    /// No order of the operations explains what was seen.
    Order,
}

/// A fault that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// What the check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Acknowledged things that are not there.
    pub(crate) lost: u64,
    /// Things that were carried out twice.
    pub(crate) doubled: u64,
    /// Other contradictions.
    pub(crate) disorder: u64,
    /// The first of them, with their reasons.
    pub(crate) findings: Vec<Finding>,
    /// What was looked at, so that an empty history does not pass for a good one.
    pub(crate) seen: Extent,
}

/// How much there was to check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Extent {
    /// Calls with an answer.
    pub(crate) answered: u64,
    /// Calls that were refused before anything was proposed.
    pub(crate) declined: u64,
    /// Calls without an answer.
    pub(crate) unknown: u64,
    /// Items that were acknowledged.
    pub(crate) items: u64,
    /// Items whose completion was accepted.
    pub(crate) completed: u64,
    /// Claims that brought an item.
    pub(crate) claims: u64,
    /// Refusals by token, each with a reason found for it.
    pub(crate) fenced: u64,
    /// Claims that found nothing, each checked against what was there.
    pub(crate) empty: u64,
    /// Requests that were sent again in a session and answered again.
    pub(crate) repeats: u64,
    /// Locks that were taken.
    pub(crate) locks: u64,
}

impl Verdict {
    /// Whether one queue explains everything.
    pub(crate) const fn holds(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.disorder == 0
    }

    fn find(&mut self, kind: Kind, text: String) {
        match kind {
            Kind::Lost => self.lost += 1,
            Kind::Doubled => self.doubled += 1,
            Kind::Order => self.disorder += 1,
        }
        if self.findings.len() < FINDINGS_KEPT {
            self.findings.push(Finding { kind, text });
        }
    }
}

/// Checks a whole history, with everything drained and looked at in the end.
pub(crate) fn check(history: &[Call]) -> Verdict {
    let mut verdict = Verdict::default();
    for call in history {
        let seen = &mut verdict.seen;
        let count = match &call.outcome {
            Outcome::Done(..) | Outcome::Refused(..) => &mut seen.answered,
            Outcome::Declined(_) => &mut seen.declined,
            Outcome::Unknown(_) => &mut seen.unknown,
        };
        *count += 1;
    }
    order::check(history, &mut verdict);
    let ops = ops::of(history, &mut verdict);
    let clock = clock::Clock::of(&ops, &mut verdict);
    let items = adds::check(&ops, &clock, &mut verdict);
    claims::check(&items, &clock, &mut verdict);
    ends::check(&items, &mut verdict);
    locks::check(&ops, &clock, &mut verdict);
    verdict
}
