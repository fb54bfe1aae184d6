//! What the clients saw: every request that was sent, and what came of it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ringrift_core::id::{Position, Token, WorkId};
use serde::{Deserialize, Serialize};

/// Microseconds since the run began, by the one clock that all clients share.
pub(crate) type Micros = u64;

/// A request that was sent once, as its client saw it. What is sent again by the client's own
/// decision is a further call; what the library sends again by itself is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Who asked.
    pub(crate) client: u32,
    /// Session and number, when it was asked in a session.
    pub(crate) stamp: Option<Stamp>,
    /// Over which interface.
    pub(crate) way: Way,
    pub(crate) sent: Micros,
    pub(crate) answered: Micros,
    pub(crate) ask: Ask,
    pub(crate) outcome: Outcome,
}

/// Which request of which session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) session: u64,
    pub(crate) seq: u64,
}

/// An interface of the agents. It decides what the position in an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    /// The position is that of the log entry which carried the request out.
    Stream,
    /// The position is at or behind that entry.
    Http,
}

/// An item that the client holds, or believes to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) item: WorkId,
    pub(crate) token: Token,
}

/// A new item. Its name is in its config, and no two items are asked for under one name unless one is
/// a repeat of the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewItem {
    pub(crate) name: String,
    pub(crate) key: Option<String>,
    pub(crate) delay_ms: u64,
    pub(crate) attempts_max: u32,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Add(Vec<NewItem>),
    Claim {
        lease_ms: u64,
        wait_ms: u64,
    },
    Start(Hold),
    Heartbeat {
        hold: Hold,
        lease_ms: u64,
    },
    /// With the items that follow from it.
    Complete {
        hold: Hold,
        result: String,
        then: Vec<NewItem>,
    },
    Fail {
        hold: Hold,
        retry: bool,
    },
    Release(Hold),
    Cancel(WorkId),
    /// Reads the item.
    Look(WorkId),
    Lock {
        name: String,
        owner: String,
        ttl_ms: u64,
    },
    Unlock {
        name: String,
        token: Token,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It was carried out.
    Done(Position, Answer),
    /// The machine refused it, with this code. Nothing was changed.
    Refused(Position, String),
    /// The agent refused it before anything was proposed. What the library had sent of it before, if it
    /// sent it again by itself, may have been carried out.
    Declined(String),
    /// It may have been carried out, or may be later, or never.
    Unknown(String),
}

/// The answer to what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The items in the order asked, and whether each is new.
    Added(Vec<(WorkId, bool)>),
    Claimed(Vec<Grant>),
    Started,
    /// Whether the claim was renewed, or is lost.
    Renewed(bool),
    /// What follows from it; nothing in the answer to a repeat.
    Completed(Vec<WorkId>),
    /// Unix milliseconds of the next attempt; nothing when the item is dead.
    Failed(Option<u64>),
    Released,
    Cancelled,
    Seen(Seen),
    Locked {
        token: Token,
        expires_ms: u64,
    },
    Unlocked,
}

/// An item that a claim brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) hold: Hold,
    /// The name in its config.
    pub(crate) name: String,
    /// Attempts that were started before.
    pub(crate) attempts: u32,
    pub(crate) attempts_max: u32,
    /// Unix milliseconds of replicated time.
    pub(crate) deadline_ms: u64,
}

/// An item as a reader saw it; nothing when no such item is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) status: Option<String>,
    pub(crate) result: Option<String>,
}

impl Call {
    /// The index in the answer, when there is one.
    pub(crate) fn index(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Done(position, _) | Outcome::Refused(position, _) => Some(position.index),
            Outcome::Declined(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Whether the machine did not answer it.
    pub(crate) fn is_open(&self) -> bool {
        self.outcome.open().is_some()
    }
}

impl Outcome {
    /// Why the machine did not answer; nothing when it did.
    pub(crate) fn open(&self) -> Option<&str> {
        match self {
            Self::Done(..) | Self::Refused(..) => None,
            Self::Declined(reason) | Self::Unknown(reason) => Some(reason),
        }
    }
}

/// Where all clients of a run write down what they see.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<Call>>);

impl Recorder {
    pub(crate) fn record(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Everything so far, in the order of the answers.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes a history as lines of JSON: the evidence of a failed run.
///
/// # Errors
/// What the file system says.
pub(crate) fn write(history: &[Call], path: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for call in history {
        serde_json::to_writer(&mut file, call)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// What the file system says, and lines that are no calls.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<Call>> {
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| serde_json::from_str(line).map_err(std::io::Error::from)).collect()
}
