//! The doorstep of `ringrift-agent`: parse, hand over, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use ringrift_agent::args::Args;
use ringrift_agent::config::Config;
use ringrift_agent::process::leash;
use ringrift_agent::restore;
use ringrift_agent::run::{self, RunError};
use ringrift_telemetry::logging;

/// A queue allocates and frees small texts by the hundred thousand a second, many of them on another
/// thread than they came from. Why this one: `docs/adr/2026-11-21-jemalloc-in-the-agent.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == "leash" => return leash::main(words),
        Some(word) if word == "restore" => return restore::main(words),
        Some(_) | None => {}
    }
    match start(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "logging may not be set up yet")]
            {
                eprintln!("ringrift-agent: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> Result<(), RunError> {
    logging::start(args.log_format, &args.log)?;
    let config = Config::from_args(args)?;
    run::blocking(config)
}
