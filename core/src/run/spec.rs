//! What a run asks for. Integers only: these values are replicated and compared.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::queue::item::Needs;
use crate::queue::resources::Demand;
use crate::time::Span;

/// What a run asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunSpec {
    /// The same task, a number of times.
    Job(JobSpec),
    /// One candidate against baselines.
    Gauntlet(GauntletSpec),
    /// Everyone against everyone.
    Tournament(TournamentSpec),
}

/// The same task, a number of times, each with its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// What to run.
    pub task: Task,
    /// How many times; the index counts from 0.
    pub completions: u32,
    /// How many at once.
    pub parallelism: u32,
    /// Attempts of each task.
    pub attempts_max: u32,
    /// Time of one attempt.
    pub attempt_timeout: Span,
    /// 0 to 100, larger first.
    pub priority: u8,
    /// What a node must have.
    pub needs: Needs,
}

/// A process to run. It gets `RINGRIFT_RUN`, `RINGRIFT_WORK_ID`, `RINGRIFT_INDEX` and
/// `RINGRIFT_TOKEN` beside its own environment. Its exit status 0 is success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Program and arguments; no shell.
    pub argv: Vec<String>,
    /// Environment beside the few variables that every task gets.
    pub env: BTreeMap<String, String>,
}

/// One candidate against baselines, one sequential test each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GauntletSpec {
    /// Who wants to be promoted.
    pub candidate: Contestant,
    /// Whom it must beat; match-up i is candidate against `baselines[i]`.
    pub baselines: Vec<Contestant>,
    /// How games are played.
    pub play: Play,
    /// When a match-up ends.
    pub stop: Stop,
}

/// Everyone against everyone, a fixed number of pairs. Match-ups are ordered (0,1), (0,2), ...,
/// (0,n-1), (1,2), ...
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TournamentSpec {
    /// The players.
    pub contestants: Vec<Contestant>,
    /// How games are played.
    pub play: Play,
    /// Pairs of each match-up.
    pub pairs: u32,
}

/// An engine with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contestant {
    /// Unique inside its run.
    pub name: String,
    /// Program and arguments; `own` alone names the runner's own small engine.
    pub argv: Vec<String>,
    /// Engine options.
    pub options: BTreeMap<String, String>,
    /// How long it thinks for a move.
    pub limit: Limit,
}

/// How long an engine thinks for a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// Nodes searched: repeatable, and fair between machines of different speed.
    Nodes(u64),
    /// Depth in plies: repeatable.
    Depth(u32),
    /// Wall-clock time: not repeatable.
    MoveTime(Span),
}

/// How games are played.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {
    /// Openings follow from the seed and the pair index, the same for every match-up of a run.
    pub seed: u64,
    /// Random legal plies of an opening.
    pub opening_plies: u16,
    /// A longer game is adjudicated as a draw.
    pub plies_max: u16,
    /// An engine that is silent for longer hangs.
    pub reply_timeout: Span,
    /// Pairs of one match-up that may be outstanding at once.
    pub window: u32,
    /// 0 to 100, larger first.
    pub priority: u8,
    /// What a pair needs of its node while it is played.
    pub demand: Demand,
}

/// When a match-up ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// No verdict before so many valid pairs.
    pub pairs_min: u32,
    /// Inconclusive after so many.
    pub pairs_max: u32,
    /// The sequential test.
    pub sprt: Sprt,
}

/// A sequential probability ratio test on pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sprt {
    /// The scale of the bounds.
    pub model: SprtModel,
    /// Lower hypothesis, in thousandths of its scale's unit.
    pub elo0_milli: i32,
    /// Upper hypothesis, in thousandths of its scale's unit.
    pub elo1_milli: i32,
    /// Probability of accepting H1 when H0 is true, in millionths.
    pub alpha_ppm: u32,
    /// Probability of accepting H0 when H1 is true, in millionths.
    pub beta_ppm: u32,
}

/// The scale of a test's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SprtModel {
    /// Elo in units of its own standard deviation: test length does not depend on the draw rate.
    Normalized,
    /// Plain Elo.
    Logistic,
}
