//! `ringrift events`.

use std::process::ExitCode;
use std::time::Duration;

use ringrift_wire::client::{Client, ClientError};
use ringrift_wire::event::{Event, Events};

use crate::args;
use crate::output::{self, Failure};

/// Events of one page.
const PAGE: usize = 500;
/// Seconds that a page is waited for when following: shorter than the client's patience.
const WAIT_SECONDS: u32 = 10;
/// Times that a cluster that does not answer, or asks for patience, is asked again when following, in a
/// row.
const RETRIES_MAX: u32 = 60;
/// Pause before that.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    client: &Client,
    args: &args::Events,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut after = args.after;
    let mut silent = 0;
    // Ends with what is kept; when following, with the program or the cluster.
    loop {
        let page: Events = match client.get(&path(args, after)).await {
            Ok(page) => page,
            Err(error) if args.follow && silent < RETRIES_MAX && may_pass(&error) => {
                silent += 1;
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        silent = 0;
        // Who reads from the beginning asks for what is left of it.
        if page.gap && after > 0 {
            let first = page.first_kept;
            output::note(&format!("events between {after} and {first} are no longer kept"));
        }
        for event in &page.events {
            if json {
                output::json_line(event)?;
            } else {
                output::line(&sentence(event));
            }
        }
        if !args.follow && page.events.len() < PAGE {
            return Ok(ExitCode::SUCCESS);
        }
        after = page.next;
    }
}

/// Whether the same question may be answered soon: nobody answered, or the agent said when to ask again.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Unanswered { .. } => true,
        ClientError::Refused(problem) => problem.retry_after_seconds.is_some(),
        ClientError::Foreign { .. } => false,
    }
}

fn path(args: &args::Events, after: u64) -> String {
    let mut path = format!("/events?after={after}&max={PAGE}");
    if args.follow {
        path.push_str(&format!("&wait_seconds={WAIT_SECONDS}"));
    }
    if !args.kinds.is_empty() {
        path.push_str(&format!("&kinds={}", args.kinds.join(",")));
    }
    path
}

/// `17 1790000000.250 run_ended run_id=g1 phase=succeeded verdict=promote`.
fn sentence(event: &Event) -> String {
    let mut text = format!("{} {:.3} {}", event.seq, event.time, event.kind);
    let fields = event.data.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(_, value)| !value.is_null()) {
        match value.as_str() {
            Some(word) => text.push_str(&format!(" {name}={word}")),
            None => text.push_str(&format!(" {name}={value}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use ringrift_wire::problem::{Code, Problem};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_what_is_known_of_an_event() {
        let event = Event {
            seq: 7,
            id: "ring/7".to_owned(),
            time: 1.25,
            kind: "item_died".to_owned(),
            version: 1,
            data: json!({ "work_id": "w3", "attempts": 2, "dependency": null }),
        };
        assert_eq!(sentence(&event), "7 1.250 item_died attempts=2 work_id=w3");
    }

    #[test]
    fn who_follows_asks_again_when_told_so() {
        let refused = |code, retry_after_seconds| {
            let (error, field) = (String::new(), None);
            let problem = Problem { error, status: 503, code, field, retry_after_seconds };
            may_pass(&ClientError::Refused(Box::new(problem)))
        };
        assert!(refused(Code::Unavailable, Some(1)));
        assert!(!refused(Code::Unauthorized, None));
        let (tried, cause) = (String::new(), String::new());
        assert!(may_pass(&ClientError::Unreachable { tried, cause }));
    }

    #[test]
    fn the_question_carries_the_cursor_and_the_kinds() {
        let mut args = args::Events { follow: false, after: 3, kinds: Vec::new() };
        assert_eq!(path(&args, 3), "/events?after=3&max=500");
        args.follow = true;
        args.kinds = vec!["run_ended".to_owned(), "item_died".to_owned()];
        let expected = "/events?after=9&max=500&wait_seconds=10&kinds=run_ended,item_died";
        assert_eq!(path(&args, 9), expected);
    }
}
