//! The own engine: a small UCI engine, for demos, tests and as a fixed measure. It starts in less
//! than a millisecond, plays the same moves for the same nodes everywhere, and becomes stronger
//! with each doubling of the nodes.

use std::collections::VecDeque;
use std::io::{self, BufReader, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use evaluation::Weights;
use position::Position;
use search::{Found, Limits, Search};

use crate::clock::now;
use crate::engine::output::next_line;

pub mod evaluation;
pub mod position;
pub mod search;

/// Commands that wait while the engine thinks; a runner sends one or two.
const COMMANDS_QUEUED_MAX: usize = 64;
/// Kept back from a move time for the way to the runner.
const MOVE_OVERHEAD: Duration = Duration::from_millis(5);

/// Speaks UCI on standard input and output until `quit` or the end of the input.
///
/// # Errors
/// The output cannot be written: nobody listens any more.
pub fn serve() -> io::Result<()> {
    Server { commands: read_commands()?, deferred: VecDeque::new() }.run()
}

/// A thread reads, so that `stop` and `isready` reach an engine that thinks.
fn read_commands() -> io::Result<Receiver<String>> {
    let (sender, receiver) = sync_channel(COMMANDS_QUEUED_MAX);
    thread::Builder::new().name("commands".to_owned()).spawn(move || {
        let mut input = BufReader::new(io::stdin());
        while let Ok(Some(line)) = next_line(&mut input) {
            if sender.send(line).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

struct Server {
    commands: Receiver<String>,
    /// Came in during a search, to be obeyed after it.
    deferred: VecDeque<String>,
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        let mut weights = Weights::default();
        let mut search = Search::default();
        let mut position = Position::default();
        while let Some(line) = self.next_command() {
            let (command, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
            match command {
                "uci" => introduce()?,
                "isready" => say("readyok")?,
                "ucinewgame" => search = Search::default(),
                "setoption" => {
                    if let Err(problem) = weights.set(rest) {
                        say(&format!("info string {problem}"))?;
                    }
                }
                "position" => match Position::parse(rest) {
                    Ok(parsed) => position = parsed,
                    Err(problem) => say(&format!("info string {problem}"))?,
                },
                "go" => self.go(rest, &position, &mut search, &weights)?,
                "quit" => break,
                // The protocol asks engines to pass over what they do not know.
                _ => {}
            }
        }
        Ok(())
    }

    fn next_command(&mut self) -> Option<String> {
        self.deferred.pop_front().or_else(|| self.commands.recv().ok())
    }

    fn go(
        &mut self,
        arguments: &str,
        position: &Position,
        search: &mut Search,
        weights: &Weights,
    ) -> io::Result<()> {
        let asked = now();
        let Limits { nodes, depth, time } = limits(arguments, position);
        let deadline = time.map(|time| asked + time);
        let mut poll = || self.must_stop(deadline);
        let limits = search::Bounds { nodes, depth, poll: &mut poll };
        let found = search.run(position, weights, limits);
        report(&found, asked)
    }

    /// Looks at the clock and at the commands; called every few hundred nodes.
    fn must_stop(&mut self, deadline: Option<Instant>) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(line) if line == "stop" => return true,
                Ok(line) if line == "isready" => {
                    if say("readyok").is_err() {
                        return true;
                    }
                }
                Ok(line) => {
                    let ends = line == "quit" || self.deferred.len() >= COMMANDS_QUEUED_MAX;
                    self.deferred.push_back(line);
                    if ends {
                        return true;
                    }
                }
                Err(TryRecvError::Empty) => return deadline.is_some_and(|end| now() >= end),
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }
}

/// Reads the arguments of `go`. Without any it searches until `stop`.
fn limits(arguments: &str, position: &Position) -> Limits {
    let mut limits = Limits::default();
    let white = position.is_white_to_move();
    let (mut left, mut increment) = (None, 0);
    let mut words = arguments.split_ascii_whitespace();
    while let Some(word) = words.next() {
        match word {
            "nodes" => limits.nodes = words.next().and_then(|n| n.parse().ok()),
            "depth" => limits.depth = words.next().and_then(|n| n.parse().ok()),
            "movetime" => {
                let time = words.next().and_then(|n| n.parse().ok()).map(Duration::from_millis);
                limits.time = time.map(|time| time.saturating_sub(MOVE_OVERHEAD.min(time / 2)));
            }
            "wtime" if white => left = words.next().and_then(|n| n.parse::<u64>().ok()),
            "btime" if !white => left = words.next().and_then(|n| n.parse::<u64>().ok()),
            "winc" if white => increment = words.next().and_then(|n| n.parse().ok()).unwrap_or(0),
            "binc" if !white => increment = words.next().and_then(|n| n.parse().ok()).unwrap_or(0),
            _ => {}
        }
    }
    if let (Some(left), None) = (left, limits.time) {
        // A thirtieth of the clock and half of the increment, and never the last of it.
        let share = (left / 30 + increment / 2).min(left / 2);
        limits.time = Some(Duration::from_millis(share));
    }
    limits
}

fn introduce() -> io::Result<()> {
    say("id name RingRift own engine")?;
    say("id author the RingRift authors")?;
    for line in Weights::announcements() {
        say(&line)?;
    }
    say("uciok")
}

fn report(found: &Found, asked: Instant) -> io::Result<()> {
    let Found { best, score, depth, nodes } = found;
    let took = now().saturating_duration_since(asked).as_millis();
    let score = score.to_string();
    let text = best.as_deref().unwrap_or("0000");
    say(&format!("info depth {depth} score {score} nodes {nodes} time {took} pv {text}"))?;
    say(&format!("bestmove {text}"))
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{line}\n").as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests;
