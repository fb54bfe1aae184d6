//! What gauntlets and tournaments share: pairs are enqueued within a window, and played again when
//! they brought no score.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::WORK_TYPE_PAIR;
use super::job::key;
use crate::limits;
use crate::queue::item::{NewItem, Origin, Payload};
use crate::run::{Advance, Outcome, Play, Run, Unplayable};
use crate::time::Span;

/// A step of a match in the making.
pub(super) struct Step<'a> {
    run: &'a Run,
    play: &'a Play,
    pairs_max: u32,
    items_max: usize,
    /// What has been decided on so far.
    pub(super) advance: Advance,
}

impl<'a> Step<'a> {
    /// Nothing yet. `play` and `pairs_max` are those of the run's spec; the step may enqueue
    /// `items_max` pairs.
    pub(super) fn new(run: &'a Run, play: &'a Play, pairs_max: u32, items_max: usize) -> Self {
        let mut plan = run.plan.clone();
        let matchups = run.spec.matchups();
        plan.next.resize(matchups, 0);
        plan.decided.resize(matchups, None);
        plan.unplayable.resize(matchups, None);
        let (enqueue, close) = (Vec::new(), Vec::new());
        let advance = Advance { plan, enqueue, fallen_handled: 0, close, outcome: None };
        Self { run, play, pairs_max, items_max, advance }
    }

    /// Pairs of a match-up that were accepted.
    pub(super) fn accepted(&self, matchup: usize) -> u32 {
        let pairs = self.run.ledger.pairs.get(matchup);
        pairs.map_or(0, |pairs| u32::try_from(pairs.len()).unwrap_or(u32::MAX))
    }

    /// Enqueues again what died, up to [`limits::PAIR_REPLAYS_MAX`] times each, and remembers the
    /// first pair of each match-up that ran out of replays. A replay comes before new pairs, since
    /// the prefix waits for it.
    pub(super) fn replay_fallen(&mut self) {
        for fallen in &self.run.fallen {
            let origin = &fallen.origin;
            let needed = self.is_needed(origin);
            let replay = needed && origin.replay < limits::PAIR_REPLAYS_MAX;
            if replay && self.is_full() {
                return;
            }
            self.advance.fallen_handled = self.advance.fallen_handled.saturating_add(1);
            if !needed {
                continue;
            }
            if replay {
                let again = Origin { replay: origin.replay + 1, ..origin.clone() };
                self.advance.enqueue.push(self.item(again));
            } else if let Some(slot) =
                self.advance.plan.unplayable.get_mut(usize::from(origin.matchup))
            {
                *slot = Some(Unplayable { index: origin.index, error: fallen.error.clone() });
            }
        }
    }

    /// Whether the step enqueues as much as it may.
    fn is_full(&self) -> bool {
        self.advance.enqueue.len() >= self.items_max
    }

    /// Whether a pair that died is still of use: it was asked for, nobody brought it, its match-up
    /// is open, and no pair before it is unplayable.
    fn is_needed(&self, origin: &Origin) -> bool {
        let matchup = usize::from(origin.matchup);
        let plan = &self.advance.plan;
        let asked = plan.next.get(matchup).is_some_and(|next| origin.index < *next);
        let pairs = self.run.ledger.pairs.get(matchup);
        let brought = pairs.is_some_and(|pairs| pairs.contains_key(&origin.index));
        let decided = matches!(plan.decided.get(matchup), Some(Some(_)));
        let beyond = match plan.unplayable.get(matchup) {
            Some(Some(unplayable)) => unplayable.index <= origin.index,
            Some(None) | None => false,
        };
        asked && !brought && !decided && !beyond
    }

    /// Enqueues new pairs, index by index over all open match-ups, so that they advance together.
    /// A match-up never has more than its window outstanding, nor asks beyond its last pair.
    pub(super) fn fill_windows(&mut self) {
        let window = self.play.window.max(1);
        let mut open: Vec<(usize, u32)> = (0..self.advance.plan.next.len())
            .filter(|matchup| self.is_open(*matchup))
            .map(|matchup| {
                let limit = self.accepted(matchup).saturating_add(window).min(self.pairs_max);
                (matchup, limit)
            })
            .collect();
        // Each round enqueues at least one pair or is the last, so `items_max` bounds them.
        while !open.is_empty() {
            open.retain(|(matchup, limit)| {
                self.advance.plan.next.get(*matchup).is_some_and(|next| next < limit)
            });
            for (matchup, _) in &open {
                if self.is_full() {
                    return;
                }
                self.enqueue_next(*matchup);
            }
        }
    }

    fn is_open(&self, matchup: usize) -> bool {
        let plan = &self.advance.plan;
        matches!(plan.decided.get(matchup), Some(None))
            && matches!(plan.unplayable.get(matchup), Some(None))
    }

    fn enqueue_next(&mut self, matchup: usize) {
        // Validation bounds a run's match-ups far below this; see the assertion in `limits`.
        let Ok(number) = u16::try_from(matchup) else {
            return;
        };
        let Some(next) = self.advance.plan.next.get_mut(matchup) else {
            return;
        };
        let index = *next;
        *next = index.saturating_add(1);
        let origin = Origin { run: self.run.id.clone(), matchup: number, index, replay: 0 };
        self.advance.enqueue.push(self.item(origin));
    }

    fn item(&self, origin: Origin) -> NewItem {
        NewItem {
            key: Some(key(&origin)),
            queue: self.run.queue.clone(),
            work_type: WORK_TYPE_PAIR.to_string(),
            priority: self.play.priority,
            payload: Payload::OfRun(origin),
            needs: self.play.needs(),
            attempts_max: limits::PAIR_ATTEMPTS_MAX,
            attempt_timeout: attempt_timeout(self.play),
            pending_timeout: None,
            total_timeout: None,
            delay: Span(0),
            group: None,
            after: Box::default(),
            notify: false,
        }
    }

    /// The step that ends the run: it enqueues nothing more.
    pub(super) fn end(mut self, outcome: Outcome) -> Advance {
        self.advance.enqueue.clear();
        // Nothing was enqueued, so nothing may be counted as asked for.
        let mut next = self.run.plan.next.clone();
        next.resize(self.advance.plan.next.len(), 0);
        self.advance.plan.next = next;
        self.advance.outcome = Some(outcome);
        self.advance
    }

    /// The end of a run that needs a pair which cannot be played.
    pub(super) fn unplayable(&self, matchup: usize, pair: &Unplayable) -> Outcome {
        let number = u16::try_from(matchup).unwrap_or(u16::MAX);
        let [first, second] = match self.run.spec.contestants(number) {
            Some(contestants) => contestants.map(|contestant| contestant.name.as_str()),
            None => ["?", "?"],
        };
        let message = format!(
            "pair {} of {first} against {second} brought no score in {} plays: {}",
            pair.index,
            limits::PAIR_REPLAYS_MAX + 1,
            pair.error
        );
        Outcome::Failed { reason: "PairUnplayable".to_string(), message }
    }
}

/// Time of one attempt: both games at their full length with the longest silence before each ply,
/// from [`limits::PAIR_TIMEOUT_MIN`] to [`limits::PAIR_TIMEOUT_MAX`].
fn attempt_timeout(play: &Play) -> Span {
    let plies = u64::from(play.plies_max).saturating_mul(2);
    let longest = plies.saturating_mul(play.reply_timeout.0);
    Span(longest.clamp(limits::PAIR_TIMEOUT_MIN.0, limits::PAIR_TIMEOUT_MAX.0))
}
