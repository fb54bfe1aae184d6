//! The transposition table: what is known about positions met before.

use cozy_chess::Move;

use super::{MATE, PLY_MAX};

/// Entries, a power of two: one megabyte, so that starting costs nothing.
const ENTRIES: usize = 1 << 15;

/// How a stored score relates to the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// The true score is at most this.
    Upper,
    /// The true score is at least this.
    Lower,
    /// This is the true score.
    Exact,
}

impl Bound {
    pub(super) fn of(score: i32, alpha: i32, beta: i32) -> Self {
        if score >= beta {
            Self::Lower
        } else if score <= alpha {
            Self::Upper
        } else {
            Self::Exact
        }
    }
}

/// What is known about a position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) best: Option<Move>,
    pub(super) depth: u32,
    /// A mate is counted from this position, not from the root.
    score: i32,
    bound: Bound,
}

impl Entry {
    pub(super) fn new(
        best: Option<Move>,
        depth: u32,
        score: i32,
        bound: Bound,
        ply: usize,
    ) -> Self {
        Self { best, depth, score: shifted(score, ply_of(ply)), bound }
    }

    /// The score, when it settles the window.
    pub(super) fn decides(&self, alpha: i32, beta: i32, ply: usize) -> Option<i32> {
        let score = shifted(self.score, -ply_of(ply));
        let settled = match self.bound {
            Bound::Exact => true,
            Bound::Lower => score >= beta,
            Bound::Upper => score <= alpha,
        };
        settled.then_some(score)
    }
}

fn ply_of(ply: usize) -> i32 {
    i32::try_from(ply).unwrap_or(0)
}

fn shifted(score: i32, plies: i32) -> i32 {
    let mate_from = MATE - 2 * ply_of(PLY_MAX);
    if score >= mate_from {
        score + plies
    } else if score <= -mate_from {
        score - plies
    } else {
        score
    }
}

/// One slot a position; the newest entry stays.
#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[Option<(u64, Entry)>]>,
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: vec![None; ENTRIES].into_boxed_slice() }
    }
}

impl Table {
    pub(super) fn get(&self, hash: u64) -> Option<Entry> {
        self.slots[slot(hash)].filter(|(owner, _)| *owner == hash).map(|(_, entry)| entry)
    }

    pub(super) fn put(&mut self, hash: u64, entry: Entry) {
        self.slots[slot(hash)] = Some((hash, entry));
    }
}

fn slot(hash: u64) -> usize {
    // The remainder is below ENTRIES.
    usize::try_from(hash % ENTRIES as u64).unwrap_or(0)
}
