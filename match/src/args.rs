//! The command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::misbehave::{self, Kind};
use crate::{group, leash, own, pair, spec};

/// Exit status when the pair cannot be played as it was asked for.
const EXIT_BAD_SPEC: u8 = 2;
/// Exit status when standard input or output failed.
const EXIT_BROKEN_PIPE: u8 = 1;

/// Plays one pair of games between two UCI engines.
#[derive(Debug, Parser)]
#[command(name = "ringrift-match", version, about)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read a pair as JSON from standard input, play it, print the report as one line of JSON.
    Pair,
    /// Be a small UCI engine. Its strength follows the nodes of `go nodes`.
    Engine {
        /// Break the protocol on purpose, to rehearse what a runner does about it.
        #[arg(long, hide = true, value_name = "KIND")]
        misbehave: Option<Kind>,
    },
    /// Become PROGRAM, and die with the process that started it.
    #[command(hide = true)]
    Leash {
        /// Process id of the starter.
        #[arg(long)]
        parent: i32,
        /// Scheduling priority that the program gets at most.
        #[arg(long, default_value_t = 0)]
        nice: i32,
        /// Program and arguments.
        #[arg(last = true, required = true)]
        argv: Vec<OsString>,
    },
    /// Kill this process group when standard input closes.
    #[command(hide = true)]
    Guard,
}

impl Args {
    /// Does what the arguments ask for; the value is the exit status of the process.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Pair => play_pair(),
            Command::Engine { misbehave: None } => served(own::serve()),
            Command::Engine { misbehave: Some(kind) } => served(misbehave::serve(kind)),
            Command::Leash { parent, nice, argv } => leash::put_on(parent, nice, &argv),
            Command::Guard => group::guard(),
        }
    }
}

fn play_pair() -> ExitCode {
    let spec = match spec::read(io::stdin().lock()) {
        Ok(spec) => spec,
        Err(error) => {
            complain(&error);
            return ExitCode::from(EXIT_BAD_SPEC);
        }
    };
    let report = pair::play(&spec);
    let printed = serde_json::to_string(&report)
        .map_err(io::Error::from)
        .and_then(|line| writeln!(io::stdout(), "{line}"));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(EXIT_BROKEN_PIPE)
        }
    }
}

/// An engine whose reader is gone just ends: there is no one left to tell.
fn served(outcome: io::Result<()>) -> ExitCode {
    outcome.map_or(ExitCode::from(EXIT_BROKEN_PIPE), |()| ExitCode::SUCCESS)
}

fn complain(error: &dyn std::error::Error) {
    // A closed standard error leaves only the exit status, which says enough.
    let _ = writeln!(io::stderr(), "ringrift-match: {error}");
}
