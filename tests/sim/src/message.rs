//! What replicas and clients say to each other, and what a replica's step brings about.

use ringrift_core::id::Position;
use ringrift_core::queue::command::{Batch, Command, Refusal, Reply};

/// What the machine answers to the commands of one entry.
pub(crate) type Replies = Vec<Result<Reply, Refusal>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) term: u64,
    pub(crate) batch: Batch,
}

#[derive(Debug, Clone)]
pub(crate) enum Message {
    AskVote {
        term: u64,
        last: (u64, u64),
    },
    Vote {
        term: u64,
        granted: bool,
    },
    Append {
        term: u64,
        previous: (u64, u64),
        entries: Vec<Entry>,
        commit: u64,
    },
    Appended {
        term: u64,
        matched: Option<u64>,
        length: u64,
    },
    Propose {
        request: u64,
        commands: Vec<Command>,
    },
    Answered {
        request: u64,
        /// The entry that it was carried out in.
        position: Position,
        replies: Replies,
    },
    /// Not the leader, or no longer.
    Redirected {
        request: u64,
        leader: Option<usize>,
    },
}

/// Something that a replica applied, for the observer.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) index: u64,
    pub(crate) entry: Entry,
    pub(crate) fed: Batch,
    pub(crate) replies: Replies,
}

/// What a step of a replica brought about.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Receiver and message.
    pub(crate) sent: Vec<(usize, Message)>,
    pub(crate) applied: Vec<Applied>,
}
