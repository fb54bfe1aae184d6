//! How a client of the load talks to the agents: by the stream for what it carries, by HTTP for the
//! rest. Every answer becomes an outcome with its position; whatever leaves a doubt becomes unknown.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use ringrift_core::id::Position;
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::stream::client::{At, Settings, StreamClient};
use ringrift_wire::stream::message as wire;
use ringrift_wire::{ACKNOWLEDGED_HEADER, POSITION_HEADER, SEQ_HEADER, SESSION_HEADER};
use serde_json::{Value, json};

use super::words;
use crate::history::{Answer, Ask, Outcome, Way};

/// How long one request may take beyond the wait that it asks for: several elections.
const PATIENCE: Duration = Duration::from_secs(8);
/// A machine that is cut off does not refuse a connection; it stays silent.
const CONNECT_PATIENCE: Duration = Duration::from_millis(500);

/// A place in a session, as both interfaces take it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) session: u64,
    pub(crate) seq: u64,
    pub(crate) acknowledged: u64,
}

/// The agents, as one machine of clients reaches them.
#[derive(Debug)]
pub(crate) struct Door {
    stream: StreamClient,
    http: reqwest::Client,
    addresses: Vec<String>,
    /// The agent that answered last.
    turn: AtomicUsize,
}

impl Door {
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// What the two clients say.
    pub(crate) fn open(addresses: &[String], name: &str) -> Result<Self, String> {
        let settings = Settings {
            addresses: addresses.to_vec(),
            token: None,
            name: name.to_owned(),
            patience: PATIENCE,
        };
        let stream = StreamClient::new(settings).map_err(|error| error.to_string())?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { stream, http, addresses: addresses.to_vec(), turn: AtomicUsize::new(0) })
    }

    /// Opens a session; nothing when it is not known whether one was opened.
    pub(crate) async fn session(&self) -> Option<u64> {
        match self.stream.call(wire::Operation::OpenSession).await {
            Ok(At { value: wire::Answer::Session(session), .. }) => Some(session),
            Ok(_) | Err(_) => None,
        }
    }

    /// Asks, on behalf of `node`, and says what came of it.
    pub(crate) async fn ask(&self, node: &str, ask: &Ask, place: Option<Place>) -> (Way, Outcome) {
        match words::operation(node, ask) {
            Some(operation) => (Way::Stream, self.ask_stream(operation, place).await),
            None => (Way::Http, self.ask_http(ask, place).await),
        }
    }

    async fn ask_stream(&self, operation: wire::Operation, place: Option<Place>) -> Outcome {
        let stamp = place.map(|Place { session, seq, acknowledged }| wire::SessionStamp {
            session,
            seq,
            acknowledged,
        });
        match self.stream.ask(stamp, operation).await {
            Ok(At { position, value: Ok(answer) }) => words::answered(position, answer),
            Ok(At { position, value: Err(refused) }) => match refused.code() {
                Some(code) if decides(code) => Outcome::Refused(position, refused.code),
                Some(code) if declines(code) => Outcome::Declined(refused.to_string()),
                _ => Outcome::Unknown(refused.to_string()),
            },
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    async fn ask_http(&self, ask: &Ask, place: Option<Place>) -> Outcome {
        let (method, path, body) = words::request(ask);
        match self.exchange(method, &path, &body, place).await {
            Ok((position, Ok(value))) => match words::replied(ask, &value) {
                Some(answer) => Outcome::Done(position, answer),
                None => Outcome::Unknown(format!("not understood: {value}")),
            },
            Ok((position, Err(problem))) if decides(problem.code) => {
                if matches!(ask, Ask::Look(_)) && problem.code == Code::WorkUnknown {
                    Outcome::Done(position, Answer::Seen(words::unseen()))
                } else {
                    Outcome::Refused(position, problem.code.as_str().to_owned())
                }
            }
            Ok((_, Err(problem))) if declines(problem.code) => {
                Outcome::Declined(problem.to_string())
            }
            Ok((_, Err(problem))) => Outcome::Unknown(problem.to_string()),
            Err(cause) => Outcome::Unknown(cause),
        }
    }

    /// One request to one agent. Another is asked the next time when this one does not answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        place: Option<Place>,
    ) -> Result<(Position, Result<Value, Problem>), String> {
        let turn = self.turn.load(Ordering::Relaxed);
        let address = &self.addresses[turn % self.addresses.len().max(1)];
        let mut request = self.http.request(method.clone(), format!("http://{address}{path}"));
        if method != Method::GET {
            request = request.json(body);
        }
        if let Some(Place { session, seq, acknowledged }) = place {
            request = request
                .header(SESSION_HEADER, format!("s{session}"))
                .header(SEQ_HEADER, seq)
                .header(ACKNOWLEDGED_HEADER, acknowledged);
        }
        let exchange = async {
            let response = request.send().await?;
            let position = response.headers().get(POSITION_HEADER).cloned();
            let status = response.status();
            Ok::<_, reqwest::Error>((status, position, response.bytes().await?))
        };
        let (status, position, bytes) = exchange.await.map_err(|error| {
            self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
            format!("{address}: {error}")
        })?;
        let position = position
            .and_then(|value| words::position(value.to_str().ok()?))
            .ok_or_else(|| format!("{address} names no position"))?;
        if status == StatusCode::OK {
            let value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            return Ok((position, Ok(value)));
        }
        let problem: Problem = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if status.is_server_error() {
            self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        }
        Ok((position, Err(problem)))
    }

    /// Items that have not ended, by the leader's word.
    pub(crate) async fn unfinished(&self) -> Result<u64, String> {
        let reply = self.exchange(Method::GET, "/work/status", &json!({}), None).await?;
        let (_, value) = reply;
        let value = value.map_err(|problem| problem.to_string())?;
        value["backpressure"]["pending_count"].as_u64().ok_or_else(|| format!("no count: {value}"))
    }
}

/// Codes by which the machine itself refuses a request, for good.
const fn decides(code: Code) -> bool {
    matches!(
        code,
        Code::WorkUnknown
            | Code::WorkEnded
            | Code::Fenced
            | Code::KeyConflict
            | Code::LockHeld
            | Code::LockNotHeld
    )
}

/// Codes of a refusal that changed nothing and is not for good: there is no room, on the disk or in a
/// queue. It comes before anything is proposed, or from the machine.
const fn declines(code: Code) -> bool {
    matches!(code, Code::StorageFull | Code::Backpressure)
}
