//! `ringrift cancel`.

use std::process::ExitCode;

use ringrift_wire::client::Client;
use ringrift_wire::work::{Cancel, Changed};

use crate::get::is_work_id;
use crate::output::{self, Failure};

pub(crate) async fn run(client: &Client, id: &str, json: bool) -> Result<ExitCode, Failure> {
    if is_work_id(id) {
        let changed: Changed =
            client.post("/work/cancel", &Cancel { work_id: id.to_owned() }).await?;
        if json {
            output::json(&changed)?;
        } else {
            output::line(&format!("work item {} {}", changed.work_id, changed.status));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let status = client.cancel_run(id).await?;
    if json {
        output::json(&status)?;
    } else {
        output::line(&format!("run {} {}", status.run_id, status.phase));
    }
    Ok(ExitCode::SUCCESS)
}
