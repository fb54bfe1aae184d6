//! Events as consumers see them.

use ringrift_core::event::{Event, Recorded};
use ringrift_core::machine::{EventPage, Machine};
use ringrift_core::queue::item::Cause;
use ringrift_core::queue::tenant::QueueSettings;
use ringrift_core::run::Outcome;
use ringrift_core::run::report::Phase;
use ringrift_wire::event;
use serde_json::{Value, json};

use super::{status_word, unix_seconds};

/// Version of every kind's data; a kind whose data changes gets one of its own.
const VERSION: u32 = 1;

/// A page, with what the consumer needs to go on.
pub(crate) fn page(machine: &Machine, page: &EventPage<'_>) -> event::Events {
    let EventPage { events, next, first_kept, gap } = page;
    let cluster_id = machine.cluster_id();
    event::Events {
        events: events.iter().map(|recorded| one(cluster_id, recorded)).collect(),
        next: *next,
        first_kept: *first_kept,
        gap: *gap,
        cluster_id: cluster_id.to_owned(),
        applied_index: machine.applied().index,
    }
}

fn one(cluster_id: &str, recorded: &Recorded) -> event::Event {
    let Recorded { seq, at, event } = recorded;
    event::Event {
        seq: *seq,
        id: format!("{cluster_id}/{seq}"),
        time: unix_seconds(*at),
        kind: event.kind().to_string(),
        version: VERSION,
        data: data(event),
    }
}

fn data(event: &Event) -> Value {
    match event {
        Event::ItemDied { work_id, work_type, cause, attempts } => {
            let of = match cause {
                Cause::Dependency(on) => Some(on.to_string()),
                Cause::AttemptsFailed
                | Cause::Final
                | Cause::AttemptTimeout
                | Cause::NodeLost
                | Cause::NeverStarted
                | Cause::PendingTimeout
                | Cause::TotalTimeout => None,
            };
            json!({
                "work_id": work_id.to_string(),
                "work_type": work_type,
                "cause": cause.as_str(),
                "dependency": of,
                "attempts": attempts,
            })
        }
        Event::ItemEnded { work_id, work_type, status } => json!({
            "work_id": work_id.to_string(),
            "work_type": work_type,
            "status": status_word(*status),
        }),
        Event::RunSubmitted { run, kind } => {
            json!({ "run_id": run.to_string(), "run_kind": kind.as_str() })
        }
        Event::RunEnded { run, outcome } => run_ended(run.as_str(), outcome),
        Event::NodeGone { node, claims } => {
            json!({ "node_id": node.to_string(), "claims": claims })
        }
        Event::QueueSet { queue, settings } => {
            let QueueSettings { weight, max_running, max_queued, max_gpu_milli } = settings;
            json!({
                "queue": queue.to_string(),
                "weight": weight,
                "max_running": max_running,
                "max_queued": max_queued,
                "max_gpu_milli": max_gpu_milli,
            })
        }
        Event::QueueRemoved { queue } => json!({ "queue": queue.to_string() }),
        Event::ArrayCancelled { array, items } => {
            json!({ "array_id": array.to_string(), "items": items })
        }
        Event::MembersChanged { retired, automatic } => {
            let retired = retired.map(|raft_id| format!("{raft_id:016x}"));
            json!({ "retired_raft_id": retired, "automatic": automatic })
        }
        Event::ClusterNamed { cluster_id } => json!({ "cluster_id": cluster_id }),
        Event::TermBegan { term } => json!({ "term": term }),
    }
}

fn run_ended(run: &str, outcome: &Outcome) -> Value {
    let (verdict, reason, message) = match outcome {
        Outcome::Verdict(verdict) => (Some(verdict.as_str()), None, None),
        Outcome::Failed { reason, message } => (None, Some(reason), Some(message)),
        Outcome::Standings | Outcome::Succeeded | Outcome::Cancelled => (None, None, None),
    };
    json!({
        "run_id": run,
        "phase": Phase::of(Some(outcome)).as_str(),
        "verdict": verdict,
        "reason": reason,
        "message": message,
    })
}
