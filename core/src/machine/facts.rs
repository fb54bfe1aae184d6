//! What a snapshot holds.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use super::events::Events;
use super::members::Members;
use crate::id::{
    GroupName, LockName, NodeId, Position, QueueName, RunId, SessionId, Token, WorkId,
};
use crate::pages::Pages;
use crate::queue::item::{Item, NewItem};
use crate::queue::lock::Lock;
use crate::queue::resources::{Share, Stated};
use crate::queue::session::Session;
use crate::queue::tenant::{QueueSettings, Service};
use crate::queue::waits::Waits;
use crate::run::Run;
use crate::time::Moment;

/// The replicated facts. Everything else can be computed from them. What can be large is shared by a
/// copy until it changes, so that a copy is taken within milliseconds, whatever is held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Empty until the cluster is named.
    pub(super) cluster_id: String,
    /// Raised by every change of the consensus mode, and when a cluster begins from a backup.
    pub(super) mode_epoch: u32,
    /// How the members changed.
    pub(super) members: Members,
    /// Replicated time.
    pub(super) now: Moment,
    /// The last applied entry.
    pub(super) applied: Position,
    /// Counted since the cluster began.
    pub(super) totals: Totals,
    /// Unfinished items, and the finished ones that are still remembered.
    pub(super) items: Pages<WorkId, Item>,
    /// Holders that have yet to hear that their item has ended, by the item.
    pub(super) stops: Pages<WorkId, Stop>,
    /// Arrays of which items are unclaimed or remembered, by their first item.
    pub(super) arrays: BTreeMap<WorkId, Array>,
    /// Runs of numbers whose items were never claimed, by the first of them.
    pub(super) ranges: BTreeMap<WorkId, Range>,
    /// How long items waited for their first claim, by work type.
    pub(super) waits: BTreeMap<String, Waits>,
    /// Queues that were set up, and the default one once it was used.
    pub(super) queues: BTreeMap<QueueName, Queue>,
    /// What nodes have, as far as they said.
    pub(super) capacities: BTreeMap<NodeId, Stated>,
    /// Open sessions.
    pub(super) sessions: Pages<SessionId, Session>,
    /// Keys of items that are no longer remembered, numbered in the order of forgetting.
    pub(super) forgotten: Pages<u64, ForgottenKey>,
    /// The locks that are held.
    pub(super) locks: BTreeMap<LockName, Lock>,
    /// How often owners left the line before a lock, with the lock or without.
    pub(super) lines_moved: u64,
    /// What others react to.
    pub(super) events: Events,
    /// Active runs, and the ended ones that are still remembered.
    pub(super) runs: BTreeMap<RunId, Arc<Run>>,
}

impl Facts {
    /// A run, to be changed. It is copied first when a copy of the facts shares it.
    pub(super) fn run_mut(&mut self, id: &RunId) -> Option<&mut Run> {
        self.runs.get_mut(id).map(Arc::make_mut)
    }
}

/// What the process of an item takes that has ended without its holder's word. The item itself may be
/// forgotten meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    pub(super) node: NodeId,
    pub(super) token: Token,
    /// The holder has stopped by then, whether or not it says so.
    pub(super) until: Moment,
    pub(super) share: Share,
    pub(super) group: Option<(QueueName, GroupName)>,
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
    /// Dead items that were given their attempts again.
    pub redriven: u64,
    /// Sessions opened; also the number of the last one.
    pub sessions: u64,
}

/// Items that are alike but for their index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Array {
    pub(super) request: Arc<NewItem>,
    pub(super) created: Moment,
    pub(super) count: u32,
    /// Items that are unclaimed or remembered; at nothing the array is forgotten.
    pub(super) left: u32,
    pub(super) ended: ArrayEnds,
}

/// How the items of an array have ended, remembered or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayEnds {
    /// Ended well.
    pub completed: u32,
    /// Given up.
    pub dead: u32,
    /// Cancelled, claimed before or not.
    pub cancelled: u32,
}

/// Items of an array that were never claimed, from its key up to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) array: WorkId,
    pub(super) last: WorkId,
    /// Claimable from then on; before that the range is delayed.
    pub(super) since: Moment,
    /// Whether that moment was reached.
    pub(super) ready: bool,
}

impl Range {
    /// Items from `first` to the end.
    pub(super) const fn len(self, first: WorkId) -> u64 {
        self.last.0.saturating_sub(first.0).saturating_add(1)
    }
}

/// A tenant's queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    pub(super) settings: QueueSettings,
    pub(super) service: Service,
}

/// The idempotency key of an item that is no longer remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForgottenKey {
    pub(super) queue: QueueName,
    pub(super) key: String,
    pub(super) work_id: WorkId,
    /// Of the request, to tell a repeat from another request under the same key.
    pub(super) digest: [u64; 2],
}
