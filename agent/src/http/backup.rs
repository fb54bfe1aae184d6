//! A backup on its way to a file.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ringrift_wire::POSITION_HEADER;
use ringrift_wire::backup::{self, BLOCK_BYTES_MAX, Head};
use ringrift_wire::problem::{Code, Problem};
use tokio::io::AsyncReadExt as _;

use super::failure::Failure;
use super::{App, VERSION};
use crate::consensus::{Backup, BackupError};

/// A consistent copy of everything, from the agent that is asked, as a stream of checksummed blocks.
#[utoipa::path(
    get, path = "/cluster/backup", operation_id = "cluster_backup", tag = "cluster",
    responses(
        (status = 200, body = String, content_type = "application/octet-stream"),
        (status = "default", body = Problem)
    )
)]
pub(crate) async fn take(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let replica = app.consensus.as_ref().ok_or_else(|| {
        let text = "this agent takes no part in Raft and has no copy; ask a voter or a learner";
        Failure::problem(StatusCode::CONFLICT, Code::InvalidValue, text)
    })?;
    let backup = replica.backup().await.map_err(not_taken)?;
    let head = Head {
        cluster_id: backup.cluster_id.clone(),
        node_id: app.node_id.to_string(),
        term: backup.position.term,
        index: backup.position.index,
        created_ms: app.clock.wall().0,
        version: VERSION.to_owned(),
    };
    let begin = backup::begin(&head).map_err(|error| Failure::internal(error.to_string()))?;
    let position = format!("{}.{}", head.term, head.index);
    let mut response = Body::from_stream(blocks(begin, backup)).into_response();
    let headers = response.headers_mut();
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, octets);
    if let Ok(value) = HeaderValue::from_str(&position) {
        headers.insert(POSITION_HEADER, value);
    }
    Ok(response)
}

/// What is left to send.
enum Left {
    Begin(Vec<u8>, Backup),
    Blocks { backup: Backup, file: tokio::fs::File, sent: u64 },
    Nothing,
}

/// One block at a time is in memory; who reads slowly holds back nobody but himself.
fn blocks(
    begin: Vec<u8>,
    backup: Backup,
) -> impl futures::Stream<Item = Result<Bytes, io::Error>> + Send {
    futures::stream::try_unfold(Left::Begin(begin, backup), |left| async move {
        match left {
            Left::Begin(begin, backup) => {
                let file = tokio::fs::File::from_std(backup.file.try_clone()?);
                let left = Left::Blocks { backup, file, sent: 0 };
                Ok(Some((Bytes::from(begin), left)))
            }
            Left::Blocks { backup, mut file, sent } => {
                let mut block = Vec::with_capacity(BLOCK_BYTES_MAX);
                (&mut file).take(BLOCK_BYTES_MAX as u64).read_to_end(&mut block).await?;
                if block.is_empty() {
                    // Breaks the stream, so that nobody takes it for whole.
                    if sent != backup.bytes {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    return Ok(Some((Bytes::from(backup::end(sent)), Left::Nothing)));
                }
                let sent = sent + block.len() as u64;
                let left = Left::Blocks { backup, file, sent };
                Ok(Some((Bytes::from(backup::block(&block)), left)))
            }
            Left::Nothing => Ok(None),
        }
    })
}

fn not_taken(error: BackupError) -> Failure {
    let text = error.to_string();
    match error {
        BackupError::OutOfStep { .. } | BackupError::Busy | BackupError::Failed { .. } => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Failure::problem(status, Code::Unavailable, text).retry_after(5)
        }
        BackupError::Snapshot(error) => error.into(),
    }
}
