//! Events: facts about the cluster that others react to.
//!
//! An event is recorded by the log entry that brings the change which it tells of: there is never one
//! without the other. Events are numbered without gaps, and the newest [`crate::limits::EVENTS_MAX`]
//! are kept. So only what is rare is recorded for everybody: thousands of short items a second would
//! flush out the death of one. The end of an item is recorded when its submitter asked for that.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, QueueName, RunId, WorkId};
use crate::queue::item::{Cause, Status};
use crate::queue::tenant::QueueSettings;
use crate::run::Outcome;
use crate::run::report::Kind;
use crate::time::Moment;

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its number, one more than that of the event before. A cluster that begins from a backup goes on
    /// with numbers that the old one cannot have reached.
    pub seq: u64,
    /// The time of its log entry.
    pub at: Moment,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// An item is dead: no further attempt follows, unless somebody gives it new ones.
    ItemDied {
        /// The item.
        work_id: WorkId,
        /// What kind of work it is.
        work_type: String,
        /// Why it died.
        cause: Cause,
        /// Attempts that were started.
        attempts: u32,
    },
    /// An item has ended whose submitter asked to be told; when it died, after
    /// [`Event::ItemDied`]. An item that is given new attempts ends again.
    ItemEnded {
        /// The item.
        work_id: WorkId,
        /// What kind of work it is.
        work_type: String,
        /// How: completed, dead or cancelled.
        status: Status,
    },
    /// A run was submitted.
    RunSubmitted {
        /// The run.
        run: RunId,
        /// What it is.
        kind: Kind,
    },
    /// A run has ended, with all of its items.
    RunEnded {
        /// The run.
        run: RunId,
        /// How, with the verdict of a gauntlet.
        outcome: Outcome,
    },
    /// A node is gone: its claims were ended before their leases.
    NodeGone {
        /// The node.
        node: NodeId,
        /// Claims that it lost.
        claims: u32,
    },
    /// A queue was made, or has other settings.
    QueueSet {
        /// The queue.
        queue: QueueName,
        /// Its settings from now on.
        settings: QueueSettings,
    },
    /// A queue was removed.
    QueueRemoved {
        /// The queue.
        queue: QueueName,
    },
    /// What had not ended of an array was cancelled.
    ArrayCancelled {
        /// The array, by its first item.
        array: WorkId,
        /// Items that this cancelled, at least one.
        items: u64,
    },
    /// The members change: this is recorded with the intention, before the change.
    MembersChanged {
        /// The raft id that goes for good; nothing when somebody is added.
        retired: Option<u64>,
        /// Whether the cluster does it by itself.
        automatic: bool,
    },
    /// The cluster has a name: it has begun, or it has begun anew from a backup.
    ClusterNamed {
        /// The name.
        cluster_id: String,
    },
    /// The first entry of another term: most likely another agent leads.
    TermBegan {
        /// The term.
        term: u64,
    },
}

/// What kind of event it is, by which consumers choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// [`Event::ItemDied`].
    ItemDied,
    /// [`Event::ItemEnded`].
    ItemEnded,
    /// [`Event::RunSubmitted`].
    RunSubmitted,
    /// [`Event::RunEnded`].
    RunEnded,
    /// [`Event::NodeGone`].
    NodeGone,
    /// [`Event::QueueSet`].
    QueueSet,
    /// [`Event::QueueRemoved`].
    QueueRemoved,
    /// [`Event::ArrayCancelled`].
    ArrayCancelled,
    /// [`Event::MembersChanged`].
    MembersChanged,
    /// [`Event::ClusterNamed`].
    ClusterNamed,
    /// [`Event::TermBegan`].
    TermBegan,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::ItemDied,
        Self::ItemEnded,
        Self::RunSubmitted,
        Self::RunEnded,
        Self::NodeGone,
        Self::QueueSet,
        Self::QueueRemoved,
        Self::ArrayCancelled,
        Self::MembersChanged,
        Self::ClusterNamed,
        Self::TermBegan,
    ];

    /// The kind in lower-case words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ItemDied => "item_died",
            Self::ItemEnded => "item_ended",
            Self::RunSubmitted => "run_submitted",
            Self::RunEnded => "run_ended",
            Self::NodeGone => "node_gone",
            Self::QueueSet => "queue_set",
            Self::QueueRemoved => "queue_removed",
            Self::ArrayCancelled => "array_cancelled",
            Self::MembersChanged => "members_changed",
            Self::ClusterNamed => "cluster_named",
            Self::TermBegan => "term_began",
        }
    }

    /// The kind that these words name, if they name one.
    #[must_use]
    pub fn named(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == words)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Event {
    /// What kind of event it is.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::ItemDied { .. } => EventKind::ItemDied,
            Self::ItemEnded { .. } => EventKind::ItemEnded,
            Self::RunSubmitted { .. } => EventKind::RunSubmitted,
            Self::RunEnded { .. } => EventKind::RunEnded,
            Self::NodeGone { .. } => EventKind::NodeGone,
            Self::QueueSet { .. } => EventKind::QueueSet,
            Self::QueueRemoved { .. } => EventKind::QueueRemoved,
            Self::ArrayCancelled { .. } => EventKind::ArrayCancelled,
            Self::MembersChanged { .. } => EventKind::MembersChanged,
            Self::ClusterNamed { .. } => EventKind::ClusterNamed,
            Self::TermBegan { .. } => EventKind::TermBegan,
        }
    }
}
