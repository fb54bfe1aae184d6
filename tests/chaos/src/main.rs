//! `make chaos`: real agents under faults and load, and a check of everything that their clients saw.

mod agents;
mod args;
mod checker;
mod clock;
mod disk;
mod enclosure;
mod failure;
mod history;
mod load;
mod nemesis;
mod network;
mod report;
mod run;

use std::process::ExitCode;

use clap::Parser as _;
use rand::RngExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::failure::Failure;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        complain("cannot listen for signals");
        return ExitCode::FAILURE;
    };
    // Dropping the run's future ends every process that it started, and with the last of them the
    // namespaces and the mounts.
    tokio::select! {
        ended = chaos(args) => match ended {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(problem) => {
                complain(&format!("chaos cannot run: {problem}"));
                ExitCode::from(2)
            }
        },
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

/// Whether everything held.
async fn chaos(mut args: Args) -> Result<bool, Failure> {
    if let Some(path) = &args.check {
        let history =
            history::read(path).map_err(Failure::file(format!("read {}", path.display())))?;
        let verdict = checker::check(&history);
        say(&report::verdict(&verdict));
        return Ok(verdict.holds());
    }
    let seed = *args.seed.get_or_insert_with(|| rand::rng().random_range(1..1_000_000));
    if args.inside {
        return run::inside(args, seed).await;
    }
    enclosure::check()?;
    let mut held = true;
    for agents in &args.agents {
        held &= enclosure::enter(&args, *agents, seed).await?;
    }
    Ok(held)
}

#[expect(clippy::print_stdout, reason = "the result is for a person or a program")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "what is no result goes beside it")]
fn complain(text: &str) {
    eprintln!("{text}");
}
