//! `make bench`: the queue beside etcd, NATS JetStream and RabbitMQ, on one machine, in one run.

mod args;
mod clock;
mod depth;
mod failover;
mod load;
mod page;
mod report;
mod run;
mod system;

use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    let args = args::Args::parse();
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        say("cannot listen for signals");
        return ExitCode::FAILURE;
    };
    // A connection for each request under way, on both ends; the nodes inherit the limit.
    let files = getrlimit(Resource::Nofile);
    let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    // Dropping the bench's future ends every process that it started.
    tokio::select! {
        ended = run::bench(args) => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                say(&format!("bench failed: {problem}"));
                ExitCode::FAILURE
            }
        },
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

#[expect(clippy::print_stdout, reason = "the bench speaks to a person")]
fn say(text: &str) {
    println!("{text}");
}
