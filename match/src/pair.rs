//! Plays a pair: two games from one opening, sides swapped, one after the other, so that a pair
//! needs one core.

use std::time::{Duration, Instant};

use cozy_chess::Color;
use ringrift_core::limits;
use ringrift_wire::pair::{Contestant, Ending, GameReport, Limit, PairReport, PairSpec, Score};

use crate::chess::Game;
use crate::clock::now;
use crate::engine::{Engine, Fault, Reply};
use crate::group::Group;
use crate::leash::ENGINE_NICE;
use crate::opening;
use crate::pgn::{self, Header, Outcome};

/// An engine may answer so much later than its move time: a busy machine wakes processes late, and
/// an engine looks at its clock only now and then.
const MOVETIME_MARGIN: Duration = Duration::from_millis(100);
/// Mean time of a move without a move time, for the watchdog of a whole game. Stockfish searches a
/// million nodes in it.
const FIXED_SEARCH_ALLOWANCE: Duration = Duration::from_secs(2);
/// No game is called endless earlier.
const GAME_TIME_MIN: Duration = Duration::from_secs(60);
/// Every game is called endless here: a pair has two.
const GAME_TIME_MAX: Duration = Duration::from_millis(limits::PAIR_TIMEOUT_MAX.0 / 2);
/// Characters of a detail: it is for people, and engines may write much.
const DETAIL_CHARS_MAX: usize = 1_000;

/// Plays a pair and reports what came out. Whatever an engine does, there is a report.
///
/// A pair counts only as a whole. So a first game without a score is not followed by a second one:
/// the report then says that it was not played.
#[must_use]
pub fn play(spec: &PairSpec) -> PairReport {
    let started = now();
    let opening = opening::draw(spec.seed, spec.index, spec.opening_plies);
    let mut games = match Players::start(spec) {
        Ok(players) => players.play_games(&opening),
        Err(end) => vec![report(spec, 0, &opening, &opening, end)],
    };
    if games.len() == 1 {
        games.push(report(spec, 1, &opening, &opening, End::not_played()));
    }
    PairReport {
        index: spec.index,
        opening: opening.played().iter().map(|played| played.uci.clone()).collect(),
        games,
        wall_ms: u64::try_from(now().saturating_duration_since(started).as_millis())
            .unwrap_or(u64::MAX),
    }
}

/// How a game ended, and who is to blame: 0 or 1, an index of the contestants.
#[derive(Debug)]
struct End {
    ending: Ending,
    at_fault: Option<u8>,
    detail: Option<String>,
}

impl End {
    fn by_rule(ending: Ending) -> Self {
        Self { ending, at_fault: None, detail: None }
    }

    fn not_played() -> Self {
        let detail = "not played, since the first game of the pair gave no score".to_owned();
        Self { ending: Ending::Infrastructure, at_fault: None, detail: Some(detail) }
    }

    fn by(at_fault: u8, ending: Ending, detail: &str) -> Self {
        let detail = detail.chars().take(DETAIL_CHARS_MAX).collect();
        Self { ending, at_fault: Some(at_fault), detail: Some(detail) }
    }

    fn by_fault(at_fault: u8, fault: &Fault) -> Self {
        Self::by(at_fault, fault.ending(), &fault.to_string())
    }
}

/// Both engines, ready to play.
struct Players<'a> {
    spec: &'a PairSpec,
    engines: [Engine; 2],
    /// Declared last, dropped last: it kills whatever the engines left behind.
    _group: Group,
}

impl<'a> Players<'a> {
    fn start(spec: &'a PairSpec) -> Result<Self, End> {
        let group = Group::open(niceness(spec)).map_err(|error| End {
            ending: Ending::Infrastructure,
            at_fault: None,
            detail: Some(format!("cannot start a process for the engines: {error}")),
        })?;
        let patience = Duration::from_millis(spec.reply_timeout_ms);
        let [first, second] = &spec.contestants;
        // Both load before the first one is spoken to: loading takes most of the time.
        let mut engines = [
            Engine::start(&group, first, patience).map_err(|fault| End::by_fault(0, &fault))?,
            Engine::start(&group, second, patience).map_err(|fault| End::by_fault(1, &fault))?,
        ];
        for (player, engine) in (0..).zip(&mut engines) {
            engine
                .shake_hands(&spec.contestants[usize::from(player)].options)
                .map_err(|fault| End::by_fault(player, &fault))?;
        }
        Ok(Self { spec, engines, _group: group })
    }

    fn play_games(mut self, opening: &Game) -> Vec<GameReport> {
        let mut games = Vec::new();
        for number in 0..2 {
            let mut game = opening.clone();
            let end = self.play_game(number, &mut game);
            let report = report(self.spec, number, opening, &game, end);
            let scored = report.score.is_some();
            games.push(report);
            if !scored {
                break;
            }
        }
        self.engines.iter_mut().for_each(Engine::ask_to_quit);
        self.engines.iter_mut().for_each(Engine::await_end);
        games
    }

    fn play_game(&mut self, number: u8, game: &mut Game) -> End {
        for (player, engine) in (0..).zip(&mut self.engines) {
            if let Err(fault) = engine.new_game() {
                return End::by_fault(player, &fault);
            }
        }
        let budget = game_budget(self.spec);
        let deadline = now() + budget;
        let mut spent = [Duration::ZERO; 2];
        // Each turn adds a ply, and the plies have a limit.
        loop {
            if let Some(ending) = game.ending() {
                return End::by_rule(ending);
            }
            if game.plies() >= usize::from(self.spec.plies_max) {
                return End::by_rule(Ending::PlyLimit);
            }
            let player = to_move(number, game);
            let asked = now();
            if asked >= deadline {
                return endless(self.spec, budget, spent);
            }
            if let Err(end) = self.make_move(player, game) {
                return end;
            }
            spent[usize::from(player)] += since(asked);
        }
    }

    fn make_move(&mut self, player: u8, game: &mut Game) -> Result<(), End> {
        let contestant = &self.spec.contestants[usize::from(player)];
        let reply = self.engines[usize::from(player)]
            .think(&game.to_string())
            .map_err(|fault| End::by_fault(player, &fault))?;
        if let Limit::MovetimeMs(allowed) = contestant.limit {
            let allowed = Duration::from_millis(allowed);
            judge_time(player, &contestant.name, allowed, &reply)?;
        }
        game.play(&reply.text).map_err(|refused| {
            End::by(player, Ending::IllegalMove, &format!("{}: {refused}", contestant.name))
        })
    }
}

/// Engines on the clock are not made nice: they need their processor now.
fn niceness(spec: &PairSpec) -> i32 {
    let on_the_clock = |contestant: &Contestant| matches!(contestant.limit, Limit::MovetimeMs(_));
    if spec.contestants.iter().any(on_the_clock) { 0 } else { ENGINE_NICE }
}

/// A late reply loses, unless the machine was late.
fn judge_time(player: u8, name: &str, allowed: Duration, reply: &Reply) -> Result<(), End> {
    let latest = allowed + MOVETIME_MARGIN;
    if reply.took <= latest {
        return Ok(());
    }
    let detail = format!(
        "{name} took {} ms for a move, allowed were {} ms and a margin of {} ms; for {} ms of them \
         it waited for a processor",
        reply.took.as_millis(),
        allowed.as_millis(),
        MOVETIME_MARGIN.as_millis(),
        reply.starved.as_millis(),
    );
    if reply.took.saturating_sub(reply.starved) > latest {
        return Err(End::by(player, Ending::TimeLoss, &detail));
    }
    Err(End { ending: Ending::Infrastructure, at_fault: None, detail: Some(detail) })
}

/// The contestant to move: the first one has White in game 0, and Black in game 1.
fn to_move(number: u8, game: &Game) -> u8 {
    let side = match game.side_to_move() {
        Color::White => 0,
        Color::Black => 1,
    };
    side ^ number
}

fn since(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

/// Wall-clock time of a whole game: every ply may take the longer allowance of the two players.
fn game_budget(spec: &PairSpec) -> Duration {
    let allowance = |limit| match limit {
        Limit::Nodes(_) | Limit::Depth(_) => FIXED_SEARCH_ALLOWANCE,
        Limit::MovetimeMs(ms) => Duration::from_millis(ms) + MOVETIME_MARGIN,
    };
    let [first, second] = &spec.contestants;
    let ply = allowance(first.limit).max(allowance(second.limit));
    (ply * u32::from(spec.plies_max)).clamp(GAME_TIME_MIN, GAME_TIME_MAX)
}

fn endless(spec: &PairSpec, budget: Duration, spent: [Duration; 2]) -> End {
    let slower = u8::from(spent[1] > spent[0]);
    let detail = format!(
        "the game is not over after {} s; {} used {} s of them",
        budget.as_secs(),
        spec.contestants[usize::from(slower)].name,
        spent[usize::from(slower)].as_secs(),
    );
    End::by(slower, Ending::Hang, &detail)
}

fn report(spec: &PairSpec, number: u8, opening: &Game, game: &Game, end: End) -> GameReport {
    let End { ending, at_fault, detail } = end;
    let score = score(ending, at_fault, to_move(number, game));
    let [first, second] = &spec.contestants;
    let (white, black) = if number == 0 { (first, second) } else { (second, first) };
    let outcome = match score {
        None => Outcome::Unknown,
        Some(Score::Draw) => Outcome::Draw,
        // The first contestant has White in game 0 only.
        Some(decided) if (decided == Score::Win) == (number == 0) => Outcome::White,
        Some(_) => Outcome::Black,
    };
    let header = Header {
        index: spec.index,
        game: usize::from(number) + 1,
        white: &white.name,
        black: &black.name,
        opening_plies: opening.plies(),
        outcome,
        ending,
    };
    GameReport {
        score,
        ending,
        at_fault,
        detail,
        plies: u16::try_from(game.plies() - opening.plies()).unwrap_or(u16::MAX),
        moves_hash: pgn::moves_hash(game),
        pgn: pgn::write(&header, game),
    }
}

/// The score from the first contestant's side, or nothing when luck would decide it.
fn score(ending: Ending, at_fault: Option<u8>, to_move: u8) -> Option<Score> {
    let loser = match ending {
        Ending::Checkmate => Some(to_move),
        Ending::IllegalMove | Ending::TimeLoss => at_fault,
        Ending::Stalemate
        | Ending::Repetition
        | Ending::FiftyMoves
        | Ending::InsufficientMaterial
        | Ending::PlyLimit => return Some(Score::Draw),
        Ending::Crash | Ending::Hang | Ending::Infrastructure => return None,
    };
    loser.map(|loser| if loser == 0 { Score::Loss } else { Score::Win })
}

#[cfg(test)]
mod tests;
