use super::*;

fn from(fen: &str) -> Game {
    Game { board: fen.parse().unwrap(), ..Game::default() }
}

fn played(moves: &str) -> Game {
    let mut game = Game::default();
    for text in moves.split_whitespace() {
        game.play(text).unwrap();
    }
    game
}

fn last_san(game: &Game) -> &str {
    &game.played().last().unwrap().san
}

#[test]
fn castling_is_the_kings_move_in_both_directions() {
    let fen = "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1";
    for (text, san, rook) in [("e1g1", "O-O", "f1"), ("e1c1", "O-O-O", "d1")] {
        let mut game = from(fen);
        assert!(game.legal_moves().contains(&text.to_owned()));
        game.play(text).unwrap();
        assert_eq!(last_san(&game), san);
        assert_eq!(game.board.piece_on(rook.parse().unwrap()), Some(Piece::Rook));
        assert_eq!(game.played[0].uci, text);
    }
    let mut game = from("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1");
    game.play("e8c8").unwrap();
    assert_eq!(last_san(&game), "O-O-O");
    // The notation of Chess960 is not the one that was agreed on.
    assert!(from(fen).play("e1h1").is_err());
    // Through check it stays forbidden.
    assert!(from("4k3/8/8/8/8/8/5r2/4K2R w K - 0 1").play("e1g1").is_err());
}

#[test]
fn en_passant_takes_the_pawn_and_only_at_once() {
    let mut game = played("e2e4 a7a6 e4e5 d7d5 e5d6");
    assert_eq!(last_san(&game), "exd6");
    assert_eq!(game.board.piece_on("d5".parse().unwrap()), None);
    assert!(game.play("e5d6").is_err());
    assert!(played("e2e4 a7a6 e4e5 d7d5 h2h3 h7h6").play("e5d6").is_err());
}

#[test]
fn promotion_needs_its_piece() {
    let fen = "1n5k/P7/8/8/8/8/8/7K w - - 0 1";
    for (text, san) in [("a7a8q", "a8=Q"), ("a7a8n", "a8=N"), ("a7b8r", "axb8=R+")] {
        let mut game = from(fen);
        game.play(text).unwrap();
        assert_eq!(last_san(&game), san);
    }
    for text in ["a7a8", "a7a8k", "a7a8p", "a7a8Q", "a7a8qq"] {
        assert!(from(fen).play(text).is_err(), "{text}");
    }
}

#[test]
fn short_notation_names_the_right_piece() {
    // Three queens that reach one square need file and rank; a pinned twin needs nothing.
    let cases = [
        ("1k6/8/8/8/4Q2Q/8/8/K6Q w - - 0 1", "h4e1", "Qh4e1"),
        ("8/7k/8/2Q1Q3/8/2Q5/8/K7 w - - 0 1", "c5e3", "Qc5e3"),
        ("6k1/8/8/R7/8/8/8/R5K1 w - - 0 1", "a1a3", "R1a3"),
        ("6k1/8/8/8/8/8/8/R4RK1 w - - 0 1", "a1d1", "Rad1"),
        ("4r1k1/8/8/8/8/2N1N3/8/4K3 w - - 0 1", "c3d5", "Nd5"),
        ("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", "e2e4", "e4"),
    ];
    for (fen, text, san) in cases {
        let mut game = from(fen);
        game.play(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(last_san(&game), san, "{fen}");
    }
    assert_eq!(last_san(&played("f2f3 e7e5 g2g4 d8h4")), "Qh4#");
}

#[test]
fn nonsense_is_not_a_move() {
    for text in ["", "e", "e2e5", "e2e4 ", "e2e4x", "0000", "(none)", "é2e4", "e7e5", "\u{1F600}"]
    {
        assert!(Game::default().play(text).is_err(), "{text:?}");
    }
    let error = Game::default().play(&"x".repeat(10_000)).unwrap_err();
    assert_eq!(error.text.len(), MOVE_TEXT_SHOWN);
}

#[test]
fn the_rules_end_games() {
    assert_eq!(played("f2f3 e7e5 g2g4 d8h4").ending(), Some(Ending::Checkmate));
    assert_eq!(from("7k/5Q2/8/8/8/8/8/K7 b - - 0 1").ending(), Some(Ending::Stalemate));
    assert_eq!(Game::default().ending(), None);

    let mut game = from("7k/8/8/8/8/8/R7/K7 w - - 98 80");
    game.play("a2b2").unwrap();
    assert_eq!(game.ending(), None);
    game.play("h8g8").unwrap();
    assert_eq!(game.ending(), Some(Ending::FiftyMoves));
    // A mate on the hundredth ply is a mate.
    let mut game = from("7k/8/6K1/8/8/8/8/R7 w - - 99 80");
    game.play("a1a8").unwrap();
    assert_eq!(game.ending(), Some(Ending::Checkmate));
}

#[test]
fn the_third_time_is_a_draw() {
    let shuffle = "g1f3 g8f6 f3g1 f6g8";
    let twice = played(shuffle);
    assert_eq!(twice.ending(), None);
    let thrice = played(&format!("{shuffle} {shuffle}"));
    assert_eq!(thrice.ending(), Some(Ending::Repetition));
    // The first position allowed an en passant capture, so it does not count as the same.
    let en_passant = played(&format!("e2e4 a7a6 e4e5 d7d5 {shuffle} {shuffle}"));
    assert_eq!(en_passant.ending(), None);
    // An en passant square without a capture on it makes no difference.
    let no_capture = played(&format!("e2e4 {0} {0}", "g8f6 g1f3 f6g8 f3g1"));
    assert_eq!(no_capture.ending(), Some(Ending::Repetition));
}

#[test]
fn too_little_material_is_a_draw() {
    let dead = [
        "7k/8/8/8/8/8/8/K7 w - - 0 1",
        "7k/8/8/8/8/8/8/KN6 w - - 0 1",
        "7k/8/8/8/8/8/8/KB6 b - - 0 1",
        "b6k/8/8/8/8/8/8/KB6 w - - 0 1",
    ];
    for fen in dead {
        assert_eq!(from(fen).ending(), Some(Ending::InsufficientMaterial), "{fen}");
    }
    let alive = [
        "7k/8/8/8/8/8/8/KNN5 w - - 0 1",
        "7k/8/8/8/8/8/8/KBN5 w - - 0 1",
        "1b5k/8/8/8/8/8/8/KB6 w - - 0 1",
        "n6k/8/8/8/8/8/8/KN6 w - - 0 1",
        "7k/8/8/8/8/8/P7/K7 w - - 0 1",
        "7k/8/8/8/8/8/8/KR6 w - - 0 1",
    ];
    for fen in alive {
        assert_eq!(from(fen).ending(), None, "{fen}");
    }
}
