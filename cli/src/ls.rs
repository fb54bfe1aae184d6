//! `ringrift ls`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::run::{RunList, RunStatus};

use crate::args;
use crate::output::{self, Failure};

pub(crate) async fn run(client: &Client, args: &args::Ls, json: bool) -> Result<ExitCode, Failure> {
    let mut list: RunList = client.get("/runs").await?;
    if !args.all {
        list.runs.retain(|run| run.phase == "active");
        list.count = list.runs.len();
    }
    if json {
        output::json(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.runs.is_empty() {
        output::line(if args.all { "no runs" } else { "no active runs; --all shows ended ones" });
        return Ok(ExitCode::SUCCESS);
    }
    let mut table =
        output::table(&["run", "kind", "queue", "phase", "done", "running", "failed", "message"]);
    for run in &list.runs {
        table.add_row(row(run));
    }
    output::print_table(&table);
    Ok(ExitCode::SUCCESS)
}

fn row(run: &RunStatus) -> [String; 8] {
    [
        run.run_id.clone(),
        run.kind.clone(),
        run.queue.clone(),
        run.verdict.clone().unwrap_or_else(|| run.phase.clone()),
        format!("{}/{}", run.done, run.total),
        run.running.to_string(),
        run.failed.to_string(),
        run.message.clone(),
    ]
}
