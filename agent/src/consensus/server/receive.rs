//! A snapshot that arrives in parts. What has arrived outlives the connection that brought it, so that
//! the sender goes on where it broke off.
//!
//! The last part is answered when the snapshot is verified and installed, which may take longer than the
//! sender's patience. Meanwhile nothing else arrives: the sender, which asks again, waits for the outcome
//! over and over, and then learns that it need send nothing.

use std::io;
use std::sync::Arc;

use openraft::raft::SnapshotResponse;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use crate::consensus::machine::snapshot::{SNAPSHOT_BYTES_MAX, SnapshotDirectory, SnapshotFile};
use crate::consensus::runtime;
use crate::consensus::server::Service;
use crate::consensus::vocabulary::{Ring, Snapshot, SnapshotMeta};
use crate::consensus::wire::{Response, SnapshotBegin, SnapshotPart};

/// The one snapshot that is arriving; dropped when another is announced, or when it brings nothing more.
#[derive(Clone, Default)]
pub(in crate::consensus) struct Arrivals {
    /// Locked until the last part is installed.
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
        slot.take_if(|arriving| service.has_applied(&arriving.announced.meta));
        if service.has_applied(&announced.meta) {
            return Response::SnapshotBegun(announced.total);
        }
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

    /// Takes the next part; the last one installs the snapshot. A part that does not follow, such as
    /// one that a broken connection still brings, changes nothing: the sender asks where to go on.
    pub(super) async fn take(&self, from: u64, part: SnapshotPart, service: &Service) -> Response {
        let mut slot = self.arriving.lock().await;
        slot.take_if(|arriving| service.has_applied(&arriving.announced.meta));
        let outcome = if service.has_applied(&part.meta) {
            // The raft core installs nothing that it has applied: it only looks at the vote.
            match SnapshotFile::none() {
                Ok(none) => install(part, none, service).await,
                Err(error) => Err(error),
            }
        } else {
            match Self::add(&mut slot, from, &part).await {
                Ok(None) => return Response::SnapshotPart(None),
                Ok(Some(whole)) => whole.install(part, service).await,
                Err(error) => return Response::Failed(error.to_string()),
            }
        };
        match outcome {
            Ok(response) => Response::SnapshotPart(Some(response)),
            Err(error) => {
                tracing::warn!(%error, "a snapshot that arrived is not installed");
                Response::Failed(error.to_string())
            }
        }
    }

    /// Adds a part; answers the snapshot when that makes it whole. It is dropped when the disk fails.
    async fn add(
        slot: &mut Option<Arriving>,
        from: u64,
        part: &SnapshotPart,
    ) -> io::Result<Option<Arriving>> {
        let nothing = || io::Error::other("a part of a snapshot came without announcement");
        let arriving = slot.as_mut().ok_or_else(nothing)?;
        arriving.expect(from, part)?;
        match arriving.append(&part.data.0).await {
            Ok(()) if arriving.received == part.total => Ok(slot.take()),
            Ok(()) => Ok(None),
            Err(error) => {
                *slot = None;
                Err(error)
            }
        }
    }
}

impl Service {
    /// Whether a snapshot brings nothing that is not here.
    fn has_applied(&self, meta: &SnapshotMeta) -> bool {
        self.shared.read(|replica| replica.applied >= meta.last_log_id)
    }
}

impl Arriving {
    fn open(from: u64, announced: SnapshotBegin, service: &Service) -> io::Result<Self> {
        let total = announced.total;
        if total > SNAPSHOT_BYTES_MAX {
            let text = format!("a snapshot of {total} bytes exceeds {SNAPSHOT_BYTES_MAX}");
            return Err(io::Error::other(text));
        }
        let room = service.snapshots.room();
        if total > room {
            let text = format!("a snapshot of {total} bytes exceeds the {room} left for it here");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        let file = service.snapshots.draft()?;
        let writer = tokio::fs::File::from_std(file.file.try_clone()?);
        Ok(Self { from, announced, file, writer, received: 0 })
    }

    /// Whether a part is the next one.
    fn expect(&self, from: u64, part: &SnapshotPart) -> io::Result<()> {
        let SnapshotPart { vote: _, meta, offset, total, data } = part;
        let SnapshotBegin { meta: announced, total: announced_total } = &self.announced;
        if from != self.from || meta != announced || total != announced_total {
            return Err(io::Error::other("the part is of another snapshot"));
        }
        if *offset != self.received {
            let text = format!("the part at {offset} does not follow the one before");
            return Err(io::Error::other(text));
        }
        if offset.saturating_add(data.0.len() as u64) > *total {
            return Err(io::Error::other("the snapshot is longer than announced"));
        }
        Ok(())
    }

    async fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.writer.write_all(data).await?;
        self.received = self.received.saturating_add(data.len() as u64);
        Ok(())
    }

    async fn install(
        mut self,
        part: SnapshotPart,
        service: &Service,
    ) -> io::Result<SnapshotResponse<Ring>> {
        self.writer.flush().await?;
        let (file, meta) = (self.file, part.meta.clone());
        // A damaged one is refused here: inside the raft core it would stop this agent.
        let checked = runtime::aside(move || SnapshotDirectory::check(file, &meta)).await;
        let file = checked.map_err(io::Error::other)??;
        install(part, file, service).await
    }
}

async fn install(
    part: SnapshotPart,
    file: SnapshotFile,
    service: &Service,
) -> io::Result<SnapshotResponse<Ring>> {
    let snapshot = Snapshot { meta: part.meta, snapshot: file };
    let installed = service.raft.install_full_snapshot(part.vote, snapshot).await;
    installed.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
