//! Who may call: whoever sends the cluster's token, when there is one.
//!
//! Open to everyone are health, metrics, the index, the OpenAPI document, and the status views of
//! the cluster, which show counts and addresses. Guarded are all mutations, and every read that
//! shows payloads, results or output, since those may hold secrets. Without a token all is open,
//! and the agent listens on loopback only.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ringrift_wire::TOKEN_HEADER;
use ringrift_wire::problem::Code;
use subtle::ConstantTimeEq as _;

use super::App;
use super::failure::Failure;

/// Lets a request pass when no token is set, or when it carries the right one.
pub(crate) async fn demand(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let expected = app.token.as_ref();
    if expected.is_none_or(|token| carries(request.headers(), token.reveal())) {
        next.run(request).await
    } else {
        Failure::problem(StatusCode::UNAUTHORIZED, Code::Unauthorized, "unauthorized")
            .into_response()
    }
}

/// Whether either header carries the token. The comparison takes the same time wherever the texts
/// begin to differ.
fn carries(headers: &HeaderMap, token: &str) -> bool {
    let bearer = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let bearer = bearer.and_then(|value| {
        let (scheme, rest) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
    });
    let own = headers.get(TOKEN_HEADER).map(|value| value.as_bytes());
    [bearer, own].into_iter().flatten().any(|given| bool::from(given.ct_eq(token.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_header_will_do_and_nothing_else() {
        let sent = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            carries(&headers, "s3cret")
        };
        assert!(sent("authorization", "Bearer s3cret"));
        assert!(sent("authorization", "bearer s3cret"));
        assert!(sent("x-ringrift-auth", "s3cret"));
        assert!(!sent("authorization", "s3cret"));
        assert!(!sent("authorization", "Basic s3cret"));
        assert!(!sent("authorization", "Bearer s3cret2"));
        assert!(!sent("x-ringrift-auth", "s3cre"));
        assert!(!sent("x-ringrift-auth", ""));
        assert!(!carries(&HeaderMap::new(), "s3cret"));
    }
}
