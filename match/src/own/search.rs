//! The search: alpha-beta with iterative deepening, a transposition table, and quiescence.
//!
//! It counts every position that it visits, and never visits one more than it was allowed.

use std::fmt;

use cozy_chess::{Board, Move, Piece};
use order::Order;
use table::{Bound, Entry, Table};

use super::evaluation::Weights;
use super::position::Position;
use crate::chess::{is_dead, uci};

mod order;
mod table;

/// Beyond any score.
const INFINITY: i32 = 32_000;
/// A mate on the board; one in n plies is n less.
const MATE: i32 = 31_000;
/// Deeper lines are cut off by the evaluation; the call stack stays small.
const PLY_MAX: usize = 96;
/// Iterations: deeper than [`PLY_MAX`] nothing changes.
const DEPTH_MAX: u32 = 64;
/// Positions between two looks at clock and commands: about a quarter of a millisecond.
const POLL_NODES: u64 = 512;

/// What `go` asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Positions to visit.
    pub nodes: Option<u64>,
    /// Plies to look ahead.
    pub depth: Option<u32>,
    /// Time to take.
    pub time: Option<std::time::Duration>,
}

/// What ends a search.
pub struct Bounds<'a> {
    /// Positions to visit.
    pub nodes: Option<u64>,
    /// Plies to look ahead.
    pub depth: Option<u32>,
    /// Asked every few hundred positions; true ends the search.
    pub poll: &'a mut dyn FnMut() -> bool,
}

impl fmt::Debug for Bounds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, depth, poll: _ } = self;
        f.debug_struct("Bounds").field("nodes", nodes).field("depth", depth).finish_non_exhaustive()
    }
}

/// A score as UCI writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Worth(pub i32);

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plies = MATE - self.0.abs();
        if plies > i32::try_from(PLY_MAX).unwrap_or(i32::MAX) {
            return write!(f, "cp {}", self.0);
        }
        let moves = (plies + 1) / 2;
        write!(f, "mate {}", if self.0 < 0 { -moves } else { moves })
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The move in UCI notation; nothing when the game is over.
    pub best: Option<String>,
    /// Its score for the side to move.
    pub score: Worth,
    /// Complete iterations.
    pub depth: u32,
    /// Positions visited.
    pub nodes: u64,
}

/// What the engine remembers from move to move of one game.
#[derive(Debug, Default)]
pub struct Search {
    table: Table,
}

impl Search {
    /// Searches until a bound is reached.
    pub fn run(&mut self, position: &Position, weights: &Weights, bounds: Bounds<'_>) -> Found {
        let Bounds { nodes, depth, poll } = bounds;
        let mut tree = Tree {
            table: &mut self.table,
            weights,
            nodes_max: nodes.unwrap_or(u64::MAX),
            poll,
            nodes: 0,
            stopped: false,
            path: position.past.clone(),
            order: Order::default(),
            best: None,
        };
        // Even one node must give a move.
        tree.best = tree.order.sorted(&position.board, weights, None, 0).first().copied();
        let mut found = Found::default();
        if tree.best.is_some() {
            for depth in 1..=depth.unwrap_or(DEPTH_MAX).clamp(1, DEPTH_MAX) {
                let score = tree.search(&position.board, depth, -INFINITY, INFINITY, 0);
                if tree.stopped {
                    break;
                }
                (found.depth, found.score) = (depth, Worth(score));
            }
        }
        found.nodes = tree.nodes;
        found.best = tree.best.map(|best| uci(&position.board, best));
        found
    }
}

/// One search in progress.
struct Tree<'a> {
    table: &'a mut Table,
    weights: &'a Weights,
    nodes_max: u64,
    poll: &'a mut dyn FnMut() -> bool,
    nodes: u64,
    stopped: bool,
    /// Hashes of the game and of the line under search, for repetitions.
    path: Vec<u64>,
    order: Order,
    /// The best move at the root so far.
    best: Option<Move>,
}

impl Tree<'_> {
    /// Counts a position, unless the search is over.
    fn enter(&mut self) -> bool {
        if self.nodes >= self.nodes_max
            || (self.nodes % POLL_NODES == POLL_NODES - 1 && (self.poll)())
        {
            self.stopped = true;
        }
        if !self.stopped {
            self.nodes += 1;
        }
        !self.stopped
    }

    /// The value of a position for the side to move. After a stop the value means nothing.
    fn search(&mut self, board: &Board, depth: u32, mut alpha: i32, beta: i32, ply: usize) -> i32 {
        let in_check = !board.checkers().is_empty();
        // A check is answered before the position is judged.
        let depth = depth + u32::from(in_check);
        if depth == 0 || ply >= PLY_MAX {
            return self.quiesce(board, alpha, beta, ply);
        }
        if !self.enter() {
            return 0;
        }
        if ply > 0 && self.is_draw(board) {
            return 0;
        }
        let known = self.table.get(board.hash());
        if let Some(entry) = known.filter(|entry| ply > 0 && entry.depth >= depth)
            && let Some(score) = entry.decides(alpha, beta, ply)
        {
            return score;
        }
        if let Some(score) = self.null_move(board, depth, beta, ply, in_check) {
            return score;
        }

        let moves = self.order.sorted(board, self.weights, known.and_then(|e| e.best), ply);
        if moves.is_empty() {
            return if in_check { mated_at(ply) } else { 0 };
        }
        let before = alpha;
        let (mut best, mut best_score) = (None, -INFINITY);
        self.path.push(board.hash());
        for (place, candidate) in moves.into_iter().enumerate() {
            let quiet = is_quiet(board, candidate);
            let mut after = board.clone();
            after.play_unchecked(candidate);
            let reducible = quiet && !in_check && after.checkers().is_empty() && depth >= 3;
            let reduction =
                u32::from(reducible && place >= 4) + u32::from(reducible && place >= 12);
            let mut score = -self.search(&after, depth - 1 - reduction, -beta, -alpha, ply + 1);
            if reduction > 0 && score > alpha && !self.stopped {
                score = -self.search(&after, depth - 1, -beta, -alpha, ply + 1);
            }
            if self.stopped {
                break;
            }
            if score > best_score {
                (best, best_score) = (Some(candidate), score);
                if ply == 0 {
                    self.best = best;
                }
            }
            alpha = alpha.max(score);
            if alpha >= beta {
                if quiet {
                    self.order.praise(board.side_to_move(), candidate, depth, ply);
                }
                break;
            }
        }
        self.path.pop();
        if !self.stopped {
            let bound = Bound::of(best_score, before, beta);
            self.table.put(board.hash(), Entry::new(best, depth, best_score, bound, ply));
        }
        best_score
    }

    /// Whether the side to move could pass and still be too strong. Without pieces passing may be
    /// the best of all moves, so there it proves nothing.
    fn null_move(
        &mut self,
        board: &Board,
        depth: u32,
        beta: i32,
        ply: usize,
        in_check: bool,
    ) -> Option<i32> {
        let minor = board.pieces(Piece::King) | board.pieces(Piece::Pawn);
        let pieces = board.colors(board.side_to_move()) & !minor;
        let may_pass = ply > 0 && depth >= 3 && !in_check && !pieces.is_empty() && !is_mate(beta);
        if !may_pass || self.weights.evaluate(board) < beta {
            return None;
        }
        let after = board.null_move()?;
        self.path.push(board.hash());
        let score = -self.search(&after, depth - 3, -beta, 1 - beta, ply + 1);
        self.path.pop();
        (score >= beta && !self.stopped).then_some(beta)
    }

    /// Plays out captures, and all moves out of check, until the position is quiet.
    fn quiesce(&mut self, board: &Board, mut alpha: i32, beta: i32, ply: usize) -> i32 {
        if !self.enter() {
            return 0;
        }
        let in_check = !board.checkers().is_empty();
        let standing = self.weights.evaluate(board);
        if ply >= PLY_MAX {
            return standing;
        }
        let mut best_score = if in_check { mated_at(ply) } else { standing };
        alpha = alpha.max(best_score);
        if alpha >= beta {
            return best_score;
        }
        for candidate in self.order.sorted(board, self.weights, None, ply) {
            if !in_check {
                if is_quiet(board, candidate) {
                    continue;
                }
                // A capture that cannot come near alpha is not looked at.
                let gain = self.weights.of(order::victim(board, candidate).unwrap_or(Piece::Pawn));
                if candidate.promotion.is_none() && standing + gain + HOPE < alpha {
                    continue;
                }
            }
            let mut after = board.clone();
            after.play_unchecked(candidate);
            let score = -self.quiesce(&after, -beta, -alpha, ply + 1);
            if self.stopped {
                return 0;
            }
            best_score = best_score.max(score);
            alpha = alpha.max(score);
            if alpha >= beta {
                break;
            }
        }
        best_score
    }

    fn is_draw(&self, board: &Board) -> bool {
        let since = usize::from(board.halfmove_clock());
        let repeated = self.path.iter().rev().take(since).any(|hash| *hash == board.hash());
        repeated || since >= 100 || is_dead(board)
    }
}

/// What a capture may gain beyond the captured piece.
const HOPE: i32 = 150;

fn mated_at(ply: usize) -> i32 {
    i32::try_from(ply).unwrap_or(0) - MATE
}

fn is_mate(score: i32) -> bool {
    score.abs() > MATE - 2 * i32::try_from(PLY_MAX).unwrap_or(0)
}

fn is_quiet(board: &Board, candidate: Move) -> bool {
    candidate.promotion.is_none() && order::victim(board, candidate).is_none()
}
