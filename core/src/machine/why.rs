//! Why an item does not run yet: one closed set of reasons, from one place.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::Machine;
use super::class::Place;
use super::line::Merge;
use crate::id::{GroupName, QueueName, WorkId};
use crate::limits;
use crate::queue::item::{Item, NewItem, State};
use crate::queue::resources::{Demand, Reserved};
use crate::time::{Moment, Span};

/// How many items are looked at to say how far back in line one stands.
const LINE_LOOKED_AT_MAX: usize = 1_000;

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
    /// Nodes that are large enough have no room now.
    NoRoom {
        /// Nodes that are large enough.
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
            Self::NoRoom { .. } => "no_room",
            Self::ArrayFull { .. } => "array_full",
            Self::Full { .. } => "full",
            Self::TooHeavy { .. } => "too_heavy",
            Self::InLine { .. } => "in_line",
            Self::NoClaimer { .. } => "no_claimer",
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

impl Machine {
    /// Why an item waits, the most telling reason first; empty when it does not wait or is unknown.
    #[must_use]
    pub fn why(&self, id: WorkId) -> Vec<Reason> {
        let Some(item) = self.find(id) else {
            return Vec::new();
        };
        let now = self.facts.now;
        match &item.state {
            State::Delayed { until } => vec![Reason::Delayed {
                until: *until,
                left: until.since(now),
                after: item.last_error.as_deref().map(String::from),
            }],
            State::Blocked { open } => {
                let first = open.keys().next().copied();
                let reason = |first| Reason::Dependencies { open: open.len(), first };
                first.map(reason).into_iter().collect()
            }
            State::Ready { since } => self.why_ready(&item, *since),
            State::Claimed(_)
            | State::Completed(_)
            | State::Dead { .. }
            | State::Cancelled { .. } => Vec::new(),
        }
    }

    fn why_ready(&self, item: &Item, since: Moment) -> Vec<Reason> {
        let mut reasons = Vec::new();
        reasons.extend(self.busy_group(item, Place::of(item, since)));
        reasons.extend(self.queue_limits(item));
        reasons.extend(self.no_room(&item.request.needs.demand));
        reasons.extend(self.must_stay(item.id));
        if reasons.is_empty() {
            let ahead = Merge::for_all(self).in_order(LINE_LOOKED_AT_MAX);
            let place = ahead.iter().position(|other| *other == item.id);
            reasons.push(match place {
                Some(0) => Reason::NoClaimer {
                    busy_nodes: self.index.nodes.values().filter(|of| !of.held.is_empty()).count(),
                    capabilities: item.request.needs.capabilities.len(),
                    labels: item.request.needs.labels.len(),
                },
                Some(ahead) => Reason::InLine { ahead, or_more: false },
                None => Reason::InLine { ahead: ahead.len(), or_more: true },
            });
        }
        reasons
    }

    fn busy_group(&self, item: &Item, place: Place) -> Option<Reason> {
        let key = super::index::group_of(&item.request)?;
        let of_group = self.index.groups.get(&key)?;
        let first = of_group.ready.first() == Some(&place);
        (of_group.held > 0 || !first).then_some(Reason::GroupBusy {
            group: key.1,
            held: of_group.held,
            waiting: of_group.ready.len(),
        })
    }

    /// What keeps an unclaimed item in its array.
    fn must_stay(&self, id: WorkId) -> Option<Reason> {
        let (_, range) = self.range_of(id)?;
        let (outstanding, limit) =
            (self.index.outstanding(range.array), self.bounds.array_outstanding);
        if outstanding >= limit {
            return Some(Reason::ArrayFull { array: range.array, outstanding, limit });
        }
        let (held, limit) = (self.records(), self.bounds.records);
        if held >= limit {
            return Some(Reason::Full { held, limit });
        }
        let more = self.array_request(range.array).map_or(0, NewItem::bytes_of_element);
        let (bytes, limit) = (self.index.bytes, self.bounds.bytes);
        (bytes.saturating_add(more) > limit).then_some(Reason::TooHeavy { bytes, limit })
    }

    fn queue_limits(&self, item: &Item) -> Vec<Reason> {
        let queue = &item.request.queue;
        let load = self.index.load(queue);
        let settings = self.facts.queues.get(queue).map(|queue| queue.settings).unwrap_or_default();
        let running = settings.max_running.filter(|limit| load.held >= u64::from(*limit));
        let running = running.map(|limit| Reason::QueueMaxRunning {
            queue: queue.clone(),
            held: load.held,
            limit,
        });
        let asked = item.request.needs.demand.gpu_milli;
        let beyond = |limit: &u32| {
            asked > 0 && load.gpu_milli.saturating_add(u64::from(asked)) > u64::from(*limit)
        };
        let gpu = settings.max_gpu_milli.filter(beyond).map(|limit| Reason::QueueMaxGpu {
            queue: queue.clone(),
            taken: load.gpu_milli,
            asked,
            limit,
        });
        running.into_iter().chain(gpu).collect()
    }

    fn no_room(&self, demand: &Demand) -> Option<Reason> {
        if demand.is_nothing() {
            return None;
        }
        let nodes = self.facts.capacities.len();
        let empty = Reserved::default();
        let large_enough = self
            .facts
            .capacities
            .values()
            .filter(|has| empty.place(demand, &has.capacity).is_some())
            .count();
        if large_enough == 0 {
            return Some(Reason::NoNodeLargeEnough { nodes });
        }
        let room = self
            .capacities()
            .any(|(_, has, reserved)| reserved.place(demand, &has.capacity).is_some());
        (!room).then_some(Reason::NoRoom { large_enough, nodes })
    }
}

const _: () = assert!(LINE_LOOKED_AT_MAX <= limits::ITEMS_UNFINISHED_MAX);
