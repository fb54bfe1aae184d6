//! RingRift's chores: `cargo xtask help`.

mod crds;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "RingRift's chores: generated files, and the rules of the house as code.")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the rules of the house that no other tool checks; docs/style.md gives the reasons.
    Tidy,
    /// Write the YAML of the custom resources from their Rust types.
    Crds {
        /// Write nothing; fail when a file would change.
        #[arg(long)]
        check: bool,
    },
}

#[expect(clippy::print_stderr, reason = "a chore speaks to the person who called it")]
fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Crds { check } => crds::run(check),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
