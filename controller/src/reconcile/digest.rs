//! From a run to a status, without asking anybody.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use ringrift_crds::condition::{ConditionType, Reason};
use ringrift_crds::status::{
    FAILURES_MAX, Failure, MATCHUPS_MAX, Matchup, STANDINGS_MAX, Standing, Status, TEXT_LENGTH_MAX,
};
use ringrift_wire::run::{FailureStatus, MatchupStatus, RunStatus, Standing as WireStanding};

use super::status::Finding;

/// Match-ups whose Elo stands in the printed column.
const ELOS_PRINTED_MAX: usize = 3;
/// Bytes of a name in a status.
const NAME_BYTES_MAX: usize = 128;

/// How the conditions stand, all from one observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standpoint {
    complete: &'static str,
    failed: &'static str,
    running: &'static str,
    reason: Reason,
}

/// The status after a finding. What a finding says nothing of stays as it was.
pub(super) fn digest(
    before: &Status,
    generation: Option<i64>,
    run_id: &str,
    finding: &Finding<'_>,
    now: Timestamp,
) -> Status {
    let mut status = match finding {
        Finding::Seen(run) => figures(run),
        Finding::Away { .. } | Finding::Refused { .. } => before.clone(),
    };
    let standpoint = standpoint(finding);
    let (reason, message) = (standpoint.reason, ending(finding).1);
    let message = cut(message, TEXT_LENGTH_MAX);
    status.conditions = conditions(before, generation, &standpoint, &message, now);
    status.observed_generation = generation;
    status.run_id = Some(run_id.to_owned());
    status.reason = Some(reason.to_string());
    status.message = Some(message);
    status
}

/// Whether the API server has to hear of it. The log's index alone tells nobody anything: it grows
/// with the work of others.
pub(super) fn differs(before: &Status, after: &Status) -> bool {
    Status { log_index: before.log_index, ..after.clone() } != *before
}

pub(super) fn is_true(status: &Status, wanted: ConditionType) -> bool {
    status.conditions.iter().any(|one| one.type_ == wanted.as_str() && one.status == "True")
}

/// The reason and the sentence of a finding.
pub(super) fn ending<'a>(finding: &'a Finding<'_>) -> (Reason, &'a str) {
    let message = match finding {
        Finding::Seen(run) => &run.message,
        Finding::Away { message, .. } | Finding::Refused { message, .. } => message,
    };
    (standpoint(finding).reason, message)
}

/// The status of an object that cannot be read: one condition, and nothing else.
pub(super) fn malformed(generation: Option<i64>, error: &str, now: Timestamp) -> Status {
    let condition = Condition {
        type_: ConditionType::Malformed.to_string(),
        status: "True".to_owned(),
        reason: Reason::SpecInvalid.to_string(),
        message: cut(&format!("the object cannot be read: {error}"), TEXT_LENGTH_MAX),
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    Status { conditions: vec![condition], ..Status::default() }
}

fn standpoint(finding: &Finding<'_>) -> Standpoint {
    let going_on =
        |running, reason| Standpoint { complete: "False", failed: "False", running, reason };
    let ended_badly =
        |reason| Standpoint { complete: "False", failed: "True", running: "False", reason };
    let run = match finding {
        Finding::Seen(run) => run,
        Finding::Away { reason, .. } => return going_on("Unknown", *reason),
        Finding::Refused { reason, .. } => return ended_badly(*reason),
    };
    match run.phase.as_str() {
        "succeeded" => Standpoint {
            complete: "True",
            failed: "False",
            running: "False",
            reason: good_end(run),
        },
        "failed" => ended_badly(match run.reason.as_deref() {
            Some("TasksFailed") => Reason::TasksFailed,
            Some("PairUnplayable") => Reason::PairUnplayable,
            Some(_) | None => Reason::RunFailed,
        }),
        "cancelled" => ended_badly(Reason::Cancelled),
        _ if run.running > 0 => going_on("True", Reason::ItemsRunning),
        _ => going_on("False", waiting(run)),
    }
}

/// Why no item runs: the agents' reason for the first that waits, in Kubernetes' way of writing.
fn waiting(run: &RunStatus) -> Reason {
    match run.waits.first().map_or("", |first| first.reason.as_str()) {
        "delayed" => Reason::Delayed,
        "dependencies" => Reason::Dependencies,
        "group_busy" => Reason::GroupBusy,
        "queue_max_running" => Reason::QueueMaxRunning,
        "queue_max_gpu" => Reason::QueueMaxGpu,
        "no_node_large_enough" => Reason::NoNodeLargeEnough,
        "no_capable_node" => Reason::NoCapableNode,
        "no_room" => Reason::NoRoom,
        "in_line" => Reason::InLine,
        "no_claimer" => Reason::NoClaimer,
        _unknown_or_none => Reason::WaitingForWorkers,
    }
}

fn good_end(run: &RunStatus) -> Reason {
    match (run.kind.as_str(), run.verdict.as_deref()) {
        ("gauntlet", Some("promote")) => Reason::CandidatePromoted,
        ("gauntlet", Some("reject")) => Reason::CandidateRejected,
        ("gauntlet", Some(_) | None) => Reason::CandidateInconclusive,
        ("tournament", _) => Reason::PairsPlayed,
        _ => Reason::TasksSucceeded,
    }
}

fn conditions(
    before: &Status,
    generation: Option<i64>,
    standpoint: &Standpoint,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |type_: ConditionType, status: &str, reason: Reason, message: &str| {
        let earlier = before.conditions.iter().find(|one| one.type_ == type_.as_str());
        let since =
            earlier.filter(|one| one.status == status).map(|one| one.last_transition_time.clone());
        Condition {
            type_: type_.to_string(),
            status: status.to_owned(),
            reason: reason.to_string(),
            message: message.to_owned(),
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| Time(whole_seconds(now))),
        }
    };
    let reason = standpoint.reason;
    let mut conditions: Vec<Condition> = ConditionType::ALWAYS
        .into_iter()
        .filter_map(|type_| {
            let status = match type_ {
                ConditionType::Complete => standpoint.complete,
                ConditionType::Failed => standpoint.failed,
                ConditionType::Running => standpoint.running,
                ConditionType::Malformed => return None,
            };
            Some(condition(type_, status, reason, message))
        })
        .collect();
    if before.conditions.iter().any(|one| one.type_ == ConditionType::Malformed.as_str()) {
        let sentence = "the object can be read";
        conditions.push(condition(
            ConditionType::Malformed,
            "False",
            Reason::SpecReadable,
            sentence,
        ));
    }
    conditions
}

/// Everything but conditions, reason and message.
fn figures(run: &RunStatus) -> Status {
    let RunStatus {
        run_id: _,
        queue: _,
        resources: _,
        kind: _,
        phase,
        version: _,
        log_index,
        submitted_at,
        ended_at,
        done,
        total,
        running,
        failed,
        message: _,
        waits: _,
        verdict,
        reason: _,
        matchups,
        standings,
        failures,
    } = run;
    // An ended run is looked at once more and never again: what workers still hold then is thrown away,
    // and must not stand in the status for ever.
    let running = if phase == "active" { *running } else { 0 };
    Status {
        log_index: Some(count(*log_index)),
        start_time: time(*submitted_at),
        completion_time: ended_at.and_then(time),
        progress: Some(format!("{done}/{total}")),
        done: Some(count(*done)),
        total: Some(count(*total)),
        running: Some(count(running)),
        failed: Some(count(*failed)),
        verdict: verdict.as_deref().map(word),
        elo: elo_column(matchups),
        matchups: matchups.iter().take(MATCHUPS_MAX).map(matchup).collect(),
        standings: standings.iter().take(STANDINGS_MAX).map(standing).collect(),
        failures: failures.iter().take(FAILURES_MAX).map(failure).collect(),
        ..Status::default()
    }
}

fn matchup(given: &MatchupStatus) -> Matchup {
    let [first, second] = &given.contestants;
    let llr = given.llr.zip(given.llr_bounds);
    Matchup {
        first: cut(first, NAME_BYTES_MAX),
        second: cut(second, NAME_BYTES_MAX),
        pairs: i64::from(given.pairs_used),
        wins: i64::from(given.wins),
        draws: i64::from(given.draws),
        losses: i64::from(given.losses),
        elo: elo(given),
        llr: llr.map(|(llr, [lower, upper])| format!("{llr:.2} ({lower:.2}, {upper:.2})")),
        decision: given.decision.as_deref().map(word),
    }
}

fn standing(given: &WireStanding) -> Standing {
    Standing {
        name: cut(&given.name, NAME_BYTES_MAX),
        points: format!("{:.1}/{}", given.points, given.games),
        wins: i64::from(given.wins),
        draws: i64::from(given.draws),
        losses: i64::from(given.losses),
    }
}

fn failure(given: &FailureStatus) -> Failure {
    Failure {
        matchup: i64::from(given.matchup),
        index: i64::from(given.index),
        error: cut(&given.error, TEXT_LENGTH_MAX),
    }
}

fn elo(given: &MatchupStatus) -> Option<String> {
    let elo = given.elo?;
    Some(match given.elo_error {
        Some(error) => format!("{elo:+.1} ± {error:.1}"),
        None => format!("{elo:+.1}"),
    })
}

fn elo_column(matchups: &[MatchupStatus]) -> Option<String> {
    let known = |given: &MatchupStatus| elo(given).unwrap_or_else(|| "?".to_owned());
    let mut printed: Vec<String> = matchups.iter().take(ELOS_PRINTED_MAX).map(known).collect();
    if matchups.len() > ELOS_PRINTED_MAX {
        printed.push("...".to_owned());
    }
    (!printed.is_empty()).then(|| printed.join(", "))
}

/// `accept_h1` as `AcceptH1`: enumerated values of Kubernetes are in Pascal case.
fn word(snake: &str) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(letters)
            .collect::<String>()
    };
    snake.split('_').map(capital).collect()
}

/// The text, or its beginning in at most `bytes_max` bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = " ...";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Kubernetes stores whole seconds; anything finer would differ from what is read back, for ever.
fn time(unix_seconds: f64) -> Option<Time> {
    let since = SignedDuration::try_from_secs_f64(unix_seconds).ok()?;
    Timestamp::from_second(since.as_secs()).ok().map(Time)
}

fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
