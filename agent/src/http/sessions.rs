//! Sessions: a request that is sent again is answered as the first time.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ringrift_core::id::SessionId;
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Command, Reply};
use ringrift_wire::problem::Problem;
use ringrift_wire::tenancy::Session;
use ringrift_wire::{ACKNOWLEDGED_HEADER, SEQ_HEADER, SESSION_HEADER};

use super::failure::{Answer, Failure};
use super::{App, convert};

/// A request's place in a session; nothing when it is in none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Retry(Option<Place>);

#[derive(Debug, Clone, Copy)]
struct Place {
    session: SessionId,
    seq: u64,
    acknowledged: u64,
}

impl Retry {
    /// Whether the request is in a session.
    pub(crate) const fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// Whether nothing is left to do for it but to tell what is known.
    pub(crate) fn is_answered(self, machine: &Machine) -> bool {
        self.0.is_some_and(|place| machine.has_answered(place.session, place.seq))
    }

    /// The command as the machine gets it.
    pub(crate) fn wrap(self, command: Command) -> Command {
        match self.0 {
            None => command,
            Some(Place { session, seq, acknowledged }) => {
                let command = Box::new(command);
                Command::InSession { session, seq, acknowledged, command }
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Retry {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        let Some(session) = text(&parts.headers, SESSION_HEADER)? else {
            return Ok(Self(None));
        };
        let session = convert::id(SESSION_HEADER, session)?;
        let Some(seq) = number(&parts.headers, SEQ_HEADER)? else {
            let problem = format!("is missing, but {SESSION_HEADER} is there");
            return Err(Failure::invalid(SEQ_HEADER, problem));
        };
        let acknowledged = number(&parts.headers, ACKNOWLEDGED_HEADER)?.unwrap_or(0);
        Ok(Self(Some(Place { session, seq, acknowledged })))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Failure> {
    let value = headers.get(name).map(|value| value.to_str());
    value.transpose().map_err(|_not_ascii| Failure::invalid(name, "must be plain text"))
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Failure> {
    text(headers, name)?.map(|value| convert::id(name, value)).transpose()
}

/// Opens a session. It ends when nothing was heard of it for ten minutes.
#[utoipa::path(
    post, path = "/sessions", operation_id = "session_open", tag = "sessions",
    responses((status = 200, body = Session), (status = "default", body = Problem))
)]
pub(crate) async fn open(State(app): State<Arc<App>>) -> Answer<Session> {
    match app.commit(Command::OpenSession).await? {
        Reply::SessionOpened(id) => {
            Ok(Json(Session { status: "open".to_owned(), session_id: id.to_string() }))
        }
        other => Err(convert::unexpected(&other)),
    }
}

/// Closes a session and forgets its answers.
#[utoipa::path(
    delete, path = "/sessions/{id}", operation_id = "session_close", tag = "sessions",
    params(("id" = String, Path, description = "The session.")),
    responses((status = 200, body = Session), (status = "default", body = Problem))
)]
pub(crate) async fn close(
    State(app): State<Arc<App>>,
    Path(session_id): Path<String>,
) -> Answer<Session> {
    let session = convert::id("id", &session_id)?;
    match app.commit(Command::CloseSession { session }).await? {
        Reply::Done => Ok(Json(Session { status: "closed".to_owned(), session_id })),
        other => Err(convert::unexpected(&other)),
    }
}
