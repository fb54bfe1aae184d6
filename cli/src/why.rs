//! `ringrift why`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::work::Why;

use crate::output::{self, Failure};

pub(crate) async fn run(client: &Client, work_id: &str, json: bool) -> Result<ExitCode, Failure> {
    let why: Why = client.get(&format!("/work/{work_id}/why")).await?;
    if json {
        output::json(&why)?;
        return Ok(ExitCode::SUCCESS);
    }
    if why.pending.is_empty() {
        output::line(&format!("{} does not wait: it is {}", why.work_id, why.status));
    }
    for pending in &why.pending {
        output::line(&format!("{} waits: {}", why.work_id, pending.message));
    }
    Ok(ExitCode::SUCCESS)
}
