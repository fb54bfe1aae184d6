//! The output of attempts, which lies on the node that ran them.

use std::io::{self, SeekFrom};
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ringrift_core::id::WorkId;
use ringrift_core::queue::command::Refusal;
use ringrift_wire::problem::{Code, Problem};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::failure::Failure;
use super::{App, convert, forward};

/// Output shown by one request: the end of a log, a little more than an attempt may write.
const SHOWN_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Output of the last attempt of an item, from the node that ran it.
#[utoipa::path(
    get, path = "/work/{work_id}/logs", operation_id = "work_logs", tag = "work",
    params(("work_id" = String, Path, description = "The item.")),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "default", body = Problem)
    )
)]
pub(crate) async fn of_item(
    State(app): State<Arc<App>>,
    Path(work_id): Path<String>,
) -> Result<Response, Failure> {
    let id: WorkId = convert::id("work_id", &work_id)?;
    let node = app.view(|machine| machine.item(id).map(|item| item.last_node.clone())).await?;
    match node.ok_or_else(|| Failure::from(Refusal::UnknownWork(id)))? {
        None => Err(no_output(id, "nobody has claimed it yet")),
        Some(node) if node == app.node_id => kept(&app.spool, id).await,
        Some(node) => forward::fetch_from(&app, &node, &format!("/spool/{id}")).await,
    }
}

/// Output that lies on this agent.
#[utoipa::path(
    get, path = "/spool/{work_id}", operation_id = "spool", tag = "work",
    params(("work_id" = String, Path, description = "The item.")),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = "default", body = Problem)
    )
)]
pub(crate) async fn here(
    State(app): State<Arc<App>>,
    Path(work_id): Path<String>,
) -> Result<Response, Failure> {
    // Read as a number, so that no path can come of it.
    kept(&app.spool, convert::id("work_id", &work_id)?).await
}

async fn kept(spool: &FilePath, id: WorkId) -> Result<Response, Failure> {
    match end_of(&spool.join(format!("{id}.log"))).await {
        Ok(text) => {
            let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            Ok((content_type, text).into_response())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(no_output(id, "none was kept on the node that ran it"))
        }
        Err(error) => Err(Failure::internal(format!("the output of {id} cannot be read: {error}"))),
    }
}

fn no_output(id: WorkId, why: &str) -> Failure {
    let text = format!("there is no output of {id}: {why}");
    Failure::problem(StatusCode::NOT_FOUND, Code::NotFound, text).at("work_id")
}

async fn end_of(path: &FilePath) -> io::Result<Vec<u8>> {
    let mut file = File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES_MAX))).await?;
    let mut text = Vec::new();
    file.take(SHOWN_BYTES_MAX).read_to_end(&mut text).await?;
    Ok(text)
}
