//! A client of the stream: one connection to the leader, shared by any number of tasks.
//!
//! A task of its own holds the connection. It opens it when there is something to send, follows
//! redirects to the leader, and opens another one when it broke or fell silent. A request whose connection broke is
//! sent again when a repeat is harmless; any other is answered [`StreamError::Lost`], since nobody
//! knows whether it took effect.

mod dial;
mod driver;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use driver::Driver;
use ringrift_core::id::Position;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::stream::message::{
    AddedWork, Answer, Claim, ClaimedWork, Completion, Failing, Heartbeat, Hold, NewWork,
    Operation, Outcome, Refused, Renewed, Response, SessionStamp,
};

/// Requests of one client without a response; further callers wait for a place.
pub const REQUESTS_MAX: usize = 4_096;
/// How long a request may take beyond the wait that it asks for, when nothing else is said: several
/// elections.
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(10);

/// Where the agents are, and who calls.
#[derive(Clone)]
pub struct Settings {
    /// `host:port` of the HTTP servers of some agents.
    pub addresses: Vec<String>,
    /// The cluster's token.
    pub token: Option<String>,
    /// Name in the agents' logs.
    pub name: String,
    /// How long a request may take beyond the wait that it asks for.
    pub patience: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { addresses, token: _, name, patience } = self;
        write!(f, "Settings {{ addresses: {addresses:?}, name: {name:?}, patience: {patience:?} }}")
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The client cannot be set up.
    #[error("no stream can be opened: {0}")]
    Unusable(String),
    /// It was refused.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// The connection broke after it was sent. Whether it took effect is not known.
    #[error(
        "the connection to {address} broke ({cause}); whether the request took effect is not known"
    )]
    Lost {
        /// Where it was sent.
        address: String,
        /// What happened.
        cause: String,
    },
    /// No answer in time. Whether it took effect is not known.
    #[error("no answer in {patience:?} ({obstacle}); whether the request took effect is not known")]
    Late {
        /// How long it was waited for.
        patience: Duration,
        /// What was in the way last.
        obstacle: String,
    },
    /// The agent answered something else: another version, or a fault of it.
    #[error("the agent answered something else than was asked for: {0}")]
    Foreign(String),
}

/// An answer and the place in the log that it reflects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The place in the log.
    pub position: Position,
    /// The answer.
    pub value: T,
}

/// A client of the stream. Cheap to clone; all clones share one connection, which ends with the last.
#[derive(Debug, Clone)]
pub struct StreamClient {
    calls: mpsc::Sender<Call>,
    places: Arc<Semaphore>,
    patience: Duration,
    obstacle: Arc<Obstacle>,
}

/// A request on its way through the client.
#[derive(Debug)]
struct Call {
    operation: Operation,
    session: Option<SessionStamp>,
    answer: oneshot::Sender<Result<Response, StreamError>>,
    /// Agents that said that they do not lead.
    redirects: u32,
}

impl Call {
    /// A session answers a repeat as the first time; without one it depends on the operation.
    fn repeats_harmlessly(&self) -> bool {
        self.session.is_some() || self.operation.repeats_harmlessly()
    }
}

/// What kept requests from being answered last, for error texts.
#[derive(Debug, Default)]
struct Obstacle(Mutex<String>);

impl Obstacle {
    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn read(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if text.is_empty() { "the agent is slow".to_owned() } else { text }
    }
}

impl StreamClient {
    /// A client; nothing is sent before the first request. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StreamError::Unusable`] when there is no address or no TCP stack.
    pub fn new(settings: Settings) -> Result<Self, StreamError> {
        let patience = settings.patience;
        let obstacle = Arc::new(Obstacle::default());
        let (calls, waiting) = mpsc::channel(REQUESTS_MAX);
        let driver = Driver::new(settings, waiting, Arc::clone(&obstacle))?;
        tokio::spawn(driver.run());
        let places = Arc::new(Semaphore::new(REQUESTS_MAX));
        Ok(Self { calls, places, patience, obstacle })
    }

    /// Sends one request and waits for its response.
    ///
    /// # Errors
    /// As [`StreamError`] says; refusals are errors too.
    pub async fn call(&self, operation: Operation) -> Result<At<Answer>, StreamError> {
        let At { position, value } = self.ask(None, operation).await?;
        let value = value.map_err(|refused| StreamError::Refused(Box::new(refused)))?;
        Ok(At { position, value })
    }

    /// As [`StreamClient::call`], with refusals as answers that have their place in the log, too, and
    /// in a session when one is named: a request that is sent again with the same number is answered
    /// as the first time. So the client sends it again by itself when its connection broke. Claims
    /// of a session do not wait. Heartbeats and completions are in none: they may be repeated anyway.
    ///
    /// # Errors
    /// As [`StreamError`] says; it was refused only when no stream could be opened.
    pub async fn ask(
        &self,
        session: Option<SessionStamp>,
        operation: Operation,
    ) -> Result<At<Result<Answer, Refused>>, StreamError> {
        let wait = match &operation {
            Operation::Claim(claim) => Duration::from_millis(claim.wait_ms),
            Operation::Add(_)
            | Operation::Start(_)
            | Operation::Heartbeat(_)
            | Operation::Complete(_)
            | Operation::Fail(_)
            | Operation::Ping
            | Operation::OpenSession => Duration::ZERO,
        };
        let patience = self.patience.saturating_add(wait);
        let exchange = async {
            let ended = || StreamError::Unusable("the client's task has ended".to_owned());
            let _place = self.places.acquire().await.map_err(|_closed| ended())?;
            let (answer, answered) = oneshot::channel();
            let call = Call { operation, session, answer, redirects: 0 };
            self.calls.send(call).await.map_err(|_closed| ended())?;
            answered.await.map_err(|_closed| ended())?
        };
        let Ok(outcome) = tokio::time::timeout(patience, exchange).await else {
            return Err(StreamError::Late { patience, obstacle: self.obstacle.read() });
        };
        let Response { number: _, position, outcome } = outcome?;
        match outcome {
            Outcome::Done(answer) => Ok(At { position, value: Ok(answer) }),
            Outcome::Refused(refused) => Ok(At { position, value: Err(refused) }),
            Outcome::NotLeader { .. } => Err(StreamError::Foreign("not the leader".to_owned())),
        }
    }

    /// Adds items, all of them or none.
    ///
    /// # Errors
    /// As [`StreamError`] says.
    pub async fn add(&self, items: Vec<NewWork>) -> Result<At<Vec<AddedWork>>, StreamError> {
        self.pick(Operation::Add(items), |answer| match answer {
            Answer::Added(added) => Ok(added),
            other => Err(other),
        })
        .await
    }

    /// Takes work, or waits for some.
    ///
    /// # Errors
    /// As [`StreamError`] says.
    pub async fn claim(&self, claim: Claim) -> Result<At<Vec<ClaimedWork>>, StreamError> {
        self.pick(Operation::Claim(claim), |answer| match answer {
            Answer::Claimed(items) => Ok(items),
            other => Err(other),
        })
        .await
    }

    /// Says that an attempt begins.
    ///
    /// # Errors
    /// As [`StreamError`] says.
    pub async fn start(&self, hold: Hold) -> Result<At<()>, StreamError> {
        self.pick(Operation::Start(hold), |answer| match answer {
            Answer::Started => Ok(()),
            other => Err(other),
        })
        .await
    }

    /// Renews claims.
    ///
    /// # Errors
    /// As [`StreamError`] says.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<At<Renewed>, StreamError> {
        self.pick(Operation::Heartbeat(heartbeat), |answer| match answer {
            Answer::Renewed(renewed) => Ok(renewed),
            other => Err(other),
        })
        .await
    }

    /// Ends items well, each for itself: nothing for one that was accepted, or why it was not.
    ///
    /// # Errors
    /// As [`StreamError`] says.
    pub async fn complete(
        &self,
        completions: Vec<Completion>,
    ) -> Result<At<Vec<Option<Refused>>>, StreamError> {
        self.pick(Operation::Complete(completions), |answer| match answer {
            Answer::Completed(outcomes) => Ok(outcomes),
            other => Err(other),
        })
        .await
    }

    /// Ends an attempt badly. Answers Unix milliseconds of the next one, or nothing.
    ///
    /// # Errors
    /// As [`StreamError`] says.
    pub async fn fail(&self, failing: Failing) -> Result<At<Option<u64>>, StreamError> {
        self.pick(Operation::Fail(failing), |answer| match answer {
            Answer::Failed { retry_at_ms } => Ok(retry_at_ms),
            other => Err(other),
        })
        .await
    }

    async fn pick<T>(
        &self,
        operation: Operation,
        pick: impl FnOnce(Answer) -> Result<T, Answer>,
    ) -> Result<At<T>, StreamError> {
        let At { position, value } = self.call(operation).await?;
        let value = pick(value).map_err(|other| StreamError::Foreign(format!("{other:?}")))?;
        Ok(At { position, value })
    }
}
