//! The ledger of a run: append-only, first accepted result wins, keyed by match-up and index.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, WorkId};
use crate::pages::Pages;
use crate::time::Moment;

/// What was accepted so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// For each match-up its pairs by index. Empty for a Job.
    pub pairs: Vec<Pages<u32, Pair>>,
    /// For a Job, the tasks that ended well.
    pub tasks_done: u32,
    /// For a Job, the tasks that died.
    pub tasks_failed: u32,
}

/// One accepted pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The item that brought it.
    pub work_id: WorkId,
    /// Who played it.
    pub node: NodeId,
    /// When it was accepted.
    pub at: Moment,
    /// The games, from the first contestant's side; both are scored, or the pair would not be here.
    pub games: [GameResult; 2],
}

impl Pair {
    /// Both scores, in order of play; nothing for a pair that should not be in the ledger.
    #[must_use]
    pub fn scores(&self) -> Option<[Score; 2]> {
        let [first, second] = &self.games;
        Some([*first.score.as_ref().ok()?, *second.score.as_ref().ok()?])
    }
}

/// One game.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GameResult {
    /// The first contestant's score, or why there is none.
    pub score: Result<Score, String>,
    /// How it ended.
    pub ending: Ending,
    /// Plies played after the opening.
    pub plies: u16,
    /// Hash of all moves: the same pair played twice at fixed nodes must give the same.
    pub moves_hash: u64,
}

/// A game's score from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Score {
    /// 0 points.
    Loss,
    /// Half a point.
    Draw,
    /// 1 point.
    Win,
}

/// How a game ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// An engine's process ended: no score.
    Crash,
    /// An engine did not answer at all: no score.
    Hang,
    /// The machine was at fault: no score.
    Infrastructure,
}
