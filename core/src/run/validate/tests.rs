//! Each rule refuses, and names its field.

use super::*;
use crate::plan::tests::{gauntlet, job, tournament};
use crate::run::spec::{GauntletSpec, TournamentSpec};

fn refused(spec: RunSpec) -> (String, String) {
    let SpecError { field, problem } = spec.validate().unwrap_err();
    (field, problem)
}

fn job_with(change: impl FnOnce(&mut JobSpec)) -> RunSpec {
    let RunSpec::Job(mut spec) = job(10, 3) else { panic!() };
    change(&mut spec);
    RunSpec::Job(spec)
}

fn gauntlet_with(change: impl FnOnce(&mut GauntletSpec)) -> RunSpec {
    let RunSpec::Gauntlet(mut spec) = gauntlet(2, 8, 10, 100) else { panic!() };
    change(&mut spec);
    RunSpec::Gauntlet(spec)
}

fn tournament_with(change: impl FnOnce(&mut TournamentSpec)) -> RunSpec {
    let RunSpec::Tournament(mut spec) = tournament(3, 8, 10) else { panic!() };
    change(&mut spec);
    RunSpec::Tournament(spec)
}

#[test]
fn sound_specs_pass() {
    for spec in [job(10, 3), gauntlet(2, 8, 10, 100), tournament(3, 8, 10), tournament(64, 9, 496)]
    {
        assert_eq!(spec.validate(), Ok(()));
    }
}

#[test]
fn whatever_could_be_placed_somewhere_may_be_asked_for() {
    for gpu_milli in [1, 999, 1_000, 64_000] {
        let asked =
            Demand { cpu_milli: u32::MAX, memory_mib: u32::MAX, gpu_milli, ..Demand::default() };
        for spec in [
            job_with(|job| job.needs.demand = asked),
            gauntlet_with(|g| g.play.demand = asked),
            tournament_with(|t| t.play.demand = asked),
        ] {
            assert_eq!(spec.validate(), Ok(()));
        }
    }
}

#[test]
fn a_job_must_be_something_that_can_run() {
    let cases = [
        (job_with(|job| job.task.argv.clear()), "argv"),
        (job_with(|job| job.task.argv[0].clear()), "argv"),
        (job_with(|job| job.task.argv.push("a\0b".into())), "argv"),
        (job_with(|job| job.task.argv = vec!["x".into(); limits::TASK_WORDS_MAX + 1]), "argv"),
        (job_with(|job| job.task.argv.push("x".repeat(limits::PAYLOAD_BYTES_MAX))), "argv"),
        (job_with(|job| drop(job.task.env.insert("A=B".into(), "c".into()))), "env"),
        (job_with(|job| drop(job.task.env.insert("A".into(), "\0".into()))), "env"),
        (job_with(|job| job.completions = 0), "completions"),
        (job_with(|job| job.completions = limits::RUN_ITEMS_MAX + 1), "completions"),
        (job_with(|job| job.parallelism = 0), "parallelism"),
        (job_with(|job| job.attempts_max = 0), "max_attempts"),
        (job_with(|job| job.attempt_timeout = Span(0)), "timeout_seconds"),
        (job_with(|job| job.attempt_timeout = Span::seconds(32 * 86_400)), "timeout_seconds"),
        (job_with(|job| job.priority = 101), "priority"),
        (job_with(|job| drop(job.needs.labels.insert("gpu".into(), "x".repeat(129)))), "labels"),
        (job_with(|job| job.needs.demand.gpu_milli = 1_500), "resources.gpus"),
    ];
    for (spec, field) in cases {
        assert_eq!(refused(spec.clone()).0, field, "{spec:?}");
    }
    let (_, problem) = refused(job_with(|job| job.priority = 101));
    assert_eq!(problem, "must be 0 to 100, but is 101");
    let (_, problem) = refused(job_with(|job| job.needs.demand.gpu_milli = 2_050));
    assert_eq!(problem, "must be a part of one device or whole devices, but is 2.050");
}

#[test]
fn a_gauntlet_must_be_able_to_decide() {
    let cases = [
        (gauntlet_with(|g| g.baselines.clear()), "baselines"),
        (gauntlet_with(|g| g.baselines[1].name = "candidate".into()), "baselines[1].name"),
        (gauntlet_with(|g| g.candidate.name = " ".into()), "candidate.name"),
        (gauntlet_with(|g| g.baselines[0].argv.clear()), "baselines[0].argv"),
        (gauntlet_with(|g| g.candidate.limit = Limit::Nodes(0)), "candidate.limit"),
        (
            gauntlet_with(|g| g.candidate.limit = Limit::MoveTime(Span::seconds(10))),
            "candidate.limit",
        ),
        (
            gauntlet_with(|g| drop(g.candidate.options.insert("Hash".into(), "1\nquit".into()))),
            "candidate.options",
        ),
        (gauntlet_with(|g| g.play.plies_max = 0), "play.plies_max"),
        (gauntlet_with(|g| g.play.opening_plies = 500), "play.opening_plies"),
        (gauntlet_with(|g| g.play.reply_timeout = Span(0)), "play.reply_timeout_seconds"),
        (gauntlet_with(|g| g.play.window = 0), "play.window"),
        (gauntlet_with(|g| g.play.demand.gpu_milli = 2_001), "resources.gpus"),
        (gauntlet_with(|g| g.play.window = limits::RUN_OUTSTANDING_MAX / 2 + 1), "play.window"),
        (gauntlet_with(|g| g.stop.pairs_max = 0), "stop.pairs_max"),
        (gauntlet_with(|g| g.stop.pairs_max = limits::RUN_ITEMS_MAX), "stop.pairs_max"),
        (gauntlet_with(|g| g.stop.pairs_min = 101), "stop.pairs_min"),
        (gauntlet_with(|g| g.stop.sprt.elo1_milli = 0), "stop.elo1_milli"),
        (gauntlet_with(|g| g.stop.sprt.elo0_milli = -2_000_000), "stop.elo0_milli"),
        (gauntlet_with(|g| g.stop.sprt.alpha_ppm = 0), "stop.alpha_ppm"),
        (gauntlet_with(|g| g.stop.sprt.beta_ppm = 500_000), "stop.beta_ppm"),
    ];
    for (spec, field) in cases {
        assert_eq!(refused(spec.clone()).0, field, "{spec:?}");
    }
}

#[test]
fn a_tournament_needs_players_and_an_end() {
    let many = |players| (0..players).map(|i| crate::plan::tests::contestant(&format!("p{i}")));
    let cases = [
        (tournament_with(|t| t.contestants.truncate(1)), "contestants"),
        (tournament_with(|t| t.contestants = many(65).collect()), "contestants"),
        (tournament_with(|t| t.contestants[2].name = "player-0".into()), "contestants[2].name"),
        (tournament_with(|t| t.pairs = 0), "pairs"),
        (tournament_with(|t| t.play.demand.gpu_milli = 1_001), "resources.gpus"),
        (tournament_with(|t| t.contestants = many(64).collect()), ""),
        (tournament(64, 9, 497), "pairs"),
        (tournament(64, 10, 5), "play.window"),
    ];
    for (spec, field) in cases {
        let got = spec.validate().err().map_or(String::new(), |error| error.field);
        assert_eq!(got, field, "{:?}", spec.matchups());
    }
    let error = tournament(64, 10, 5).validate().unwrap_err();
    let said = "play.window must be at most 9 with 2016 match-ups, but is 10";
    assert_eq!(error.to_string(), said);
}

#[test]
fn all_contestants_together_fit_a_log_entry() {
    let large = |t: &mut TournamentSpec| {
        for one in &mut t.contestants {
            one.argv.push("x".repeat(limits::PAYLOAD_BYTES_MAX / 3));
        }
    };
    assert_eq!(refused(tournament_with(large)).0, "contestants[2]");
}

#[test]
fn whatever_validation_accepts_a_test_can_be_made_of() {
    let widest = gauntlet_with(|g| {
        g.stop.sprt.elo0_milli = -limits::ELO_MILLI_MAX;
        g.stop.sprt.elo1_milli = limits::ELO_MILLI_MAX;
        g.stop.sprt.alpha_ppm = ERROR_PPM_MAX;
        g.stop.sprt.beta_ppm = 1;
    });
    assert_eq!(widest.validate(), Ok(()));
    let RunSpec::Gauntlet(spec) = widest else { panic!() };
    assert!(crate::stats::Test::try_from(&spec.stop.sprt).is_ok());
}
