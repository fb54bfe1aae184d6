//! A game of chess as the arbiter sees it: the moves so far, who is to move, and whether it is over.

use std::fmt;

use cozy_chess::util::{display_san_move, display_uci_move, parse_uci_move};
use cozy_chess::{BitBoard, Board, Color, Move, Piece};
use ringrift_wire::pair::Ending;

/// Plies without a capture or a pawn move after which the game is drawn: fifty by each side.
const FIFTY_MOVES_PLIES: u8 = 100;
/// How often a position must stand on the board for a draw, this time included.
const REPETITIONS_DRAW: usize = 3;

/// A text that is no legal move in its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a legal move in {position}")]
pub struct NotLegal {
    /// What was to be played.
    pub text: String,
    /// The position as FEN.
    pub position: String,
}

/// The moves of a game, and the position that they lead to.
#[derive(Debug, Clone, Default)]
pub struct Game {
    board: Board,
    /// Positions since the last move that cannot be taken back, the present one excluded: only
    /// these can repeat.
    repeatable: Vec<Board>,
    played: Vec<Played>,
}

/// One move in the two notations that leave the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// As engines write it: `e1g1`.
    pub uci: String,
    /// As people write it: `O-O`.
    pub san: String,
}

impl Game {
    /// The position to move in.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The moves so far.
    #[must_use]
    pub fn played(&self) -> &[Played] {
        &self.played
    }

    /// Number of moves so far, by both sides together.
    #[must_use]
    pub fn plies(&self) -> usize {
        self.played.len()
    }

    /// The legal moves as UCI texts, sorted: an order that no library update can change.
    #[must_use]
    pub fn legal_moves(&self) -> Vec<String> {
        let mut moves = Vec::new();
        self.board.generate_moves(|of_piece| {
            moves.extend(of_piece.into_iter().map(|m| uci(&self.board, m)));
            false
        });
        moves.sort_unstable();
        moves
    }

    /// Plays a move given in standard UCI notation; castling is the king's move.
    ///
    /// # Errors
    /// The text is not exactly a legal move; the game is as it was.
    pub fn play(&mut self, text: &str) -> Result<(), NotLegal> {
        let refused = || NotLegal {
            // What an engine wrote has no bound of its own.
            text: text.chars().take(MOVE_TEXT_SHOWN).collect(),
            position: self.board.to_string(),
        };
        let Ok(parsed) = parse_uci_move(&self.board, text) else {
            return Err(refused());
        };
        // The library reads leniently (it takes king-takes-rook, and ignores a tail): compare.
        if !self.board.is_legal(parsed) || uci(&self.board, parsed) != text {
            return Err(refused());
        }
        self.push(parsed);
        Ok(())
    }

    fn push(&mut self, legal: Move) {
        let san = display_san_move(&self.board, legal).to_string();
        self.played.push(Played { uci: uci(&self.board, legal), san });
        let before = self.board.clone();
        self.board.play_unchecked(legal);
        if self.board.halfmove_clock() == 0 {
            self.repeatable.clear();
        } else {
            self.repeatable.push(before);
        }
    }

    /// How the game has ended by the rules of chess, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        let can_move = self.board.generate_moves(|_| true);
        if !can_move {
            let mated = !self.board.checkers().is_empty();
            return Some(if mated { Ending::Checkmate } else { Ending::Stalemate });
        }
        if is_dead(&self.board) {
            return Some(Ending::InsufficientMaterial);
        }
        if self.board.halfmove_clock() >= FIFTY_MOVES_PLIES {
            return Some(Ending::FiftyMoves);
        }
        let before = self.repeatable.iter().filter(|b| b.same_position(&self.board)).count();
        (before + 1 >= REPETITIONS_DRAW).then_some(Ending::Repetition)
    }

    /// The side to move.
    #[must_use]
    pub fn side_to_move(&self) -> Color {
        self.board.side_to_move()
    }
}

/// Characters of a refused move that an error shows: the longest legal one has five.
const MOVE_TEXT_SHOWN: usize = 32;

impl fmt::Display for Game {
    /// The moves in UCI notation, joined by spaces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ply, played) in self.played.iter().enumerate() {
            let gap = if ply == 0 { "" } else { " " };
            write!(f, "{gap}{}", played.uci)?;
        }
        Ok(())
    }
}

/// A move in standard UCI notation.
#[must_use]
pub fn uci(board: &Board, legal: Move) -> String {
    display_uci_move(board, legal).to_string()
}

/// Whether no sequence of moves can mate: bare kings, one minor piece, or bishops of one colour of
/// square only. Dead positions behind locked pawns are left to the fifty moves.
#[must_use]
pub fn is_dead(board: &Board) -> bool {
    let mating = board.pieces(Piece::Pawn) | board.pieces(Piece::Rook) | board.pieces(Piece::Queen);
    if !mating.is_empty() {
        return false;
    }
    let knights = board.pieces(Piece::Knight);
    let bishops = board.pieces(Piece::Bishop);
    if knights.is_empty() {
        bishops.is_subset(BitBoard::DARK_SQUARES) || bishops.is_subset(BitBoard::LIGHT_SQUARES)
    } else {
        bishops.is_empty() && knights.len() == 1
    }
}

#[cfg(test)]
mod tests;
