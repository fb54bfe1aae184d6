//! Between a stream's messages and the machine's commands. Requests are checked here once, as those
//! over HTTP are, and with the same codes.

use ringrift_core::id::SessionId;
use ringrift_core::limits;
use ringrift_core::queue::command::{self, Command, Reply};
use ringrift_core::queue::item::{Dependency, Item, Needs, NewItem, Payload, Predecessor, State};
use ringrift_core::queue::resources::Demand;
use ringrift_core::time::Span;
use ringrift_wire::problem::Code;
use ringrift_wire::stream::message::{
    self, AddedWork, After, Answer, Claim, ClaimedWork, Completion, Failing, Heartbeat, Hold,
    NewWork, Refused, Renewed, SessionStamp, Terms,
};
use ringrift_wire::stream::{COMPLETIONS_MAX, WAIT_MS_MAX};
use serde::de::IgnoredAny;

use super::greet::refused;
use crate::http::failure::Failure;
use crate::http::{convert, task};

/// As a stream carries it. A request that this agent cannot carry out since it does not lead is no
/// failure; it is answered otherwise.
pub(super) fn of_failure(failure: Failure) -> Refused {
    match failure {
        Failure::Problem(problem) => (*problem).into(),
        Failure::NotLeader => refused(Code::LeaderUnknown, "this agent does not lead".to_owned()),
    }
}

/// The same with the machine's names of fields changed into those of the wire.
pub(super) fn of_machine(failure: Failure) -> Refused {
    of_failure(convert::wire_field(failure))
}

pub(super) fn invalid(field: &str, problem: &str) -> Refused {
    of_failure(Failure::invalid(field, problem))
}

pub(super) fn unexpected(reply: &Reply) -> Refused {
    of_failure(convert::unexpected(reply))
}

pub(super) fn new_items(items: Vec<NewWork>) -> Result<Command, Refused> {
    let most = limits::BATCH_ITEMS_MAX;
    if !(1..=most).contains(&items.len()) {
        return Err(invalid("items", &format!("must hold 1 to {most}, not {}", items.len())));
    }
    let items = items.into_iter().enumerate().map(|(at, item)| {
        let inside = |failure: Failure| failure.rename(|field| format!("items[{at}].{field}"));
        new_item(item).map_err(|failure| of_failure(inside(failure)))
    });
    Ok(Command::Enqueue(items.collect::<Result<_, _>>()?))
}

fn new_item(item: NewWork) -> Result<NewItem, Failure> {
    let NewWork {
        key,
        queue,
        work_type,
        priority,
        config,
        timeout_ms,
        max_attempts,
        delay_ms,
        capabilities,
        labels,
        terms,
    } = item;
    check_config(&work_type, &config)?;
    let queue = queue.map(|queue| convert::id("queue", &queue)).transpose()?;
    let Terms {
        cpu_milli,
        memory_mib,
        gpu_milli,
        disk_free_mib: disk_floor_mib,
        group,
        after,
        pending_timeout_ms,
        total_timeout_ms,
    } = terms.map(|terms| *terms).unwrap_or_default();
    let demand = Demand { cpu_milli, memory_mib, gpu_milli, disk_floor_mib };
    Ok(NewItem {
        key,
        queue: queue.unwrap_or_default(),
        work_type,
        priority,
        payload: Payload::Opaque(config),
        needs: Needs { capabilities, labels, demand },
        attempts_max: max_attempts,
        attempt_timeout: Span(timeout_ms),
        pending_timeout: pending_timeout_ms.map(Span),
        total_timeout: total_timeout_ms.map(Span),
        delay: Span(delay_ms),
        group: group.map(|group| convert::id("group", &group)).transpose()?,
        after: after.into_iter().map(dependency).collect(),
        // The stream is for the many; whoever wants to be told asks over HTTP.
        notify: false,
    })
}

fn dependency(After { item, ok }: After) -> Dependency {
    let on = match item {
        message::Predecessor::Item(work_id) => Predecessor::Item(work_id),
        message::Predecessor::Earlier(place) => Predecessor::Earlier(place),
    };
    Dependency { on, ok }
}

/// The text must be a JSON object; what this cluster's own agents run must be well formed, too.
fn check_config(work_type: &str, config: &str) -> Result<(), Failure> {
    if !config.trim_start().starts_with('{') {
        return Err(Failure::invalid("config", "must be the text of a JSON object"));
    }
    let malformed = |error: serde_json::Error| {
        Failure::invalid("config", format!("must be the text of a JSON object: {error}"))
    };
    if task::is_ours(work_type) {
        let value = serde_json::from_str(config).map_err(malformed)?;
        return task::check(work_type, &value);
    }
    serde_json::from_str::<IgnoredAny>(config).map(drop).map_err(malformed)
}

/// The machine checks a claim too, but one that finds no work never comes to it.
pub(super) fn claim(claim: Claim) -> Result<command::Claim, Refused> {
    let Claim { node_id, capabilities, labels, work_types, max_items, lease_ms, wait_ms } = claim;
    if wait_ms > WAIT_MS_MAX {
        return Err(invalid("wait_ms", &format!("must be at most {WAIT_MS_MAX}")));
    }
    let most = limits::CLAIM_ITEMS_MAX;
    if !usize::try_from(max_items).is_ok_and(|items| (1..=most).contains(&items)) {
        return Err(invalid("max_items", &format!("must be 1 to {most}, not {max_items}")));
    }
    let (least, longest) = (limits::LEASE_MIN, limits::LEASE_MAX);
    let lease = Span(lease_ms);
    if !(least..=longest).contains(&lease) {
        return Err(invalid("lease_ms", &format!("must be {} to {}", least.0, longest.0)));
    }
    let node = convert::id("node_id", &node_id).map_err(of_failure)?;
    Ok(command::Claim { node, capabilities, labels, work_types, limit: max_items, lease })
}

/// The command as part of its session, if it is in one. Renewals and completions are not: their
/// tokens make repeats harmless.
pub(super) fn in_session(stamp: Option<SessionStamp>, command: Command) -> Command {
    match stamp {
        None => command,
        Some(SessionStamp { session, seq, acknowledged }) => Command::InSession {
            session: SessionId(session),
            seq,
            acknowledged,
            command: Box::new(command),
        },
    }
}

pub(super) fn start(Hold { work_id, token }: Hold) -> Command {
    Command::Start { work_id, token }
}

pub(super) fn heartbeat(heartbeat: Heartbeat) -> Result<Command, Refused> {
    let Heartbeat { node_id, claims, lease_ms } = heartbeat;
    let node = convert::id("node_id", &node_id).map_err(of_failure)?;
    let claims = claims.into_iter().map(|Hold { work_id, token }| (work_id, token)).collect();
    Ok(Command::Heartbeat { node, claims, lease: Span(lease_ms) })
}

pub(super) fn fail(failing: Failing) -> Command {
    let Failing { hold: Hold { work_id, token }, error, retry } = failing;
    Command::Fail { work_id, token, error, retry }
}

pub(super) fn check_completions(completions: &[Completion]) -> Result<(), Refused> {
    if (1..=COMPLETIONS_MAX).contains(&completions.len()) {
        return Ok(());
    }
    let problem = format!("must hold 1 to {COMPLETIONS_MAX}, not {}", completions.len());
    Err(invalid("completions", &problem))
}

/// `pair` is the index of the pair that the item is, if it is one.
pub(super) fn complete(completion: Completion, pair: Option<u32>) -> Result<Command, Refused> {
    let Completion { hold: Hold { work_id, token }, result } = completion;
    if result.len() > limits::RESULT_BYTES_MAX {
        let problem =
            format!("holds {} of at most {} bytes", result.len(), limits::RESULT_BYTES_MAX);
        return Err(invalid("result", &problem));
    }
    let malformed =
        |error: serde_json::Error| invalid("result", &format!("must be JSON text: {error}"));
    let result = match pair {
        None => {
            serde_json::from_str::<IgnoredAny>(&result).map_err(malformed)?;
            command::WorkResult { text: result, pair: None }
        }
        Some(index) => {
            let value = serde_json::from_str(&result).map_err(malformed)?;
            convert::work_result(&value, Some(index)).map_err(of_failure)?
        }
    };
    Ok(Command::Complete { work_id, token, result, then: Vec::new() })
}

pub(super) fn added(reply: Reply) -> Result<Answer, Refused> {
    match reply {
        Reply::Enqueued(added) => {
            let added = added.into_iter().map(|(work_id, fresh)| AddedWork { work_id, fresh });
            Ok(Answer::Added(added.collect()))
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) fn renewed(reply: Reply) -> Result<Answer, Refused> {
    match reply {
        Reply::Renewed { renewed, lost } => Ok(Answer::Renewed(Renewed { renewed, lost })),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn failed(reply: Reply) -> Result<Answer, Refused> {
    match reply {
        Reply::Failed { retry_at } => {
            Ok(Answer::Failed { retry_at_ms: retry_at.map(|moment| moment.0) })
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) fn opened(reply: Reply) -> Result<Answer, Refused> {
    match reply {
        Reply::SessionOpened(SessionId(session)) => Ok(Answer::Session(session)),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn done(reply: Reply) -> Result<(), Refused> {
    match reply {
        Reply::Done | Reply::Completed { then: _ } => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// Items as their claimer gets them. `read` looks at the machine, which is needed for parts of runs
/// and of arrays only.
pub(super) fn claimed(items: Vec<Item>, read: impl Fn(&Item) -> String) -> Result<Answer, Refused> {
    let items = items.into_iter().map(|item| {
        let run_id = item.origin().map(|origin| origin.run.to_string());
        let derived = !matches!(item.request.payload, Payload::Opaque(_));
        let written = derived.then(|| read(&item));
        let Item {
            id,
            request,
            state,
            attempts,
            deliveries: _,
            claims_lost: _,
            created: _,
            last_error: _,
            last_node: _,
            awaited: _,
        } = item;
        let State::Claimed(lease) = state else {
            let error = format!("work item {id} was claimed and is not held");
            return Err(of_failure(Failure::internal(error)));
        };
        let config = match request.payload {
            Payload::Opaque(text) => text,
            Payload::OfRun(_) | Payload::OfArray(_) => written.unwrap_or_default(),
        };
        Ok(ClaimedWork {
            hold: Hold { work_id: id, token: lease.token },
            work_type: request.work_type,
            priority: request.priority,
            config,
            attempts,
            max_attempts: request.attempts_max,
            timeout_ms: request.attempt_timeout.0,
            deadline_ms: lease.deadline.0,
            run_id,
            devices: lease.share.gpus,
        })
    });
    Ok(Answer::Claimed(items.collect::<Result<_, _>>()?))
}
