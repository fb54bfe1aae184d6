//! `ringrift`: submit, watch and cancel work on a RingRift cluster.

mod args;
mod cancel;
mod cluster;
mod connection;
mod contestant;
mod events;
mod gauntlet;
mod get;
mod logs;
mod ls;
mod output;
mod queues;
mod redrive;
mod status;
mod submit;
mod why;

use std::process::ExitCode;

use clap::Parser;
use ringrift_wire::client::Client;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&format!("cannot start: {error}"), 1),
    };
    match runtime.block_on(run(args)) {
        Ok(code) => code,
        Err(failure) => output::fail(&failure.message, failure.exit),
    }
}

async fn run(args: args::Args) -> Result<ExitCode, output::Failure> {
    let connection = connection::open(&args.connection)?;
    let outcome = carry_out(&connection, args.json, args.command).await;
    connection.close().await;
    outcome
}

async fn carry_out(
    connection: &Client,
    json: bool,
    command: args::Command,
) -> Result<ExitCode, output::Failure> {
    match command {
        args::Command::Status => status::run(connection, json).await,
        args::Command::Submit(submit) => submit::run(connection, submit, json).await,
        args::Command::Ls(ls) => ls::run(connection, &ls, json).await,
        args::Command::Get(get) => get::run(connection, &get.id, json).await,
        args::Command::Logs(logs) => logs::run(connection, &logs.work_id, json).await,
        args::Command::Cancel(cancel) => cancel::run(connection, &cancel.id, json).await,
        args::Command::Why(why) => why::run(connection, &why.work_id, json).await,
        args::Command::Redrive(dead) => redrive::run(connection, dead, json).await,
        args::Command::Events(events) => events::run(connection, &events, json).await,
        args::Command::Queues => queues::run(connection, json).await,
        args::Command::Cluster(cluster) => cluster::run(connection, cluster, json).await,
        args::Command::Gauntlet(args::Gauntlet::Run(run)) => {
            gauntlet::run(connection, *run, json).await
        }
    }
}
