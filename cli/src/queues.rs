//! `ringrift queues`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::tenancy::Queues;

use crate::output::{self, Failure};

pub(crate) async fn run(client: &Client, json: bool) -> Result<ExitCode, Failure> {
    let queues: Queues = client.get("/queues").await?;
    if json {
        output::json(&queues)?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["queue", "weight", "queued", "max queued", "held", "max running", "gpus"];
    let mut table = output::table(&header);
    let bound = |bound: Option<u32>| bound.map_or_else(|| "-".to_owned(), |it| it.to_string());
    for queue in &queues.queues {
        table.add_row([
            queue.name.clone(),
            queue.settings.weight.to_string(),
            queue.queued.to_string(),
            bound(queue.settings.max_queued),
            queue.held.to_string(),
            bound(queue.settings.max_running),
            format!("{:.1}", queue.gpu_milli as f64 / 1_000.0),
        ]);
    }
    output::print_table(&table);
    Ok(ExitCode::SUCCESS)
}
