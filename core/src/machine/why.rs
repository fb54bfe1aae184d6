//! Why an item does not run yet: one closed set of reasons, from one place. Views of an item, of the
//! queue and of a run show them, and a metric counts them.

mod explain;

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

pub use self::explain::{Claimer, Explainer, UNEXAMINED};
use crate::id::{GroupName, QueueName, WorkId};
use crate::time::{Moment, Span};

/// A reason for which an item waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its time has not come.
    Delayed {
        /// When it comes.
        until: Moment,
        /// Time until then.
        left: Span,
        /// The error of the attempt before, when it is a pause between attempts.
        after: Option<String>,
    },
    /// Other items have not ended.
    Dependencies {
        /// How many.
        open: usize,
        /// The first of them.
        first: WorkId,
    },
    /// Another item of its group is held, or stands before it.
    GroupBusy {
        /// The group.
        group: GroupName,
        /// Items of the group that are held.
        held: u64,
        /// Items of the group that wait.
        waiting: usize,
    },
    /// Its queue holds as many items as its settings allow.
    QueueMaxRunning {
        /// The queue.
        queue: QueueName,
        /// Items held.
        held: u64,
        /// The bound.
        limit: u32,
    },
    /// Its queue has taken as many GPU devices as its settings allow.
    QueueMaxGpu {
        /// The queue.
        queue: QueueName,
        /// Thousandths taken.
        taken: u64,
        /// Thousandths asked.
        asked: u32,
        /// The bound in thousandths.
        limit: u32,
    },
    /// No node could ever hold it: each that said what it has, has less.
    NoNodeLargeEnough {
        /// Nodes that said what they have.
        nodes: usize,
    },
    /// No claimer that is known could ever run it, whatever becomes free.
    NoCapableNode {
        /// Claimers that are known.
        claimers: usize,
        /// Those that do not take its work type.
        other_types: usize,
        /// Of the rest, those that lack a capability.
        lacking_capabilities: usize,
        /// Of the rest, those that lack a label.
        lacking_labels: usize,
        /// Of the rest, those whose node is too small, or did not say what it has.
        too_small: usize,
    },
    /// Nodes that could run it have no room now.
    NoRoom {
        /// Nodes that are large enough and, as far as is known, have what else it needs.
        large_enough: usize,
        /// Nodes that said what they have.
        nodes: usize,
    },
    /// Its array has as many items on their way as it may have.
    ArrayFull {
        /// The array, by its first item.
        array: WorkId,
        /// Items that are held or retried.
        outstanding: usize,
        /// The bound.
        limit: usize,
    },
    /// The cluster holds as many unfinished items as it may: an array's get no record of their own.
    Full {
        /// Unfinished items.
        held: u64,
        /// The bound.
        limit: u64,
    },
    /// The unfinished items are too large together for an array's to get a record of their own.
    TooHeavy {
        /// Bytes of unfinished items.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// Others are before it.
    InLine {
        /// Items before it; at most so many were looked at.
        ahead: usize,
        /// Whether there may be more.
        or_more: bool,
    },
    /// It is the next: no claimer that fits has asked since.
    NoClaimer {
        /// Nodes that hold something at present.
        busy_nodes: usize,
        /// Capabilities that a claimer must have.
        capabilities: usize,
        /// Labels that a claimer must have.
        labels: usize,
    },
}

impl Reason {
    /// The reason in one word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Delayed { .. } => "delayed",
            Self::Dependencies { .. } => "dependencies",
            Self::GroupBusy { .. } => "group_busy",
            Self::QueueMaxRunning { .. } => "queue_max_running",
            Self::QueueMaxGpu { .. } => "queue_max_gpu",
            Self::NoNodeLargeEnough { .. } => "no_node_large_enough",
            Self::NoCapableNode { .. } => "no_capable_node",
            Self::NoRoom { .. } => "no_room",
            Self::ArrayFull { .. } => "array_full",
            Self::Full { .. } => "full",
            Self::TooHeavy { .. } => "too_heavy",
            Self::InLine { .. } => "in_line",
            Self::NoClaimer { .. } => "no_claimer",
        }
    }

    /// Its numbers, each with its name: milliseconds, thousandths of GPU devices, or counts.
    #[must_use]
    pub fn numbers(&self) -> Vec<(&'static str, u64)> {
        let count = |number: &usize| *number as u64;
        match self {
            Self::Delayed { until, left, after: _ } => {
                vec![("until_ms", until.0), ("left_ms", left.0)]
            }
            Self::Dependencies { open, first: _ } => vec![("open", count(open))],
            Self::GroupBusy { group: _, held, waiting } => {
                vec![("held", *held), ("waiting", count(waiting))]
            }
            Self::QueueMaxRunning { queue: _, held, limit } => {
                vec![("held", *held), ("limit", u64::from(*limit))]
            }
            Self::QueueMaxGpu { queue: _, taken, asked, limit } => vec![
                ("taken_milli", *taken),
                ("asked_milli", u64::from(*asked)),
                ("limit_milli", u64::from(*limit)),
            ],
            Self::NoNodeLargeEnough { nodes } => vec![("nodes", count(nodes))],
            Self::NoCapableNode {
                claimers,
                other_types,
                lacking_capabilities,
                lacking_labels,
                too_small,
            } => vec![
                ("claimers", count(claimers)),
                ("other_types", count(other_types)),
                ("lacking_capabilities", count(lacking_capabilities)),
                ("lacking_labels", count(lacking_labels)),
                ("too_small", count(too_small)),
            ],
            Self::NoRoom { large_enough, nodes } => {
                vec![("large_enough", count(large_enough)), ("nodes", count(nodes))]
            }
            Self::ArrayFull { array: _, outstanding, limit } => {
                vec![("outstanding", count(outstanding)), ("limit", count(limit))]
            }
            Self::Full { held, limit } => vec![("held", *held), ("limit", *limit)],
            Self::TooHeavy { bytes, limit } => vec![("bytes", *bytes), ("limit", *limit)],
            Self::InLine { ahead, or_more } => {
                vec![("ahead", count(ahead)), ("or_more", u64::from(*or_more))]
            }
            Self::NoClaimer { busy_nodes, capabilities, labels } => vec![
                ("busy_nodes", count(busy_nodes)),
                ("capabilities", count(capabilities)),
                ("labels", count(labels)),
            ],
        }
    }

    /// The queue, group or item that it speaks of.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        match self {
            Self::Dependencies { open: _, first } => Some(first.to_string()),
            Self::ArrayFull { array, outstanding: _, limit: _ } => Some(array.to_string()),
            Self::GroupBusy { group, .. } => Some(group.to_string()),
            Self::QueueMaxRunning { queue, .. } | Self::QueueMaxGpu { queue, .. } => {
                Some(queue.to_string())
            }
            Self::Delayed { .. }
            | Self::NoNodeLargeEnough { .. }
            | Self::NoCapableNode { .. }
            | Self::NoRoom { .. }
            | Self::Full { .. }
            | Self::TooHeavy { .. }
            | Self::InLine { .. }
            | Self::NoClaimer { .. } => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delayed { until: _, left, after: None } => {
                write!(f, "its time comes in {left}")
            }
            Self::Delayed { until: _, left, after: Some(error) } => {
                write!(f, "it is tried again in {left}, after: {error}")
            }
            Self::Dependencies { open, first } => {
                write!(f, "{open} items that come first have not ended, {first} among them")
            }
            Self::GroupBusy { group, held, waiting } => {
                write!(f, "group {group} allows one at a time: {held} held, {waiting} waiting")
            }
            Self::QueueMaxRunning { queue, held, limit } => {
                write!(f, "queue {queue} holds {held} items of at most {limit}")
            }
            Self::QueueMaxGpu { queue, taken, asked, limit } => {
                write!(
                    f,
                    "queue {queue} has taken {taken} thousandths of GPU devices of at most {limit}, \
                     and the item asks for {asked}"
                )
            }
            Self::NoNodeLargeEnough { nodes } => {
                write!(f, "none of {nodes} nodes that said what they have is large enough")
            }
            Self::NoCapableNode {
                claimers,
                other_types,
                lacking_capabilities,
                lacking_labels,
                too_small,
            } => {
                write!(
                    f,
                    "none of {claimers} known claimers could ever run it: {other_types} take other \
                     work types, {lacking_capabilities} lack capabilities, {lacking_labels} lack \
                     labels, {too_small} are too small"
                )
            }
            Self::NoRoom { large_enough, nodes } => {
                write!(f, "none of {large_enough} large enough nodes of {nodes} has room now")
            }
            Self::ArrayFull { array, outstanding, limit } => {
                write!(
                    f,
                    "{outstanding} items of array {array} are held or retried, of at most {limit}"
                )
            }
            Self::Full { held, limit } => {
                write!(f, "the cluster holds {held} unfinished items of at most {limit}")
            }
            Self::TooHeavy { bytes, limit } => {
                write!(f, "the unfinished items take {bytes} bytes of at most {limit}")
            }
            Self::InLine { ahead, or_more } => {
                let more = if *or_more { " or more" } else { "" };
                write!(f, "{ahead}{more} claimable items are before it")
            }
            Self::NoClaimer { busy_nodes, capabilities, labels } => {
                write!(
                    f,
                    "it is the next, and nobody who fits has asked: it needs {capabilities} \
                     capabilities and {labels} labels; {busy_nodes} nodes hold work"
                )
            }
        }
    }
}
