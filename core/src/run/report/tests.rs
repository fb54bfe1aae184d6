//! What people read.

use Score::{Draw, Loss, Win};

use super::*;
use crate::plan::tests::world::{Script, World, fresh, pair};
use crate::plan::tests::{gauntlet, job, tournament};
use crate::run::{Decision, Score};

const IDLE: RunItems = RunItems { outstanding: 0, running: 0, crowded: false };
const BUSY: RunItems = RunItems { outstanding: 8, running: 3, crowded: false };

fn accept(run: &mut Run, matchup: usize, pairs: &[(u32, [Score; 2])]) {
    run.ledger.pairs[matchup].extend(pairs.iter().map(|(index, scores)| (*index, pair(*scores))));
}

/// A figure that a person or a program may read.
fn all_finite(report: &RunReport) -> bool {
    let of_matchup = |m: &MatchupReport| {
        let bounds = m.llr_bounds.into_iter().flatten();
        let figures = [Some(m.score), m.elo, m.elo_error, m.los, m.llr];
        figures.into_iter().flatten().chain(bounds).all(f64::is_finite)
    };
    report.matchups.iter().all(of_matchup) && report.standings.iter().all(|s| s.points.is_finite())
}

#[test]
fn a_jobs_sentence_counts_its_tasks() {
    let mut run = fresh(job(10, 3));
    run.ledger.tasks_done = 4;
    let said = report(&run, BUSY);
    assert_eq!(said.message, "4 of 10 tasks; 3 running");
    assert_eq!((said.kind.as_str(), said.phase.as_str()), ("job", "active"));
    assert_eq!((said.done, said.total, said.running), (4, 10, 3));
    let said = report(&run, RunItems { outstanding: 1, ..IDLE });
    assert_eq!(said.message, "4 of 10 tasks; 0 running; 1 item waits for a worker");
    let said = report(&run, RunItems { crowded: true, ..IDLE });
    assert_eq!(said.message, "4 of 10 tasks; 0 running; its queue is full");
    assert_eq!(
        report(&run, RunItems { crowded: true, ..BUSY }).message,
        "4 of 10 tasks; 3 running"
    );
    run.outcome = Some(Outcome::Succeeded);
    assert_eq!(report(&run, IDLE).message, "all 10 tasks done");
    run.outcome = Some(Outcome::Cancelled);
    let said = report(&run, IDLE);
    assert_eq!(
        (said.phase, said.message.as_str()),
        (Phase::Cancelled, "cancelled after 4 of 10 tasks")
    );
    let failed = Outcome::Failed { reason: "TasksFailed".into(), message: "task 3 died".into() };
    run.outcome = Some(failed);
    let said = report(&run, IDLE);
    assert_eq!((said.phase, said.message.as_str()), (Phase::Failed, "task 3 died"));
    assert_eq!(said.reason.as_deref(), Some("TasksFailed"));
}

#[test]
fn figures_rest_on_the_contiguous_prefix_alone() {
    let mut run = fresh(gauntlet(1, 8, 10, 400));
    accept(&mut run, 0, &[(0, [Win, Loss]), (1, [Win, Draw]), (3, [Loss, Loss])]);
    let said = report(&run, BUSY);
    let [matchup] = said.matchups.as_slice() else { panic!("{:?}", said.matchups) };
    assert_eq!(matchup.contestants, ["candidate", "baseline-0"]);
    assert_eq!((matchup.pairs_done, matchup.pairs_used, matchup.pairs_max), (3, 2, 400));
    assert_eq!(matchup.pentanomial, [0, 0, 1, 1, 0]);
    assert_eq!((matchup.wins, matchup.draws, matchup.losses), (2, 1, 1));
    assert_eq!(matchup.score, 0.625);
    assert_eq!((said.done, said.total), (3, 400));
    let bounds = matchup.llr_bounds.unwrap();
    assert!((bounds[0] + 2.944439).abs() < 1e-6 && (bounds[1] - 2.944439).abs() < 1e-6);
    assert!(matchup.llr.unwrap() > 0.0 && matchup.los.unwrap() > 0.5);
    assert_eq!(matchup.decision, None);
    assert!(all_finite(&said));
}

#[test]
fn a_gauntlets_sentence_says_who_leads_and_by_how_much() {
    let mut run = fresh(gauntlet(1, 8, 10, 400));
    let waits = RunItems { running: 0, ..BUSY };
    let said = report(&run, waits).message;
    assert_eq!(said, "0 of at most 400 pairs; no figures yet; 8 items wait for a worker");
    let reason = Reason::NoNodeLargeEnough { nodes: 2 };
    let said = explained(&run, waits, Some(&reason)).message;
    let why =
        "8 items wait, of the first: none of 2 nodes that said what they have is large enough";
    assert_eq!(said, format!("0 of at most 400 pairs; no figures yet; {why}"));
    assert!(!explained(&run, BUSY, Some(&reason)).message.contains("wait"), "some run");
    accept(&mut run, 0, &[(0, [Win, Win])]);
    assert_eq!(report(&run, BUSY).message, "1 of at most 400 pairs; leading, every game won");
    let scores = |index| {
        if index % 3 == 0 { [Win, Draw] } else { [Win, Loss] }
    };
    let pairs: Vec<_> = (0..42).map(|index| (index, scores(index))).collect();
    accept(&mut run, 0, &pairs);
    // 7/12 of the points: 400 log10(7/5); a pair's deviation is sqrt(2)/12, over sqrt(42) of them.
    let said = report(&run, BUSY).message;
    assert_eq!(said, "42 of at most 400 pairs; leading by 58.5 ± 25.5 Elo");
    run.ledger.pairs[0] = crate::pages::Pages::default();
    accept(&mut run, 0, &[(0, [Win, Loss]), (1, [Draw, Draw])]);
    assert_eq!(report(&run, BUSY).message, "2 of at most 400 pairs; level");
    run.ledger.pairs[0] = crate::pages::Pages::default();
    accept(&mut run, 0, &[(0, [Loss, Draw]), (1, [Draw, Draw])]);
    let said = report(&run, BUSY).message;
    assert!(said.starts_with("2 of at most 400 pairs; trailing by "), "{said}");
}

#[test]
fn a_decision_fixes_the_figures_and_what_is_left_to_do() {
    let mut run = fresh(gauntlet(2, 8, 1, 400));
    accept(&mut run, 0, &[(0, [Win, Win]), (1, [Win, Draw]), (2, [Loss, Loss])]);
    accept(&mut run, 1, &[(0, [Draw, Draw])]);
    let kind = DecisionKind::AcceptH1;
    run.plan.decided = vec![Some(Decision { kind, pairs: 2 }), None];
    let said = report(&run, BUSY);
    assert_eq!(said.message, "4 of at most 403 pairs; 1 of 2 match-ups decided");
    assert_eq!((said.done, said.total), (4, 403));
    let first = &said.matchups[0];
    assert_eq!((first.pairs_done, first.pairs_used, first.decision), (3, 2, Some(kind)));
    assert_eq!(first.pentanomial, [0, 0, 0, 1, 1]);
}

#[test]
fn a_played_gauntlet_tells_its_verdict_with_its_figures() {
    let winner = Script { law: [0.0, 0.02, 0.3, 0.4, 0.28], ..Script::equals(5) };
    let mut world = World::new(gauntlet(1, 8, 10, 400), winner.clone());
    world.finish(1);
    let said = report(&world.run, IDLE);
    assert_eq!((said.phase, said.verdict), (Phase::Succeeded, Some(Verdict::Promote)));
    let pairs = said.matchups[0].pairs_used;
    let start = format!("promote: candidate passed against baseline-0 in {pairs} pairs, +");
    assert!(said.message.starts_with(&start) && said.message.ends_with(" Elo"), "{}", said.message);
    assert_eq!(said.done, said.total);
    let matchup = &said.matchups[0];
    assert!(matchup.llr.unwrap() > matchup.llr_bounds.unwrap()[1]);

    let mut world = World::new(gauntlet(3, 8, 10, 400), winner);
    world.finish(1);
    let said = report(&world.run, IDLE);
    let start = "promote: passed against 3 and failed against 0 of 3 baselines in ";
    assert!(said.message.starts_with(start), "{}", said.message);
}

#[test]
fn a_table_is_sorted_by_points_and_keeps_the_order_of_equals() {
    let mut run = fresh(tournament(3, 8, 2));
    assert_eq!(report(&run, BUSY).message, "0 of 6 pairs; no figures yet");
    accept(&mut run, 0, &[(0, [Loss, Draw])]); // player-0 against player-1
    accept(&mut run, 2, &[(0, [Draw, Draw])]); // player-1 against player-2
    let said = report(&run, BUSY);
    let table: Vec<_> =
        said.standings.iter().map(|s| (s.name.as_str(), s.points, s.games)).collect();
    assert_eq!(table, [("player-1", 2.5, 4), ("player-2", 1.0, 2), ("player-0", 0.5, 2)]);
    assert_eq!(said.message, "2 of 6 pairs; player-1 leads with 2.5 points from 4 games");
    assert_eq!((said.matchups.len(), said.matchups[0].llr_bounds), (3, None));
    accept(&mut run, 1, &[(0, [Loss, Draw])]); // player-0 against player-2
    let said = report(&run, BUSY);
    assert_eq!(said.standings[1].name, "player-2");
    assert_eq!(said.message, "3 of 6 pairs; 2 players share the lead with 2.5 points");
    assert!(all_finite(&said));
}

#[test]
fn a_played_tournament_names_its_winner() {
    let mut world = World::new(tournament(2, 4, 3), Script::equals(4));
    world.finish(1);
    let said = report(&world.run, IDLE);
    assert_eq!((said.phase, said.verdict, said.done, said.total), (Phase::Succeeded, None, 3, 3));
    assert!(said.message.starts_with("3 pairs; "), "{}", said.message);
    let points: f64 = said.standings.iter().map(|line| line.points).sum();
    assert_eq!(points, 6.0);
}

#[test]
fn no_small_ledger_gives_a_figure_that_is_not_a_number() {
    let results = [[Loss, Loss], [Win, Loss], [Draw, Draw], [Win, Draw], [Win, Win]];
    for code in 0..5_usize.pow(4) {
        let mut run = fresh(gauntlet(1, 8, 1, 400));
        let pairs: Vec<_> =
            (0..4).map(|i| (i, results[code / 5_usize.pow(i) % 5])).take(code % 5).collect();
        accept(&mut run, 0, &pairs);
        assert!(all_finite(&report(&run, BUSY)), "{pairs:?}");
    }
}
