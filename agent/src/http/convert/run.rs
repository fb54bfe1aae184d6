//! Runs between the wire and the core.

use ringrift_core::machine::{Machine, Reason};
use ringrift_core::queue::item::Needs;
use ringrift_core::queue::resources::Demand;
use ringrift_core::run::report::{self, MatchupReport, RunReport, Standing};
use ringrift_core::run::{self as core, Fallen, Run, Score};
use ringrift_core::time::Span;
use ringrift_wire::{pair, run as wire};

use super::{demand, resources, unix_seconds};
use crate::http::failure::Failure;

/// A spec that can be run. `path` is where it stands in the body.
pub(crate) fn spec(path: &str, spec: wire::RunSpec) -> Result<core::RunSpec, Failure> {
    let (kind, spec) = match spec {
        wire::RunSpec::Job(job) => ("job", job_spec(job).map(core::RunSpec::Job)),
        wire::RunSpec::Gauntlet(gauntlet) => {
            ("gauntlet", gauntlet_spec(gauntlet).map(core::RunSpec::Gauntlet))
        }
        wire::RunSpec::Tournament(tournament) => {
            ("tournament", tournament_spec(tournament).map(core::RunSpec::Tournament))
        }
    };
    let path = if path.is_empty() { String::new() } else { format!("{path}.{kind}.") };
    let validated = spec.and_then(|spec| match spec.validate() {
        Ok(()) => Ok(spec),
        Err(error) => Err(Failure::invalid(error.field, error.problem)),
    });
    validated.map_err(|failure| failure.rename(|field| format!("{path}{field}")))
}

fn job_spec(job: wire::JobSpec) -> Result<core::JobSpec, Failure> {
    let wire::JobSpec {
        argv,
        env,
        completions,
        parallelism,
        max_attempts,
        timeout_seconds,
        priority,
        labels,
        resources,
    } = job;
    Ok(core::JobSpec {
        task: core::Task { argv, env },
        completions,
        parallelism,
        attempts_max: max_attempts,
        attempt_timeout: Span::seconds(timeout_seconds),
        priority,
        needs: Needs { labels, demand: demand(resources)?, ..Needs::default() },
    })
}

fn gauntlet_spec(gauntlet: wire::GauntletSpec) -> Result<core::GauntletSpec, Failure> {
    let wire::GauntletSpec { candidate, baselines, play, stop, resources } = gauntlet;
    Ok(core::GauntletSpec {
        candidate: contestant(candidate),
        baselines: baselines.into_iter().map(contestant).collect(),
        play: play_of(play, demand(resources)?),
        stop: stop_of(stop),
    })
}

fn tournament_spec(tournament: wire::TournamentSpec) -> Result<core::TournamentSpec, Failure> {
    let wire::TournamentSpec { contestants, play, pairs, resources } = tournament;
    Ok(core::TournamentSpec {
        contestants: contestants.into_iter().map(contestant).collect(),
        play: play_of(play, demand(resources)?),
        pairs,
    })
}

fn contestant(contestant: pair::Contestant) -> core::Contestant {
    let pair::Contestant { name, argv, options, limit } = contestant;
    let limit = match limit {
        pair::Limit::Nodes(nodes) => core::Limit::Nodes(nodes),
        pair::Limit::Depth(plies) => core::Limit::Depth(plies),
        pair::Limit::MovetimeMs(millis) => core::Limit::MoveTime(Span(millis)),
    };
    core::Contestant { name, argv, options, limit }
}

fn play_of(play: wire::Play, demand: Demand) -> core::Play {
    let wire::Play { seed, opening_plies, plies_max, reply_timeout_seconds, window, priority } =
        play;
    let reply_timeout = Span::seconds(reply_timeout_seconds);
    core::Play { seed, opening_plies, plies_max, reply_timeout, window, priority, demand }
}

fn stop_of(stop: wire::Stop) -> core::Stop {
    let wire::Stop { pairs_min, pairs_max, model, elo0_milli, elo1_milli, alpha_ppm, beta_ppm } =
        stop;
    let model = match model {
        wire::Model::Normalized => core::SprtModel::Normalized,
        wire::Model::Logistic => core::SprtModel::Logistic,
    };
    let sprt = core::Sprt { model, elo0_milli, elo1_milli, alpha_ppm, beta_ppm };
    core::Stop { pairs_min, pairs_max, sprt }
}

/// A run as callers see it, with the reasons for which the first of its items waits while none runs.
pub(crate) fn status(machine: &Machine, run: &Run, waits: &[Reason]) -> wire::RunStatus {
    let RunReport {
        kind,
        phase,
        done,
        total,
        running,
        failed,
        message,
        verdict,
        reason,
        matchups,
        standings,
    } = report::explained(run, machine.run_items(&run.id), waits.first());
    wire::RunStatus {
        run_id: run.id.to_string(),
        queue: run.queue.to_string(),
        resources: resources(&run.spec.needs().demand),
        kind: kind.as_str().to_owned(),
        phase: phase.as_str().to_owned(),
        version: run.version,
        log_index: machine.applied().index,
        submitted_at: unix_seconds(run.submitted),
        ended_at: run.ended.map(unix_seconds),
        done,
        total,
        running,
        failed,
        message,
        waits: super::reasons(waits),
        verdict: verdict.map(|verdict| verdict.as_str().to_owned()),
        reason,
        matchups: matchups.into_iter().map(matchup).collect(),
        standings: standings.into_iter().map(standing).collect(),
        failures: run.failures.iter().map(failure).collect(),
    }
}

fn matchup(report: MatchupReport) -> wire::MatchupStatus {
    let MatchupReport {
        contestants,
        pairs_done,
        pairs_used,
        pairs_max,
        pentanomial,
        wins,
        draws,
        losses,
        score,
        elo,
        elo_error,
        los,
        llr,
        llr_bounds,
        decision,
    } = report;
    wire::MatchupStatus {
        contestants,
        pairs_done,
        pairs_used,
        pairs_max,
        pentanomial,
        wins,
        draws,
        losses,
        score,
        elo,
        elo_error,
        los,
        llr,
        llr_bounds,
        decision: decision.map(|decision| decision.as_str().to_owned()),
    }
}

fn standing(standing: Standing) -> wire::Standing {
    let Standing { name, points, games, wins, draws, losses } = standing;
    wire::Standing { name, points, games, wins, draws, losses }
}

fn failure(fallen: &Fallen) -> wire::FailureStatus {
    let Fallen { origin, error } = fallen;
    wire::FailureStatus { matchup: origin.matchup, index: origin.index, error: error.clone() }
}

/// One page of a run's ledger, match-up by match-up in index order.
pub(crate) fn ledger(run: &Run, offset: u64, limit: usize) -> wire::LedgerPage {
    let matchups = run.ledger.pairs.iter().enumerate();
    let all =
        matchups.flat_map(|(at, pairs)| pairs.iter().map(move |(index, pair)| (at, index, pair)));
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut rest = all.skip(skip);
    let pairs: Vec<_> = rest
        .by_ref()
        .take(limit)
        .map(|(at, index, pair)| wire::LedgerPair {
            matchup: u16::try_from(at).unwrap_or(u16::MAX),
            index,
            work_id: pair.work_id.to_string(),
            node: pair.node.to_string(),
            scores: [points(&pair.games[0].score), points(&pair.games[1].score)],
            moves_hashes: [hash(pair.games[0].moves_hash), hash(pair.games[1].moves_hash)],
        })
        .collect();
    let next_offset = rest.next().map(|_| offset.saturating_add(pairs.len() as u64));
    wire::LedgerPage { run_id: run.id.to_string(), pairs, next_offset }
}

/// Every game in the ledger has a score; without one it would not be there.
fn points(score: &Result<Score, String>) -> f64 {
    match score {
        Ok(Score::Win) => 1.0,
        Ok(Score::Draw) => 0.5,
        Ok(Score::Loss) | Err(_) => 0.0,
    }
}

fn hash(moves_hash: u64) -> String {
    format!("{moves_hash:016x}")
}
