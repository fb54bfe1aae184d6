//! `ringrift-match`: plays one pair of games, or is an engine itself.

use std::process::ExitCode;

use clap::Parser;
use ringrift_match::args::Args;

fn main() -> ExitCode {
    Args::parse().run()
}
