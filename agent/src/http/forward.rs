//! Requests that another agent must answer are passed on to it as they are.
//!
//! A request that needs the leader waits a bounded time for one. It is sent again when nothing can
//! have touched it (the connection was refused, or the agent said that it does not lead), and when
//! the table of routes says that a repeat is harmless. Any other whose connection broke in between
//! is not repeated; its caller is told that the outcome is not known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ringrift_core::id::NodeId;
use ringrift_core::membership::State as MemberState;
use ringrift_wire::problem::Code;
use ringrift_wire::{
    ACKNOWLEDGED_HEADER, AGE_HEADER, HOPS_HEADER, MIN_POSITION_HEADER, NODE_HEADER,
    POSITION_HEADER, SEQ_HEADER, SESSION_HEADER, TOKEN_HEADER,
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::failure::{Failure, Untouched};
use super::{App, body, observe};
use crate::consensus::{Consensus, Leadership};

/// Header of a forwarded reply: the agent that passed it on.
pub(crate) const PROXIED_BY_HEADER: &str = "x-ringrift-proxied-by";
/// A request passes through at most so many agents: a stale view may send it to a former leader,
/// which knows the new one; a third hop would be a circle.
const HOPS_MAX: u16 = 2;
/// How long a request waits for a leader: longer than an election, shorter than a caller's patience.
const LEADER_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks for a leader, when nothing says that it changed.
const LOOK_PAUSE: Duration = Duration::from_millis(25);
/// Looks for a leader by one request: its patience in pauses.
const LOOKS_MAX: u32 = 80;
/// A machine that vanished does not refuse a connection; it stays silent.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);
/// The longest request is a claim that waits 60 s for work.
const FORWARD_PATIENCE: Duration = Duration::from_secs(70);
/// A question that this agent asks for itself, for a status view.
const ASK_PATIENCE: Duration = Duration::from_secs(1);
/// A reply that is passed on: 256 claimed items with full payloads, and their escapes.
const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(LOOK_PAUSE.as_millis() * LOOKS_MAX as u128 >= LEADER_PATIENCE.as_millis());

/// The way to other agents.
#[derive(Debug)]
pub(crate) struct Peers {
    http: reqwest::Client,
    /// Who answered the last request that was passed on: most likely the leader.
    last_answerer: Mutex<Option<NodeId>>,
}

impl Peers {
    /// # Errors
    /// When no TCP stack can be set up.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(FORWARD_PATIENCE)
            .no_proxy()
            .build()?;
        Ok(Self { http, last_answerer: Mutex::default() })
    }

    fn last_answerer(&self) -> Option<NodeId> {
        self.last_answerer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, reply: &Response) {
        let name = reply.headers().get(NODE_HEADER).and_then(|value| value.to_str().ok());
        let name = name.and_then(|name| name.parse().ok());
        *self.last_answerer.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

/// Where the leader is, as far as this agent knows.
enum Whereabouts {
    Here,
    /// `host:port` of its HTTP server, or of an agent that knows better.
    There(String),
    Unknown,
}

/// Why a request was not answered by another agent.
enum Lost {
    /// It never left: it may be sent again.
    Unsent(String),
    /// It left, and no reply came.
    Unanswered(String),
}

/// What a route says of its requests.
#[derive(Clone)]
pub(crate) struct Passage {
    pub(crate) app: Arc<App>,
    /// Bound of a body.
    pub(crate) body_bytes_max: usize,
    /// Whether a request whose reply got lost is sent again.
    pub(crate) repeat: Repeat,
}

/// Whether carrying a request out twice is as good as once. The repeat's reply says what holds then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It is.
    Harmless,
    /// It is when each item has an idempotency key, or in a session.
    WithKeys,
    /// It is in a session.
    InSession,
    /// It is not.
    Never,
}

impl Repeat {
    fn allows(self, headers: &HeaderMap, body: &[u8]) -> bool {
        let in_session = || headers.contains_key(SESSION_HEADER);
        match self {
            Self::Harmless => true,
            Self::WithKeys => in_session() || has_keys(body),
            Self::InSession => in_session(),
            Self::Never => false,
        }
    }
}

/// Whether the body is an item, or a batch of items, with a key each.
fn has_keys(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return false };
    match body["items"].as_array() {
        Some(items) => items.iter().all(|item| item["key"].is_string()),
        None => body["key"].is_string(),
    }
}

/// Answers a request on the leader.
pub(crate) async fn to_leader(
    State(passage): State<Passage>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let answer = async {
        if let Some(missing) = passage.app.missing() {
            return Err(missing);
        }
        let body = body::collect(&parts.headers, body, passage.body_bytes_max).await?;
        lead_to_answer(&passage, parts, body, next).await
    };
    answer.await.unwrap_or_else(Failure::into_response)
}

/// Answers a request on any replica: here, or at a voter when this agent is a client.
pub(crate) async fn to_replica(
    State(passage): State<Passage>,
    request: Request,
    next: Next,
) -> Response {
    if passage.app.consensus.is_some() {
        return next.run(request).await;
    }
    to_leader(State(passage), request, next).await
}

async fn lead_to_answer(
    passage: &Passage,
    parts: Parts,
    body: Bytes,
    next: Next,
) -> Result<Response, Failure> {
    let app = &*passage.app;
    let mut since = app.clock.monotonic();
    let hops = hops(&parts.headers);
    let mut leadership = app.consensus.as_ref().map(Consensus::leadership);
    let mut obstacle = "an election may be under way".to_owned();
    for look in 0..LOOKS_MAX {
        match whereabouts(app, leadership.as_mut(), look) {
            Whereabouts::Here => {
                let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
                let response = next.clone().run(request).await;
                if response.extensions().get::<Untouched>().is_none() {
                    return Ok(response);
                }
                "this agent ceased to lead".clone_into(&mut obstacle);
                // It may have waited here for long: from here on a new leader is looked for.
                since = app.clock.monotonic();
            }
            Whereabouts::There(_) if hops >= HOPS_MAX => {
                obstacle = format!("the request passed through {hops} agents");
            }
            Whereabouts::There(address) => {
                // What waits there waits here too.
                let waits = observe::asks_to_wait(&parts, &body);
                let _place = waits.then(|| observe::place_to_wait(app)).transpose()?;
                let passed = tokio::select! {
                    passed = pass_on(app, &address, &parts, &body) => passed,
                    () = another_leads(leadership.clone(), &address) => {
                        Err(Lost::Unanswered("another agent leads now".to_owned()))
                    }
                };
                match passed {
                    Ok(response) => {
                        app.peers.remember(&response);
                        return Ok(response);
                    }
                    Err(Lost::Unsent(cause)) => obstacle = format!("{address}: {cause}"),
                    Err(Lost::Unanswered(cause))
                        if passage.repeat.allows(&parts.headers, &body) =>
                    {
                        obstacle = format!("{address}: {cause}");
                        // However long that took: from here on a new leader is looked for.
                        since = app.clock.monotonic();
                    }
                    Err(Lost::Unanswered(cause)) => return Err(unanswered(&address, &cause)),
                }
            }
            Whereabouts::Unknown => {}
        }
        if app.clock.monotonic().saturating_sub(since) > LEADER_PATIENCE {
            break;
        }
        pause(leadership.as_mut()).await;
    }
    let seconds = LEADER_PATIENCE.as_secs();
    Err(Failure::leaderless(format!("no leader answered within {seconds} s ({obstacle})")))
}

/// Completes when an agent leads that is not at this address: the one there is cut off or hangs, and
/// waiting for it helps nobody.
async fn another_leads(leadership: Option<watch::Receiver<Leadership>>, address: &str) {
    let elsewhere =
        |now: &Leadership| now.leader.as_ref().is_some_and(|leader| leader.http_address != address);
    let known = match leadership {
        Some(mut leadership) => leadership.wait_for(elsewhere).await.is_ok(),
        None => false,
    };
    if !known {
        std::future::pending::<()>().await;
    }
}

fn unanswered(address: &str, cause: &str) -> Failure {
    let text = format!(
        "the leader at {address} did not answer ({cause}); whether the request took effect is not known"
    );
    Failure::problem(StatusCode::BAD_GATEWAY, Code::LeaderUnreachable, text).retry_after(1)
}

/// Waits until leadership changes, but not for long: what is known may be right and the agent there
/// only not yet up.
async fn pause(leadership: Option<&mut watch::Receiver<Leadership>>) {
    let Some(leadership) = leadership else {
        return tokio::time::sleep(LOOK_PAUSE).await;
    };
    // Late or gone: either way the loop looks again.
    if let Ok(Err(_gone)) = tokio::time::timeout(LOOK_PAUSE, leadership.changed()).await {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn whereabouts(
    app: &App,
    leadership: Option<&mut watch::Receiver<Leadership>>,
    look: u32,
) -> Whereabouts {
    let Some(leadership) = leadership else {
        return any_voter(app, look);
    };
    // Seen from here on: the pause waits for the next change.
    let leadership = leadership.borrow_and_update();
    match &leadership.leader {
        _ if leadership.is_leader => Whereabouts::Here,
        Some(leader) if leader.node_id != app.node_id => {
            Whereabouts::There(leader.http_address.clone())
        }
        Some(_) | None => Whereabouts::Unknown,
    }
}

/// A client knows by gossip who replicates. It prefers who answered last, then takes turns.
fn any_voter(app: &App, look: u32) -> Whereabouts {
    let mut alive: Vec<_> = app.gossip.members();
    alive.retain(|member| member.raft_address.is_some() && member.state == MemberState::Alive);
    let last = app.peers.last_answerer();
    let preferred = alive.iter().position(|member| Some(&member.node_id) == last.as_ref());
    let turn = usize::try_from(look).unwrap_or(0) + preferred.unwrap_or(0);
    match alive.get(turn % alive.len().max(1)) {
        Some(member) => Whereabouts::There(member.http_address.clone()),
        None => Whereabouts::Unknown,
    }
}

fn hops(headers: &HeaderMap) -> u16 {
    let text = headers.get(HOPS_HEADER).and_then(|value| value.to_str().ok());
    // What cannot be read did not come from an agent.
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Headers of a request that mean something to the agent that answers it.
const REQUEST_HEADERS: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::AUTHORIZATION,
    HeaderName::from_static(TOKEN_HEADER),
    // Without them the leader would carry a retry out again.
    HeaderName::from_static(SESSION_HEADER),
    HeaderName::from_static(SEQ_HEADER),
    HeaderName::from_static(ACKNOWLEDGED_HEADER),
    HeaderName::from_static(MIN_POSITION_HEADER),
];
/// Headers of a reply that mean something to the caller.
const REPLY_HEADERS: [HeaderName; 7] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::ALLOW,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static(NODE_HEADER),
    HeaderName::from_static(POSITION_HEADER),
    HeaderName::from_static(AGE_HEADER),
];

async fn pass_on(app: &App, address: &str, parts: &Parts, body: &Bytes) -> Result<Response, Lost> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request =
        app.peers.http.request(parts.method.clone(), format!("http://{address}{path}"));
    for name in REQUEST_HEADERS {
        if let Some(value) = parts.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let hops = hops(&parts.headers).saturating_add(1);
    let request = request.header(HOPS_HEADER, hops).body(body.clone());
    let reply = request.send().await.map_err(|error| lost(&error))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = reply.status();
    for name in REPLY_HEADERS {
        if let Some(value) = reply.headers().get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if let Ok(value) = HeaderValue::from_str(app.node_id.as_str()) {
        response.headers_mut().insert(HeaderName::from_static(PROXIED_BY_HEADER), value);
    }
    *response.body_mut() = Body::from(collect_reply(reply).await?);
    Ok(response)
}

async fn collect_reply(mut reply: reqwest::Response) -> Result<Vec<u8>, Lost> {
    let mut collected = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(|error| lost(&error))? {
        if collected.len().saturating_add(chunk.len()) > REPLY_BYTES_MAX {
            return Err(Lost::Unanswered(format!("its reply exceeds {REPLY_BYTES_MAX} bytes")));
        }
        collected.extend_from_slice(&chunk);
    }
    Ok(collected)
}

fn lost(error: &reqwest::Error) -> Lost {
    let cause = root_cause(error);
    if error.is_connect() { Lost::Unsent(cause) } else { Lost::Unanswered(cause) }
}

/// What the operating system or the peer said, without the layers around it.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Asks a replica on behalf of a client's own view; nothing when none answers soon.
pub(crate) async fn ask_replica<T: DeserializeOwned>(app: &App, path: &str) -> Option<T> {
    let Whereabouts::There(address) = any_voter(app, 0) else {
        return None;
    };
    let mut request = app.peers.http.get(format!("http://{address}{path}")).timeout(ASK_PATIENCE);
    if let Some(token) = &app.token {
        request = request.bearer_auth(token.reveal());
    }
    let reply = request.send().await.ok()?;
    if !reply.status().is_success() {
        return None;
    }
    serde_json::from_slice(&collect_reply(reply).await.ok()?).ok()
}

/// Passes a GET on to a named agent, at another path.
pub(crate) async fn fetch_from(
    app: &App,
    node_id: &NodeId,
    path: &str,
) -> Result<Response, Failure> {
    let member = app.gossip.members().into_iter().find(|member| member.node_id == *node_id);
    let unreachable = |why: &str| {
        let text = format!("agent {node_id} holds what was asked for, but {why}");
        Failure::problem(StatusCode::BAD_GATEWAY, Code::NodeUnreachable, text)
    };
    let member = member.ok_or_else(|| unreachable("it is not a member now"))?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().map_err(|_bad| unreachable("its path is not valid"))?;
    if let Some(token) = &app.token
        && let Ok(value) = HeaderValue::from_str(token.reveal())
    {
        request.headers_mut().insert(HeaderName::from_static(TOKEN_HEADER), value);
    }
    let (parts, _body) = request.into_parts();
    match pass_on(app, &member.http_address, &parts, &Bytes::new()).await {
        Ok(response) => Ok(response),
        Err(Lost::Unsent(cause) | Lost::Unanswered(cause)) => {
            Err(unreachable(&format!("it does not answer: {cause}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_items_with_keys_are_sent_again() {
        let none = HeaderMap::new();
        let allowed = |body: &str| Repeat::WithKeys.allows(&none, body.as_bytes());
        assert!(allowed(r#"{"key":"a"}"#));
        assert!(allowed(r#"{"items":[{"key":"a"},{"key":"b"}]}"#));
        for body in ["", "{", "{}", r#"{"key":null}"#, r#"{"items":[{"key":"a"},{}]}"#] {
            assert!(!allowed(body), "{body:?} must not be sent again");
        }
        assert!(Repeat::Harmless.allows(&none, b""));
        assert!(!Repeat::Never.allows(&none, br#"{"key":"a"}"#));
    }

    #[test]
    fn what_is_in_a_session_is_sent_again_where_sessions_count() {
        let mut headers = HeaderMap::new();
        for repeat in [Repeat::WithKeys, Repeat::InSession, Repeat::Never] {
            assert!(!repeat.allows(&headers, b"{}"), "{repeat:?}");
        }
        headers.insert(SESSION_HEADER, "1".parse().unwrap());
        assert!(Repeat::WithKeys.allows(&headers, b"{}"));
        assert!(Repeat::InSession.allows(&headers, b"{}"));
        assert!(!Repeat::Never.allows(&headers, b"{}"), "its handler knows no sessions");
    }

    #[test]
    fn hops_are_counted_and_nonsense_is_none() {
        let hops_of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOPS_HEADER, value.parse().unwrap());
            hops(&headers)
        };
        assert_eq!((hops_of("2"), hops_of("-1"), hops_of("x")), (2, 0, 0));
        assert_eq!(hops(&HeaderMap::new()), 0);
    }
}
