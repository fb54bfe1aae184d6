//! Seeded simulation of RingRift: replicas, clients, and everything that goes wrong between them. One
//! seed decides everything, so one line replays a failure.
//!
//! There are two worlds. One has the real core over a small model of an ordered log: it is quick, and
//! meets every order of events. The other has the real core over the real consensus. `queue` plays
//! both, `raft` the second alone.

mod chance;
mod client;
mod fault;
mod message;
mod observer;
mod panics;
mod raft;
mod replica;
mod scenario;
mod world;

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::fault::Mutation;
use crate::raft::Bug;
use crate::world::World;

/// Operations of all seeds together are counted in 64 bits; this bounds a call to what a machine
/// finishes in a day.
const SEEDS_MAX: u64 = 10_000_000;
/// A life over the real consensus takes six times as long as one over the model, so `queue` lives
/// through it for the seeds that this divides. Stands in the help too.
const CONSENSUS_EVERY: u64 = 4;

#[derive(Debug, Parser)]
#[command(name = "ringrift-sim", about = "Seeded simulation of RingRift", version)]
struct Args {
    #[command(subcommand)]
    world: Worlds,
}

#[derive(Debug, Subcommand)]
enum Worlds {
    /// The replicated queue and a gauntlet on it, under crashes, partitions and a bad network: each
    /// seed over a model of an ordered log, and each fourth (0, 4, 8, ...) over the real consensus
    /// too, as by `raft`.
    Queue {
        /// First and last seed, as A..B (B is not played), or one seed.
        #[arg(long, default_value = "0..200", value_parser = parse_seeds)]
        seeds: Seeds,
        /// Print one line of JSON instead of sentences.
        #[arg(long)]
        json: bool,
        /// Plant a fault that the checks must catch, and play the model only.
        #[arg(long, value_enum)]
        mutation: Option<Mutation>,
    },
    /// The same over the real consensus: openraft with our log, network, snapshots and members, on
    /// simulated disks and connections.
    Raft {
        /// First and last seed, as A..B (B is not played), or one seed.
        #[arg(long, default_value = "0..100", value_parser = parse_seeds)]
        seeds: Seeds,
        /// Print one line of JSON instead of sentences.
        #[arg(long)]
        json: bool,
        /// Plant a fault that the checks must catch.
        #[arg(long, value_enum)]
        mutation: Option<Bug>,
        /// Live through every so many seeds a second time, and compare; 0 for none.
        #[arg(long, default_value_t = 0)]
        again: u64,
    },
}

/// What is played: a world and what is planted in it.
#[derive(Debug, Clone, Copy)]
enum Game {
    /// The model for each seed, consensus for some.
    Queue,
    Model(Option<Mutation>),
    Raft {
        bug: Option<Bug>,
        again: u64,
    },
}

impl Game {
    fn play(self, seed: u64) -> Played {
        match self {
            Self::Queue => {
                let played = play(seed, None);
                if played.failure.is_some() || !seed.is_multiple_of(CONSENSUS_EVERY) {
                    return played;
                }
                let (over, _) = play_raft(seed, None);
                Played {
                    seed,
                    operations: played.operations + over.operations,
                    verdict: played.verdict && over.verdict,
                    consensus: true,
                    failure: over.failure.map(|failure| format!("over consensus, {failure}")),
                }
            }
            Self::Model(mutation) => play(seed, mutation),
            Self::Raft { bug, again } => {
                let (mut played, trace) = play_raft(seed, bug);
                if again > 0 && seed.is_multiple_of(again) {
                    let (second, other) = play_raft(seed, bug);
                    if (trace, &played.failure) != (other, &second.failure) {
                        let otherwise = "it went otherwise the second time";
                        played.failure = Some(match played.failure {
                            Some(failure) => format!("{failure}; {otherwise}"),
                            None => otherwise.to_owned(),
                        });
                    }
                }
                played
            }
        }
    }

    /// The words that replay one seed of it, after the program's name.
    fn arguments(self, seed: u64) -> String {
        let planted = |name: &str| format!(" --mutation {name}");
        match self {
            Self::Queue => format!("queue --seeds {seed}"),
            Self::Model(mutation) => {
                let with = mutation.map_or_else(String::new, |mutation| planted(mutation.name()));
                format!("queue --seeds {seed}{with}")
            }
            Self::Raft { bug, again: _ } => {
                let with = bug.map_or_else(String::new, |bug| planted(bug.name()));
                format!("raft --seeds {seed}{with}")
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seeds {
    first: u64,
    end: u64,
}

fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let number = |part: &str| {
        part.trim().parse::<u64>().map_err(|error| format!("{part:?} is no seed: {error}"))
    };
    let (first, end) = match text.split_once("..") {
        Some((first, end)) => (number(first)?, number(end)?),
        None => (number(text)?, number(text)?.saturating_add(1)),
    };
    if first >= end || end - first > SEEDS_MAX {
        return Err(format!("{text:?} must name 1 to {SEEDS_MAX} seeds, as A..B with A below B"));
    }
    Ok(Seeds { first, end })
}

/// What a seed came to.
#[derive(Debug)]
struct Played {
    seed: u64,
    operations: u64,
    /// Whether its gauntlet came to a verdict.
    verdict: bool,
    /// Whether it was played over the real consensus.
    consensus: bool,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Summary {
    seeds: u64,
    /// How many of them were played over the real consensus.
    consensus: usize,
    failed: Vec<u64>,
    operations: u64,
}

fn main() -> ExitCode {
    let (seeds, json, game) = match Args::parse().world {
        Worlds::Queue { seeds, json, mutation: None } => (seeds, json, Game::Queue),
        Worlds::Queue { seeds, json, mutation } => (seeds, json, Game::Model(mutation)),
        Worlds::Raft { seeds, json, mutation: bug, again } => {
            (seeds, json, Game::Raft { bug, again })
        }
    };
    let played = play_all(seeds, game);
    let failed: Vec<_> = played.iter().filter(|played| played.failure.is_some()).collect();
    let summary = Summary {
        seeds: seeds.end - seeds.first,
        consensus: played.iter().filter(|played| played.consensus).count(),
        failed: failed.iter().map(|played| played.seed).collect(),
        operations: played.iter().map(|played| played.operations).sum(),
    };
    let verdicts = played.iter().filter(|played| played.verdict).count();
    report(&summary, verdicts, &failed, json, game);
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]
fn report(summary: &Summary, verdicts: usize, failed: &[&Played], json: bool, game: Game) {
    for Played { seed, failure, operations: _, verdict: _, consensus: _ } in failed {
        let why = failure.as_deref().unwrap_or_default();
        let arguments = game.arguments(*seed);
        eprintln!("seed {seed}: {why}");
        eprintln!("  replay: cargo run --release -p ringrift-sim -- {arguments}");
    }
    if json {
        let line = serde_json::to_string(summary).unwrap_or_default();
        println!("{line}");
    } else {
        let Summary { seeds, consensus, failed, operations } = summary;
        let held = seeds.saturating_sub(failed.len() as u64);
        println!(
            "{held} of {seeds} seeds hold, {consensus} played over consensus: \
             {operations} operations, {verdicts} verdicts"
        );
    }
}

/// Plays every seed, on all processors, and answers in the order of the seeds.
fn play_all(seeds: Seeds, game: Game) -> Vec<Played> {
    let lanes = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.first);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
    let mut played: Vec<Played> = thread::scope(|scope| {
        let play = || std::iter::from_fn(take).map(|seed| game.play(seed)).collect::<Vec<_>>();
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(play)).collect();
        let join = |lane: thread::ScopedJoinHandle<'_, Vec<Played>>| match lane.join() {
            Ok(played) => played,
            Err(cause) => std::panic::resume_unwind(cause),
        };
        lanes.into_iter().flat_map(join).collect()
    });
    played.sort_unstable_by_key(|played| played.seed);
    played
}

fn play(seed: u64, mutation: Option<Mutation>) -> Played {
    let mut world = World::new(seed, mutation);
    let failure = world.play().err();
    let (operations, verdict) = (world.operations(), world.has_verdict());
    Played { seed, operations, verdict, consensus: false, failure }
}

/// Plays a seed of the world over consensus, and answers a number that two equal lives share.
fn play_raft(seed: u64, bug: Option<Bug>) -> (Played, u64) {
    let mut world = match raft::World::new(seed, bug) {
        Ok(world) => world,
        Err(error) => {
            let failure = Some(error);
            return (Played { seed, operations: 0, verdict: false, consensus: true, failure }, 0);
        }
    };
    let failure = world.play().err();
    let (operations, verdict) = (world.operations(), world.has_verdict());
    (Played { seed, operations, verdict, consensus: true, failure }, world.trace())
}
