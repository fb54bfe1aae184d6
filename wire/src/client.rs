//! A thin typed client, used by the controller, the CLI, the agents' workers and the tests.
//!
//! When an agent does not answer, another is asked, unless the first may have done what a repeat would
//! do once more. Requests of that kind go in a session of the client's own where the agents offer it,
//! and are sent again there; the others are not, and the caller is told that the outcome is not known.

mod repeat;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use repeat::Repeat;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use session::{Fixed, Place, Sessions};

use crate::problem::{Code, Problem};
use crate::tenancy::Session;
use crate::{lock, run, status, work};

/// A download of many gigabytes over a slow line.
const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(3_600);
/// Between two pieces of a download; the agent may first have to write a snapshot.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);
/// Tries of a request in a session, at least: behind one address there may be many agents.
const TRIES_IN_SESSION_MIN: usize = 2;
/// Sessions that one request is begun in: one that ended while the client was silent, and a fresh one.
const SESSIONS_OF_REQUEST_MAX: usize = 2;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent answered at any address.
    #[error("no agent answered at {tried}: {cause}")]
    Unreachable {
        /// The addresses that were tried.
        tried: String,
        /// The last error.
        cause: String,
    },
    /// The request left, no answer came, and a repeat could do more. Whether it took effect is not
    /// known.
    #[error("{address} did not answer ({cause}); whether the request took effect is not known")]
    Unanswered {
        /// The address that was asked last.
        address: String,
        /// The last error.
        cause: String,
    },
    /// The agent refused.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer is not what it should be: another program, or another version.
    #[error("the agent at {address} answered {status} with a body that is not RingRift's: {cause}")]
    Foreign {
        /// The address.
        address: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with the body.
        cause: String,
    },
}

impl ClientError {
    /// The problem, when the agent refused.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unreachable { .. } | Self::Unanswered { .. } | Self::Foreign { .. } => None,
        }
    }
}

/// A client of a cluster: it tries its addresses in turn until one agent answers, and stays with it.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    addresses: Arc<[String]>,
    preferred: Arc<AtomicUsize>,
    token: Option<String>,
    /// Nothing when the client is to do without.
    sessions: Option<Arc<Sessions>>,
    /// Where its requests stand in a session that the caller keeps.
    fixed: Option<Fixed>,
}

/// What is asked of an agent.
struct Request<'a> {
    method: Method,
    path: &'a str,
    body: Option<Bytes>,
    /// For the whole reply, when it is not the client's.
    patience: Option<Duration>,
}

impl<'a> Request<'a> {
    const fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, patience: None }
    }
}

/// What an agent answered.
struct Reply {
    address: String,
    status: reqwest::StatusCode,
    bytes: Bytes,
}

impl Reply {
    fn read<R: DeserializeOwned>(self) -> Result<R, ClientError> {
        let Self { address, status, bytes } = self;
        let foreign = |error: serde_json::Error| ClientError::Foreign {
            address,
            status: status.as_u16(),
            cause: error.to_string(),
        };
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(foreign);
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(error) => Err(foreign(error)),
        }
    }

    /// The code of a refusal.
    fn refusal(&self) -> Option<Code> {
        if self.status.is_success() {
            return None;
        }
        serde_json::from_slice::<Problem>(&self.bytes).ok().map(|problem| problem.code)
    }
}

/// Why a try brought no reply.
struct Lost {
    /// Whether it may have been received.
    sent: bool,
    cause: String,
}

impl Lost {
    fn of(error: &reqwest::Error) -> Self {
        Self { sent: !error.is_connect() && !error.is_builder(), cause: root_cause(error) }
    }
}

/// What came of a request in one session.
enum InSession {
    Answered(Reply),
    /// The session had ended before the first try.
    Over,
}

impl Client {
    /// A client of the agents at `addresses`, each `host:port` or `http://host:port`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when `addresses` is empty or no TCP stack can be set up.
    pub fn new(
        addresses: &[String],
        token: Option<String>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let unreachable =
            |cause: String| ClientError::Unreachable { tried: addresses.join(", "), cause };
        if addresses.is_empty() {
            return Err(unreachable("no address was given".to_owned()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .timeout(timeout)
            .no_proxy()
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        let with_scheme = |address: &String| {
            if address.contains("://") {
                address.trim_end_matches('/').to_owned()
            } else {
                format!("http://{address}")
            }
        };
        Ok(Self {
            http,
            addresses: addresses.iter().map(with_scheme).collect(),
            preferred: Arc::default(),
            token,
            sessions: Some(Arc::default()),
            fixed: None,
        })
    }

    /// The same client for one request of a session that the caller keeps: sent again, it gets the
    /// answer that it got first. The answers to all requests below `acknowledged` have come.
    #[must_use]
    pub fn in_session(&self, session: &str, seq: u64, acknowledged: u64) -> Self {
        let fixed = Fixed { session: session.to_owned(), seq, acknowledged };
        Self { fixed: Some(fixed), ..self.clone() }
    }

    /// A client that opens no session, for callers who tell repeats apart by other means, or who can
    /// do with not knowing.
    #[must_use]
    pub fn without_sessions(mut self) -> Self {
        self.sessions = None;
        self
    }

    /// Closes the client's session, if it opened one. Without this it ends by itself ten minutes later.
    pub async fn close(&self) {
        let Some(sessions) = &self.sessions else { return };
        if let Some(id) = sessions.take().await {
            // It ends in any case.
            let _ = self.delete::<(), Session>(&format!("/sessions/{id}"), &()).await;
        }
    }

    /// Any GET that answers JSON.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, ClientError> {
        self.call::<(), R>(Method::GET, path, None).await
    }

    /// Any POST of JSON that answers JSON.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn post<B: Serialize + Sync, R: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<R, ClientError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Any PUT of JSON that answers JSON.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn put<B: Serialize + Sync, R: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<R, ClientError> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// Any DELETE with a JSON body that answers JSON.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn delete<B: Serialize + Sync, R: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<R, ClientError> {
        self.call(Method::DELETE, path, Some(body)).await
    }

    /// Any GET that answers text.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let (address, response) = self.send(&Request::get(path)).await?;
        let status = response.status();
        let foreign = |cause: String| ClientError::Foreign {
            address: address.clone(),
            status: status.as_u16(),
            cause,
        };
        let text = response.text().await.map_err(|error| foreign(error.to_string()))?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(error) => Err(foreign(error.to_string())),
        }
    }

    /// A GET whose reply is too large for memory; each piece goes to `sink` as it comes. Answers how
    /// many bytes there were.
    ///
    /// # Errors
    /// As [`ClientError`] says; [`ClientError::Foreign`] also when the connection breaks on the way or
    /// `sink` fails.
    pub async fn download(
        &self,
        path: &str,
        mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<u64, ClientError> {
        let request = Request { patience: Some(DOWNLOAD_PATIENCE), ..Request::get(path) };
        let (address, mut response) = self.send(&request).await?;
        let status = response.status();
        let foreign = |cause: String| ClientError::Foreign {
            address: address.clone(),
            status: status.as_u16(),
            cause,
        };
        if !status.is_success() {
            let bytes = response.bytes().await.map_err(|error| foreign(root_cause(&error)))?;
            return Err(match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) => ClientError::Refused(Box::new(problem)),
                Err(error) => foreign(error.to_string()),
            });
        }
        let mut total = 0;
        loop {
            let chunk = tokio::time::timeout(PIECE_PATIENCE, response.chunk()).await;
            let chunk = chunk.map_err(|_silent| foreign("it fell silent".to_owned()))?;
            match chunk.map_err(|error| foreign(root_cause(&error)))? {
                None => return Ok(total),
                Some(chunk) => {
                    total += chunk.len() as u64;
                    sink(&chunk).map_err(|error| foreign(error.to_string()))?;
                }
            }
        }
    }

    async fn call<B: Serialize + Sync, R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<R, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| self.unreachable(error.to_string()))?.map(Bytes::from);
        let repeat = Repeat::of(&method, path, body.as_deref().unwrap_or_default());
        let request = Request { method, path, body, patience: None };
        let reply = match (repeat, &self.sessions) {
            _ if self.fixed.is_some() => self.ask(&request, true).await,
            (Repeat::InSession, Some(sessions)) => self.ask_in_session(sessions, &request).await,
            (Repeat::Harmless, _) => self.ask(&request, true).await,
            (Repeat::InSession, None) | (Repeat::Never, _) => self.ask(&request, false).await,
        };
        reply?.read()
    }

    /// Asks one address after another. When a try may have been received, only what may be repeated is
    /// sent again.
    async fn ask(&self, request: &Request<'_>, again: bool) -> Result<Reply, ClientError> {
        let mut cause = String::new();
        for at in self.turns(self.addresses.len()) {
            match self.exchange(at, request, None).await {
                Ok(reply) => return Ok(reply),
                Err(lost) if lost.sent && !again => return Err(self.unanswered(at, lost.cause)),
                Err(lost) => cause = lost.cause,
            }
        }
        Err(self.unreachable(cause))
    }

    /// Asks in the client's session, and without one when the agents have none to give.
    async fn ask_in_session(
        &self,
        sessions: &Sessions,
        request: &Request<'_>,
    ) -> Result<Reply, ClientError> {
        for _ in 0..SESSIONS_OF_REQUEST_MAX {
            let Some(place) = sessions.enter(self.open_session()).await? else { break };
            match self.repeat_in(&place, request).await? {
                InSession::Answered(reply) => return Ok(reply),
                InSession::Over => sessions.forget(&place).await,
            }
        }
        self.ask(request, false).await
    }

    async fn open_session(&self) -> Result<Option<String>, ClientError> {
        let request = Request { method: Method::POST, ..Request::get("/sessions") };
        // One that nobody knows of ends by itself.
        match self.ask(&request, true).await.and_then(Reply::read::<Session>) {
            Ok(session) => Ok(Some(session.session_id)),
            Err(ClientError::Refused(_) | ClientError::Foreign { .. }) => Ok(None),
            Err(error @ (ClientError::Unreachable { .. } | ClientError::Unanswered { .. })) => {
                Err(error)
            }
        }
    }

    /// Sends a request until an agent answers it for certain, or all addresses had their turn.
    async fn repeat_in(
        &self,
        place: &Place,
        request: &Request<'_>,
    ) -> Result<InSession, ClientError> {
        let tries = self.addresses.len().max(TRIES_IN_SESSION_MIN);
        let (mut was_sent, mut last) = (false, None);
        for at in self.turns(tries) {
            match self.exchange(at, request, Some(place)).await {
                Ok(reply) => match reply.refusal() {
                    // What became of an earlier try can never be told: it is not tried anew.
                    Some(Code::SessionUnknown) if !was_sent => return Ok(InSession::Over),
                    Some(Code::LeaderUnreachable | Code::CommitTimeout) => {
                        was_sent = true;
                        last = Some(Ok(reply));
                        self.avoid(at);
                    }
                    Some(_) | None => return Ok(InSession::Answered(reply)),
                },
                Err(lost) => {
                    was_sent |= lost.sent;
                    last = Some(Err((at, lost.cause)));
                }
            }
        }
        match last {
            Some(Ok(reply)) => Ok(InSession::Answered(reply)),
            Some(Err((at, cause))) if was_sent => Err(self.unanswered(at, cause)),
            Some(Err((_, cause))) => Err(self.unreachable(cause)),
            None => Err(self.unreachable("it has no address".to_owned())),
        }
    }

    /// So many addresses by their index, the one that answered last before the others.
    fn turns(&self, tries: usize) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.preferred.load(Ordering::Relaxed), self.addresses.len().max(1));
        (0..tries).map(move |turn| (first + turn) % count)
    }

    /// Asks another address first from now on, unless somebody else moved on already.
    fn avoid(&self, at: usize) {
        let next = (at + 1) % self.addresses.len().max(1);
        let order = Ordering::Relaxed;
        // Either way it is not this one now.
        let _ = self.preferred.compare_exchange(at, next, order, order);
    }

    fn unreachable(&self, cause: String) -> ClientError {
        ClientError::Unreachable { tried: self.addresses.join(", "), cause }
    }

    fn unanswered(&self, at: usize, cause: String) -> ClientError {
        let address = self.addresses.get(at).cloned().unwrap_or_default();
        ClientError::Unanswered { address, cause }
    }

    /// A GET whose reply is read by the caller, asked of one address after another.
    async fn send(
        &self,
        request: &Request<'_>,
    ) -> Result<(String, reqwest::Response), ClientError> {
        let mut cause = String::new();
        for at in self.turns(self.addresses.len()) {
            match self.send_to(at, request, None).await {
                Ok(sent) => return Ok(sent),
                Err(lost) => cause = lost.cause,
            }
        }
        Err(self.unreachable(cause))
    }

    /// One try, with the whole reply.
    async fn exchange(
        &self,
        at: usize,
        request: &Request<'_>,
        place: Option<&Place>,
    ) -> Result<Reply, Lost> {
        let (address, response) = self.send_to(at, request, place).await?;
        let status = response.status();
        match response.bytes().await {
            Ok(bytes) => Ok(Reply { address, status, bytes }),
            Err(error) => {
                self.avoid(at);
                Err(Lost { sent: true, cause: root_cause(&error) })
            }
        }
    }

    /// One try, up to the head of the reply. After a failure the next request asks another first.
    async fn send_to(
        &self,
        at: usize,
        request: &Request<'_>,
        place: Option<&Place>,
    ) -> Result<(String, reqwest::Response), Lost> {
        let Request { method, path, body, patience } = request;
        let address = self.addresses.get(at).cloned().unwrap_or_default();
        let mut builder = self.http.request(method.clone(), format!("{address}{path}"));
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token);
        }
        if let Some(body) = body {
            let json = "application/json";
            builder = builder.header(reqwest::header::CONTENT_TYPE, json).body(body.clone());
        }
        if let Some(patience) = patience {
            builder = builder.timeout(*patience);
        }
        if let Some(place) = place {
            builder = place.mark(builder);
        } else if let Some(fixed) = &self.fixed {
            builder = fixed.mark(builder);
        }
        match builder.send().await {
            Ok(response) => Ok((address, response)),
            Err(error) => {
                self.avoid(at);
                Err(Lost::of(&error))
            }
        }
    }

    /// `GET /status`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn status(&self) -> Result<status::Status, ClientError> {
        self.get("/status").await
    }

    /// `POST /work/claim`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn claim(&self, claim: &work::Claim) -> Result<work::Claimed, ClientError> {
        self.post("/work/claim", claim).await
    }

    /// `POST /raft/lock/{name}`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn acquire(
        &self,
        name: &str,
        acquire: &lock::Acquire,
    ) -> Result<lock::Acquired, ClientError> {
        self.post(&format!("/raft/lock/{name}"), acquire).await
    }

    /// `POST /runs`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn submit(&self, submit: &run::Submit) -> Result<run::Submitted, ClientError> {
        self.post("/runs", submit).await
    }

    /// `GET /runs/{run_id}`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn run(&self, run_id: &str) -> Result<run::RunStatus, ClientError> {
        self.get(&format!("/runs/{run_id}")).await
    }

    /// `POST /runs/{run_id}/cancel`.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn cancel_run(&self, run_id: &str) -> Result<run::RunStatus, ClientError> {
        self.post(&format!("/runs/{run_id}/cancel"), &serde_json::json!({})).await
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn core::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
