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
    /// Bytes of unfinished items and of arrays.
    pub(super) bytes: u64,
    /// How many more of them completions may bring.
    pub(super) follow_up_bytes: u64,
    /// Bytes of ended items that are kept, and of dead ones.
    pub(super) finished_bytes: u64,
    /// Answers that one session keeps.
    pub(super) session_answers: usize,
    /// Claims of an item that may end before its start.
    pub(super) claims_lost: u32,
}

impl Bounds {
    /// Those of [`limits`].
    pub(super) const REAL: Self = Self {
        records: limits::ITEMS_UNFINISHED_MAX as u64,
        follow_ups: limits::FOLLOW_UPS_SPARE as u64,
        array_outstanding: limits::ARRAY_OUTSTANDING_MAX as usize,
        bytes: limits::UNFINISHED_BYTES_MAX,
        follow_up_bytes: limits::FOLLOW_UP_BYTES_SPARE,
        finished_bytes: limits::FINISHED_BYTES_MAX,
        session_answers: limits::SESSION_ANSWERS_MAX,
        claims_lost: limits::CLAIMS_LOST_MAX,
    };

    /// Whether an item may leave its array, of which so many are held or retried, and get a record of
    /// its own beside so many others. `bytes` are those of all, itself included.
    pub(super) const fn let_leave(&self, outstanding: usize, records: u64, bytes: u64) -> bool {
        outstanding < self.array_outstanding && records < self.records && bytes <= self.bytes
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::REAL
    }
}

impl Machine {
    /// Unfinished items with a record of their own, and ended ones whose holder has yet to hear of it:
    /// what counts towards [`limits::ITEMS_UNFINISHED_MAX`]. Unclaimed items of arrays do not.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.index.records()
    }

    /// Whether new items are refused, of whatever queue.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let bytes = self.index.bytes.saturating_add(limits::RECORD_BYTES);
        self.records() >= self.bounds.records || bytes > self.bounds.bytes
    }
}
