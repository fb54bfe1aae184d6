//! Between the wire and the core: requests are checked here once, and everything behind trusts them.

pub(crate) mod capacity;
pub(crate) mod event;
pub(crate) mod pair;
pub(crate) mod run;

use std::str::FromStr;
use std::time::Duration;

use ringrift_core::limits;
use ringrift_core::machine::{Machine, Reason};
use ringrift_core::queue::command::{self, Reply};
use ringrift_core::queue::item::{
    Dependency, Item, Needs, NewItem, Payload, Predecessor, State, Status,
};
use ringrift_core::queue::resources::Demand;
use ringrift_core::time::{Moment, Span};
use ringrift_wire::problem::Code;
use ringrift_wire::work;
use serde_json::Value;

use super::body;
use super::failure::Failure;
use super::task;

/// The core's bound, as wide as the wire's number.
const CLAIM_ITEMS_MAX: u32 = 256;
const _: () = assert!(CLAIM_ITEMS_MAX as usize == limits::CLAIM_ITEMS_MAX);

/// Reads an identifier, a work id or a token.
pub(crate) fn id<T>(field: &str, text: &str) -> Result<T, Failure>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Failure::invalid(field, format!("is not valid: {error}")))
}

/// Reads seconds. Their bounds are the machine's business, except that a span is never negative.
pub(crate) fn span(field: &str, seconds: f64) -> Result<Span, Failure> {
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| {
        Failure::invalid(field, format!("is {seconds}, not a number of seconds: {error}"))
    })?;
    // Whole milliseconds, rounded, so that 0.3 is 300.
    let millis = duration.saturating_add(Duration::from_micros(500)).as_millis();
    Ok(Span(u64::try_from(millis).unwrap_or(u64::MAX)))
}

/// Reads how long a request may wait for its answer.
pub(crate) fn wait(field: &str, seconds: f64) -> Result<Duration, Failure> {
    let wait = span(field, seconds)?;
    if wait > super::claims::WAIT_MAX {
        let most = super::claims::WAIT_MAX.0 / 1_000;
        return Err(Failure::invalid(field, format!("must be at most {most}")));
    }
    Ok(Duration::from_millis(wait.0))
}

/// Unix seconds.
pub(crate) fn unix_seconds(moment: Moment) -> f64 {
    moment.0 as f64 / 1_000.0
}

/// Seconds.
pub(crate) fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1_000.0
}

/// The machine answered a command with another command's reply: a fault of ours.
pub(crate) fn unexpected(reply: &Reply) -> Failure {
    Failure::internal(format!("the machine answered with {reply:?}"))
}

/// The machine names its own fields; callers know those of the wire.
pub(crate) fn wire_field(failure: Failure) -> Failure {
    failure.rename(|field| {
        let (path, name) = field.rsplit_once('.').unwrap_or(("", field));
        let name = match name {
            "attempts_max" => "max_attempts",
            "attempt_timeout" => "timeout_seconds",
            "delay" => "delay_seconds",
            "pending_timeout" => "pending_timeout_seconds",
            "total_timeout" => "total_timeout_seconds",
            "gpu_milli" => "resources.gpus",
            "payload" => "config",
            "limit" => "max_items",
            "lease" => "lease_seconds",
            "ttl" => "ttl_seconds",
            "wait" => "wait_seconds",
            "needs" => "capabilities",
            other => other,
        };
        let path = path.strip_suffix("needs").map_or(path, |path| path.trim_end_matches('.'));
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    })
}

/// The same for a request that is one item: the machine numbers items, the caller sent only one.
pub(crate) fn wire_field_of_one(failure: Failure) -> Failure {
    wire_field(failure).rename(|field| field.strip_prefix("items[0].").unwrap_or(field).to_owned())
}

/// What `POST /work/add` asks for.
pub(crate) fn new_item(add: work::Add) -> Result<NewItem, Failure> {
    let work::Add {
        key,
        queue,
        work_type,
        priority,
        config,
        timeout_seconds,
        max_attempts,
        pending_timeout_seconds,
        total_timeout_seconds,
        delay_seconds,
        group,
        after,
        resources,
        capabilities,
        labels,
        notify,
    } = add;
    if !config.is_object() {
        let text = "config must be a JSON object";
        let status = axum::http::StatusCode::BAD_REQUEST;
        return Err(Failure::problem(status, Code::WrongType, text).at("config"));
    }
    task::check(&work_type, &config)?;
    let optional = |field, seconds: Option<f64>| seconds.map(|it| span(field, it)).transpose();
    let after = after.iter().enumerate().map(|(at, after)| dependency(at, after));
    Ok(NewItem {
        key,
        queue: id("queue", &queue)?,
        work_type,
        priority,
        payload: Payload::Opaque(config.to_string()),
        needs: Needs { capabilities, labels, demand: demand(resources)? },
        attempts_max: max_attempts,
        attempt_timeout: span("timeout_seconds", timeout_seconds)?,
        pending_timeout: optional("pending_timeout_seconds", pending_timeout_seconds)?,
        total_timeout: optional("total_timeout_seconds", total_timeout_seconds)?,
        delay: span("delay_seconds", delay_seconds)?,
        group: group.map(|group| id("group", &group)).transpose()?,
        after: after.collect::<Result<_, _>>()?,
        notify,
    })
}

fn dependency(at: usize, after: &work::After) -> Result<Dependency, Failure> {
    let work::After { work_id, earlier, condition } = after;
    let on = match (work_id, earlier) {
        (Some(work_id), None) => Predecessor::Item(id(&format!("after[{at}].work_id"), work_id)?),
        (None, Some(place)) => Predecessor::Earlier(*place),
        (Some(_), Some(_)) | (None, None) => {
            let problem = "must name an item by exactly one of work_id and earlier";
            return Err(Failure::invalid(format!("after[{at}]"), problem));
        }
    };
    Ok(Dependency { on, ok: *condition == work::Condition::Ok })
}

/// What an item asks for. The fields of `resources` are named so.
fn demand(resources: work::Resources) -> Result<Demand, Failure> {
    let work::Resources { cpu, memory_mib, gpus, disk_free_mib } = resources;
    let cpu_milli = milli("resources.cpu", cpu)?;
    let gpu_milli = milli("resources.gpus", gpus)?;
    Ok(Demand { cpu_milli, memory_mib, gpu_milli, disk_floor_mib: disk_free_mib })
}

/// The same the other way round.
fn resources(demand: &Demand) -> work::Resources {
    let Demand { cpu_milli, memory_mib, gpu_milli, disk_floor_mib } = *demand;
    work::Resources {
        cpu: f64::from(cpu_milli) / 1_000.0,
        memory_mib,
        gpus: f64::from(gpu_milli) / 1_000.0,
        disk_free_mib: disk_floor_mib,
    }
}

/// Thousandths of a number that is not negative.
fn milli(field: &str, number: f64) -> Result<u32, Failure> {
    let milli = (number * 1_000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was looked at"
    )]
    if (0.0..=f64::from(u32::MAX)).contains(&milli) {
        Ok(milli as u32)
    } else {
        Err(Failure::invalid(field, format!("is {number}, not a number from 0 to 4294967")))
    }
}

/// What `POST /work/claim` asks for.
pub(crate) fn claim(claim: work::Claim) -> Result<(command::Claim, Duration), Failure> {
    let work::Claim {
        node_id,
        capabilities,
        labels,
        work_types,
        max_items,
        lease_seconds,
        wait_seconds,
    } = claim;
    let wait = wait("wait_seconds", wait_seconds)?;
    // The machine checks these too, but a claim that finds no work never comes to it.
    page("max_items", max_items, CLAIM_ITEMS_MAX)?;
    let lease = span("lease_seconds", lease_seconds)?;
    if !(limits::LEASE_MIN..=limits::LEASE_MAX).contains(&lease) {
        let (least, most) = (limits::LEASE_MIN, limits::LEASE_MAX);
        return Err(Failure::invalid("lease_seconds", format!("must be {least} to {most}")));
    }
    let node = id("node_id", &node_id)?;
    let claim = command::Claim { node, capabilities, labels, work_types, limit: max_items, lease };
    Ok((claim, wait))
}

/// Who may see the token of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// Its holder, in the reply to the claim.
    Holder,
    /// Anybody else: with the token they could act in the holder's place.
    Other,
}

/// An item as callers see it.
pub(crate) fn work_item(machine: &Machine, item: &Item, viewer: Viewer) -> work::WorkItem {
    let Item {
        id,
        request,
        awaited: _,
        state,
        attempts,
        deliveries: _,
        claims_lost: _,
        created,
        last_error,
        last_node,
    } = item;
    let lease = match state {
        State::Claimed(lease) => Some(lease),
        State::Delayed { .. }
        | State::Blocked { .. }
        | State::Ready { .. }
        | State::Completed(_)
        | State::Dead { .. }
        | State::Cancelled { .. } => None,
    };
    let result = match state {
        State::Completed(completion) => {
            Some(serde_json::from_str(&completion.result).unwrap_or(Value::Null))
        }
        State::Delayed { .. }
        | State::Blocked { .. }
        | State::Ready { .. }
        | State::Claimed(_)
        | State::Dead { .. }
        | State::Cancelled { .. } => None,
    };
    let cause = match state {
        State::Dead { cause, .. } => Some(cause.as_str().to_owned()),
        State::Delayed { .. }
        | State::Blocked { .. }
        | State::Ready { .. }
        | State::Claimed(_)
        | State::Completed(_)
        | State::Cancelled { .. } => None,
    };
    let gpus = lease.map(|lease| lease.share.gpus.as_slice()).unwrap_or_default();
    let device = |(device, milli): &(u16, u16)| work::Device {
        device: *device,
        part: f64::from(*milli) / 1_000.0,
    };
    work::WorkItem {
        work_id: id.to_string(),
        work_type: request.work_type.clone(),
        queue: request.queue.to_string(),
        priority: request.priority,
        status: status_word(item.status()).to_owned(),
        config: task::render(machine, item),
        attempts: *attempts,
        max_attempts: request.attempts_max,
        timeout_seconds: seconds(request.attempt_timeout),
        created_at: unix_seconds(*created),
        claimed_by: last_node.as_ref().map(ToString::to_string),
        token: lease.filter(|_| viewer == Viewer::Holder).map(|lease| lease.token.to_string()),
        deadline: lease.map(|lease| unix_seconds(lease.deadline)),
        run_id: item.origin().map(|origin| origin.run.to_string()),
        array_id: item.element().map(|element| element.array.to_string()),
        array_index: item.element().map(|element| element.index),
        devices: gpus.iter().map(device).collect(),
        cause,
        result,
        error: last_error.as_deref().map(str::to_owned),
        ended_at: state.ended().map(unix_seconds),
        why: Vec::new(),
    }
}

/// The reasons for which an item waits, as callers see them.
pub(crate) fn reasons(reasons: &[Reason]) -> Vec<work::Pending> {
    let pending = |reason: &Reason| work::Pending {
        reason: reason.as_str().to_owned(),
        message: reason.to_string(),
        numbers: reason.numbers().into_iter().map(|(name, it)| (name.to_owned(), it)).collect(),
        about: reason.about(),
    };
    reasons.iter().map(pending).collect()
}

/// The seeds' word for a status.
pub(crate) const fn status_word(status: Status) -> &'static str {
    match status {
        Status::Delayed => "delayed",
        Status::Blocked => "blocked",
        Status::Ready => "pending",
        Status::Claimed => "claimed",
        Status::Running => "running",
        Status::Completed => "completed",
        Status::Dead => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// A status by which history can be filtered.
pub(crate) fn ended_status(text: &str) -> Result<Status, Failure> {
    match text {
        "completed" => Ok(Status::Completed),
        "failed" => Ok(Status::Dead),
        "cancelled" => Ok(Status::Cancelled),
        other => {
            let problem = format!("is {other:?}, not one of completed, failed, cancelled");
            Err(Failure::invalid("status", problem))
        }
    }
}

/// A number of lines that a caller may ask for.
pub(crate) fn page(field: &str, asked: u32, most: u32) -> Result<usize, Failure> {
    if (1..=most).contains(&asked) {
        Ok(usize::try_from(asked).unwrap_or(usize::MAX))
    } else {
        Err(Failure::invalid(field, format!("must be 1 to {most}, not {asked}")))
    }
}

/// The result of a completed item, for the machine: JSON text, and the games when it is a pair.
pub(crate) fn work_result(
    result: &Value,
    pair_index: Option<u32>,
) -> Result<command::WorkResult, Failure> {
    let text = result.to_string();
    if text.len() > limits::RESULT_BYTES_MAX {
        let problem = format!("holds {} of at most {} bytes", text.len(), limits::RESULT_BYTES_MAX);
        return Err(Failure::invalid("result", problem));
    }
    let pair = match pair_index {
        None => None,
        Some(index) => Some(pair::result(&body::parse_field("result", result)?, index)?),
    };
    Ok(command::WorkResult { text, pair })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_whole_milliseconds() {
        assert_eq!(span("ttl_seconds", 0.3).unwrap(), Span(300));
        assert_eq!(span("ttl_seconds", 30.0).unwrap(), Span::seconds(30));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(span("ttl_seconds", bad).is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn the_machines_fields_become_the_wires() {
        let renamed = |field: &str, one: bool| {
            let failure = Failure::invalid(field, "must be 1");
            let failure = if one { wire_field_of_one(failure) } else { wire_field(failure) };
            let Failure::Problem(problem) = failure else { panic!("must be a problem") };
            assert!(problem.error.ends_with(" must be 1"), "{}", problem.error);
            assert!(problem.error.starts_with(problem.field.as_deref().unwrap()));
            problem.field.unwrap()
        };
        assert_eq!(renamed("items[3].attempts_max", false), "items[3].max_attempts");
        assert_eq!(renamed("items[0].attempts_max", true), "max_attempts");
        assert_eq!(renamed("items[0].needs.labels", true), "labels");
        assert_eq!(renamed("limit", false), "max_items");
        assert_eq!(renamed("labels", false), "labels");
    }
}
