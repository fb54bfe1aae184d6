//! Which requests may be sent again when nobody knows what became of the first try.

use reqwest::Method;

/// Whether carrying a request out twice is as good as once. The repeat's reply says what holds then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It is.
    Harmless,
    /// It is in a session, which the agents offer for it.
    InSession,
    /// It is not: it is sent again only when the first try never left.
    Never,
}

impl Repeat {
    /// What the agents' table of routes says of a request.
    pub(super) fn of(method: &Method, path: &str, body: &[u8]) -> Self {
        if [Method::GET, Method::HEAD, Method::PUT].contains(method) {
            return Self::Harmless;
        }
        if *method == Method::DELETE {
            let places = ["/queues/", "/nodes/", "/sessions/"];
            let harmless = places.iter().any(|place| path.starts_with(place));
            return if harmless { Self::Harmless } else { Self::Never };
        }
        let path = path.split('?').next().unwrap_or(path);
        match path {
            "/work/add" | "/work/add_batch" if has_keys(body) => Self::Harmless,
            "/work/add_array" if field(body, "item").is_some_and(|item| is_keyed(&item)) => {
                Self::Harmless
            }
            "/work/add" | "/work/add_batch" | "/work/add_array" | "/work/fail"
            | "/work/release" | "/work/redrive" => Self::InSession,
            "/work/start" | "/work/heartbeat" | "/work/complete" | "/work/cancel"
            | "/work/cancel_array" | "/sessions" | "/runs" | "/gauntlet/execute"
            | "/cluster/join" | "/cluster/members" | "/cluster/transfer" | "/cluster/snapshot" => {
                Self::Harmless
            }
            // The same owner gets the same token again; a run's end does not end twice.
            _ if path.starts_with("/raft/lock/") || path.starts_with("/runs/") => Self::Harmless,
            // A claim too: whoever must not lose one keeps a session for it.
            _ => Self::Never,
        }
    }
}

fn field(body: &[u8], name: &str) -> Option<serde_json::Value> {
    let mut body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body.get_mut(name).map(serde_json::Value::take)
}

fn is_keyed(item: &serde_json::Value) -> bool {
    item["key"].is_string()
}

/// Whether the body is an item, or a batch of items, with a key each.
fn has_keys(body: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return false };
    match body["items"].as_array() {
        Some(items) => items.iter().all(is_keyed),
        None => is_keyed(&body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_do_more_the_second_time_needs_a_session_or_is_not_repeated() {
        let post = |path: &str, body: &str| Repeat::of(&Method::POST, path, body.as_bytes());
        for (path, body) in [
            ("/work/add", "{}"),
            ("/work/add", r#"{"key":null}"#),
            ("/work/add_batch", r#"{"items":[{"key":"a"},{}]}"#),
            ("/work/add_array", r#"{"item":{},"count":3}"#),
            ("/work/fail", "{}"),
            ("/work/release", "{}"),
            ("/work/redrive", "{}"),
        ] {
            assert_eq!(post(path, body), Repeat::InSession, "{path} {body}");
        }
        for (path, body) in [
            ("/work/add", r#"{"key":"a"}"#),
            ("/work/add_batch", r#"{"items":[{"key":"a"}]}"#),
            ("/work/add_array", r#"{"item":{"key":"a"},"count":3}"#),
            ("/work/complete", r#"{"then":[{}]}"#),
            ("/work/heartbeat", "{}"),
            ("/raft/lock/a", "{}"),
            ("/runs/a/cancel", "{}"),
        ] {
            assert_eq!(post(path, body), Repeat::Harmless, "{path} {body}");
        }
        for path in ["/work/claim", "/what/comes/later"] {
            assert_eq!(post(path, "{}"), Repeat::Never, "{path}");
        }
        assert_eq!(Repeat::of(&Method::GET, "/work/claim", b""), Repeat::Harmless);
        assert_eq!(Repeat::of(&Method::DELETE, "/raft/lock/a", b""), Repeat::Never);
        assert_eq!(Repeat::of(&Method::DELETE, "/cluster/members/a", b""), Repeat::Never);
        assert_eq!(Repeat::of(&Method::DELETE, "/queues/a", b""), Repeat::Harmless);
    }
}
