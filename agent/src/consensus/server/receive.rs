//! A snapshot that arrives in parts. What has arrived outlives the connection that brought it, so that
//! the sender goes on where it broke off.

use std::io;
use std::sync::Arc;

use openraft::raft::SnapshotResponse;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::consensus::machine::snapshot::{SNAPSHOT_BYTES_MAX, SnapshotFile};
use crate::consensus::server::Service;
use crate::consensus::vocabulary::{Ring, Snapshot};
use crate::consensus::wire::{Response, SnapshotBegin, SnapshotPart};

/// The one snapshot that is arriving; dropped when another is announced.
#[derive(Clone, Default)]
pub(in crate::consensus) struct Arrivals {
    arriving: Arc<Mutex<Option<Arriving>>>,
}

struct Arriving {
    /// Raft id of the sender: another one's file of the same snapshot may differ in its bytes.
    from: u64,
    announced: SnapshotBegin,
    file: SnapshotFile,
    writer: tokio::fs::File,
    received: u64,
}

impl Arrivals {
    /// Takes the announcement of a snapshot; answers how much of it is here.
    pub(super) async fn begin(
        &self,
        from: u64,
        announced: SnapshotBegin,
        service: &Service,
    ) -> Response {
        let mut slot = self.arriving.lock().await;
        if let Some(known) = slot.as_ref()
            && known.from == from
            && known.announced == announced
        {
            return Response::SnapshotBegun(known.received);
        }
        // The draft before it goes first, so that the disk holds one.
        *slot = None;
        match Arriving::open(from, announced, service) {
            Ok(arriving) => {
                *slot = Some(arriving);
                Response::SnapshotBegun(0)
            }
            Err(error) => Response::Failed(error.to_string()),
        }
    }

    /// Takes the next part; the last one installs the snapshot. A part that does not fit ends the
    /// transfer, which begins anew.
    pub(super) async fn take(&self, from: u64, part: SnapshotPart, service: &Service) -> Response {
        let taken = {
            let mut slot = self.arriving.lock().await;
            match slot.take() {
                None => Err(io::Error::other("a part of a snapshot came without announcement")),
                Some(mut arriving) => match arriving.append(from, &part).await {
                    Ok(false) => {
                        *slot = Some(arriving);
                        return Response::SnapshotPart(None);
                    }
                    Ok(true) => Ok(arriving),
                    Err(error) => Err(error),
                },
            }
        };
        let installed = match taken {
            Ok(arriving) => arriving.install(part, service).await,
            Err(error) => Err(error),
        };
        match installed {
            Ok(response) => Response::SnapshotPart(Some(response)),
            Err(error) => Response::Failed(error.to_string()),
        }
    }
}

impl Arriving {
    fn open(from: u64, announced: SnapshotBegin, service: &Service) -> io::Result<Self> {
        let total = announced.total;
        if total > SNAPSHOT_BYTES_MAX {
            let text = format!("a snapshot of {total} bytes exceeds {SNAPSHOT_BYTES_MAX}");
            return Err(io::Error::other(text));
        }
        let file = service.snapshots.draft()?;
        let writer = tokio::fs::File::from_std(file.file.try_clone()?);
        Ok(Self { from, announced, file, writer, received: 0 })
    }

    /// Adds a part; answers whether it was the last one.
    async fn append(&mut self, from: u64, part: &SnapshotPart) -> io::Result<bool> {
        let SnapshotPart { vote: _, meta, offset, total, data } = part;
        let SnapshotBegin { meta: announced, total: announced_total } = &self.announced;
        if from != self.from || meta != announced || total != announced_total {
            return Err(io::Error::other("the part is of another snapshot"));
        }
        if *offset != self.received {
            let text = format!("the part at {offset} does not follow the one before");
            return Err(io::Error::other(text));
        }
        self.writer.write_all(&data.0).await?;
        self.received = self.received.saturating_add(data.0.len() as u64);
        if self.received > *total {
            return Err(io::Error::other("the snapshot is longer than announced"));
        }
        Ok(self.received == *total)
    }

    async fn install(
        mut self,
        part: SnapshotPart,
        service: &Service,
    ) -> io::Result<SnapshotResponse<Ring>> {
        self.writer.flush().await?;
        let snapshot = Snapshot { meta: part.meta, snapshot: self.file };
        let installed = service.raft.install_full_snapshot(part.vote, snapshot).await;
        installed.map_err(io::Error::other)
    }
}
