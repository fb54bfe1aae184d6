use ringrift_wire::pair::Ending;

use super::search::{Bounds, Worth};
use super::*;
use crate::chess::Game;

fn think(fen: &str, nodes: Option<u64>, depth: Option<u32>) -> Found {
    let position = Position::parse(&format!("fen {fen}")).unwrap();
    let mut poll = || false;
    let bounds = Bounds { nodes, depth, poll: &mut poll };
    Search::default().run(&position, &Weights::default(), bounds)
}

const MIDDLE: &str = "r1bq1rk1/pp2bppp/2n1pn2/3p4/3P4/2NBPN2/PP3PPP/R1BQ1RK1 w - - 0 9";

#[test]
fn nodes_are_counted_and_never_exceeded() {
    for nodes in [1, 2, 7, 100, 511, 512, 2_000, 20_000] {
        let found = think(MIDDLE, Some(nodes), None);
        assert_eq!(found.nodes, nodes);
        assert!(found.best.is_some());
        assert_eq!(found, think(MIDDLE, Some(nodes), None));
    }
}

#[test]
fn depth_is_obeyed() {
    let mut nodes = 0;
    for depth in 1..=5 {
        let found = think(MIDDLE, None, Some(depth));
        assert_eq!(found.depth, depth);
        assert!(found.nodes > nodes);
        nodes = found.nodes;
    }
}

#[test]
fn a_search_can_be_stopped() {
    let position = Position::parse("startpos").unwrap();
    let mut left = 3;
    let mut poll = || {
        left -= 1;
        left == 0
    };
    let bounds = Bounds { nodes: None, depth: None, poll: &mut poll };
    let found = Search::default().run(&position, &Weights::default(), bounds);
    assert!(found.best.is_some() && found.nodes < 2_000, "{found:?}");
}

#[test]
fn tactics_are_seen() {
    let cases = [
        ("6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1", "a1a8", "mate 1"),
        ("7k/8/8/8/8/1R6/R7/K7 w - - 0 1", "", "mate 2"),
        ("7K/1r6/8/8/8/8/r7/k7 w - - 0 1", "h8g8", "mate -1"),
        // A hanging queen, and a promotion.
        ("4k3/8/8/3q4/4P3/8/8/4K3 w - - 0 1", "e4d5", "cp"),
        ("8/5P1k/8/8/8/8/q7/7K w - - 0 1", "f7f8q", "cp"),
        ("7k/q7/8/8/8/8/8/6QK w - - 0 1", "g1a7", "cp"),
    ];
    for (fen, best, score) in cases {
        let found = think(fen, Some(20_000), None);
        assert!(found.best.as_deref().unwrap().starts_with(best), "{fen}: {found:?}");
        assert!(found.score.to_string().starts_with(score), "{fen}: {found:?}");
    }
    for over in ["7k/8/5KQ1/8/8/8/8/8 b - - 0 1", "7k/6Q1/6K1/8/8/8/8/8 b - - 0 1"] {
        assert_eq!(think(over, Some(100), None).best, None);
    }
    assert_eq!((Worth(-31).to_string(), Worth(0).to_string()), ("cp -31".into(), "cp 0".into()));
}

#[test]
fn castling_is_written_as_the_kings_move() {
    let position = Position::parse("fen 4k3/8/8/8/8/8/8/4K2R w K - 0 1 moves e1g1").unwrap();
    assert_eq!(position.board.king(cozy_chess::Color::White), "g1".parse().unwrap());
}

#[test]
fn positions_are_read_or_refused() {
    let past = Position::parse("startpos moves e2e4 e7e5 g1f3 b8c6 f3g1").unwrap().past;
    assert_eq!(past.len(), 3);
    for bad in ["", "here", "fen x", "startpos moves e2e5", "startpos moves é"] {
        assert!(Position::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn arguments_of_go_are_read() {
    let position = Position::default();
    let read = |arguments| limits(arguments, &position);
    assert_eq!(read("nodes 5"), Limits { nodes: Some(5), ..Limits::default() });
    assert_eq!(read("depth 3 nodes 9").depth, Some(3));
    assert_eq!(read("movetime 50").time, Some(Duration::from_millis(45)));
    assert_eq!(read("wtime 60000 btime 1 winc 1000").time, Some(Duration::from_millis(2_500)));
    assert_eq!(read("infinite"), Limits::default());
}

/// Plays one game between two numbers of nodes; the value is White's score in half points.
fn game(opening: &Game, nodes: [u64; 2]) -> u32 {
    let mut game = opening.clone();
    let mut searches = [Search::default(), Search::default()];
    let weights = Weights::default();
    for ply in game.plies()..300 {
        match game.ending() {
            Some(Ending::Checkmate) if ply % 2 == 0 => return 0,
            Some(Ending::Checkmate) => return 2,
            Some(_) => return 1,
            None => {}
        }
        let side = ply % 2;
        let position = Position::parse(&format!("startpos moves {game}")).unwrap();
        let mut poll = || false;
        let bounds = Bounds { nodes: Some(nodes[side]), depth: None, poll: &mut poll };
        let found = searches[side].run(&position, &weights, bounds);
        game.play(&found.best.unwrap()).unwrap();
    }
    1
}

#[test]
fn more_nodes_play_better() {
    let (weak, strong) = (100, 2_000);
    let mut points = 0;
    for index in 0..20 {
        let opening = crate::opening::draw(20_261_121, index, 8);
        points += game(&opening, [strong, weak]) + 2 - game(&opening, [weak, strong]);
    }
    // Of 80 half points. Equal players reach 60 less than once in a million such matches.
    assert!(points >= 60, "{points}");
}
