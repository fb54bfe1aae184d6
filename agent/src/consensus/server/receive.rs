//! A snapshot that arrives in parts.

use std::io;

use openraft::raft::SnapshotResponse;
use tokio::io::AsyncWriteExt as _;

use crate::consensus::machine::snapshot::{SNAPSHOT_BYTES_MAX, SnapshotFile};
use crate::consensus::server::Service;
use crate::consensus::vocabulary::{Ring, Snapshot};
use crate::consensus::wire::{Response, SnapshotPart};

/// The snapshot that arrives on one connection; dropped when another begins.
#[derive(Default)]
pub(super) struct Receiving {
    arriving: Option<Arriving>,
}

struct Arriving {
    file: SnapshotFile,
    writer: tokio::fs::File,
    received: u64,
    total: u64,
}

impl Receiving {
    /// Takes the next part; the last one installs the snapshot.
    pub(super) async fn take(&mut self, part: SnapshotPart, service: &Service) -> Response {
        match self.append(part, service).await {
            Ok(response) => Response::SnapshotPart(response),
            Err(error) => {
                self.arriving = None;
                Response::Failed(error.to_string())
            }
        }
    }

    async fn append(
        &mut self,
        part: SnapshotPart,
        service: &Service,
    ) -> io::Result<Option<SnapshotResponse<Ring>>> {
        let SnapshotPart { vote, meta, offset, total, data } = part;
        if total > SNAPSHOT_BYTES_MAX {
            let text = format!("a snapshot of {total} bytes exceeds {SNAPSHOT_BYTES_MAX}");
            return Err(io::Error::other(text));
        }
        let mut arriving = if offset == 0 {
            let file = service.snapshots.draft()?;
            let writer = tokio::fs::File::from_std(file.file.try_clone()?);
            Arriving { file, writer, received: 0, total }
        } else {
            let follows = |a: &Arriving| a.received == offset && a.total == total;
            self.arriving.take().filter(follows).ok_or_else(|| {
                io::Error::other(format!("the part at {offset} does not follow the one before"))
            })?
        };
        arriving.writer.write_all(&data.0).await?;
        arriving.received = arriving.received.saturating_add(data.0.len() as u64);
        if arriving.received < total {
            self.arriving = Some(arriving);
            return Ok(None);
        }
        if arriving.received > total {
            return Err(io::Error::other("the snapshot is longer than announced"));
        }
        arriving.writer.flush().await?;
        let snapshot = Snapshot { meta, snapshot: arriving.file };
        service.raft.install_full_snapshot(vote, snapshot).await.map(Some).map_err(io::Error::other)
    }
}
