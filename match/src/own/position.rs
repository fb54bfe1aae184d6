//! A position as `position` names it, with the past that can repeat.

use cozy_chess::util::parse_uci_move;
use cozy_chess::{Board, Color};

/// A `position` command that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// Neither `startpos` nor `fen`.
    #[error("position must begin with startpos or fen")]
    NoStart,
    /// The FEN names no position.
    #[error("cannot read the position {0:?}")]
    Fen(String),
    /// A move that is not legal where it stands.
    #[error("move {0:?} is not legal")]
    Move(String),
}

/// A board and the hashes of the positions before it.
#[derive(Debug, Clone, Default)]
pub struct Position {
    /// The board to move on.
    pub board: Board,
    /// Hashes since the last move that cannot be taken back, the present one excluded.
    pub past: Vec<u64>,
}

impl Position {
    /// Reads the arguments of `position`.
    ///
    /// # Errors
    /// They name no position.
    pub fn parse(arguments: &str) -> Result<Self, PositionError> {
        let (start, moves) = match arguments.split_once("moves") {
            Some((start, moves)) => (start.trim(), moves),
            None => (arguments.trim(), ""),
        };
        let board = if start == "startpos" {
            Board::default()
        } else {
            let fen = start.strip_prefix("fen ").ok_or(PositionError::NoStart)?;
            fen.trim().parse().map_err(|_unreadable| PositionError::Fen(fen.to_owned()))?
        };
        let mut position = Self { board, past: Vec::new() };
        for text in moves.split_ascii_whitespace() {
            position.play(text)?;
        }
        Ok(position)
    }

    fn play(&mut self, text: &str) -> Result<(), PositionError> {
        let before = self.board.hash();
        let played = parse_uci_move(&self.board, text)
            .is_ok_and(|parsed| self.board.try_play(parsed).is_ok());
        if !played {
            return Err(PositionError::Move(text.to_owned()));
        }
        if self.board.halfmove_clock() == 0 {
            self.past.clear();
        } else {
            self.past.push(before);
        }
        Ok(())
    }

    /// Whether White is to move.
    #[must_use]
    pub fn is_white_to_move(&self) -> bool {
        self.board.side_to_move() == Color::White
    }
}
