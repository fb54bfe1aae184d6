//! An engine that breaks the protocol on purpose, so that what the runner does about it can be
//! rehearsed: by the tests, and by operators with `engine --misbehave KIND`.

use std::io::{self, BufRead, BufReader, Write};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use crate::chess::Game;
use crate::engine::output::next_line;

/// What the engine does wrong. Up to its fault it plays the first legal move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Ends at once, before a word.
    ExitAtStart,
    /// Reads, and never says anything.
    SilentHandshake,
    /// Answers `uci` with words of its own.
    BadHandshake,
    /// Never answers its second `go`.
    Hang,
    /// Lives on with its standard input unread from its second `go` on.
    Deaf,
    /// Ends with exit status 3 and last words at its second `go`.
    Crash,
    /// Ends by a signal at its second `go`.
    Abort,
    /// Answers its second `go` with a move that is not legal.
    Illegal,
    /// Answers its second `go` without a move.
    NoMove,
    /// Answers its second `go` after half a second.
    Late,
    /// Answers everything twice, so that one answer is always stale.
    Stale,
    /// Writes thousands of lines, one of them a megabyte long, before each move.
    Flood,
    /// Writes without an end at its second `go`, and never a move.
    Torrent,
}

/// The `go` at which the fault shows: the game has begun by then.
const FAULTY_GO: u32 = 2;
/// Far beyond any sensible margin, far below any sensible timeout.
const LATE_BY: Duration = Duration::from_millis(500);
/// Lines of a flood: more than a runner should ever keep.
const FLOOD_LINES: u32 = 5_000;
/// The longest line of a flood.
const FLOOD_LINE_BYTES: usize = 1 << 20;

/// Speaks UCI on standard input and output, up to the fault.
///
/// # Errors
/// The output cannot be written: nobody listens any more.
pub fn serve(kind: Kind) -> io::Result<()> {
    if kind == Kind::ExitAtStart {
        std::process::exit(4);
    }
    let mut input = BufReader::new(io::stdin());
    let mut output = io::stdout();
    let mut game = Game::default();
    let mut asked = 0;
    while let Some(line) = next_line(&mut input)? {
        let (command, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
        match command {
            _ if kind == Kind::SilentHandshake => {}
            "uci" if kind == Kind::BadHandshake => writeln!(output, "Error: unknown command: uci")?,
            "uci" => writeln!(output, "id name misbehaving\nuciok")?,
            "isready" => writeln!(output, "readyok")?,
            "position" => game = replayed(rest),
            "go" => {
                asked += 1;
                if asked >= FAULTY_GO {
                    misbehave(kind, &mut input, &mut output)?;
                }
                answer(kind, asked, &game, &mut output)?;
            }
            "quit" => break,
            _ => {}
        }
        output.flush()?;
    }
    Ok(())
}

fn replayed(arguments: &str) -> Game {
    let mut game = Game::default();
    let moves = arguments.split_once("moves ").map_or("", |(_, moves)| moves);
    for text in moves.split_ascii_whitespace() {
        if game.play(text).is_err() {
            break;
        }
    }
    game
}

/// What goes wrong before the answer, if there will be one.
fn misbehave(kind: Kind, input: &mut impl BufRead, output: &mut impl Write) -> io::Result<()> {
    match kind {
        Kind::Hang => {
            while next_line(input)?.is_some() {}
            Ok(())
        }
        Kind::Deaf => loop {
            thread::park();
        },
        Kind::Crash => {
            writeln!(io::stderr(), "assertion failed: the board is on the table")?;
            std::process::exit(3);
        }
        Kind::Abort => std::process::abort(),
        Kind::Late => {
            thread::sleep(LATE_BY);
            Ok(())
        }
        Kind::Torrent => loop {
            writeln!(output, "{:>1000}", "and another thing")?;
        },
        Kind::ExitAtStart
        | Kind::SilentHandshake
        | Kind::BadHandshake
        | Kind::Illegal
        | Kind::NoMove
        | Kind::Stale
        | Kind::Flood => Ok(()),
    }
}

fn answer(kind: Kind, asked: u32, game: &Game, output: &mut impl Write) -> io::Result<()> {
    if kind == Kind::Flood {
        for number in 0..FLOOD_LINES {
            writeln!(output, "by the way, {number}")?;
            writeln!(io::stderr(), "and furthermore, {number}")?;
        }
        writeln!(output, "{}", "x".repeat(FLOOD_LINE_BYTES))?;
    }
    let legal = game.legal_moves();
    let first = legal.first().map_or("0000", String::as_str);
    match kind {
        Kind::Illegal if asked >= FAULTY_GO => writeln!(output, "bestmove e1e8"),
        Kind::NoMove if asked >= FAULTY_GO => writeln!(output, "bestmove (none)"),
        Kind::Stale => writeln!(output, "bestmove {first}\nbestmove {first}"),
        Kind::ExitAtStart
        | Kind::SilentHandshake
        | Kind::BadHandshake
        | Kind::Hang
        | Kind::Deaf
        | Kind::Crash
        | Kind::Abort
        | Kind::Illegal
        | Kind::NoMove
        | Kind::Late
        | Kind::Flood
        | Kind::Torrent => writeln!(output, "bestmove {first}"),
    }
}
