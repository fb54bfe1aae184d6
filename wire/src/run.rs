//! Runs: what the controller, the CLI and `POST /gauntlet/execute` submit, and what they see.

use std::collections::BTreeMap;

use ringrift_core::id::DEFAULT_QUEUE;
use ringrift_core::limits;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::pair::Contestant;
use crate::work::{Pending, Resources};

/// Body of `POST /runs`. Submitting the same run under the same id again is harmless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// The run's id: letters, digits, `-`, `_`, `.`, `:`, at most 128.
    pub run_id: String,
    /// The queue that its items go to; `default` always exists, another one must have been made.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// What to do.
    pub spec: RunSpec,
}

/// Body of `POST /gauntlet/execute`: a gauntlet, without the words around it that `POST /runs` has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// The run's id: letters, digits, `-`, `_`, `.`, `:`, at most 128.
    pub run_id: String,
    /// The queue that its items go to; `default` always exists, another one must have been made.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// Who wants to be promoted.
    pub candidate: Contestant,
    /// Whom it must beat, 1 to 63.
    pub baselines: Vec<Contestant>,
    /// How games are played.
    #[serde(default)]
    pub play: Play,
    /// When a match-up ends.
    #[serde(default)]
    pub stop: Stop,
    /// What each pair reserves on its node.
    #[serde(default)]
    pub resources: Resources,
}

/// What a run does: exactly one of the three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunSpec {
    /// The same task, a number of times.
    Job(JobSpec),
    /// One candidate against baselines.
    Gauntlet(GauntletSpec),
    /// Everyone against everyone.
    Tournament(TournamentSpec),
}

/// The same task, a number of times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Program and arguments; no shell.
    pub argv: Vec<String>,
    /// Environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How many times; each task finds its index in `RINGRIFT_INDEX`.
    #[serde(default = "one")]
    pub completions: u32,
    /// How many at once.
    #[serde(default = "parallelism")]
    pub parallelism: u32,
    /// Attempts of each task.
    #[serde(default = "attempts")]
    pub max_attempts: u32,
    /// Seconds of one attempt.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
    /// 0 to 100, larger first.
    #[serde(default = "priority")]
    pub priority: u8,
    /// Labels that a node must have.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What each task reserves on its node.
    #[serde(default)]
    pub resources: Resources,
}

/// One candidate against baselines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GauntletSpec {
    /// Who wants to be promoted.
    pub candidate: Contestant,
    /// Whom it must beat, 1 to 63.
    pub baselines: Vec<Contestant>,
    /// How games are played.
    #[serde(default)]
    pub play: Play,
    /// When a match-up ends.
    #[serde(default)]
    pub stop: Stop,
    /// What each pair reserves on its node.
    #[serde(default)]
    pub resources: Resources,
}

/// Everyone against everyone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TournamentSpec {
    /// The players, 2 to 64.
    pub contestants: Vec<Contestant>,
    /// How games are played.
    #[serde(default)]
    pub play: Play,
    /// Pairs of each match-up.
    #[serde(default = "pairs")]
    pub pairs: u32,
    /// What each pair reserves on its node.
    #[serde(default)]
    pub resources: Resources,
}

/// How games are played.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Play {
    /// Openings follow from the seed and the pair index.
    pub seed: u64,
    /// Random legal plies of an opening.
    pub opening_plies: u16,
    /// A longer game is a draw.
    pub plies_max: u16,
    /// An engine that is silent for longer, in seconds, hangs.
    pub reply_timeout_seconds: u64,
    /// Pairs of one match-up that may be outstanding at once.
    pub window: u32,
    /// 0 to 100, larger first.
    pub priority: u8,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            seed: 1,
            opening_plies: 8,
            plies_max: 400,
            reply_timeout_seconds: 10,
            window: 32,
            priority: 50,
        }
    }
}

/// When a match-up of a gauntlet ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// No verdict before so many valid pairs.
    pub pairs_min: u32,
    /// Inconclusive after so many.
    pub pairs_max: u32,
    /// The scale of the bounds.
    pub model: Model,
    /// Lower hypothesis, in thousandths of an Elo.
    pub elo0_milli: i32,
    /// Upper hypothesis, in thousandths of an Elo.
    pub elo1_milli: i32,
    /// Probability of a false promotion, in millionths.
    pub alpha_ppm: u32,
    /// Probability of a false rejection, in millionths.
    pub beta_ppm: u32,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            pairs_min: 20,
            pairs_max: 2_000,
            model: Model::Normalized,
            elo0_milli: 0,
            elo1_milli: 30_000,
            alpha_ppm: 50_000,
            beta_ppm: 50_000,
        }
    }
}

/// The scale of a test's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// Elo in units of its own standard deviation.
    Normalized,
    /// Plain Elo.
    Logistic,
}

/// The queue of runs that name none.
#[must_use]
pub fn default_queue() -> String {
    DEFAULT_QUEUE.to_owned()
}
const fn one() -> u32 {
    1
}
const fn parallelism() -> u32 {
    16
}
const fn attempts() -> u32 {
    limits::ATTEMPTS_DEFAULT
}
const fn timeout_seconds() -> u64 {
    limits::ATTEMPT_TIMEOUT_DEFAULT.0 / 1_000
}
const fn priority() -> u8 {
    50
}
const fn pairs() -> u32 {
    20
}

/// Reply of `POST /runs` and `POST /gauntlet/execute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// Always true; a refusal is a problem body.
    pub success: bool,
    /// The agent that answered.
    pub node_id: String,
    /// The run.
    pub run_id: String,
    /// `accepted`, or `exists` when the same run was there already.
    pub status: String,
}

/// A run as callers see it: reply of `GET /runs/{run_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunStatus {
    /// The run.
    pub run_id: String,
    /// The queue that its items go to.
    pub queue: String,
    /// What each of its items reserves on its node.
    #[serde(default)]
    pub resources: Resources,
    /// `job`, `gauntlet` or `tournament`.
    pub kind: String,
    /// `active`, `succeeded`, `failed` or `cancelled`.
    pub phase: String,
    /// Grows with every change of the run.
    pub version: u64,
    /// Index of the log that this reflects.
    pub log_index: u64,
    /// Unix seconds.
    pub submitted_at: f64,
    /// Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<f64>,
    /// Items done: pairs accepted, or tasks ended well.
    pub done: u64,
    /// Items to do at most: pairs until every match-up must have ended, or tasks.
    pub total: u64,
    /// Items that are held by workers now.
    pub running: u64,
    /// Items that failed for good, pairs played again included.
    pub failed: u64,
    /// One sentence for people.
    pub message: String,
    /// Why the first of its items waits, the most telling reason first, while none runs; only in the
    /// reply of `GET /runs/{run_id}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Pending>,
    /// A gauntlet's verdict: `promote`, `reject` or `inconclusive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// One word when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each match-up of a gauntlet or tournament.
    #[serde(default)]
    pub matchups: Vec<MatchupStatus>,
    /// A tournament's table, best first.
    #[serde(default)]
    pub standings: Vec<Standing>,
    /// The first failures, at most 16.
    #[serde(default)]
    pub failures: Vec<FailureStatus>,
}

/// One match-up. All counts from the first contestant's side; all figures on the pairs that the
/// decision rests on, or on the contiguous prefix so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MatchupStatus {
    /// The two contestants.
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
    /// Points per game, 0 to 1.
    pub score: f64,
    /// Elo difference; absent when all or no points were won, for then no number is honest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elo: Option<f64>,
    /// Half the width of its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elo_error: Option<f64>,
    /// Likelihood that the first contestant is the stronger, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub los: Option<f64>,
    /// Log-likelihood ratio of the sequential test; gauntlets only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llr: Option<f64>,
    /// Its bounds; gauntlets only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llr_bounds: Option<[f64; 2]>,
    /// `accept_h1`, `accept_h0` or `inconclusive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
}

/// A line of a tournament's table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// The contestant.
    pub name: String,
    /// Points: a win is 1, a draw 0.5.
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

/// A failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailureStatus {
    /// Which match-up; 0 for a Job.
    pub matchup: u16,
    /// Which pair or task.
    pub index: u32,
    /// Why.
    pub error: String,
}

/// Reply of `GET /runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunList {
    /// Newest first.
    pub runs: Vec<RunStatus>,
    /// How many.
    pub count: usize,
}

/// Query of `GET /runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunsQuery {
    /// At most so many, newest first; 1 to 1,000.
    #[serde(default = "hundred")]
    pub limit: u32,
}

const fn hundred() -> u32 {
    100
}

/// Query of `GET /runs/{run_id}/ledger`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerQuery {
    /// Pairs to skip from the front, match-up by match-up in index order.
    #[serde(default)]
    pub offset: u64,
    /// At most so many; 1 to 10,000.
    #[serde(default = "ten_thousand")]
    pub limit: u32,
}

const fn ten_thousand() -> u32 {
    10_000
}

/// Reply of `GET /runs/{run_id}/ledger`: accepted pairs, match-up by match-up in index order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerPage {
    /// The run.
    pub run_id: String,
    /// The pairs.
    pub pairs: Vec<LedgerPair>,
    /// The offset of the next page; absent when this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<u64>,
}

/// One accepted pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerPair {
    /// Which match-up.
    pub matchup: u16,
    /// Which pair.
    pub index: u32,
    /// The item that brought it.
    pub work_id: String,
    /// Who played it.
    pub node: String,
    /// Scores of the two games from the first contestant's side: 0, 0.5 or 1.
    pub scores: [f64; 2],
    /// Hashes of the two games' moves.
    pub moves_hashes: [String; 2],
}
