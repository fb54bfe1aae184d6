//! The binary stream to the queue: thousands of requests on their way over a few connections.
//!
//! `GET /work/stream` turns an HTTP connection into a stream, so that the token, the port and the
//! chart stay as they are; `ringrift_wire::stream` has the messages. Only the leader carries requests
//! out. Any other agent says where it is, and the client goes there: what comes by the thousand a
//! second is not passed on by somebody else.
//!
//! One task holds a connection. It reads what has come, decodes all of it, proposes it as one batch,
//! and writes the responses that are ready in one go.

mod batch;
mod connection;
mod convert;
mod greet;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use ringrift_wire::problem::{Code, Problem};
use ringrift_wire::stream::UPGRADE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::App;
use crate::http::failure::Failure;

/// Streams at once: one for each of thousands of workers, within the usual bound of open files.
pub(crate) const STREAMS_MAX: usize = 4_096;
/// Requests of one stream without a response. Beyond it new work is refused with `BACKPRESSURE`.
pub(crate) const REQUESTS_MAX: usize = 4_096;
/// What ends or keeps work is still taken up to this; beyond it the stream is not read.
const REQUESTS_HARD_MAX: usize = 2 * REQUESTS_MAX;
/// Requests of all streams without a response, claims that wait among them.
const REQUESTS_TOTAL_MAX: usize = 65_536;
/// Bytes of large requests that arrive at once, all streams together: a frame is held in memory until
/// it is whole.
const LARGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The client sends its first bytes right behind the upgrade.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(5);

/// The streams of this agent.
#[derive(Debug)]
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    /// Requests without a response, all streams together.
    requests: AtomicUsize,
    /// Bytes for frames that are larger than one read.
    large: Arc<Semaphore>,
    tasks: TaskTracker,
    ending: CancellationToken,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            requests: AtomicUsize::new(0),
            large: Arc::new(Semaphore::new(LARGE_BYTES_MAX)),
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Streams that are open.
    pub(crate) fn open(&self) -> usize {
        STREAMS_MAX.saturating_sub(self.places.available_permits())
    }

    /// Ends all streams and waits until what they carried is answered.
    pub(crate) async fn end(&self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether there is room for another request among all streams.
    fn has_room(&self) -> bool {
        self.requests.load(Ordering::Relaxed) < REQUESTS_TOTAL_MAX
    }
}

/// Turns the connection into a binary stream; see the protocol's own page.
#[utoipa::path(
    get, path = "/work/stream", operation_id = "work_stream", tag = "work",
    responses(
        (status = 101, description = "The connection is a stream from here on."),
        (status = "default", body = Problem)
    )
)]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    mut request: Request,
) -> Result<Response, Failure> {
    if !asks_for_stream(request.headers()) {
        let text = format!("this path takes HTTP/1.1 requests with `Upgrade: {UPGRADE}` only");
        return Err(Failure::problem(StatusCode::UPGRADE_REQUIRED, Code::Unsupported, text));
    }
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        let text = "this connection cannot be upgraded; use HTTP/1.1 without a proxy in between";
        return Err(Failure::problem(StatusCode::UPGRADE_REQUIRED, Code::Unsupported, text));
    };
    let Ok(place) = Arc::clone(&app.streams.places).try_acquire_owned() else {
        let text = format!("this agent holds {STREAMS_MAX} streams already; retry later");
        let failure = Failure::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text);
        return Err(failure.retry_after(1));
    };
    let tasks = app.streams.tasks.clone();
    tasks.spawn(serve(app, upgrade, place));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(UPGRADE));
    Ok(response)
}

fn asks_for_stream(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(word))
    };
    has(header::UPGRADE, UPGRADE) && has(header::CONNECTION, "upgrade")
}

async fn serve(app: Arc<App>, upgrade: OnUpgrade, place: OwnedSemaphorePermit) {
    let ending = app.streams.ending.clone();
    let upgraded = tokio::select! {
        upgraded = tokio::time::timeout(UPGRADE_PATIENCE, upgrade) => upgraded,
        () = ending.cancelled() => return,
    };
    let ended = match upgraded {
        Ok(Ok(upgraded)) => connection::run(&app, TokioIo::new(upgraded)).await,
        Ok(Err(error)) => Err(std::io::Error::other(error)),
        Err(elapsed) => Err(elapsed.into()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "stream ended");
    }
    drop(place);
}
