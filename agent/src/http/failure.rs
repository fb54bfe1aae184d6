//! How a request fails: every failure ends in the one problem body, and every refusal of the core
//! has its status and code here.

use std::any::Any;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ringrift_core::queue::command::Refusal;
use ringrift_wire::problem::{Code, Problem};

use crate::claims::{Unserved, WAITERS_MAX};
use crate::consensus::{DiskFull, ProposeError, SnapshotError};

/// What a handler answers.
pub(crate) type Answer<T> = Result<Json<T>, Failure>;

/// Seconds after which a full queue is worth another try.
const FULL_RETRY_SECONDS: u64 = 5;
/// Seconds after which a cluster without a leader is worth another try.
const LEADERLESS_RETRY_SECONDS: u64 = 1;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller is told.
    Problem(Box<Problem>),
    /// This agent does not lead, and nothing was proposed: the request goes to the leader.
    NotLeader,
}

/// Marks a response whose request nothing has touched: it may be sent to the leader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Untouched;

impl Failure {
    /// A problem without a field.
    pub(crate) fn problem(status: StatusCode, code: Code, error: impl Into<String>) -> Self {
        Self::Problem(Box::new(Problem {
            error: error.into(),
            status: status.as_u16(),
            code,
            field: None,
            retry_after_seconds: None,
        }))
    }

    /// A field's value breaks a rule. `problem` continues the sentence that the field begins.
    pub(crate) fn invalid(field: impl Into<String>, problem: impl AsRef<str>) -> Self {
        let field = field.into();
        let error = format!("{field} {}", problem.as_ref());
        Self::problem(StatusCode::BAD_REQUEST, Code::InvalidValue, error).at(field)
    }

    /// A fault of the agent.
    pub(crate) fn internal(error: impl Into<String>) -> Self {
        let error = error.into();
        tracing::error!(error, "request failed by a fault of the agent");
        Self::problem(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, error)
    }

    /// No leader is known.
    pub(crate) fn leaderless(error: impl Into<String>) -> Self {
        Self::problem(StatusCode::SERVICE_UNAVAILABLE, Code::LeaderUnknown, error)
            .retry_after(LEADERLESS_RETRY_SECONDS)
    }

    /// The same, with the field at fault.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        if let Self::Problem(problem) = &mut self {
            problem.field = Some(field.into());
        }
        self
    }

    /// The same, with the seconds after which a repeat may succeed.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        if let Self::Problem(problem) = &mut self {
            problem.retry_after_seconds = Some(seconds);
        }
        self
    }

    /// The same, the field's name changed.
    pub(crate) fn rename(mut self, rename: impl FnOnce(&str) -> String) -> Self {
        if let Self::Problem(problem) = &mut self
            && let Some(field) = &mut problem.field
        {
            let renamed = rename(field);
            if let Some(rest) = problem.error.strip_prefix(field.as_str()) {
                problem.error = format!("{renamed}{rest}");
            }
            *field = renamed;
        }
        self
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Problem(problem) => problem,
            Self::NotLeader => {
                let failure = Self::leaderless("this agent does not lead at present");
                let mut response = failure.into_response();
                response.extensions_mut().insert(Untouched);
                return response;
            }
        };
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = problem.retry_after_seconds;
        let unauthorized = problem.code == Code::Unauthorized;
        let mut response = (status, Json(problem)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if unauthorized {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<ProposeError> for Failure {
    fn from(error: ProposeError) -> Self {
        let text = error.to_string();
        match error {
            ProposeError::NotLeader { .. } => Self::NotLeader,
            ProposeError::Timeout => {
                Self::problem(StatusCode::GATEWAY_TIMEOUT, Code::CommitTimeout, text)
            }
            ProposeError::Overloaded { .. } => {
                Self::problem(StatusCode::TOO_MANY_REQUESTS, Code::Backpressure, text)
                    .retry_after(LEADERLESS_RETRY_SECONDS)
            }
            ProposeError::TooLarge { .. } => {
                Self::problem(StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge, text)
            }
            ProposeError::Stopped { .. } => {
                Self::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text)
                    .retry_after(LEADERLESS_RETRY_SECONDS)
            }
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        let text = error.to_string();
        match error {
            SnapshotError::TooLarge { .. } => {
                Self::problem(StatusCode::INSUFFICIENT_STORAGE, Code::StorageFull, text)
                    .retry_after(FULL_RETRY_SECONDS)
            }
            SnapshotError::Stopped { .. } | SnapshotError::Late { .. } => {
                Self::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text)
                    .retry_after(LEADERLESS_RETRY_SECONDS)
            }
        }
    }
}

impl From<DiskFull> for Failure {
    fn from(full: DiskFull) -> Self {
        Self::problem(StatusCode::INSUFFICIENT_STORAGE, Code::StorageFull, full.to_string())
            .retry_after(FULL_RETRY_SECONDS)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let error = refusal.to_string();
        let gone = |code| Self::problem(StatusCode::NOT_FOUND, code, error.clone());
        let conflict = |code| Self::problem(StatusCode::CONFLICT, code, error.clone());
        match &refusal {
            Refusal::UnknownWork(_) => gone(Code::WorkUnknown).at("work_id"),
            Refusal::Fenced { .. } => conflict(Code::Fenced).at("token"),
            Refusal::Ended { .. } => conflict(Code::WorkEnded).at("work_id"),
            Refusal::KeyConflict { .. } => conflict(Code::KeyConflict).at("key"),
            Refusal::UnknownQueue(_) => gone(Code::QueueUnknown).at("queue"),
            Refusal::QueueInUse { .. } => conflict(Code::QueueInUse).at("queue"),
            Refusal::UnknownSession(_) => gone(Code::SessionUnknown),
            Refusal::SessionStale { .. } => conflict(Code::SessionStale),
            Refusal::Full { .. }
            | Refusal::TooHeavy { .. }
            | Refusal::TooManyKinds { .. }
            | Refusal::QueueFull { .. }
            | Refusal::SessionFull { .. }
            | Refusal::TooManySessions(_)
            | Refusal::LockCrowded { .. }
            | Refusal::TooManyRuns(_) => {
                Self::problem(StatusCode::TOO_MANY_REQUESTS, Code::Backpressure, error.clone())
                    .retry_after(FULL_RETRY_SECONDS)
            }
            Refusal::Invalid { field, problem } => Self::invalid(field.clone(), problem),
            Refusal::LockHeld { .. } => conflict(Code::LockHeld),
            Refusal::LockNotHeld { .. } => conflict(Code::LockNotHeld).at("token"),
            Refusal::UnknownRun(_) => gone(Code::RunUnknown).at("run_id"),
            Refusal::RunConflict(_) => conflict(Code::RunConflict).at("run_id"),
            Refusal::RunEnded(_) => conflict(Code::RunEnded).at("run_id"),
            // Only planners name a version, and they do not come by HTTP.
            Refusal::StaleRun { .. } => Self::internal(error.clone()),
        }
    }
}

impl From<Unserved> for Failure {
    fn from(unserved: Unserved) -> Self {
        match unserved {
            Unserved::Propose(error) => error.into(),
            Unserved::Refused(refusal) => refusal.into(),
            Unserved::Crowded => {
                let text = format!("{WAITERS_MAX} claims wait for work already; retry later");
                Self::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text)
                    .retry_after(LEADERLESS_RETRY_SECONDS)
            }
        }
    }
}

/// A panic of a handler, as the caller sees it.
#[expect(clippy::needless_pass_by_value, reason = "the shape that tower-http calls")]
pub(crate) fn of_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Failure::internal(format!("the handler panicked: {text}")).into_response()
}
