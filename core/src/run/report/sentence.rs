//! One sentence that says how a run stands.

use alloc::format;
use alloc::string::{String, ToString};

use super::{Kind, MatchupReport, RunItems, RunReport};
use crate::machine::Reason;
use crate::run::{DecisionKind, Outcome, Verdict};

/// The sentence for `report`, whose own message is still empty.
pub(super) fn of(
    report: &RunReport,
    outcome: Option<&Outcome>,
    items: RunItems,
    waits: Option<&Reason>,
) -> String {
    match outcome {
        None => active(report, items, waits),
        Some(Outcome::Verdict(verdict)) => verdict_sentence(report, *verdict),
        Some(Outcome::Standings) => {
            format!("{}; {}", amount(report.done, "pair"), leader(report, "is first"))
        }
        Some(Outcome::Succeeded) => format!("all {} done", amount(report.total, "task")),
        Some(Outcome::Failed { reason: _, message }) => message.clone(),
        Some(Outcome::Cancelled) => format!("cancelled after {}", done(report)),
    }
}

fn active(report: &RunReport, items: RunItems, waits: Option<&Reason>) -> String {
    let stand = match (report.kind, report.matchups.as_slice()) {
        (Kind::Job, _) => format!("{} running", items.running),
        (Kind::Gauntlet, [matchup]) => lead(matchup),
        (Kind::Gauntlet, matchups) => {
            let decided = matchups.iter().filter(|matchup| matchup.decision.is_some()).count();
            format!("{decided} of {} match-ups decided", matchups.len())
        }
        (Kind::Tournament, _) => leader(report, "leads"),
    };
    let RunItems { outstanding, running, crowded } = items;
    let waiting = if outstanding > 0 && running == 0 {
        let verb = if outstanding == 1 { "waits" } else { "wait" };
        let items = amount(outstanding, "item");
        match waits {
            // Numbers that change all the time would make whoever keeps this sentence write it each time.
            Some(Reason::InLine { .. } | Reason::NoClaimer { .. }) | None => {
                format!("; {items} {verb} for a worker")
            }
            Some(Reason::Delayed { .. }) => format!("; {items} {verb}, the first for its time"),
            Some(reason) => format!("; {items} {verb}, of the first: {reason}"),
        }
    } else if outstanding == 0 && crowded {
        "; its queue is full".to_string()
    } else {
        String::new()
    };
    format!("{}; {stand}{waiting}", done(report))
}

/// How much is done, of how much.
fn done(report: &RunReport) -> String {
    let RunReport { done, total, kind, .. } = report;
    match kind {
        Kind::Job => format!("{done} of {}", amount(*total, "task")),
        Kind::Gauntlet => format!("{done} of at most {}", amount(*total, "pair")),
        Kind::Tournament => format!("{done} of {}", amount(*total, "pair")),
    }
}

/// Who leads a single match-up, from its first contestant's side.
fn lead(matchup: &MatchupReport) -> String {
    let word = match matchup.elo {
        Some(elo) if elo >= SHOWN_MIN => "leading by",
        Some(elo) if elo <= -SHOWN_MIN => "trailing by",
        Some(_) if matchup.elo_error.is_some() => "level,",
        Some(_) => return "level".to_string(),
        None if matchup.pairs_used == 0 => return "no figures yet".to_string(),
        None if matchup.score > 0.5 => return "leading, every game won".to_string(),
        None => return "trailing, every game lost".to_string(),
    };
    let elo = libm::fabs(matchup.elo.unwrap_or_default());
    match matchup.elo_error {
        Some(error) => format!("{word} {elo:.1} ± {error:.1} Elo"),
        None => format!("{word} {elo:.1} Elo"),
    }
}

/// Smaller differences are shown as 0.0.
const SHOWN_MIN: f64 = 0.05;

/// The difference with its sign, for a sentence that has come to its end.
fn difference(matchup: &MatchupReport) -> String {
    match (matchup.elo, matchup.elo_error) {
        (Some(elo), Some(error)) => format!("{elo:+.1} ± {error:.1} Elo"),
        (Some(elo), None) => format!("{elo:+.1} Elo"),
        (None, _) if matchup.pairs_used == 0 => "no figures".to_string(),
        (None, _) if matchup.score > 0.5 => "every game won".to_string(),
        (None, _) => "every game lost".to_string(),
    }
}

fn verdict_sentence(report: &RunReport, verdict: Verdict) -> String {
    let word = verdict.as_str();
    if let [matchup] = report.matchups.as_slice() {
        let [candidate, baseline] = &matchup.contestants;
        let judgement = match verdict {
            Verdict::Promote => "passed",
            Verdict::Reject => "failed",
            Verdict::Inconclusive => "neither passed nor failed",
        };
        let (pairs, elo) = (amount(matchup.pairs_used.into(), "pair"), difference(matchup));
        return format!("{word}: {candidate} {judgement} against {baseline} in {pairs}, {elo}");
    }
    let count = |kind: DecisionKind| {
        report.matchups.iter().filter(|matchup| matchup.decision == Some(kind)).count()
    };
    let (passed, all) = (count(DecisionKind::AcceptH1), report.matchups.len());
    let failed = count(DecisionKind::AcceptH0);
    let used = report.matchups.iter().map(|matchup| u64::from(matchup.pairs_used)).sum();
    let pairs = amount(used, "pair");
    format!(
        "{word}: passed against {passed} and failed against {failed} of {all} baselines in {pairs}"
    )
}

/// Who is first in the table, with `verb`.
fn leader(report: &RunReport, verb: &str) -> String {
    let Some(first) = report.standings.first().filter(|first| first.games > 0) else {
        return "no figures yet".to_string();
    };
    let equal = report.standings.iter().filter(|line| line.points >= first.points).count();
    let (points, games) = (first.points, first.games);
    if equal > 1 {
        return format!("{equal} players share the lead with {points:.1} points");
    }
    format!("{} {verb} with {points:.1} points from {games} games", first.name)
}

/// A number with its noun.
fn amount(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
