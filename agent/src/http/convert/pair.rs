//! A pair's report from the runner, as the ledger keeps it.

use ringrift_core::queue::command::PairResult;
use ringrift_core::run::{Ending, GameResult, Score};
use ringrift_wire::pair::{self, GameReport, PairReport};

use crate::http::failure::Failure;

/// The two games of a report on pair `index`.
pub(crate) fn result(report: &PairReport, index: u32) -> Result<PairResult, Failure> {
    let PairReport { index: reported, opening: _, games, wall_ms: _ } = report;
    if *reported != index {
        let problem = format!("is {reported}, but the item is pair {index}");
        return Err(Failure::invalid("result.index", problem));
    }
    let [first, second] = games.as_slice() else {
        let problem = format!("must hold the pair's two games, not {}", games.len());
        return Err(Failure::invalid("result.games", problem));
    };
    Ok(PairResult { games: [game(0, first)?, game(1, second)?] })
}

fn game(at: usize, report: &GameReport) -> Result<GameResult, Failure> {
    let GameReport { score, ending, at_fault: _, detail, plies, moves_hash, pgn: _ } = report;
    let ending = ending_of(*ending);
    let scoreless = matches!(ending, Ending::Crash | Ending::Hang | Ending::Infrastructure);
    let score = match score {
        Some(_) if scoreless => {
            let problem = format!("must be absent, since the game ended by {ending:?}");
            return Err(Failure::invalid(format!("result.games[{at}].score"), problem));
        }
        Some(pair::Score::Win) => Ok(Score::Win),
        Some(pair::Score::Draw) => Ok(Score::Draw),
        Some(pair::Score::Loss) => Ok(Score::Loss),
        None => Err(detail.clone().unwrap_or_else(|| format!("ended by {ending:?}"))),
    };
    let moves_hash = u64::from_str_radix(moves_hash, 16).map_err(|error| {
        let problem = format!("is {moves_hash:?}, not 16 hexadecimal digits: {error}");
        Failure::invalid(format!("result.games[{at}].moves_hash"), problem)
    })?;
    Ok(GameResult { score, ending, plies: *plies, moves_hash })
}

const fn ending_of(ending: pair::Ending) -> Ending {
    match ending {
        pair::Ending::Checkmate => Ending::Checkmate,
        pair::Ending::Stalemate => Ending::Stalemate,
        pair::Ending::Repetition => Ending::Repetition,
        pair::Ending::FiftyMoves => Ending::FiftyMoves,
        pair::Ending::InsufficientMaterial => Ending::InsufficientMaterial,
        pair::Ending::PlyLimit => Ending::PlyLimit,
        pair::Ending::IllegalMove => Ending::IllegalMove,
        pair::Ending::TimeLoss => Ending::TimeLoss,
        pair::Ending::Crash => Ending::Crash,
        pair::Ending::Hang => Ending::Hang,
        pair::Ending::Infrastructure => Ending::Infrastructure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(score: Option<pair::Score>, ending: pair::Ending) -> PairReport {
        let game = GameReport {
            score,
            ending,
            at_fault: None,
            detail: None,
            plies: 80,
            moves_hash: "00000000000000ff".to_owned(),
            pgn: String::new(),
        };
        PairReport { index: 7, opening: vec![], games: vec![game.clone(), game], wall_ms: 1 }
    }

    #[test]
    fn scores_and_hashes_pass() {
        let report = report(Some(pair::Score::Draw), pair::Ending::Repetition);
        let result = result(&report, 7).unwrap();
        assert_eq!(result.games[0].score, Ok(Score::Draw));
        assert_eq!(result.games[1].moves_hash, 255);
    }

    #[test]
    fn a_game_without_a_score_keeps_its_reason() {
        let report = report(None, pair::Ending::Crash);
        assert_eq!(result(&report, 7).unwrap().games[0].score, Err("ended by Crash".to_owned()));
    }

    #[test]
    fn a_report_that_contradicts_itself_or_its_item_is_refused() {
        let crashed_and_won = report(Some(pair::Score::Win), pair::Ending::Crash);
        assert!(result(&crashed_and_won, 7).is_err());
        let fine = report(Some(pair::Score::Win), pair::Ending::Checkmate);
        assert!(result(&fine, 8).is_err(), "another pair's report");
        let mut half = fine;
        half.games.pop();
        assert!(result(&half, 7).is_err(), "one game is no pair");
    }
}
