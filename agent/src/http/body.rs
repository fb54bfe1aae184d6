//! Bodies and queries: bounded, typed, and refused with the name of the field at fault.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt as _;
use ringrift_wire::problem::Code;
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// A body of one request: a payload or result with room for its JSON escapes and its frame.
pub(crate) const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A body of many items; with full payloads it holds a hundred of them, with small ones a thousand.
pub(crate) const BATCH_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A caller that needs longer than this for its body holds a place that others need.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Reads a body up to `bytes_max`.
pub(crate) async fn collect(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, Failure> {
    let too_large = || {
        let text = format!("the body must hold at most {bytes_max} bytes; send smaller batches");
        Failure::problem(StatusCode::PAYLOAD_TOO_LARGE, Code::BodyTooLarge, text).at("body")
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced = announced.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    if announced > bytes_max {
        return Err(too_large());
    }
    let read = async {
        let mut collected = Vec::with_capacity(announced);
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                let text = format!("the body ended early: {error}");
                Failure::problem(StatusCode::BAD_REQUEST, Code::MalformedBody, text).at("body")
            })?;
            if collected.len().saturating_add(chunk.len()) > bytes_max {
                return Err(too_large());
            }
            collected.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(collected))
    };
    tokio::time::timeout(BODY_PATIENCE, read).await.unwrap_or_else(|_elapsed| {
        let text = format!("the body did not arrive within {} s", BODY_PATIENCE.as_secs());
        Err(Failure::problem(StatusCode::REQUEST_TIMEOUT, Code::MalformedBody, text).at("body"))
    })
}

/// A JSON body of a known shape.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let bytes = collect(&parts.headers, body, BATCH_BODY_BYTES_MAX).await?;
        if !is_json(&parts.headers) {
            let text = "the body must be JSON, with the header content-type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            let failure = Failure::problem(status, Code::UnsupportedMediaType, text);
            return Err(failure.at("content-type"));
        }
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or("").trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads a JSON object of a known shape.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let malformed = |error: serde_json::Error| {
        let text = format!("the body is not JSON: {error}");
        Failure::problem(StatusCode::BAD_REQUEST, Code::MalformedBody, text).at("body")
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => of_shape(&path, &inner.to_string()),
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => malformed(inner),
        }
    })?;
    json.end().map_err(malformed)?;
    // Serde reads an array as a struct, field by field; a caller who sends one is mistaken.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        let text = "the body must be a JSON object";
        return Err(Failure::problem(StatusCode::BAD_REQUEST, Code::WrongType, text).at("body"));
    }
    Ok(value)
}

/// Reads a JSON value that is a field of a body, of a known shape.
pub(crate) fn parse_field<T: DeserializeOwned>(
    field: &str,
    value: &serde_json::Value,
) -> Result<T, Failure> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => field.to_owned(),
            inner => format!("{field}.{inner}"),
        };
        of_shape(&path, &error.into_inner().to_string())
    })
}

/// JSON of another shape than asked for: which field, and what is wrong with it.
fn of_shape(path: &str, message: &str) -> Failure {
    let path = if path == "." { "" } else { path };
    // Serde's position in the text says less than the path.
    let message = message.split(" at line ").next().unwrap_or(message);
    let quoted = || message.split('`').nth(1).unwrap_or_default();
    let (code, field) = if message.starts_with("unknown field") {
        (Code::UnknownField, joined(path, quoted()))
    } else if message.starts_with("missing field") {
        (Code::MissingField, joined(path, quoted()))
    } else if message.starts_with("invalid type") || message.starts_with("invalid length") {
        (Code::WrongType, path.to_owned())
    } else if message.starts_with("duplicate field") {
        (Code::InvalidValue, joined(path, quoted()))
    } else {
        (Code::InvalidValue, path.to_owned())
    };
    let field = if field.is_empty() { "body".to_owned() } else { field };
    let text = format!("{field}: {message}");
    Failure::problem(StatusCode::BAD_REQUEST, code, text).at(field)
}

/// A path with a field's name at its end, once.
fn joined(path: &str, name: &str) -> String {
    let is_there = path == name || path.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    match (path.is_empty(), is_there) {
        (true, _) => name.to_owned(),
        (false, true) => path.to_owned(),
        (false, false) => format!("{path}.{name}"),
    }
}

/// A query of a known shape.
pub(crate) struct UrlQuery<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for UrlQuery<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(of_query(&rejection.body_text())),
        }
    }
}

/// Axum tells `Failed to deserialize query string: limit: invalid digit found in string`.
fn of_query(text: &str) -> Failure {
    let message = text.split_once(": ").map_or(text, |(_, message)| message);
    match message.split_once(": ") {
        Some((path, problem)) if problem.starts_with("unknown field") => of_shape(path, problem),
        Some((path, problem)) if !path.contains(' ') => {
            Failure::invalid(path, format!("is not valid: {problem}"))
        }
        Some(_) | None => of_shape("", message),
    }
}

#[cfg(test)]
mod tests {
    use ringrift_wire::problem::Problem;
    use ringrift_wire::work::{Add, AddBatch, Claim, HistoryQuery};

    use super::*;

    fn problem<T>(outcome: Result<T, Failure>) -> Problem {
        match outcome {
            Err(Failure::Problem(problem)) => *problem,
            Err(Failure::NotLeader) => panic!("must be a problem"),
            Ok(_) => panic!("must be refused"),
        }
    }

    #[test]
    fn each_fault_of_a_body_has_its_code_and_names_its_field() {
        let claim = |text: &str| problem(parse::<Claim>(text.as_bytes()));
        let cases = [
            ("", Code::MalformedBody, "body"),
            ("{", Code::MalformedBody, "body"),
            (r#"{"node_id":"a"} x"#, Code::MalformedBody, "body"),
            ("[]", Code::WrongType, "body"),
            (r#"["a"]"#, Code::WrongType, "body"),
            ("7", Code::WrongType, "body"),
            ("{}", Code::MissingField, "node_id"),
            (r#"{"node_id":7}"#, Code::WrongType, "node_id"),
            (r#"{"node_id":"a","max_items":"many"}"#, Code::WrongType, "max_items"),
            (r#"{"node_id":"a","max_items":-1}"#, Code::InvalidValue, "max_items"),
            (r#"{"node_id":"a","colour":"red"}"#, Code::UnknownField, "colour"),
            (r#"{"node_id":"a","node_id":"b"}"#, Code::InvalidValue, "node_id"),
            (r#"{"node_id":"a","labels":{"gpu":7}}"#, Code::WrongType, "labels.gpu"),
        ];
        for (text, code, field) in cases {
            let problem = claim(text);
            assert_eq!((problem.code, problem.field.as_deref()), (code, Some(field)), "{text}");
            assert_eq!(problem.status, 400);
        }
    }

    #[test]
    fn a_fault_inside_a_batch_is_found_by_its_path() {
        let batch = |text: &str| problem(parse::<AddBatch>(text.as_bytes()));
        let wrong = batch(r#"{"items":[{},{"priority":"high"}]}"#);
        assert_eq!(
            (wrong.code, wrong.field.as_deref()),
            (Code::WrongType, Some("items[1].priority"))
        );
        let unknown = batch(r#"{"items":[{"prioritty":1}]}"#);
        let expected = (Code::UnknownField, Some("items[0].prioritty"));
        assert_eq!((unknown.code, unknown.field.as_deref()), expected);
        assert!(parse::<Add>(b"{}").is_ok(), "every field of an item has a default");
    }

    #[test]
    fn queries_are_held_to_the_same() {
        let query = |text: &str| {
            let uri = format!("/work/history?{text}").parse().unwrap();
            match Query::<HistoryQuery>::try_from_uri(&uri) {
                Ok(_) => panic!("{text} must be refused"),
                Err(rejection) => problem::<()>(Err(of_query(&rejection.body_text()))),
            }
        };
        let wrong = query("limit=many");
        assert_eq!((wrong.code, wrong.field.as_deref()), (Code::InvalidValue, Some("limit")));
        let unknown = query("limmit=7");
        assert_eq!((unknown.code, unknown.field.as_deref()), (Code::UnknownField, Some("limmit")));
    }
}
