//! What a position is worth, in hundredths of a pawn: material, and rules of thumb that need no
//! tables.

use cozy_chess::{BitBoard, Board, Color, File, Piece, Square};

/// A pawn, the measure of everything.
const PAWN: i32 = 100;
/// Phase of a board with all pieces: minor pieces count 1, rooks 2, queens 4.
const PHASE_FULL: i32 = 24;
/// For the right to move.
const TEMPO: i32 = 10;
const BISHOP_PAIR: i32 = 30;
const DOUBLED_PAWN: i32 = -12;
const OPEN_FILE: i32 = 18;
const SEVENTH_RANK: i32 = 15;
/// For each own pawn in the three squares before the king.
const SHIELD: i32 = 12;

/// Values of the pieces: the engine's options, and a small space for tuning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    knight: i32,
    bishop: i32,
    rook: i32,
    queen: i32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { knight: 320, bishop: 330, rook: 500, queen: 950 }
    }
}

/// No piece is worth more than so many pawns: sums must stay far below a mate.
const WEIGHT_MAX: i32 = 2_000;

impl Weights {
    /// The options as `uci` announces them.
    pub fn announcements() -> impl Iterator<Item = String> {
        let mut default = Self::default();
        ["Knight", "Bishop", "Rook", "Queen"].into_iter().map(move |name| {
            let value = default.named(name).map_or(0, |value| *value);
            format!("option name {name} type spin default {value} min 0 max {WEIGHT_MAX}")
        })
    }

    /// Obeys the arguments of `setoption`.
    ///
    /// # Errors
    /// No such option, or not such a value; the text says so.
    pub fn set(&mut self, arguments: &str) -> Result<(), String> {
        let problem = || format!("cannot set option: {arguments}");
        let (name, value) = arguments
            .strip_prefix("name ")
            .and_then(|rest| rest.split_once(" value "))
            .ok_or_else(problem)?;
        let weight = self.named(name.trim()).ok_or_else(problem)?;
        let value = value.trim().parse().ok().filter(|value| (0..=WEIGHT_MAX).contains(value));
        *weight = value.ok_or_else(problem)?;
        Ok(())
    }

    fn named(&mut self, name: &str) -> Option<&mut i32> {
        match name.to_ascii_lowercase().as_str() {
            "knight" => Some(&mut self.knight),
            "bishop" => Some(&mut self.bishop),
            "rook" => Some(&mut self.rook),
            "queen" => Some(&mut self.queen),
            _ => None,
        }
    }

    /// The value of a piece; a king has none.
    #[must_use]
    pub fn of(&self, piece: Piece) -> i32 {
        match piece {
            Piece::Pawn => PAWN,
            Piece::Knight => self.knight,
            Piece::Bishop => self.bishop,
            Piece::Rook => self.rook,
            Piece::Queen => self.queen,
            Piece::King => 0,
        }
    }

    /// The value of the position for the side to move.
    #[must_use]
    pub fn evaluate(&self, board: &Board) -> i32 {
        let us = board.side_to_move();
        let own = self.side(board, us);
        let theirs = self.side(board, !us);
        let phase = phase(board);
        let middle = own.middle - theirs.middle;
        let end = own.end - theirs.end;
        (middle * phase + end * (PHASE_FULL - phase)) / PHASE_FULL + TEMPO
    }

    fn side(&self, board: &Board, color: Color) -> Value {
        let mut value = Value::default();
        for piece in Piece::ALL {
            for square in board.colored_pieces(color, piece) {
                value.both(self.of(piece));
                place(&mut value, board, color, piece, square);
            }
        }
        if board.colored_pieces(color, Piece::Bishop).len() >= 2 {
            value.both(BISHOP_PAIR);
        }
        if board.colors(!color).len() == 1 {
            drive(&mut value, board.king(color), board.king(!color));
        }
        value
    }
}

/// One side's value with all pieces on the board, and with none.
#[derive(Debug, Default)]
struct Value {
    middle: i32,
    end: i32,
}

impl Value {
    fn both(&mut self, worth: i32) {
        self.middle += worth;
        self.end += worth;
    }
}

fn phase(board: &Board) -> i32 {
    let count = |piece: Piece| i32::try_from(board.pieces(piece).len()).unwrap_or(0);
    let phase = count(Piece::Knight)
        + count(Piece::Bishop)
        + 2 * count(Piece::Rook)
        + 4 * count(Piece::Queen);
    phase.min(PHASE_FULL)
}

/// What the square adds to the piece on it.
fn place(value: &mut Value, board: &Board, color: Color, piece: Piece, square: Square) {
    let rank = rank_of(square, color);
    let central = centrality(square);
    match piece {
        Piece::Pawn => place_pawn(value, board, color, square),
        Piece::Knight => value.both(6 * central - 18),
        Piece::Bishop => value.both(4 * central - 12),
        Piece::Rook => {
            if rank == 6 {
                value.both(SEVENTH_RANK);
            }
            let pawns = board.colored_pieces(color, Piece::Pawn);
            if (square.file().bitboard() & pawns).is_empty() {
                value.middle += OPEN_FILE;
                value.end += OPEN_FILE / 2;
            }
        }
        Piece::Queen => {
            value.middle += central;
            value.end += 4 * central - 12;
        }
        Piece::King => {
            value.middle -= 10 * central + 12 * rank;
            value.end += 8 * central - 24;
            let before = ahead(square.file(), square, color, true);
            let near = before & (rank_at(rank + 1, color) | rank_at(rank + 2, color));
            let shield = near & board.colored_pieces(color, Piece::Pawn);
            value.middle += SHIELD * i32::try_from(shield.len()).unwrap_or(0);
        }
    }
}

fn place_pawn(value: &mut Value, board: &Board, color: Color, square: Square) {
    let advance = rank_of(square, color) - 1;
    let file = square.file();
    let is_central = matches!(file, File::D | File::E);
    value.middle += 2 * advance + if is_central { 10 * advance.min(3) - 10 } else { 0 };
    value.end += 6 * advance;
    let own = board.colored_pieces(color, Piece::Pawn);
    if !(ahead(file, square, color, false) & own).is_empty() {
        value.both(DOUBLED_PAWN);
    }
    let theirs = board.colored_pieces(!color, Piece::Pawn);
    if (ahead(file, square, color, true) & theirs).is_empty() {
        value.middle += advance * advance;
        value.end += 3 * advance * advance;
    }
}

/// Against a bare king: it is mated at the edge, with the help of the own king.
fn drive(value: &mut Value, own: Square, bare: Square) {
    let files = distance(own.file() as usize, bare.file() as usize);
    let ranks = distance(own.rank() as usize, bare.rank() as usize);
    value.end += 12 * (6 - centrality(bare)) + 5 * (14 - files - ranks);
}

/// 0 in a corner, 6 on the four squares of the centre.
fn centrality(square: Square) -> i32 {
    let from_edge = |line: usize| line.min(7 - line);
    let sum = from_edge(square.file() as usize) + from_edge(square.rank() as usize);
    i32::try_from(sum).unwrap_or(0)
}

/// 0 to 7 from the side's own edge.
fn rank_of(square: Square, color: Color) -> i32 {
    i32::try_from(square.rank().relative_to(color) as usize).unwrap_or(0)
}

fn rank_at(rank: i32, color: Color) -> BitBoard {
    let index = usize::try_from(rank).unwrap_or(8);
    cozy_chess::Rank::try_index(index)
        .map_or(BitBoard::EMPTY, |rank| rank.relative_to(color).bitboard())
}

/// The squares before a pawn on its file, and on the neighbouring ones if asked for.
fn ahead(file: File, square: Square, color: Color, neighbours: bool) -> BitBoard {
    let files = file.bitboard() | if neighbours { file.adjacent() } else { BitBoard::EMPTY };
    let rank = square.rank() as u32;
    let ranks = match color {
        Color::White => u64::MAX.checked_shl(8 * (rank + 1)).unwrap_or(0),
        Color::Black => u64::MAX.checked_shr(8 * (8 - rank)).unwrap_or(0),
    };
    files & BitBoard(ranks)
}

fn distance(a: usize, b: usize) -> i32 {
    i32::try_from(a.abs_diff(b)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(fen: &str) -> i32 {
        Weights::default().evaluate(&fen.parse().unwrap())
    }

    #[test]
    fn both_sides_are_judged_alike() {
        assert_eq!(worth("rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"), TEMPO);
        let white = worth("r3k3/1p3p2/2n5/8/3P4/5N2/P4PP1/3R2K1 w - - 0 1");
        let black = worth("3r2k1/p4pp1/5n2/3p4/8/2N5/1P3P2/R3K3 b - - 0 1");
        assert_eq!(white, black);
    }

    #[test]
    fn thumbs_point_the_right_way() {
        let queen = worth("4k3/8/8/8/8/8/8/3QK3 w - - 0 1");
        assert!(queen > 800, "{queen}");
        assert!(worth("4k3/8/8/8/8/8/8/3QK3 b - - 0 1") < -800);
        let advanced = worth("4k3/8/1P6/8/8/8/8/4K3 w - - 0 1");
        let home = worth("4k3/8/8/8/8/8/1P6/4K3 w - - 0 1");
        assert!(advanced > home + 50);
        let doubled = worth("4k3/8/8/8/8/1P6/1P6/4K3 w - - 0 1");
        let side_by_side = worth("4k3/8/8/8/8/8/1PP5/4K3 w - - 0 1");
        assert!(side_by_side > doubled);
        let cornered = worth("7k/8/5K2/8/8/8/8/R7 w - - 0 1");
        let central = worth("8/8/8/3k4/8/1K6/8/R7 w - - 0 1");
        assert!(cornered > central + 30);
    }

    #[test]
    fn options_are_obeyed_or_refused() {
        let mut weights = Weights::default();
        weights.set("name queen value 1000").unwrap();
        assert_eq!(weights.of(Piece::Queen), 1_000);
        for bad in
            ["", "name Queen", "name Pawn value 1", "name Queen value 2001", "name Rook value x"]
        {
            assert!(weights.set(bad).is_err(), "{bad}");
        }
        assert_eq!(Weights::announcements().count(), 4);
    }
}
