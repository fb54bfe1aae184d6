//! `ringrift redrive`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::work::{Changed, Redrive, RedriveDead, RedrivenDead};

use crate::args;
use crate::output::{self, Failure};

pub(crate) async fn run(
    client: &Client,
    args: args::Redrive,
    json: bool,
) -> Result<ExitCode, Failure> {
    let args::Redrive { work_id, queue, work_type } = args;
    match work_id {
        Some(work_id) => one(client, work_id, json).await,
        None => all(client, queue, work_type, json).await,
    }
}

async fn one(client: &Client, work_id: String, json: bool) -> Result<ExitCode, Failure> {
    let changed: Changed = client.post("/work/redrive", &Redrive { work_id }).await?;
    if json {
        output::json(&changed)?;
    } else {
        output::line(&format!("work item {} is {} again", changed.work_id, changed.status));
    }
    Ok(ExitCode::SUCCESS)
}

async fn all(
    client: &Client,
    queue: Option<String>,
    work_type: Option<String>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let body = RedriveDead { queue, work_type, max_items: ITEMS_MAX };
    let driven: RedrivenDead = client.post("/work/redrive_dead", &body).await?;
    if json {
        output::json(&driven)?;
        return Ok(ExitCode::SUCCESS);
    }
    let more = if driven.more { "; there are more, so ask again" } else { "" };
    let (count, refused) = (driven.work_ids.len(), driven.refused);
    output::line(&format!("{count} work items are pending again, {refused} were refused{more}"));
    Ok(ExitCode::SUCCESS)
}

/// As many as the agents take at once.
const ITEMS_MAX: u32 = 1_000;
