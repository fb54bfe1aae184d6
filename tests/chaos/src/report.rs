//! What a run came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::checker::Verdict;
use crate::history::{Call, Micros, Outcome};
use crate::nemesis::Deeds;

/// Findings and reasons that the sentences show; the JSON has more.
const SHOWN: usize = 12;
/// Characters of a reason by which unknown outcomes are counted.
const REASON_CHARS: usize = 60;
/// Reasons that are counted apart.
const REASONS_MAX: usize = 40;

/// A run.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) agents: usize,
    pub(crate) voters: usize,
    pub(crate) seed: u64,
    pub(crate) minutes: f64,
    /// Calls with an answer.
    pub(crate) operations: u64,
    /// Calls that were refused before anything was proposed.
    pub(crate) declined: u64,
    pub(crate) unknown: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) faults_total: u64,
    /// Agents that ended by themselves.
    pub(crate) ended_by_themselves: u64,
    /// The first of them, with their last words.
    pub(crate) ends: Vec<String>,
    /// Agents that had to be killed after they were asked to leave.
    pub(crate) stubborn: u64,
    /// Milliseconds, while faults went on.
    pub(crate) longest_without_answer_ms: u64,
    /// Milliseconds from the last mending until every agent named one leader and all voters.
    pub(crate) agreed_ms: u64,
    /// Milliseconds from the last mending to the first answer to what was asked for after it.
    pub(crate) first_answer_ms: Option<u64>,
    /// All agents hold the same bytes at this index.
    pub(crate) same_state_at: Option<u64>,
    /// What did not come back, or not in time.
    pub(crate) problems: Vec<String>,
    /// Why outcomes are not known.
    pub(crate) reasons: BTreeMap<String, u64>,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) linearizable: bool,
    pub(crate) holds: bool,
    pub(crate) verdict: Verdict,
}

impl Report {
    pub(crate) fn new(agents: usize, voters: usize, seed: u64, minutes: f64) -> Self {
        Self { agents, voters, seed, minutes, ..Self::default() }
    }

    /// Keeps what went wrong.
    pub(crate) fn note(&mut self, outcome: Result<(), String>) {
        self.problems.extend(outcome.err());
    }

    pub(crate) fn faults(&mut self, deeds: Deeds) {
        let Deeds { faults, ends, ends_total, stubborn } = deeds;
        self.faults_total = faults.values().sum();
        self.faults = faults.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        (self.ends, self.ended_by_themselves, self.stubborn) = (ends, ends_total, stubborn);
    }

    /// Figures of a history whose last fault was mended at `healed`.
    pub(crate) fn history(&mut self, history: &[Call], healed: Micros) {
        let done = |call: &&Call| matches!(call.outcome, Outcome::Done(..));
        let mut answers: Vec<Micros> = history.iter().filter(done).map(|it| it.answered).collect();
        answers.sort_unstable();
        answers.retain(|answered| *answered <= healed);
        answers.push(healed);
        let gap = answers.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0);
        self.longest_without_answer_ms = gap / 1_000;
        let after = history.iter().filter(done).filter(|call| call.sent >= healed);
        let first = after.map(|call| call.answered).min();
        self.first_answer_ms = first.map(|answered| (answered - healed) / 1_000);
        for call in history {
            let Outcome::Unknown(reason) = &call.outcome else { continue };
            let short: String = reason.chars().take(REASON_CHARS).collect();
            let known = self.reasons.contains_key(&short) || self.reasons.len() < REASONS_MAX;
            let reason = if known { short } else { "others".to_owned() };
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// Whether nothing was lost, nothing doubled, one order explains everything, and everything came
    /// back. A run in which nothing was done proves nothing.
    pub(crate) fn holds(&self) -> bool {
        self.verdict.holds()
            && self.problems.is_empty()
            && self.verdict.seen.completed > 0
            && self.first_answer_ms.is_some()
    }

    /// One line.
    pub(crate) fn json(&self) -> String {
        let Verdict { lost, doubled, disorder, findings: _, seen } = &self.verdict;
        let report = Self {
            operations: seen.answered,
            declined: seen.declined,
            unknown: seen.unknown,
            lost: *lost,
            doubled: *doubled,
            linearizable: *lost == 0 && *doubled == 0 && *disorder == 0,
            holds: self.holds(),
            ..self.clone()
        };
        serde_json::to_string(&report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

/// What a check came to, in sentences.
pub(crate) fn verdict(verdict: &Verdict) -> String {
    let Verdict { lost, doubled, disorder, findings, seen } = verdict;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} operations answered, {} declined, {} unknown; {} items acknowledged, {} completions accepted; {} \
         claims, {} refusals by token, {} empty claims, {} repeats in sessions, {} locks",
        seen.answered,
        seen.declined,
        seen.unknown,
        seen.items,
        seen.completed,
        seen.claims,
        seen.fenced,
        seen.empty,
        seen.repeats,
        seen.locks
    );
    let mut shown: Vec<_> = findings.iter().collect();
    // What is worst first.
    shown.sort_by_key(|finding| finding.kind);
    for finding in shown.into_iter().take(SHOWN) {
        let _ = writeln!(text, "  {:?}: {}", finding.kind, finding.text);
    }
    if findings.len() > SHOWN {
        let _ = writeln!(text, "  and more");
    }
    let linearizable = if verdict.holds() { "yes" } else { "NO" };
    let _ = write!(
        text,
        "lost {lost}, effects twice {doubled}, other contradictions {disorder}, linearizable: \
         {linearizable}"
    );
    text
}

/// A report in sentences.
pub(crate) fn sentences(report: &Report) -> String {
    let mut text = String::new();
    let faults: Vec<_> =
        report.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let _ = writeln!(
        text,
        "\n{} agents ({} voters), seed {}: {} faults ({})",
        report.agents,
        report.voters,
        report.seed,
        report.faults_total,
        faults.join(", ")
    );
    let _ = writeln!(
        text,
        "{} agents ended by themselves and were started again; {} did not leave in time when asked to",
        report.ended_by_themselves, report.stubborn
    );
    let first = report.first_answer_ms.map_or("none".to_owned(), |ms| format!("{ms} ms"));
    let _ = writeln!(
        text,
        "longest time without an answer {} ms; behind the last fault the first answer after {first}, \
         one leader and all voters for everyone after {} ms",
        report.longest_without_answer_ms, report.agreed_ms
    );
    let state = report
        .same_state_at
        .map_or("no".to_owned(), |index| format!("yes, byte for byte at index {index}"));
    let _ = writeln!(text, "all agents in the same state: {state}");
    let mut reasons: Vec<_> = report.reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons.into_iter().take(SHOWN) {
        let _ = writeln!(text, "  unknown {count} times: {reason}");
    }
    for problem in &report.problems {
        let _ = writeln!(text, "  did not come back: {problem}");
    }
    text + &verdict(&report.verdict)
}
