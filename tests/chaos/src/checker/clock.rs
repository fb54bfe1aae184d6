//! Replicated time, as far as answers tell: a claim says when it ends and was asked for a length, so
//! the difference is the moment of its entry. Between two such entries time lies between theirs.

use std::collections::BTreeMap;

use super::ops::Op;
use super::{Kind, Verdict};
use crate::history::{Answer, Ask};

/// Moments of some entries, in Unix milliseconds by index.
#[derive(Debug, Default)]
pub(super) struct Clock {
    known: BTreeMap<u64, u64>,
}

impl Clock {
    /// Finds entries of two times, and time that goes back.
    pub(super) fn of(ops: &[Op<'_>], verdict: &mut Verdict) -> Self {
        let mut clock = Self::default();
        for op in ops {
            if let Ask::Claim { lease_ms, .. } = &op.call.ask
                && let Some(Answer::Claimed(grants)) = op.answer()
            {
                for grant in grants {
                    let moment = grant.deadline_ms.saturating_sub(*lease_ms);
                    clock.note(grant.hold.token.index, moment, verdict);
                }
            }
            // A lock that is renewed keeps its token.
            if let Ask::Lock { ttl_ms, .. } = &op.call.ask
                && let Some(Answer::Locked { token, expires_ms }) = op.answer()
                && op.window.hi == token.index
            {
                clock.note(token.index, expires_ms.saturating_sub(*ttl_ms), verdict);
            }
        }
        let mut before = (0, 0);
        for (index, moment) in &clock.known {
            if *moment < before.1 {
                let text = format!(
                    "replicated time went back from {} at index {} to {moment} at index {index}",
                    before.1, before.0
                );
                verdict.find(Kind::Order, text);
            }
            before = (*index, *moment);
        }
        clock
    }

    fn note(&mut self, index: u64, moment: u64, verdict: &mut Verdict) {
        let before = *self.known.entry(index).or_insert(moment);
        if before != moment {
            let text = format!("the entry at index {index} has two times: {before} and {moment}");
            verdict.find(Kind::Order, text);
        }
    }

    /// It was not earlier than this at the index.
    pub(super) fn at_least(&self, index: u64) -> u64 {
        self.known.range(..=index).next_back().map_or(0, |(_, moment)| *moment)
    }

    /// It was not later than this at the index.
    pub(super) fn at_most(&self, index: u64) -> u64 {
        self.known.range(index..).next().map_or(u64::MAX, |(_, moment)| *moment)
    }
}
