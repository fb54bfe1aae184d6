//! The bounds that the machine itself relies on. Tests lower them: the real ones take minutes to reach.

use super::Machine;
use crate::limits;

/// How much the machine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Unfinished items with a record of their own.
    pub(super) records: u64,
    /// How many more of them completions may bring.
    pub(super) follow_ups: u64,
    /// Held and retried items of one array.
    pub(super) array_outstanding: usize,
    /// Answers that one session keeps.
    pub(super) session_answers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            records: limits::ITEMS_UNFINISHED_MAX as u64,
            follow_ups: limits::FOLLOW_UPS_SPARE as u64,
            array_outstanding: limits::ARRAY_OUTSTANDING_MAX as usize,
            session_answers: limits::SESSION_ANSWERS_MAX,
        }
    }
}

impl Bounds {
    /// Whether an item may leave its array, of which so many are held or retried, and get a record of
    /// its own.
    pub(super) const fn let_leave(&self, outstanding: usize, records: u64) -> bool {
        outstanding < self.array_outstanding && records < self.records
    }
}

impl Machine {
    /// Unfinished items with a record of their own, and ended ones whose holder has yet to hear of it:
    /// what counts towards [`limits::ITEMS_UNFINISHED_MAX`]. Unclaimed items of arrays do not.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.index.records()
    }
}
