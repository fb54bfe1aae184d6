//! Against a real engine.

use ringrift_wire::pair::Ending;
use serde_json::{Value, json};

use crate::program::{pair, report};

const STOCKFISH: &str = "/usr/games/stockfish";

fn spec(first: u64, second: u64) -> Value {
    assert!(
        std::path::Path::new(STOCKFISH).exists(),
        "this test plays against Stockfish, and {STOCKFISH} is missing; \
         install it with `apt-get install stockfish` or run the tests with `make test`"
    );
    let mut spec = pair(&[STOCKFISH], &[STOCKFISH], &json!({"nodes": first}));
    spec["contestants"][1]["limit"] = json!({"nodes": second});
    spec["plies_max"] = json!(400);
    spec["reply_timeout_ms"] = json!(30_000);
    for player in 0..2 {
        spec["contestants"][player]["options"] = json!({"Threads": "1", "Hash": "16"});
    }
    spec
}

#[test]
fn stockfish_plays_a_pair_the_same_way_twice() {
    let spec = spec(300, 100);
    let (first, second) = (report(&spec), report(&spec));
    assert_eq!(first.games.len(), 2);
    for game in &first.games {
        assert!(game.score.is_some() && game.at_fault.is_none(), "{game:?}");
        assert!(game.plies > 10);
        assert!(!matches!(game.ending, Ending::IllegalMove | Ending::TimeLoss));
    }
    assert_eq!(first.games, second.games);
}

#[test]
fn stockfish_refuses_what_it_does_not_have() {
    let mut spec = spec(100, 100);
    spec["contestants"][0]["options"] = json!({"Skill Level": "21"});
    let report = report(&spec);
    let game = &report.games[0];
    assert_eq!((game.ending, game.at_fault), (Ending::Infrastructure, Some(0)));
    assert!(game.detail.as_deref().unwrap().contains("a number from 0 to 20"), "{game:?}");
}
