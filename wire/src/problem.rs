//! The one error body, with stable codes.

use core::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What failed, in a form for people (`error`) and for programs (`code`, `field`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// One sentence: what failed, with which value, what to do. `unauthorized` for 401.
    pub error: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs.
    pub code: Code,
    /// The field of the request at fault, as a path such as `items[3].priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Seconds after which a repeat may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// Stable words for programs. New ones may come; old ones do not change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The body is not JSON.
    MalformedBody,
    /// The body has a field that the request does not have.
    UnknownField,
    /// A field is missing.
    MissingField,
    /// A field has the wrong type.
    WrongType,
    /// A field's value breaks a rule.
    InvalidValue,
    /// The body is too large.
    BodyTooLarge,
    /// The content type is not JSON.
    UnsupportedMediaType,
    /// No or a wrong token.
    Unauthorized,
    /// No such path.
    NotFound,
    /// The path exists, not with this method.
    MethodNotAllowed,
    /// No such work item.
    WorkUnknown,
    /// The work item has ended.
    WorkEnded,
    /// The caller does not hold the item, or no longer.
    Fenced,
    /// The idempotency key belongs to another content.
    KeyConflict,
    /// The queue is full.
    Backpressure,
    /// The leader's disk is nearly full: new work is refused, the end of work is not.
    StorageFull,
    /// No such queue.
    QueueUnknown,
    /// The queue holds items.
    QueueInUse,
    /// No such session, or it has ended. Whether earlier requests took effect is not known.
    SessionUnknown,
    /// The client said that it has the answer already.
    SessionStale,
    /// Another owner holds the lock.
    LockHeld,
    /// The lock is not held under this token.
    LockNotHeld,
    /// No such run.
    RunUnknown,
    /// The run id belongs to another spec.
    RunConflict,
    /// The run has ended.
    RunEnded,
    /// The agent is not part of a cluster yet.
    NoCluster,
    /// The agent was removed from the cluster for good; a fresh data directory lets it join again.
    MemberRetired,
    /// The agent that holds what was asked for could not be reached.
    NodeUnreachable,
    /// No leader is known at present.
    LeaderUnknown,
    /// The leader could not be reached. Whether the request took effect is not known.
    LeaderUnreachable,
    /// The request was not committed in time. Whether it took effect is not known.
    CommitTimeout,
    /// The agent is stopping or not yet ready.
    Unavailable,
    /// A fault of the agent.
    Internal,
    /// This version does not do that.
    Unsupported,
}

impl Code {
    /// The stable word, as bodies and streams carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MalformedBody => "MALFORMED_BODY",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::MissingField => "MISSING_FIELD",
            Self::WrongType => "WRONG_TYPE",
            Self::InvalidValue => "INVALID_VALUE",
            Self::BodyTooLarge => "BODY_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::WorkUnknown => "WORK_UNKNOWN",
            Self::WorkEnded => "WORK_ENDED",
            Self::Fenced => "FENCED",
            Self::KeyConflict => "KEY_CONFLICT",
            Self::Backpressure => "BACKPRESSURE",
            Self::StorageFull => "STORAGE_FULL",
            Self::QueueUnknown => "QUEUE_UNKNOWN",
            Self::QueueInUse => "QUEUE_IN_USE",
            Self::SessionUnknown => "SESSION_UNKNOWN",
            Self::SessionStale => "SESSION_STALE",
            Self::LockHeld => "LOCK_HELD",
            Self::LockNotHeld => "LOCK_NOT_HELD",
            Self::RunUnknown => "RUN_UNKNOWN",
            Self::RunConflict => "RUN_CONFLICT",
            Self::RunEnded => "RUN_ENDED",
            Self::NoCluster => "NO_CLUSTER",
            Self::MemberRetired => "MEMBER_RETIRED",
            Self::NodeUnreachable => "NODE_UNREACHABLE",
            Self::LeaderUnknown => "LEADER_UNKNOWN",
            Self::LeaderUnreachable => "LEADER_UNREACHABLE",
            Self::CommitTimeout => "COMMIT_TIMEOUT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}, {})", self.error, self.code, self.status)
    }
}

impl core::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_code_is_what_json_carries() {
        for code in [Code::MalformedBody, Code::WorkUnknown, Code::Backpressure, Code::Unsupported]
        {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
