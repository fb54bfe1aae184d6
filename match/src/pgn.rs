//! A game as text for people and for every chess program, and its fingerprint.

use std::fmt::Write;

use ringrift_wire::pair::Ending;

use crate::chess::Game;

/// PGN's export format allows no longer lines.
const LINE_WIDTH: usize = 79;

/// Who won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// White won.
    White,
    /// Black won.
    Black,
    /// Nobody won.
    Draw,
    /// The game gave no score.
    Unknown,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::White => "1-0",
            Self::Black => "0-1",
            Self::Draw => "1/2-1/2",
            Self::Unknown => "*",
        }
    }
}

/// What the header of a game says.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// Index of the pair.
    pub index: u32,
    /// 1 or 2.
    pub game: usize,
    /// Name of the player of the white pieces.
    pub white: &'a str,
    /// Name of the player of the black pieces.
    pub black: &'a str,
    /// Moves that were given to the players.
    pub opening_plies: usize,
    /// Who won.
    pub outcome: Outcome,
    /// How the game ended.
    pub ending: Ending,
}

/// Writes a game in PGN's export format. No date and no place: two plays of one game are the same
/// text.
#[must_use]
pub fn write(header: &Header<'_>, game: &Game) -> String {
    let Header { index, game: number, white, black, opening_plies, outcome, ending } = *header;
    let mut text = String::new();
    tag(&mut text, "Event", "RingRift pair");
    tag(&mut text, "Site", "?");
    tag(&mut text, "Date", "????.??.??");
    tag(&mut text, "Round", &format!("{index}.{number}"));
    tag(&mut text, "White", white);
    tag(&mut text, "Black", black);
    tag(&mut text, "Result", outcome.as_str());
    tag(&mut text, "Termination", termination(ending));
    tag(&mut text, "PlyCount", &game.plies().to_string());
    tag(&mut text, "OpeningPlies", &opening_plies.to_string());
    text.push('\n');

    let mut width = 0;
    for (ply, played) in game.played().iter().enumerate() {
        if ply % 2 == 0 {
            word(&mut text, &mut width, &format!("{}.", ply / 2 + 1));
        }
        word(&mut text, &mut width, &played.san);
    }
    for part in comment(ending).split(' ') {
        word(&mut text, &mut width, part);
    }
    word(&mut text, &mut width, outcome.as_str());
    text.push('\n');
    text
}

/// FNV-1a (64 bits) of the moves in UCI notation joined by spaces, the opening included.
#[must_use]
pub fn moves_hash(game: &Game) -> String {
    let hash = game
        .to_string()
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    format!("{hash:016x}")
}

fn tag(text: &mut String, name: &str, value: &str) {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "[{name} \"{escaped}\"]");
}

fn word(text: &mut String, width: &mut usize, word: &str) {
    if *width > 0 {
        let wraps = *width + 1 + word.len() > LINE_WIDTH;
        text.push(if wraps { '\n' } else { ' ' });
        *width = if wraps { 0 } else { *width + 1 };
    }
    text.push_str(word);
    *width += word.len();
}

/// The standard's word for an ending.
fn termination(ending: Ending) -> &'static str {
    match ending {
        Ending::Checkmate
        | Ending::Stalemate
        | Ending::Repetition
        | Ending::FiftyMoves
        | Ending::InsufficientMaterial => "normal",
        Ending::PlyLimit => "adjudication",
        Ending::IllegalMove => "rules infraction",
        Ending::TimeLoss => "time forfeit",
        Ending::Crash | Ending::Hang => "abandoned",
        Ending::Infrastructure => "emergency",
    }
}

fn comment(ending: Ending) -> &'static str {
    match ending {
        Ending::Checkmate => "{checkmate}",
        Ending::Stalemate => "{stalemate}",
        Ending::Repetition => "{threefold repetition}",
        Ending::FiftyMoves => "{fifty moves}",
        Ending::InsufficientMaterial => "{insufficient material}",
        Ending::PlyLimit => "{ply limit}",
        Ending::IllegalMove => "{illegal move}",
        Ending::TimeLoss => "{time loss}",
        Ending::Crash => "{engine crashed}",
        Ending::Hang => "{engine hung}",
        Ending::Infrastructure => "{no score}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_game_reads_as_it_was_played() {
        let mut game = Game::default();
        for text in ["f2f3", "e7e5", "g2g4", "d8h4"] {
            game.play(text).unwrap();
        }
        let header = Header {
            index: 7,
            game: 1,
            white: "a \"quoted\" \\ name",
            black: "b",
            opening_plies: 2,
            outcome: Outcome::Black,
            ending: Ending::Checkmate,
        };
        let expected = "[Event \"RingRift pair\"]\n[Site \"?\"]\n[Date \"????.??.??\"]\n\
            [Round \"7.1\"]\n[White \"a \\\"quoted\\\" \\\\ name\"]\n[Black \"b\"]\n\
            [Result \"0-1\"]\n[Termination \"normal\"]\n[PlyCount \"4\"]\n[OpeningPlies \"2\"]\n\n\
            1. f3 e5 2. g4 Qh4# {checkmate} 0-1\n";
        assert_eq!(write(&header, &game), expected);
    }

    #[test]
    fn long_games_wrap() {
        let mut game = Game::default();
        for _ in 0..40 {
            for text in ["g1f3", "g8f6", "f3g1", "f6g8"] {
                game.play(text).unwrap();
            }
        }
        let header = Header {
            index: 0,
            game: 2,
            white: "a",
            black: "b",
            opening_plies: 0,
            outcome: Outcome::Draw,
            ending: Ending::Repetition,
        };
        let text = write(&header, &game);
        assert!(text.lines().all(|line| line.len() <= LINE_WIDTH));
        assert!(text.lines().count() > 20);
        assert!(text.ends_with("1/2-1/2\n"));
    }

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        // The published value of the empty input, and one computed elsewhere for "e2e4".
        assert_eq!(moves_hash(&Game::default()), "cbf29ce484222325");
        let mut game = Game::default();
        game.play("e2e4").unwrap();
        assert_eq!(moves_hash(&game), "de126361ab1cc8a7");
        let one = moves_hash(&game);
        game.play("e7e5").unwrap();
        assert_ne!(moves_hash(&game), one);
    }
}
