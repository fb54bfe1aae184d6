//! What the agent hands to the game runner, and what comes back: one pair of games between two
//! engines, same opening, sides swapped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One pair to play. The first contestant has White in the first game.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PairSpec {
    /// The two contestants.
    pub contestants: [Contestant; 2],
    /// Seed of the openings.
    pub seed: u64,
    /// Index of the pair: with the seed it names the opening.
    pub index: u32,
    /// Random legal plies of the opening.
    #[serde(default = "opening_plies")]
    pub opening_plies: u16,
    /// A longer game is a draw.
    #[serde(default = "plies_max")]
    pub plies_max: u16,
    /// An engine that is silent for longer, in milliseconds, hangs.
    #[serde(default = "reply_timeout_ms")]
    pub reply_timeout_ms: u64,
}

/// An engine with its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contestant {
    /// Unique among the contestants of a run.
    pub name: String,
    /// Program and arguments; `["own"]` is the runner's own small engine.
    pub argv: Vec<String>,
    /// Engine options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// How long it thinks for a move.
    pub limit: Limit,
}

/// How long an engine thinks for a move: exactly one of nodes, depth, or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Nodes searched; repeatable.
    Nodes(u64),
    /// Depth in plies; repeatable.
    Depth(u32),
    /// Milliseconds of wall-clock time.
    MovetimeMs(u64),
}

/// What came out of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PairReport {
    /// Index of the pair.
    pub index: u32,
    /// The opening, as UCI moves.
    pub opening: Vec<String>,
    /// The two games in order of play.
    pub games: Vec<GameReport>,
    /// Wall-clock time of the pair in milliseconds.
    pub wall_ms: u64,
}

/// One game.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GameReport {
    /// The score from the first contestant's side; absent when the game gave none.
    pub score: Option<Score>,
    /// How it ended.
    pub ending: Ending,
    /// The contestant at fault, when one is: 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_fault: Option<u8>,
    /// What went wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Plies played after the opening.
    pub plies: u16,
    /// FNV-1a of the moves as 16 hexadecimal digits: a pair replayed at fixed nodes gives the same.
    pub moves_hash: String,
    /// The whole game.
    pub pgn: String,
}

/// A game's score from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// 1 point.
    Win,
    /// Half a point.
    Draw,
    /// 0 points.
    Loss,
}

/// How a game ended. The last three give no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Mate.
    Checkmate,
    /// No legal move, no check.
    Stalemate,
    /// Threefold repetition.
    Repetition,
    /// Fifty moves without progress.
    FiftyMoves,
    /// Neither side can mate.
    InsufficientMaterial,
    /// Adjudicated at the ply limit.
    PlyLimit,
    /// An engine answered a move that is not legal: its loss.
    IllegalMove,
    /// An engine exceeded its move time: its loss.
    TimeLoss,
    /// An engine's process ended.
    Crash,
    /// An engine did not answer at all.
    Hang,
    /// The game was not played: the machine was at fault, or the pair was lost before.
    Infrastructure,
}

const fn opening_plies() -> u16 {
    8
}
const fn plies_max() -> u16 {
    400
}
const fn reply_timeout_ms() -> u64 {
    10_000
}
