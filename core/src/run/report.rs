//! What people see of a run: counts, figures, one sentence. The API, the CLI and Kubernetes show
//! the same, since it is made here once.

use alloc::string::String;
use alloc::vec::Vec;

mod figures;
mod sentence;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::machine::Reason;
use crate::run::{DecisionKind, Outcome, Run, RunSpec, Verdict};

/// Unfinished items of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunItems {
    /// All of them.
    pub outstanding: u64,
    /// Those that a worker has started.
    pub running: u64,
    /// Whether the run's queue takes no more items of its kind.
    pub crowded: bool,
}

/// What a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The same task, a number of times.
    Job,
    /// One candidate against baselines.
    Gauntlet,
    /// Everyone against everyone.
    Tournament,
}

impl Kind {
    /// What a run of this spec is.
    #[must_use]
    pub const fn of(spec: &RunSpec) -> Self {
        match spec {
            RunSpec::Job(_) => Self::Job,
            RunSpec::Gauntlet(_) => Self::Gauntlet,
            RunSpec::Tournament(_) => Self::Tournament,
        }
    }

    /// The word for it: `job`, `gauntlet`, `tournament`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Gauntlet => "gauntlet",
            Self::Tournament => "tournament",
        }
    }
}

/// Where a run is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Items are played or wait.
    Active,
    /// It did what it was asked, whatever the verdict.
    Succeeded,
    /// It cannot.
    Failed,
    /// A person ended it.
    Cancelled,
}

impl Phase {
    /// Where a run is that ended so, or that has not ended.
    #[must_use]
    pub const fn of(outcome: Option<&Outcome>) -> Self {
        match outcome {
            None => Self::Active,
            Some(Outcome::Verdict(_) | Outcome::Standings | Outcome::Succeeded) => Self::Succeeded,
            Some(Outcome::Failed { .. }) => Self::Failed,
            Some(Outcome::Cancelled) => Self::Cancelled,
        }
    }

    /// The word for it: `active`, `succeeded`, `failed`, `cancelled`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Verdict {
    /// The word for it: `promote`, `reject`, `inconclusive`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Reject => "reject",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl DecisionKind {
    /// The word for it: `accept_h1`, `accept_h0`, `inconclusive`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcceptH1 => "accept_h1",
            Self::AcceptH0 => "accept_h0",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// A run as people see it. No figure is ever NaN or infinite.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// What it is.
    pub kind: Kind,
    /// Where it is in its life.
    pub phase: Phase,
    /// Items done: pairs accepted, or tasks ended well.
    pub done: u64,
    /// Items to do at most: tasks, or pairs. A decided match-up needs no more than it has, so that
    /// `done` reaches `total` when the run ends by itself.
    pub total: u64,
    /// Items that a worker has started.
    pub running: u64,
    /// Items that failed for good, pairs played again included.
    pub failed: u64,
    /// One sentence.
    pub message: String,
    /// A gauntlet's verdict.
    pub verdict: Option<Verdict>,
    /// One word when it failed.
    pub reason: Option<String>,
    /// Each match-up of a gauntlet or tournament.
    pub matchups: Vec<MatchupReport>,
    /// A tournament's table, best first.
    pub standings: Vec<Standing>,
}

/// One match-up, from the first contestant's side. All figures rest on the pairs of the decision,
/// or on the contiguous prefix so far.
#[derive(Debug, Clone, PartialEq)]
pub struct MatchupReport {
    /// Names of the two contestants.
    pub contestants: [String; 2],
    /// Pairs accepted, those beyond the decision included.
    pub pairs_done: u32,
    /// Pairs that the figures rest on.
    pub pairs_used: u32,
    /// Pairs that may be needed at most.
    pub pairs_max: u32,
    /// Pairs lost twice, lost and drawn, level, won and drawn, won twice.
    pub pentanomial: [u32; 5],
    /// Games won.
    pub wins: u32,
    /// Games drawn.
    pub draws: u32,
    /// Games lost.
    pub losses: u32,
    /// Points per game, 0 to 1; 0.5 before the first pair.
    pub score: f64,
    /// Elo difference; nothing when no number is honest.
    pub elo: Option<f64>,
    /// Half the width of its 95 % interval.
    pub elo_error: Option<f64>,
    /// Likelihood that the first contestant is the stronger, 0 to 1.
    pub los: Option<f64>,
    /// Log-likelihood ratio of a gauntlet's sequential test.
    pub llr: Option<f64>,
    /// Its bounds, lower first.
    pub llr_bounds: Option<[f64; 2]>,
    /// How it was decided.
    pub decision: Option<DecisionKind>,
}

/// A line of a tournament's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The contestant.
    pub name: String,
    /// A win is 1, a draw 0.5.
    pub points: f64,
    /// Games played.
    pub games: u32,
    /// Games won.
    pub wins: u32,
    /// Games drawn.
    pub draws: u32,
    /// Games lost.
    pub losses: u32,
}

/// What people see of `run`, of which the queue holds `items`.
#[must_use]
pub fn report(run: &Run, items: RunItems) -> RunReport {
    explained(run, items, None)
}

/// The same, with the reason for which the first of its items waits while none runs.
#[must_use]
pub fn explained(run: &Run, items: RunItems, waits: Option<&Reason>) -> RunReport {
    let matchups = figures::matchups(run);
    let standings = figures::standings(&run.spec, &matchups);
    let (done, total) = progress(run, &matchups);
    let (verdict, reason) = match &run.outcome {
        Some(Outcome::Verdict(verdict)) => (Some(*verdict), None),
        Some(Outcome::Failed { reason, message: _ }) => (None, Some(reason.clone())),
        Some(Outcome::Standings | Outcome::Succeeded | Outcome::Cancelled) | None => (None, None),
    };
    let mut report = RunReport {
        kind: Kind::of(&run.spec),
        phase: Phase::of(run.outcome.as_ref()),
        done,
        total,
        running: items.running,
        failed: run.failures_count,
        message: String::new(),
        verdict,
        reason,
        matchups,
        standings,
    };
    report.message = sentence::of(&report, run.outcome.as_ref(), items, waits);
    report
}

/// Items done and items to do at most.
fn progress(run: &Run, matchups: &[MatchupReport]) -> (u64, u64) {
    if let RunSpec::Job(spec) = &run.spec {
        return (run.ledger.tasks_done.into(), spec.completions.into());
    }
    let done = |matchup: &MatchupReport| u64::from(matchup.pairs_done);
    let total = |matchup: &MatchupReport| match matchup.decision {
        Some(_) => done(matchup),
        None => u64::from(matchup.pairs_max),
    };
    (matchups.iter().map(done).sum(), matchups.iter().map(total).sum())
}
