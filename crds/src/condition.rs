//! Every condition type and every reason, each as one closed list.
//!
//! The lists are closed here and open in the schema: a controller that is newer than the installed
//! definitions must still be able to write a status.

use core::fmt;

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// True once the run has ended with a result, as for `batch/v1` Jobs. Never false again.
    Complete,
    /// True once the run has ended without one. Never false again.
    Failed,
    /// True while workers hold items of the run; unknown while the agents do not answer.
    Running,
    /// True while the controller cannot read the object, such as one that was stored before its
    /// definition became stricter. Absent from objects that were always readable.
    Malformed,
}

impl ConditionType {
    /// Those of every object that can be read, in the order in which they are written.
    pub const ALWAYS: [Self; 3] = [Self::Complete, Self::Failed, Self::Running];

    /// The word in the object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Running => "Running",
            Self::Malformed => "Malformed",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the conditions are as they are. The same word stands in each condition that was decided by
/// the same observation, in the printed column, in events and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No worker holds an item at present, and none is known to wait for anything else.
    WaitingForWorkers,
    /// The first waiting item's time has not come: it is tried again after a pause.
    Delayed,
    /// The first waiting item waits for others.
    Dependencies,
    /// Another item of the group of the first waiting item is held, or stands before it.
    GroupBusy,
    /// The queue holds as many items as its settings allow.
    QueueMaxRunning,
    /// The queue has taken as many GPU devices as its settings allow.
    QueueMaxGpu,
    /// No node could ever hold the first waiting item.
    NoNodeLargeEnough,
    /// No claimer that the agents know could ever run the first waiting item.
    NoCapableNode,
    /// No node that could run the first waiting item has room now.
    NoRoom,
    /// Other items are before the first waiting one.
    InLine,
    /// The first waiting item is the next, and nobody who fits has asked.
    NoClaimer,
    /// Workers hold items.
    ItemsRunning,
    /// No agent answered. Work that was accepted goes on; only this view of it stands still.
    AgentsUnreachable,
    /// The agents answered that they have no leader, or are stopping, or did not commit in time.
    AgentsUnavailable,
    /// The agents refused the controller's token.
    AgentsUnauthorized,
    /// The agents answered with something that is not RingRift's, or with a fault of their own.
    AgentsFaulty,
    /// The agents' queue is full; the run is offered again.
    QueueFull,
    /// The agents have no queue of that name; the run is offered again, until somebody makes it.
    QueueUnknown,
    /// A Job's last task has ended well.
    TasksSucceeded,
    /// A Gauntlet's candidate is better than every baseline.
    CandidatePromoted,
    /// A Gauntlet's candidate is not better than at least one baseline.
    CandidateRejected,
    /// A Gauntlet showed neither within the allowed number of pairs.
    CandidateInconclusive,
    /// A Tournament's last pair was played.
    PairsPlayed,
    /// A task failed for good, after all its attempts.
    TasksFailed,
    /// A pair gave no score, however often it was played again.
    PairUnplayable,
    /// The run ended badly for a reason that this controller does not know; see the message.
    RunFailed,
    /// A person cancelled the run.
    Cancelled,
    /// The object breaks a rule, or cannot be read; it has to be written anew.
    SpecInvalid,
    /// The controller can read the object again.
    SpecReadable,
    /// The agents refused the spec for good; the object has to be written anew.
    SpecRefused,
}

impl Reason {
    /// All of them: the set of label values in metrics is bounded by this list.
    pub const ALL: [Self; 30] = [
        Self::WaitingForWorkers,
        Self::Delayed,
        Self::Dependencies,
        Self::GroupBusy,
        Self::QueueMaxRunning,
        Self::QueueMaxGpu,
        Self::NoNodeLargeEnough,
        Self::NoCapableNode,
        Self::NoRoom,
        Self::InLine,
        Self::NoClaimer,
        Self::ItemsRunning,
        Self::AgentsUnreachable,
        Self::AgentsUnavailable,
        Self::AgentsUnauthorized,
        Self::AgentsFaulty,
        Self::QueueFull,
        Self::QueueUnknown,
        Self::TasksSucceeded,
        Self::CandidatePromoted,
        Self::CandidateRejected,
        Self::CandidateInconclusive,
        Self::PairsPlayed,
        Self::TasksFailed,
        Self::PairUnplayable,
        Self::RunFailed,
        Self::Cancelled,
        Self::SpecInvalid,
        Self::SpecReadable,
        Self::SpecRefused,
    ];

    /// The word in the object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForWorkers => "WaitingForWorkers",
            Self::Delayed => "Delayed",
            Self::Dependencies => "Dependencies",
            Self::GroupBusy => "GroupBusy",
            Self::QueueMaxRunning => "QueueMaxRunning",
            Self::QueueMaxGpu => "QueueMaxGpu",
            Self::NoNodeLargeEnough => "NoNodeLargeEnough",
            Self::NoCapableNode => "NoCapableNode",
            Self::NoRoom => "NoRoom",
            Self::InLine => "InLine",
            Self::NoClaimer => "NoClaimer",
            Self::ItemsRunning => "ItemsRunning",
            Self::AgentsUnreachable => "AgentsUnreachable",
            Self::AgentsUnavailable => "AgentsUnavailable",
            Self::AgentsUnauthorized => "AgentsUnauthorized",
            Self::AgentsFaulty => "AgentsFaulty",
            Self::QueueFull => "QueueFull",
            Self::QueueUnknown => "QueueUnknown",
            Self::TasksSucceeded => "TasksSucceeded",
            Self::CandidatePromoted => "CandidatePromoted",
            Self::CandidateRejected => "CandidateRejected",
            Self::CandidateInconclusive => "CandidateInconclusive",
            Self::PairsPlayed => "PairsPlayed",
            Self::TasksFailed => "TasksFailed",
            Self::PairUnplayable => "PairUnplayable",
            Self::RunFailed => "RunFailed",
            Self::Cancelled => "Cancelled",
            Self::SpecInvalid => "SpecInvalid",
            Self::SpecReadable => "SpecReadable",
            Self::SpecRefused => "SpecRefused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
