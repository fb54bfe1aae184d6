//! Around every request: a place, a count, and the headers that every reply carries.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ringrift_core::id::Position;
use ringrift_core::machine::Machine;
use ringrift_wire::problem::Code;
use ringrift_wire::{AGE_HEADER, MIN_POSITION_HEADER, NODE_HEADER, POSITION_HEADER};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::App;
use super::failure::Failure;
use crate::consensus::Consensus;

/// Requests in progress, those that wait among them: each may hold a body in memory.
pub(crate) const REQUESTS_MAX: usize = 4_096;
/// Of these, requests that wait for work, a lock or events. What ends their waits, such as a release or
/// a completion, must find a place however many they are.
pub(crate) const WAITS_MAX: usize = REQUESTS_MAX / 2;

/// Of these, requests that keep or end work, when all other places are taken: many times as many as
/// are on their way at once.
const REQUESTS_RESERVED: usize = REQUESTS_MAX / 8;

const _: () = assert!(WAITS_MAX < REQUESTS_MAX - REQUESTS_RESERVED);

/// A replica that is well lacks what was committed for a few round trips; one that catches up with a
/// snapshot is better asked again, or another one.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(2);

/// Places for requests in progress.
pub(crate) struct Places {
    common: Semaphore,
    reserved: Semaphore,
}

impl Places {
    pub(crate) fn new() -> Self {
        let common = Semaphore::new(REQUESTS_MAX - REQUESTS_RESERVED);
        Self { common, reserved: Semaphore::new(REQUESTS_RESERVED) }
    }

    /// Nothing when they are taken.
    fn take(&self, method: &Method, route: &str) -> Option<SemaphorePermit<'_>> {
        let common = self.common.try_acquire().ok();
        common.or_else(|| settles(method, route).then(|| self.reserved.try_acquire().ok())?)
    }
}

/// Whether a request keeps or ends what is on its way, and does not wait.
fn settles(method: &Method, route: &str) -> bool {
    let of_holder =
        ["/work/heartbeat", "/work/start", "/work/complete", "/work/fail", "/work/release"];
    (*method == Method::POST && of_holder.contains(&route))
        || (*method == Method::DELETE && route == "/raft/lock/{name}")
}

/// Marks the requests of a route that wait when they say so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MayWait;

/// The part of a body or a query that says so.
#[derive(serde::Deserialize)]
struct Asked {
    #[serde(default)]
    wait_seconds: f64,
}

/// Whether a request asks to wait. What cannot be read is refused where it is answered.
pub(crate) fn asks_to_wait(parts: &Parts, body: &[u8]) -> bool {
    let waits = |asked: Asked| asked.wait_seconds > 0.0;
    parts.extensions.get::<MayWait>().is_some()
        && (Query::<Asked>::try_from_uri(&parts.uri).is_ok_and(|Query(asked)| waits(asked))
            || serde_json::from_slice::<Asked>(body).is_ok_and(waits))
}

/// A place for a request that is about to wait.
pub(crate) fn place_to_wait(app: &App) -> Result<SemaphorePermit<'_>, Failure> {
    app.waits.try_acquire().map_err(|_full| {
        let text = "too many requests wait at this agent already; retry later, or do not wait";
        Failure::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text).retry_after(1)
    })
}

pub(crate) async fn request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let response = match app.requests.take(request.method(), route) {
        Some(_place) if matches!(*request.method(), Method::GET | Method::HEAD) => {
            match catch_up(&app, request.headers()).await {
                Ok(()) => read(&app, request, next).await,
                Err(failure) => failure.into_response(),
            }
        }
        Some(_place) => next.run(request).await,
        None => {
            let text = format!("this agent serves {REQUESTS_MAX} requests already; retry later");
            Failure::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text)
                .retry_after(1)
                .into_response()
        }
    };
    app.metrics.count_request(route, response.status().as_u16());
    let (position, age) = (app.position(), app.consensus.as_ref().map(Consensus::contact_age));
    with_headers(&app, position, age, response)
}

/// Serves a request that reads. Its position is never later than what it shows, and its age never less.
async fn read(app: &App, request: Request, next: Next) -> Response {
    // What is read after this reflects at least as much.
    let (before, age) = (app.position(), app.consensus.as_ref().map(Consensus::contact_age));
    let served = async {
        let response = next.run(request).await;
        (response, SEEN.with(Cell::get))
    };
    let (response, seen) = SEEN.scope(Cell::default(), served).await;
    with_headers(app, seen.unwrap_or(before), age, response)
}

tokio::task_local! {
    /// The position of what the request was shown.
    static SEEN: Cell<Option<Position>>;
}

/// Notes the position of what the request in progress is shown.
pub(crate) fn note(position: Position) {
    // Nobody asks outside of a request.
    let _ = SEEN.try_with(|seen| seen.set(Some(position)));
}

/// Waits until the replica has what a request wants to see.
async fn catch_up(app: &App, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(wanted) = headers.get(MIN_POSITION_HEADER) else {
        return Ok(());
    };
    let wanted = wanted.to_str().ok().and_then(of_text).ok_or_else(|| {
        Failure::invalid(MIN_POSITION_HEADER, "must be a term and an index, such as 3.141")
    })?;
    let Some(consensus) = &app.consensus else {
        return Ok(());
    };
    let mut applied = consensus.applied();
    let caught_up = applied.wait_for(|index| *index >= wanted.index);
    match tokio::time::timeout(CATCH_UP_PATIENCE, caught_up).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            let has = consensus.read(Machine::applied).index;
            let text = format!("this agent has applied up to {has}, not {}", wanted.index);
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(Failure::problem(status, Code::Unavailable, text).retry_after(1))
        }
    }
}

fn of_text(text: &str) -> Option<Position> {
    let (term, index) = text.split_once('.')?;
    Some(Position { term: term.parse().ok()?, index: index.parse().ok()? })
}

/// A forwarded reply has these headers already, from the agent that answered; so has one that reads.
fn with_headers(
    app: &App,
    position: Position,
    age: Option<Duration>,
    mut response: Response,
) -> Response {
    let headers = response.headers_mut();
    if !headers.contains_key(NODE_HEADER)
        && let Ok(value) = HeaderValue::from_str(app.node_id.as_str())
    {
        headers.insert(HeaderName::from_static(NODE_HEADER), value);
    }
    if !headers.contains_key(POSITION_HEADER) {
        let text = format!("{}.{}", position.term, position.index);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(POSITION_HEADER), value);
        }
        if let Some(age) = age {
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            headers.insert(HeaderName::from_static(AGE_HEADER), HeaderValue::from(age));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_crowd_leaves_places_for_what_keeps_or_ends_work() {
        let places = Places::new();
        let crowd = std::iter::from_fn(|| places.take(&Method::POST, "/work/add"));
        let crowd: Vec<_> = crowd.collect();
        assert_eq!(crowd.len(), REQUESTS_MAX - REQUESTS_RESERVED);
        let settling = std::iter::from_fn(|| places.take(&Method::POST, "/work/heartbeat"));
        let settling: Vec<_> = settling.collect();
        assert_eq!(settling.len(), REQUESTS_RESERVED);
        drop(settling);
        assert!(places.take(&Method::DELETE, "/raft/lock/{name}").is_some());
        assert!(places.take(&Method::POST, "/raft/lock/{name}").is_none(), "it may wait");
        drop(crowd);
        assert!(places.take(&Method::POST, "/work/add").is_some());
    }

    #[test]
    fn only_who_says_so_waits() {
        let asks = |path: &str, body: &str, may: bool| {
            let (mut parts, _) =
                Request::builder().uri(path).body(Body::empty()).unwrap().into_parts();
            if may {
                parts.extensions.insert(MayWait);
            }
            asks_to_wait(&parts, body.as_bytes())
        };
        assert!(asks("/work/claim", r#"{"node_id":"a","wait_seconds":0.5}"#, true));
        assert!(asks("/events?after=1&wait_seconds=3", "", true));
        assert!(!asks("/events?after=1&wait_seconds=3", "", false));
        for body in
            ["", "{", r#"{"node_id":"a"}"#, r#"{"wait_seconds":0}"#, r#"{"wait_seconds":"x"}"#]
        {
            assert!(!asks("/work/claim?after=1", body, true), "{body}");
        }
    }
}
