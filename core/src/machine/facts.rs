//! What a snapshot holds.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::id::{LockName, Position, RunId, WorkId};
use crate::queue::item::Item;
use crate::queue::lock::Lock;
use crate::run::Run;
use crate::time::Moment;

/// The replicated facts. Everything else can be computed from them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Empty until the cluster is named.
    pub(super) cluster_id: String,
    /// Raised by every change of the consensus mode.
    pub(super) mode_epoch: u32,
    /// Replicated time.
    pub(super) now: Moment,
    /// The last applied entry.
    pub(super) applied: Position,
    /// Counted since the cluster began.
    pub(super) totals: Totals,
    /// Unfinished items, and the finished ones that are still remembered.
    pub(super) items: BTreeMap<WorkId, Item>,
    /// Keys of items that are no longer remembered, numbered in the order of forgetting.
    pub(super) forgotten: BTreeMap<u64, ForgottenKey>,
    /// The locks that are held.
    pub(super) locks: BTreeMap<LockName, Lock>,
    /// Active runs, and the ended ones that are still remembered.
    pub(super) runs: BTreeMap<RunId, Run>,
}

/// Counts since the cluster began, forgotten items included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Items enqueued; also the number of the last one.
    pub enqueued: u64,
    /// Of these, enqueued by planners.
    pub planned: u64,
    /// Items completed.
    pub completed: u64,
    /// Items that died.
    pub dead: u64,
    /// Items cancelled.
    pub cancelled: u64,
    /// Leases that ended without a word from their holder, and attempts that ran out of time.
    pub expired: u64,
}

/// The idempotency key of an item that is no longer remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForgottenKey {
    pub(super) key: String,
    pub(super) work_id: WorkId,
    /// Of the request, to tell a repeat from another request under the same key.
    pub(super) digest: [u64; 2],
}
