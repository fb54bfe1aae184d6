//! In which order moves are tried: the sooner the best one, the smaller the tree.

use cozy_chess::{Board, Color, Move, Piece, Rank, Square};

use super::PLY_MAX;
use crate::own::evaluation::Weights;

const FIRST: i32 = i32::MAX;
/// Captures and promotions come before everything quiet.
const CAPTURE: i32 = 1 << 24;
/// Quiet moves that refuted a sibling come before the other quiet ones.
const KILLER: i32 = 1 << 22;
/// A praise cannot lift a move above the killers.
const PRAISE_MAX: i32 = KILLER - 1;

/// What was learnt about quiet moves in this search.
#[derive(Debug)]
pub(super) struct Order {
    killers: [Option<Move>; PLY_MAX + 1],
    praise: Box<[[[i32; Square::NUM]; Square::NUM]; Color::NUM]>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            killers: [None; PLY_MAX + 1],
            praise: Box::new([[[0; Square::NUM]; Square::NUM]; Color::NUM]),
        }
    }
}

impl Order {
    /// All legal moves, the most promising first; equal ones in the order of their squares.
    pub(super) fn sorted(
        &self,
        board: &Board,
        weights: &Weights,
        known: Option<Move>,
        ply: usize,
    ) -> Vec<Move> {
        let mut rated = Vec::with_capacity(48);
        board.generate_moves(|of_piece| {
            for candidate in of_piece {
                let rating = self.rate(board, weights, known, ply, candidate);
                rated.push((rating, candidate));
            }
            false
        });
        rated.sort_by_key(|(rating, m)| {
            let promotion = m.promotion.map_or(0, |piece| piece as u8);
            (std::cmp::Reverse(*rating), m.from as u8, m.to as u8, promotion)
        });
        rated.into_iter().map(|(_, candidate)| candidate).collect()
    }

    fn rate(
        &self,
        board: &Board,
        weights: &Weights,
        known: Option<Move>,
        ply: usize,
        candidate: Move,
    ) -> i32 {
        if known == Some(candidate) {
            return FIRST;
        }
        let promoted = candidate.promotion.map_or(0, |piece| weights.of(piece));
        let victim = victim(board, candidate);
        if promoted > 0 || victim.is_some() {
            // The most valuable victim first, and then the least valuable attacker.
            let attacker = board.piece_on(candidate.from).map_or(0, |piece| piece as i32);
            let taken = victim.map_or(0, |piece| weights.of(piece));
            return CAPTURE + 8 * (taken + promoted) - attacker;
        }
        if self.killers.get(ply).copied().flatten() == Some(candidate) {
            return KILLER;
        }
        let Move { from, to, promotion: _ } = candidate;
        self.praise[board.side_to_move() as usize][from as usize][to as usize]
    }

    /// A quiet move has refuted a line.
    pub(super) fn praise(&mut self, color: Color, refutation: Move, depth: u32, ply: usize) {
        if let Some(killer) = self.killers.get_mut(ply) {
            *killer = Some(refutation);
        }
        let Move { from, to, promotion: _ } = refutation;
        let praise = &mut self.praise[color as usize][from as usize][to as usize];
        let gain = i32::try_from(depth * depth).unwrap_or(PRAISE_MAX);
        *praise = praise.saturating_add(gain).min(PRAISE_MAX);
    }
}

/// The piece that a move takes.
pub(super) fn victim(board: &Board, candidate: Move) -> Option<Piece> {
    let us = board.side_to_move();
    // Castling is written as the king's move onto the own rook.
    if board.colors(!us).has(candidate.to) {
        return board.piece_on(candidate.to);
    }
    let target = board.en_passant().map(|file| Square::new(file, Rank::Sixth.relative_to(us)));
    let is_pawn = board.pieces(Piece::Pawn).has(candidate.from);
    (is_pawn && target == Some(candidate.to)).then_some(Piece::Pawn)
}
