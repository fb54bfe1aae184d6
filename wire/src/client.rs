//! A thin typed client, used by the controller, the CLI, the agents' workers and the tests.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::{ACKNOWLEDGED_HEADER, SEQ_HEADER, SESSION_HEADER, lock, run, status, work};

/// A download of many gigabytes over a slow line.
const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(3_600);
/// Between two pieces of a download; the agent may first have to write a snapshot.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent answered at any address. Whether a mutation took effect is not known.
    #[error("no agent answered at {tried}: {cause}")]
    Unreachable {
        /// The addresses that were tried.
        tried: String,
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
            Self::Unreachable { .. } | Self::Foreign { .. } => None,
        }
    }
}

/// A client of a cluster: it tries its addresses in turn until one agent answers, and stays with it.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    addresses: std::sync::Arc<[String]>,
    preferred: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    token: Option<String>,
    place: Option<Place>,
}

/// The place of requests in a session.
#[derive(Debug, Clone)]
struct Place {
    session: String,
    seq: u64,
    acknowledged: u64,
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
            preferred: std::sync::Arc::default(),
            token,
            place: None,
        })
    }

    /// The same client for one request of a session: sent again, it gets the answer that it got
    /// first. The answers to all requests below `acknowledged` have come.
    #[must_use]
    pub fn in_session(&self, session: &str, seq: u64, acknowledged: u64) -> Self {
        let place = Place { session: session.to_owned(), seq, acknowledged };
        Self { place: Some(place), ..self.clone() }
    }

    /// Any GET that answers JSON.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, ClientError> {
        self.call::<(), R>(reqwest::Method::GET, path, None).await
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
        self.call(reqwest::Method::POST, path, Some(body)).await
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
        self.call(reqwest::Method::PUT, path, Some(body)).await
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
        self.call(reqwest::Method::DELETE, path, Some(body)).await
    }

    /// Any GET that answers text.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let (address, response) = self.send::<()>(reqwest::Method::GET, path, None).await?;
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
        let sent =
            self.request_all::<()>(reqwest::Method::GET, path, None, Some(DOWNLOAD_PATIENCE));
        let (address, mut response) = sent.await?;
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
        method: reqwest::Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<R, ClientError> {
        let (address, response) = self.send(method, path, body).await?;
        let status = response.status();
        let foreign =
            |cause: String| ClientError::Foreign { address, status: status.as_u16(), cause };
        let bytes = match response.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => return Err(foreign(error.to_string())),
        };
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| foreign(error.to_string()));
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(error) => Err(foreign(error.to_string())),
        }
    }

    async fn send<B: Serialize + Sync>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(String, reqwest::Response), ClientError> {
        self.request_all(method, path, body, None).await
    }

    /// Asks one address after another. `patience` is for the whole reply, when it is not the client's.
    async fn request_all<B: Serialize + Sync>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&B>,
        patience: Option<Duration>,
    ) -> Result<(String, reqwest::Response), ClientError> {
        use std::sync::atomic::Ordering::Relaxed;
        let first = self.preferred.load(Relaxed);
        let mut cause = String::new();
        for turn in 0..self.addresses.len() {
            let at = (first + turn) % self.addresses.len();
            let address = &self.addresses[at];
            let mut request = self.http.request(method.clone(), format!("{address}{path}"));
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            if let Some(Place { session, seq, acknowledged }) = &self.place {
                request = request
                    .header(SESSION_HEADER, session)
                    .header(SEQ_HEADER, *seq)
                    .header(ACKNOWLEDGED_HEADER, *acknowledged);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(patience) = patience {
                request = request.timeout(patience);
            }
            match request.send().await {
                Ok(response) => {
                    self.preferred.store(at, Relaxed);
                    return Ok((address.clone(), response));
                }
                Err(error) => cause = root_cause(&error),
            }
        }
        Err(ClientError::Unreachable { tried: self.addresses.join(", "), cause })
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
