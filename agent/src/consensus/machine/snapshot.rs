//! Snapshots on disk: one file, whole or absent, checksummed.
//!
//! Layout: magic, length of the meta part (u32), length of the body (u64), CRC-32 of both parts
//! (u32), the meta part, the body. Numbers are little-endian, the parts are postcard.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::consensus::machine::{Frozen, Replica};
use crate::consensus::room;
use crate::consensus::vocabulary::{LogId, Snapshot, SnapshotMeta};
use crate::consensus::wire::ENTRY_BYTES_MAX;

const MAGIC: [u8; 8] = *b"RRSNAP01";
const HEAD_BYTES: usize = 8 + 4 + 8 + 4;
/// Larger snapshots are refused on receipt: several times the state that a leader may hold.
pub(in crate::consensus) const SNAPSHOT_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Read or written at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// Between two such writes. Together about 40 MB a second: the log, which flushes to the same disk, never
/// waits for more than one of them.
const WRITE_PAUSE: Duration = Duration::from_millis(5);
const CURRENT: &str = "current.snapshot";
const PARTIAL_EXTENSION: &str = "partial";

/// A snapshot in a file. The open file stays readable when a newer one takes its name. One that is
/// dropped in the making leaves no file.
#[derive(Debug)]
pub(in crate::consensus) struct SnapshotFile {
    pub(in crate::consensus) file: File,
    pub(in crate::consensus) path: PathBuf,
    in_the_making: bool,
    /// What it holds, once it was read.
    content: Option<Box<(SnapshotMeta, Replica)>>,
}

impl SnapshotFile {
    /// Stands for no snapshot where one must be named. It takes no room on the disk.
    pub(in crate::consensus) fn none() -> io::Result<Self> {
        let path = PathBuf::from("/dev/null");
        Ok(Self { file: File::open(&path)?, path, in_the_making: false, content: None })
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if self.in_the_making {
            // What cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The directory of one agent's snapshots: the current one and those in the making.
#[derive(Debug, Clone)]
pub(in crate::consensus) struct SnapshotDirectory {
    path: PathBuf,
    /// Numbers the files in the making.
    drafts: Arc<AtomicU64>,
    /// One that is built and one that arrives take the current name one after the other.
    publishing: Arc<Mutex<()>>,
}

impl SnapshotDirectory {
    /// Opens or creates the directory and removes what a crash left in the making.
    pub(in crate::consensus) fn open(path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        for file in std::fs::read_dir(&path)? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == PARTIAL_EXTENSION) {
                std::fs::remove_file(&file)?;
            }
        }
        Ok(Self { path, drafts: Arc::default(), publishing: Arc::default() })
    }

    /// A new empty file for a snapshot in the making.
    pub(in crate::consensus) fn draft(&self) -> io::Result<SnapshotFile> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{number}.{PARTIAL_EXTENSION}"));
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(SnapshotFile { file, path, in_the_making: true, content: None })
    }

    /// The current snapshot, if there is one, without reading its body.
    pub(in crate::consensus) fn current(&self) -> io::Result<Option<Snapshot>> {
        let path = self.path.join(CURRENT);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let head = Head::read(&mut file, &path)?;
        let mut meta = vec![0; head.meta_bytes as usize];
        file.read_exact(&mut meta)?;
        let meta =
            postcard::from_bytes(&meta).map_err(|error| damaged(&path, &error.to_string()))?;
        let snapshot = SnapshotFile { file, path, in_the_making: false, content: None };
        Ok(Some(Snapshot { meta, snapshot }))
    }

    /// Bytes of the current snapshot; zero when there is none.
    pub(in crate::consensus) fn current_bytes(&self) -> u64 {
        std::fs::metadata(self.path.join(CURRENT)).map_or(0, |file| file.len())
    }

    /// The replica of the current snapshot; a fresh one when there is none.
    pub(in crate::consensus) fn load(&self) -> io::Result<Replica> {
        match self.current()? {
            None => Ok(Replica::default()),
            Some(mut current) => read(&mut current.snapshot).map(|(_, replica)| replica),
        }
    }

    /// Bytes that a new snapshot may take, so that the log has room beside it.
    pub(in crate::consensus) fn room(&self) -> u64 {
        room::for_snapshot(&self.path)
    }

    /// Writes a snapshot of at most `room` bytes and makes it the current one, unless a newer one is.
    /// Answers its size too. The body goes to the file as it is encoded: a large state is never in
    /// memory twice.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when it does not fit; the snapshot before it stays.
    pub(in crate::consensus) fn write(
        &self,
        frozen: &Frozen,
        room: u64,
    ) -> io::Result<(Snapshot, u64)> {
        let meta = frozen.meta();
        let meta_part = postcard::to_stdvec(&meta).map_err(io::Error::other)?;
        let mut draft = self.draft()?;
        draft.file.seek(SeekFrom::Start(HEAD_BYTES as u64))?;
        let buffered = BufWriter::with_capacity(BUFFER_BYTES, Paced::new(&draft.file));
        let mut body = Summed::new(buffered, room);
        let encoded =
            body.write_all(&meta_part).map_err(|_kept| postcard::Error::SerializeBufferFull);
        let encoded = encoded.and_then(|()| postcard::to_io(frozen, &mut body).map(drop));
        let (checksum, bytes) = body.finish(encoded)?;
        let head = Head {
            meta_bytes: u32::try_from(meta_part.len()).map_err(io::Error::other)?,
            body_bytes: bytes.saturating_sub(meta_part.len() as u64),
            checksum,
        };
        draft.file.seek(SeekFrom::Start(0))?;
        draft.file.write_all(&head.encode())?;
        let snapshot = self.publish(draft, meta.last_log_id)?;
        Ok((Snapshot { meta, snapshot }, bytes.saturating_add(HEAD_BYTES as u64)))
    }

    /// Reads a received snapshot, so that a damaged one is refused before anybody relies on it.
    ///
    /// # Errors
    /// When it is damaged, or is not the one that was announced.
    pub(in crate::consensus) fn check(
        mut snapshot: SnapshotFile,
        expected: &SnapshotMeta,
    ) -> io::Result<SnapshotFile> {
        let content = read(&mut snapshot)?;
        if content.0 != *expected {
            return Err(damaged(&snapshot.path, "it is not the snapshot that was announced"));
        }
        snapshot.content = Some(Box::new(content));
        Ok(snapshot)
    }

    /// Makes a received snapshot, or the current one at start, the current one and answers its replica.
    pub(in crate::consensus) fn install(
        &self,
        snapshot: SnapshotFile,
        expected: &SnapshotMeta,
    ) -> io::Result<Replica> {
        let mut snapshot = match &snapshot.content {
            Some(content) if content.0 == *expected => snapshot,
            Some(_) | None => Self::check(snapshot, expected)?,
        };
        let content = snapshot.content.take().ok_or_else(|| io::Error::other("not read"))?;
        if snapshot.path != self.path.join(CURRENT) {
            let published = self.publish(snapshot, expected.last_log_id)?;
            if published.in_the_making {
                return Err(io::Error::other(
                    "a newer snapshot than the one to install is current",
                ));
            }
        }
        Ok(content.1)
    }

    /// Durable first, then visible, then durably visible. One that is older than the current one stays
    /// a draft: the log that would lead on from it may be gone.
    fn publish(&self, mut draft: SnapshotFile, last: Option<LogId>) -> io::Result<SnapshotFile> {
        let path = self.path.join(CURRENT);
        draft.file.sync_all()?;
        let _alone = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        // A current one that cannot be read is in nobody's way.
        let current = self.current().ok().flatten();
        if current.is_some_and(|current| current.meta.last_log_id > last) {
            return Ok(draft);
        }
        std::fs::rename(&draft.path, &path)?;
        draft.in_the_making = false;
        draft.path = path;
        File::open(&self.path)?.sync_all()?;
        Ok(draft)
    }
}

struct Head {
    meta_bytes: u32,
    body_bytes: u64,
    checksum: u32,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.meta_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.body_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Reads the head; its lengths are then known to be those of the file.
    fn read(file: &mut File, path: &Path) -> io::Result<Self> {
        let (mut magic, mut meta, mut body, mut sum) = ([0; 8], [0; 4], [0; 8], [0; 4]);
        file.seek(SeekFrom::Start(0))?;
        for part in [&mut magic[..], &mut meta, &mut body, &mut sum] {
            file.read_exact(part).map_err(|error| damaged(path, &error.to_string()))?;
        }
        if magic != MAGIC {
            return Err(damaged(path, "it does not begin like a snapshot"));
        }
        let head = Self {
            meta_bytes: u32::from_le_bytes(meta),
            body_bytes: u64::from_le_bytes(body),
            checksum: u32::from_le_bytes(sum),
        };
        let parts = head.body_bytes.saturating_add(u64::from(head.meta_bytes));
        let length = file.metadata()?.len();
        if length != parts.saturating_add(HEAD_BYTES as u64) {
            return Err(damaged(path, &format!("it has {length} bytes, not what it announces")));
        }
        Ok(head)
    }
}

/// Writes to the disk bit by bit. What is left to the kernel goes there all at once, and whoever flushes
/// meanwhile waits for it.
struct Paced<'a> {
    file: &'a File,
    unflushed: usize,
}

impl<'a> Paced<'a> {
    const fn new(file: &'a File) -> Self {
        Self { file, unflushed: 0 }
    }
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unflushed >= BUFFER_BYTES {
            self.file.sync_data()?;
            self.unflushed = 0;
            std::thread::sleep(WRITE_PAUSE);
        }
        let written = self.file.write(bytes)?;
        self.unflushed = self.unflushed.saturating_add(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes on as long as there is room, and sums up what was written.
struct Summed<W> {
    inner: W,
    room: u64,
    hasher: crc32fast::Hasher,
    bytes: u64,
    /// What the encoder was told and does not tell on.
    failure: Option<io::Error>,
}

impl<W: Write> Summed<W> {
    fn new(inner: W, room: u64) -> Self {
        Self { inner, room, hasher: crc32fast::Hasher::new(), bytes: 0, failure: None }
    }

    /// The checksum and the number of bytes.
    fn finish(mut self, encoded: postcard::Result<()>) -> io::Result<(u32, u64)> {
        if let Err(error) = encoded {
            return Err(self.failure.take().unwrap_or_else(|| io::Error::other(error)));
        }
        self.inner.flush()?;
        Ok((self.hasher.finalize(), self.bytes))
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if self.bytes.saturating_add(bytes.len() as u64) <= self.room {
            self.inner.write(bytes)
        } else {
            let text = format!("the snapshot needs more than the {} bytes left for it", self.room);
            Err(io::Error::new(io::ErrorKind::StorageFull, text))
        };
        let written = written.inspect_err(|error| {
            self.failure = Some(io::Error::new(error.kind(), error.to_string()));
        })?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads a snapshot twice: nothing of it is decoded before all of it is known to be sound, and a large
/// one is never in memory as a whole.
fn read(snapshot: &mut SnapshotFile) -> io::Result<(SnapshotMeta, Replica)> {
    let SnapshotFile { file, path, in_the_making: _, content: _ } = snapshot;
    let head = Head::read(file, path)?;
    let mut summed = Summed::new(io::sink(), u64::MAX);
    io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, &mut *file), &mut summed)?;
    let (checksum, _) = summed.finish(Ok(()))?;
    if checksum != head.checksum {
        return Err(damaged(path, "its checksum does not match"));
    }
    file.seek(SeekFrom::Start(HEAD_BYTES as u64))?;
    let mut meta = vec![0; head.meta_bytes as usize];
    file.read_exact(&mut meta)?;
    let decode = |error: postcard::Error| damaged(path, &error.to_string());
    // One text at a time is read into it; none is larger than the entry that brought it.
    let mut text = vec![0; ENTRY_BYTES_MAX];
    let body = BufReader::with_capacity(BUFFER_BYTES, file);
    let (replica, _) = postcard::from_io((body, text.as_mut_slice())).map_err(decode)?;
    Ok((postcard::from_bytes(&meta).map_err(decode)?, replica))
}

fn damaged(path: &Path, problem: &str) -> io::Error {
    let advice = "move it away and let this agent rejoin as a new voter";
    let text = format!("the snapshot {} is damaged: {problem}; {advice}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
