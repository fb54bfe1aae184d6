//! Health and metrics. Neither of the two asks the API server: a controller that is restarted since
//! the API server is slow makes both worse.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ringrift_telemetry::metrics::CONTENT_TYPE;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// The elector turns every few seconds, whatever the API server does, for each of its calls has a
/// timeout. A silence of this length is a deadlock.
const TURN_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Signs of life, written by the elector and read by the probes.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    turned_at_ms: AtomicU64,
    seen_api: AtomicBool,
}

impl Pulse {
    /// The elector has turned once more.
    pub(crate) fn turned(&self, now: Duration) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.turned_at_ms.store(now_ms, Ordering::Relaxed);
    }

    /// The API server has answered; from now on this replica is of use.
    pub(crate) fn seen_api(&self) {
        self.seen_api.store(true, Ordering::Relaxed);
    }

    fn alive(&self, now: Duration) -> bool {
        let turned_at = Duration::from_millis(self.turned_at_ms.load(Ordering::Relaxed));
        now.saturating_sub(turned_at) < TURN_SILENCE_MAX
    }

    fn ready(&self) -> bool {
        self.seen_api.load(Ordering::Relaxed)
    }
}

/// What the handlers read.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
}

/// Serves until `shutdown`.
///
/// # Errors
/// The listener's.
pub(crate) async fn serve(
    listener: TcpListener,
    probes: Probes,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(probes);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}

async fn healthz(State(probes): State<Probes>) -> Response {
    answer(
        probes.pulse.alive(probes.clock.monotonic()),
        "the elector has not turned for too long\n",
    )
}

async fn readyz(State(probes): State<Probes>) -> Response {
    answer(probes.pulse.ready(), "the API server has not answered yet\n")
}

fn answer(good: bool, otherwise: &'static str) -> Response {
    if good {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response()
    }
}

async fn metrics(State(probes): State<Probes>) -> Response {
    match probes.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_elector_is_a_dead_process_and_a_silent_api_server_is_not() {
        let pulse = Pulse::default();
        assert!(!pulse.ready());
        assert!(pulse.alive(TURN_SILENCE_MAX / 2));
        assert!(!pulse.alive(TURN_SILENCE_MAX));
        pulse.turned(TURN_SILENCE_MAX);
        assert!(pulse.alive(TURN_SILENCE_MAX + TURN_SILENCE_MAX / 2));
        assert!(!pulse.ready(), "turning is not answering");
        pulse.seen_api();
        assert!(pulse.ready());
    }
}
