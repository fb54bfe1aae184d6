//! A run: what a Job, Gauntlet or Tournament is inside the agents. A spec, the planner's state, the
//! ledger of accepted results, an outcome.

pub mod ledger;
pub mod matchup;
pub mod report;
pub mod spec;
pub mod validate;

use alloc::string::String;
use alloc::vec::Vec;

pub use ledger::{Ending, GameResult, Ledger, Pair, Score};
use serde::{Deserialize, Serialize};
pub use spec::{
    Contestant, GauntletSpec, JobSpec, Limit, Play, RunSpec, Sprt, SprtModel, Stop, Task,
    TournamentSpec,
};

use crate::id::{QueueName, RunId};
use crate::queue::item::{NewItem, Origin};
use crate::time::Moment;

/// A run as the machine holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The queue that its items go to.
    pub queue: QueueName,
    /// What was asked.
    pub spec: RunSpec,
    /// Grows with every change of the run: results, failures, planner steps.
    pub version: u64,
    /// When it was submitted.
    pub submitted: Moment,
    /// When it ended.
    pub ended: Option<Moment>,
    /// What the planner has asked for so far.
    pub plan: PlanState,
    /// What was accepted: pairs of a match, tasks of a Job.
    pub ledger: Ledger,
    /// Items that died and that the planner has not yet dealt with.
    pub fallen: Vec<Fallen>,
    /// The first failures, at most [`crate::limits::RUN_FAILURES_KEPT`], for people.
    pub failures: Vec<Fallen>,
    /// All failures, counted.
    pub failures_count: u64,
    /// How it ended; nothing while it is active.
    pub outcome: Option<Outcome>,
}

/// An item of a run that died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallen {
    /// Which part of the run it was.
    pub origin: Origin,
    /// Why.
    pub error: String,
}

/// What a planner has asked for so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanState {
    /// For each match-up (a Job has one), the next index that was not yet enqueued.
    pub next: Vec<u32>,
    /// For each match-up, the decision once it has fallen.
    pub decided: Vec<Option<Decision>>,
    /// For each match-up of a gauntlet, the pairs of its prefix that were tested already, counted as
    /// pairs lost twice, lost and drawn, level, won and drawn, won twice. Accepted pairs never
    /// change, so no later step needs to test them again.
    pub tested: Vec<[u32; 5]>,
    /// For each match-up, its first pair that cannot be played.
    pub unplayable: Vec<Option<Unplayable>>,
}

/// A pair whose replays are used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplayable {
    /// Index of the pair in its match-up.
    pub index: u32,
    /// The last error.
    pub error: String,
}

/// A planner's step: one command, valid for one version of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advance {
    /// The new planner's state.
    pub plan: PlanState,
    /// Items to enqueue.
    pub enqueue: Vec<NewItem>,
    /// How many of [`Run::fallen`], from the front, this step has dealt with.
    pub fallen_handled: u32,
    /// Match-ups whose outstanding items are cancelled, since they are decided.
    pub close: Vec<u16>,
    /// The end of the run.
    pub outcome: Option<Outcome>,
}

/// How a match-up was decided, always at a pair of the contiguous prefix in index order, so that
/// neither arrival order nor a fail-over can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    pub kind: DecisionKind,
    /// Number of pairs, from index 0, that the decision rests on.
    pub pairs: u32,
}

/// What a sequential test can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecisionKind {
    /// The first contestant is better by the upper hypothesis.
    AcceptH1,
    /// It is not.
    AcceptH0,
    /// The pairs ran out first.
    Inconclusive,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A gauntlet's verdict on its candidate.
    Verdict(Verdict),
    /// A tournament's last pair was played.
    Standings,
    /// A Job's last task ended well.
    Succeeded,
    /// The run cannot end well any more.
    Failed {
        /// One word for programs: `PairUnplayable`, `TasksFailed`.
        reason: String,
        /// One sentence for people.
        message: String,
    },
    /// Cancelled by a person.
    Cancelled,
}

/// A gauntlet's verdict on its candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Better than every baseline.
    Promote,
    /// Not better than at least one baseline.
    Reject,
    /// Neither was shown within the allowed number of pairs.
    Inconclusive,
}
