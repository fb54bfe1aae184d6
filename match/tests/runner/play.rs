//! What a pair between sound engines looks like.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use ringrift_wire::pair::{Limit, PairReport};
use serde_json::{Value, json};

use crate::program::{PROGRAM, calm, pair, report};

fn hashes(report: &PairReport) -> Vec<&str> {
    report.games.iter().map(|game| game.moves_hash.as_str()).collect()
}

#[test]
fn a_pair_is_repeatable() {
    for limit in [json!({"nodes": 300}), json!({"depth": 3})] {
        let spec = pair(&["own"], &["own"], &limit);
        let (first, second) = (report(&spec), report(&spec));
        assert_eq!(hashes(&first), hashes(&second));
        assert_eq!(first.games, second.games);
        assert_eq!(first.games.len(), 2);
    }
}

#[test]
fn both_games_share_the_opening_and_the_sides_are_swapped() {
    let mut spec = pair(&["own"], &["own"], &json!({"nodes": 300}));
    spec["contestants"][1]["limit"] = json!({"nodes": 40});
    let report = report(&spec);
    assert_eq!((report.index, report.opening.len()), (1, 8));
    let [first, second] = report.games.as_slice() else { panic!("{report:?}") };
    assert!(first.pgn.contains("[White \"first\"]\n[Black \"second\"]"));
    assert!(second.pgn.contains("[White \"second\"]\n[Black \"first\"]"));
    for game in [first, second] {
        assert!(game.score.is_some() && game.plies > 0);
        let plies = format!("[PlyCount \"{}\"]", game.plies + 8);
        assert!(game.pgn.contains(&plies), "{plies}: {}", game.pgn);
    }
    let movetext = |pgn: &str| pgn.split("\n\n").nth(1).unwrap().replace('\n', " ");
    let opening = |pgn: &str| movetext(pgn).split(" 5.").next().unwrap().to_owned();
    assert_eq!(opening(&first.pgn), opening(&second.pgn));
}

#[test]
fn every_match_up_meets_the_same_openings() {
    let of = |nodes: u64, index: u32| {
        let mut spec = pair(&["own"], &["own"], &json!({"nodes": nodes}));
        spec["index"] = json!(index);
        spec["plies_max"] = json!(10);
        report(&spec).opening
    };
    assert_eq!(of(10, 5), of(20, 5));
    assert_ne!(of(10, 5), of(10, 6));
}

#[test]
fn move_times_are_kept_by_the_own_engine() {
    let mut spec = pair(&["own"], &["own"], &json!({"movetime_ms": 20}));
    spec["plies_max"] = json!(20);
    let report = calm(&spec);
    // Twelve moves a game of at most 20 ms and a margin of 100 ms each.
    assert!(report.games.iter().all(|game| game.at_fault.is_none()), "{report:?}");
    assert!(report.wall_ms >= 2 * 12 * 10, "{} ms", report.wall_ms);
}

#[test]
fn the_spec_of_the_wire_is_read() {
    let spec: Value = pair(&["own"], &["own"], &json!({"nodes": 5}));
    let typed: ringrift_wire::pair::PairSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(typed.contestants[0].limit, Limit::Nodes(5));
    let report = report(&serde_json::to_value(&typed).unwrap());
    assert_eq!(report.games.len(), 2);
}

#[test]
fn the_own_engine_answers_while_it_thinks() {
    let mut engine = Command::new(PROGRAM)
        .arg("engine")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = engine.stdin.take().unwrap();
    let mut lines = BufReader::new(engine.stdout.take().unwrap()).lines();
    let mut until = |wanted: &str| {
        lines.by_ref().map(Result::unwrap).find(|line| line.starts_with(wanted)).unwrap()
    };
    writeln!(input, "uci\nposition startpos moves e2e4\ngo infinite\nisready").unwrap();
    until("uciok");
    until("readyok");
    writeln!(input, "stop").unwrap();
    assert!(until("bestmove").len() >= "bestmove a7a6".len());
    writeln!(input, "go nodes 100").unwrap();
    assert!(until("info depth").contains(" nodes 100 "));
    drop(input);
    assert!(engine.wait().unwrap().success());
}
