//! Around every request: a place, a count, and the headers that every reply carries.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ringrift_wire::problem::Code;
use ringrift_wire::{NODE_HEADER, POSITION_HEADER};

use super::App;
use super::failure::Failure;

/// Requests in progress, claims that wait for work among them: each may hold a body in memory.
pub(crate) const REQUESTS_MAX: usize = 4_096;

pub(crate) async fn request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let response = match app.requests.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_full) => {
            let text = format!("this agent serves {REQUESTS_MAX} requests already; retry later");
            Failure::problem(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, text)
                .retry_after(1)
                .into_response()
        }
    };
    app.metrics.count_request(route, response.status().as_u16());
    with_headers(&app, response)
}

/// A forwarded reply has these headers already, from the agent that answered.
fn with_headers(app: &App, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if !headers.contains_key(NODE_HEADER)
        && let Ok(value) = HeaderValue::from_str(app.node_id.as_str())
    {
        headers.insert(HeaderName::from_static(NODE_HEADER), value);
    }
    if !headers.contains_key(POSITION_HEADER) {
        let position = app.position();
        let text = format!("{}.{}", position.term, position.index);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(POSITION_HEADER), value);
        }
    }
    response
}
