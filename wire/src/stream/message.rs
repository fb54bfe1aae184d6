//! What is said on a stream. Fields and variants are numbered by their order: new ones go to the
//! end, and change [`super::PROTOCOL`] when an older reader would not understand them.

use std::collections::{BTreeMap, BTreeSet};

use ringrift_core::id::{Position, Token, WorkId};
use ringrift_core::limits;
use serde::de::IntoDeserializer;
use serde::de::value::Error as WordError;
use serde::{Deserialize, Serialize};

use crate::problem::{Code, Problem};

/// The first frame from the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::MAGIC`].
    pub magic: [u8; 8],
    /// [`super::PROTOCOL`].
    pub protocol: u16,
    /// Who calls, for logs; at most [`super::CLIENT_NAME_BYTES_MAX`] bytes.
    pub client: String,
    /// HTTP address of an agent that did not answer. An agent that takes it for the leader holds its
    /// welcome back until it knows another, for up to a second.
    pub silent: Option<String>,
}

/// The first frame from the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Requests may come.
    Accepted(Host),
    /// The stream ends here.
    Refused(Refused),
}

/// The agent at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub node_id: String,
    /// Its cluster; empty before it has one.
    pub cluster_id: String,
    /// Whether it leads. Only the leader carries requests out.
    pub leads: bool,
    /// HTTP address of the leader, or of an agent that knows better; nothing when none is known.
    pub leader: Option<String>,
    /// Requests without a response that this stream may have; further ones are refused with
    /// `BACKPRESSURE`.
    pub requests_max: u32,
}

/// A request. Responses bear its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, unique among its requests without a response.
    pub number: u64,
    /// With it, a request that is sent again is answered as the first time.
    pub session: Option<SessionStamp>,
    /// What to do.
    pub operation: Operation,
}

/// Which request of which session this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionStamp {
    /// The session.
    pub session: u64,
    /// Grows with every new request of the session.
    pub seq: u64,
    /// The client has every response below this number.
    pub acknowledged: u64,
}

/// What a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Adds items, all of them or none. Answered by [`Answer::Added`].
    Add(Vec<NewWork>),
    /// Takes work, or waits for some. Answered by [`Answer::Claimed`].
    Claim(Claim),
    /// The holder begins: from here on the attempt counts. Answered by [`Answer::Started`].
    Start(Hold),
    /// Renews claims. Answered by [`Answer::Renewed`].
    Heartbeat(Heartbeat),
    /// Ends items well, each for itself. Answered by [`Answer::Completed`].
    Complete(Vec<Completion>),
    /// Ends an attempt badly. Answered by [`Answer::Failed`].
    Fail(Failing),
    /// Asks whether anybody is there. Answered by [`Answer::Here`] at once, by any agent.
    Ping,
    /// Opens a session. Answered by [`Answer::Session`].
    OpenSession,
}

impl Operation {
    /// Whether carrying it out twice is as good as once. What is not may have taken effect when its
    /// response is lost. A repeat is answered by what holds then: a start that came in time is
    /// `FENCED` when it is sent again after the end of its claim.
    #[must_use]
    pub fn repeats_harmlessly(&self) -> bool {
        match self {
            Self::Add(items) => items.iter().all(|item| item.key.is_some()),
            Self::Start(_) | Self::Heartbeat(_) | Self::Complete(_) | Self::Ping => true,
            Self::Claim(_) | Self::Fail(_) | Self::OpenSession => false,
        }
    }
}

/// A new item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewWork {
    /// Idempotency key within the queue: a repeat answers the first item.
    pub key: Option<String>,
    /// The tenant's lane; the default one when nothing is said.
    pub queue: Option<String>,
    /// What kind of work this is.
    pub work_type: String,
    /// 0 to 100, larger first.
    pub priority: u8,
    /// The work itself: the text of a JSON object.
    pub config: String,
    /// Milliseconds that one attempt may take.
    pub timeout_ms: u64,
    /// Attempts before the item is dead.
    pub max_attempts: u32,
    /// Milliseconds before the item may be claimed.
    pub delay_ms: u64,
    /// Capabilities that a claimer must have.
    pub capabilities: BTreeSet<String>,
    /// Labels that a claimer must have.
    pub labels: BTreeMap<String, String>,
    /// What few items need; nothing costs a byte.
    pub terms: Option<Box<Terms>>,
}

/// On which terms an item may be claimed, beside those that most have. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Thousandths of a processor that a claim reserves on its node.
    pub cpu_milli: u32,
    /// Mebibytes of memory that a claim reserves.
    pub memory_mib: u32,
    /// Thousandths of GPU devices that a claim reserves: a part of one below 1,000, or whole ones.
    pub gpu_milli: u32,
    /// Mebibytes of disk that must be free at the claim.
    pub disk_free_mib: u32,
    /// At most one item of a group is held at a time.
    pub group: Option<String>,
    /// Items that must end before, at most 64.
    pub after: Vec<After>,
    /// Milliseconds until the first claim; afterwards the item is dead.
    pub pending_timeout_ms: Option<u64>,
    /// Milliseconds until the end, all attempts and pauses together.
    pub total_timeout_ms: Option<u64>,
}

/// An item that must end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// Which one.
    pub item: Predecessor,
    /// Whether only its completion will do: any other end is the death of those that wait.
    pub ok: bool,
}

/// Names an item that must end first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Predecessor {
    /// An item that is there already.
    Item(WorkId),
    /// Its place in the same request, from 0.
    Earlier(u32),
}

impl NewWork {
    /// An item of this type with this JSON object, the rest as over HTTP when nothing is said.
    #[must_use]
    pub fn new(work_type: impl Into<String>, config: impl Into<String>) -> Self {
        Self {
            key: None,
            queue: None,
            work_type: work_type.into(),
            priority: 50,
            config: config.into(),
            timeout_ms: limits::ATTEMPT_TIMEOUT_DEFAULT.0,
            max_attempts: limits::ATTEMPTS_DEFAULT,
            delay_ms: 0,
            capabilities: BTreeSet::new(),
            labels: BTreeMap::new(),
            terms: None,
        }
    }
}

/// A request for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who claims.
    pub node_id: String,
    /// What it can do.
    pub capabilities: BTreeSet<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Work types that it takes; empty takes any.
    pub work_types: BTreeSet<String>,
    /// Up to so many items, 1 to 256.
    pub max_items: u32,
    /// Milliseconds until the claim ends, unless renewed.
    pub lease_ms: u64,
    /// Milliseconds to wait for work, at most [`super::WAIT_MS_MAX`].
    pub wait_ms: u64,
}

impl Claim {
    /// A claim of one item of any type, with the default lease and without waiting.
    #[must_use]
    pub fn new(node_id: impl Into<String>) -> Self {
        Self {
            node_id: node_id.into(),
            capabilities: BTreeSet::new(),
            labels: BTreeMap::new(),
            work_types: BTreeSet::new(),
            max_items: 1,
            lease_ms: limits::LEASE_DEFAULT.0,
            wait_ms: 0,
        }
    }
}

/// An item that the client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The item.
    pub work_id: WorkId,
    /// The fencing token of the claim.
    pub token: Token,
}

/// Renews all claims of a node at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The holder.
    pub node_id: String,
    /// What it believes to hold.
    pub claims: Vec<Hold>,
    /// Milliseconds until the claims end, unless renewed again.
    pub lease_ms: u64,
}

/// An item that ends well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// The item.
    pub hold: Hold,
    /// What came out: JSON text; the report of a pair when the item is one.
    pub result: String,
}

/// An attempt that ends badly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The item.
    pub hold: Hold,
    /// What went wrong, for people.
    pub error: String,
    /// False when no further attempt can help.
    pub retry: bool,
}

/// What an agent says after its welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The response to one request.
    Response(Response),
    /// The agent ends the stream, for this reason. Requests without a response may or may not
    /// have taken effect.
    Goodbye(Refused),
}

/// The response to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The number of the request.
    pub number: u64,
    /// The place in the log that the response reflects.
    pub position: Position,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out.
    Done(Answer),
    /// It was refused. Unless the code says that the outcome is not known, nothing was changed.
    Refused(Refused),
    /// This agent does not lead. Nothing was changed.
    NotLeader {
        /// HTTP address of the leader, or of an agent that knows better.
        leader: Option<String>,
    },
}

/// The answer to an operation, variant by variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The items in the order asked.
    Added(Vec<AddedWork>),
    /// The claimed items; empty when there was nothing.
    Claimed(Vec<ClaimedWork>),
    /// The attempt counts.
    Started,
    /// What was renewed.
    Renewed(Renewed),
    /// One for each completion, in order: nothing when it was accepted, or why it was not.
    Completed(Vec<Option<Refused>>),
    /// Unix milliseconds of the next attempt; nothing when the item is dead.
    Failed {
        /// The next attempt.
        retry_at_ms: Option<u64>,
    },
    /// The agent is there.
    Here,
    /// The session is open, under this number.
    Session(u64),
}

/// An item that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedWork {
    /// The item.
    pub work_id: WorkId,
    /// False when its key was known already.
    pub fresh: bool,
}

/// A claimed item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedWork {
    /// The item and the token of this claim.
    pub hold: Hold,
    /// What kind of work this is.
    pub work_type: String,
    /// 0 to 100, larger first.
    pub priority: u8,
    /// The work itself: the text of a JSON object.
    pub config: String,
    /// Attempts that were started before.
    pub attempts: u32,
    /// Attempts before the item is dead.
    pub max_attempts: u32,
    /// Milliseconds that this attempt may take.
    pub timeout_ms: u64,
    /// Unix milliseconds of replicated time at which the claim ends, unless renewed.
    pub deadline_ms: u64,
    /// The run that it is part of.
    pub run_id: Option<String>,
    /// GPU devices that the claim has reserved, by number, each with the thousandths of it.
    pub devices: Vec<(u16, u16)>,
}

/// What a heartbeat renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Renewed claims.
    pub renewed: u32,
    /// Items that the node no longer holds: stop working on them.
    pub lost: Vec<WorkId>,
}

/// Why something was refused, with the codes of the HTTP interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error} ({code})")]
pub struct Refused {
    /// The stable word of a [`Code`]. A word and not a number, so that new ones do no harm.
    pub code: String,
    /// One sentence for people.
    pub error: String,
    /// The field of the request at fault.
    pub field: Option<String>,
    /// Milliseconds after which a repeat may succeed.
    pub retry_after_ms: Option<u64>,
}

impl Refused {
    /// The code, unless it is newer than this program.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        Code::deserialize(IntoDeserializer::<WordError>::into_deserializer(self.code.as_str())).ok()
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        let Problem { error, status: _, code, field, retry_after_seconds } = problem;
        let retry_after_ms = retry_after_seconds.map(|seconds| seconds.saturating_mul(1_000));
        Self { code: code.as_str().to_owned(), error, field, retry_after_ms }
    }
}

#[cfg(test)]
mod tests;
