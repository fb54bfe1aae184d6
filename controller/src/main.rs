//! The binary: parse, hand over, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use ringrift_controller::args::Arguments;
use ringrift_controller::run;

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "what ends the program is told to the person who started it"
)]
async fn main() -> ExitCode {
    match run::execute(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringrift-controller: {error}");
            ExitCode::FAILURE
        }
    }
}
