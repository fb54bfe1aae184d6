//! `ringrift logs`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use serde::Serialize;

use crate::output::{self, Failure};

/// What `--json` prints.
#[derive(Serialize)]
struct Logs<'a> {
    work_id: &'a str,
    text: String,
}

pub(crate) async fn run(client: &Client, work_id: &str, json: bool) -> Result<ExitCode, Failure> {
    let text = client.get_text(&format!("/work/{work_id}/logs")).await?;
    if json {
        output::json(&Logs { work_id, text })?;
    } else {
        output::line(text.trim_end_matches('\n'));
    }
    Ok(ExitCode::SUCCESS)
}
