//! Between the history's words and those of the two interfaces.

use reqwest::Method;
use ringrift_core::id::{Position, Token, WorkId};
use ringrift_wire::stream::message as wire;
use serde_json::{Value, json};

use crate::history::{Answer, Ask, Grant, Hold, NewItem, Outcome, Seen};

/// What kind of work all items are.
const WORK_TYPE: &str = "chaos";

/// As the stream carries it; nothing when only HTTP does.
pub(super) fn operation(node: &str, ask: &Ask) -> Option<wire::Operation> {
    Some(match ask {
        Ask::Add(items) => wire::Operation::Add(items.iter().map(new_work).collect()),
        Ask::Claim { lease_ms, wait_ms } => wire::Operation::Claim(wire::Claim {
            lease_ms: *lease_ms,
            wait_ms: *wait_ms,
            ..wire::Claim::new(node)
        }),
        Ask::Start(hold) => wire::Operation::Start(held(*hold)),
        Ask::Heartbeat { hold, lease_ms } => wire::Operation::Heartbeat(wire::Heartbeat {
            node_id: node.to_owned(),
            claims: vec![held(*hold)],
            lease_ms: *lease_ms,
        }),
        Ask::Complete { hold, result, then } if then.is_empty() => {
            let completion = wire::Completion { hold: held(*hold), result: result.clone() };
            wire::Operation::Complete(vec![completion])
        }
        Ask::Fail { hold, retry } => wire::Operation::Fail(wire::Failing {
            hold: held(*hold),
            error: "as the load would have it".to_owned(),
            retry: *retry,
        }),
        Ask::Complete { .. }
        | Ask::Release(_)
        | Ask::Cancel(_)
        | Ask::Look(_)
        | Ask::Lock { .. }
        | Ask::Unlock { .. } => return None,
    })
}

const fn held(Hold { item, token }: Hold) -> wire::Hold {
    wire::Hold { work_id: item, token }
}

fn config(name: &str) -> String {
    json!({ "name": name }).to_string()
}

fn new_work(NewItem { name, key, delay_ms, attempts_max }: &NewItem) -> wire::NewWork {
    wire::NewWork {
        key: key.clone(),
        delay_ms: *delay_ms,
        max_attempts: *attempts_max,
        ..wire::NewWork::new(WORK_TYPE, config(name))
    }
}

fn new_work_json(NewItem { name, key, delay_ms, attempts_max }: &NewItem) -> Value {
    json!({
        "key": key,
        "work_type": WORK_TYPE,
        "config": { "name": name },
        "delay_seconds": seconds(*delay_ms),
        "max_attempts": attempts_max,
    })
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

/// What the stream answered.
pub(super) fn answered(position: Position, answer: wire::Answer) -> Outcome {
    let answer = match answer {
        wire::Answer::Added(added) => {
            Answer::Added(added.iter().map(|it| (it.work_id, it.fresh)).collect())
        }
        wire::Answer::Claimed(items) => match items.iter().map(grant).collect::<Option<Vec<_>>>() {
            Some(grants) => Answer::Claimed(grants),
            None => return Outcome::Unknown(format!("a config without a name: {items:?}")),
        },
        wire::Answer::Started => Answer::Started,
        wire::Answer::Renewed(renewed) => Answer::Renewed(renewed.lost.is_empty()),
        wire::Answer::Completed(outcomes) => match outcomes.into_iter().next() {
            Some(None) => Answer::Completed(Vec::new()),
            Some(Some(refused)) => return Outcome::Refused(position, refused.code),
            None => return Outcome::Unknown("no outcome of a completion".to_owned()),
        },
        wire::Answer::Failed { retry_at_ms } => Answer::Failed(retry_at_ms),
        other @ (wire::Answer::Here | wire::Answer::Session(_)) => {
            return Outcome::Unknown(format!("{other:?}"));
        }
    };
    Outcome::Done(position, answer)
}

fn grant(item: &wire::ClaimedWork) -> Option<Grant> {
    let config: Value = serde_json::from_str(&item.config).ok()?;
    Some(Grant {
        hold: Hold { item: item.hold.work_id, token: item.hold.token },
        name: config["name"].as_str()?.to_owned(),
        attempts: item.attempts,
        attempts_max: item.max_attempts,
        deadline_ms: item.deadline_ms,
    })
}

/// As HTTP carries it.
pub(super) fn request(ask: &Ask) -> (Method, String, Value) {
    let post = |path: &str, body: Value| (Method::POST, path.to_owned(), body);
    let named = |Hold { item, token }: &Hold| json!({ "work_id": item.to_string(), "token": token.to_string() });
    match ask {
        Ask::Add(items) => {
            let items: Vec<_> = items.iter().map(new_work_json).collect();
            post("/work/add_batch", json!({ "items": items }))
        }
        Ask::Claim { lease_ms, wait_ms } => post(
            "/work/claim",
            json!({ "lease_seconds": seconds(*lease_ms), "wait_seconds": seconds(*wait_ms) }),
        ),
        Ask::Start(hold) => post("/work/start", named(hold)),
        Ask::Heartbeat { hold, lease_ms } => post(
            "/work/heartbeat",
            json!({ "claims": [named(hold)], "lease_seconds": seconds(*lease_ms) }),
        ),
        Ask::Complete { hold, result, then } => {
            let mut body = named(hold);
            body["result"] = serde_json::from_str(result).unwrap_or(Value::Null);
            body["then"] = then.iter().map(new_work_json).collect();
            post("/work/complete", body)
        }
        Ask::Fail { hold, retry } => {
            let mut body = named(hold);
            body["error"] = json!("as the load would have it");
            body["retry"] = json!(retry);
            post("/work/fail", body)
        }
        Ask::Release(hold) => post("/work/release", named(hold)),
        Ask::Cancel(id) => post("/work/cancel", json!({ "work_id": id.to_string() })),
        Ask::Look(id) => (Method::GET, format!("/work/{id}"), Value::Null),
        Ask::Lock { name, owner, ttl_ms } => post(
            &format!("/raft/lock/{name}"),
            json!({ "owner": owner, "ttl_seconds": seconds(*ttl_ms) }),
        ),
        Ask::Unlock { name, token } => {
            let body = json!({ "token": token.to_string() });
            (Method::DELETE, format!("/raft/lock/{name}"), body)
        }
    }
}

/// What HTTP answered; nothing when it is not what was asked for.
pub(super) fn replied(ask: &Ask, value: &Value) -> Option<Answer> {
    let text = |field: &str| value[field].as_str();
    Some(match ask {
        Ask::Complete { .. } => {
            let then = value["then"].as_array().map(Vec::as_slice).unwrap_or_default();
            let ids = then.iter().map(|id| id.as_str()?.parse::<WorkId>().ok());
            Answer::Completed(ids.collect::<Option<_>>()?)
        }
        Ask::Release(_) => Answer::Released,
        Ask::Cancel(_) => Answer::Cancelled,
        Ask::Look(_) => {
            let result = value.get("result").filter(|it| !it.is_null());
            Answer::Seen(Seen {
                status: Some(text("status")?.to_owned()),
                result: result.map(Value::to_string),
            })
        }
        Ask::Lock { .. } => Answer::Locked {
            token: text("token")?.parse::<Token>().ok()?,
            expires_ms: unix_milliseconds(&value["expires_at"])?,
        },
        Ask::Unlock { .. } => Answer::Unlocked,
        // Over the stream only.
        Ask::Add(_)
        | Ask::Claim { .. }
        | Ask::Start(_)
        | Ask::Heartbeat { .. }
        | Ask::Fail { .. } => return None,
    })
}

/// Nothing is known of the item.
pub(super) const fn unseen() -> Seen {
    Seen { status: None, result: None }
}

fn unix_milliseconds(seconds: &Value) -> Option<u64> {
    let span = std::time::Duration::try_from_secs_f64(seconds.as_f64()?).ok()?;
    // Of about 1.8e9 seconds an f64 keeps less than a microsecond back.
    u64::try_from((span + std::time::Duration::from_micros(500)).as_millis()).ok()
}

/// `term.index`.
pub(super) fn position(text: &str) -> Option<Position> {
    let (term, index) = text.split_once('.')?;
    Some(Position { term: term.parse().ok()?, index: index.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_seconds_come_back_to_the_millisecond() {
        for milliseconds in [1_795_262_400_001_u64, 1_795_262_400_999, 1_795_262_401_500] {
            let seconds = json!(milliseconds as f64 / 1_000.0);
            assert_eq!(unix_milliseconds(&seconds), Some(milliseconds));
        }
        assert_eq!(unix_milliseconds(&json!(-1.0)), None);
        assert_eq!(position("3.1042"), Some(Position { term: 3, index: 1_042 }));
        assert_eq!(position("3"), None);
    }
}
