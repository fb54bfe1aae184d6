//! `ringrift redrive`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::work::{Changed, Redrive};

use crate::output::{self, Failure};

pub(crate) async fn run(client: &Client, work_id: &str, json: bool) -> Result<ExitCode, Failure> {
    let body = Redrive { work_id: work_id.to_owned() };
    let changed: Changed = client.post("/work/redrive", &body).await?;
    if json {
        output::json(&changed)?;
    } else {
        output::line(&format!("work item {} is {} again", changed.work_id, changed.status));
    }
    Ok(ExitCode::SUCCESS)
}
