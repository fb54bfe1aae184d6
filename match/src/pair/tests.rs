use super::*;

fn contestant(name: &str, limit: Limit) -> Contestant {
    Contestant { name: name.to_owned(), argv: vec!["own".to_owned()], options: [].into(), limit }
}

fn spec(limits: [Limit; 2], plies_max: u16) -> PairSpec {
    PairSpec {
        contestants: [contestant("first", limits[0]), contestant("second", limits[1])],
        seed: 1,
        index: 3,
        opening_plies: 2,
        plies_max,
        reply_timeout_ms: 1_000,
    }
}

fn game(moves: &str) -> Game {
    let mut game = Game::default();
    for text in moves.split(' ') {
        game.play(text).unwrap();
    }
    game
}

const FOOLS_MATE: &str = "f2f3 e7e5 g2g4 d8h4";

#[test]
fn the_score_is_the_first_contestants() {
    let spec = spec([Limit::Nodes(1); 2], 100);
    let (opening, mated) = (game("f2f3 e7e5"), game(FOOLS_MATE));
    // White is mated: the first contestant in game 0, the second in game 1.
    for (number, score, result) in [(0, Score::Loss, "0-1"), (1, Score::Win, "0-1")] {
        let report = report(&spec, number, &opening, &mated, End::by_rule(Ending::Checkmate));
        assert_eq!(report.score, Some(score));
        assert_eq!(report.plies, 2);
        assert!(report.pgn.contains(&format!("[Result \"{result}\"]")));
        let white = if number == 0 { "first" } else { "second" };
        assert!(report.pgn.contains(&format!("[White \"{white}\"]")));
        assert!(report.pgn.contains(&format!("[Round \"3.{}\"]", number + 1)));
    }
}

#[test]
fn the_culprit_loses_or_there_is_no_score() {
    let spec = spec([Limit::Nodes(1); 2], 100);
    let opening = game("f2f3 e7e5");
    for ending in [Ending::IllegalMove, Ending::TimeLoss] {
        // By the first as White, by the first as Black, by the second as Black.
        let cases =
            [(0, 0, Score::Loss, "0-1"), (1, 0, Score::Loss, "1-0"), (0, 1, Score::Win, "1-0")];
        for (number, culprit, score, result) in cases {
            let report = report(&spec, number, &opening, &opening, End::by(culprit, ending, "why"));
            assert_eq!((report.score, report.at_fault), (Some(score), Some(culprit)));
            assert!(report.pgn.contains(&format!("[Result \"{result}\"]")), "{}", report.pgn);
        }
    }
    for ending in [Ending::Crash, Ending::Hang, Ending::Infrastructure] {
        let report = report(&spec, 0, &opening, &opening, End::by(1, ending, "why"));
        assert_eq!((report.score, report.detail.as_deref()), (None, Some("why")));
        assert!(report.pgn.contains("[Result \"*\"]"));
    }
}

#[test]
fn sides_are_swapped() {
    let after = |plies: &str| game(plies);
    assert_eq!(to_move(0, &Game::default()), 0);
    assert_eq!(to_move(1, &Game::default()), 1);
    assert_eq!(to_move(0, &after("e2e4")), 1);
    assert_eq!(to_move(1, &after("e2e4")), 0);
}

#[test]
fn a_game_has_a_budget_that_its_limits_explain() {
    let nodes = Limit::Nodes(1);
    assert_eq!(game_budget(&spec([nodes; 2], 400)), Duration::from_secs(800));
    assert_eq!(game_budget(&spec([nodes; 2], 10)), GAME_TIME_MIN);
    let slow = Limit::MovetimeMs(9_900);
    assert_eq!(game_budget(&spec([nodes, slow], 400)), Duration::from_secs(4_000));
    assert_eq!(game_budget(&spec([slow; 2], 2_000)), GAME_TIME_MAX);
}

#[test]
fn the_slower_player_is_blamed_for_an_endless_game() {
    let spec = spec([Limit::Nodes(1); 2], 400);
    let spent = [Duration::from_secs(10), Duration::from_secs(790)];
    let end = endless(&spec, game_budget(&spec), spent);
    assert_eq!((end.ending, end.at_fault), (Ending::Hang, Some(1)));
    assert_eq!(end.detail.unwrap(), "the game is not over after 800 s; second used 790 s of them");
}

#[test]
fn the_longest_report_fits_into_a_result() {
    let spec = spec([Limit::Nodes(1); 2], limits::PLIES_MAX);
    // Long moves: both sides' pieces are named with their files.
    let mut long = Game::default();
    for _ in 0..limits::PLIES_MAX / 4 {
        for text in ["g1f3", "g8f6", "f3g1", "f6g8"] {
            long.play(text).unwrap();
        }
    }
    let games = [0, 1].map(|n| report(&spec, n, &long, &long, End::by_rule(Ending::PlyLimit)));
    let whole = PairReport { index: 0, opening: Vec::new(), games: games.into(), wall_ms: 0 };
    let bytes = serde_json::to_string(&whole).unwrap().len();
    // A tenth of a move more for checks and captures still fits.
    assert!(bytes * 3 / 2 < limits::RESULT_BYTES_MAX, "{bytes}");
}

#[test]
fn a_late_reply_loses_only_when_the_engine_was_late() {
    let ms = Duration::from_millis;
    let judged = |took, starved| {
        let reply = Reply { text: String::new(), took: ms(took), starved: ms(starved) };
        judge_time(1, "late", ms(20), &reply).map_err(|end| (end.ending, end.at_fault))
    };
    assert_eq!(judged(120, 0), Ok(()));
    assert_eq!(judged(121, 0), Err((Ending::TimeLoss, Some(1))));
    assert_eq!(judged(500, 300), Err((Ending::TimeLoss, Some(1))));
    assert_eq!(judged(500, 380), Err((Ending::Infrastructure, None)));
}
