//! openraft's log storage over a [`Log`] on disk.
//!
//! The order of writes is the order of calls, votes included; an append returns at once and reports
//! when it is durable, so that one flush serves every append that came meanwhile.

pub(super) mod wal;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::stream::{self, Stream, TryStreamExt as _};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use tokio::sync::{Semaphore, oneshot};

use crate::consensus::entry::Proposal;
use crate::consensus::vocabulary::{Entry, LogId, Payload, Ring, Vote};
use crate::consensus::watchdog::Flushes;

/// Bytes of the entries that one append to a follower carries: large enough to fill a disk flush,
/// small enough to pass within a heartbeat. One larger entry still goes alone.
pub(super) const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of appends that are not durable yet; a further one waits. Half of what the flush thread takes
/// before it makes a thread of the runtime wait, with the log locked.
const UNFLUSHED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The least that an append counts for, so that a hung disk has 256 of them at most: the flush thread
/// takes 1,024 requests before it makes threads wait, and an append is two.
const APPEND_WEIGHT_MIN: usize = UNFLUSHED_BYTES_MAX / 256;

/// Called when a write is durable, or with the reason why it never will be.
pub(super) struct Done(Box<dyn FnOnce(io::Result<()>) + Send>);

impl Done {
    pub(super) fn new(call: impl FnOnce(io::Result<()>) + Send + 'static) -> Self {
        Self(Box::new(call))
    }

    pub(super) fn call(self, outcome: io::Result<()>) {
        (self.0)(outcome);
    }
}

/// The durable part of a log, as it was when it was opened or last changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LogEnds {
    pub(super) vote: Option<Vote>,
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
}

/// What this folder asks of a log on disk. Writes take effect for readers at once and reach the disk
/// in the order of calls.
pub(super) trait Log: Send + Sync + 'static {
    /// Vote and ends.
    fn ends(&self) -> LogEnds;
    /// Entries of the indexes `from` to before `to` that the log holds, until their bytes exceed
    /// `bytes_max`; at least one when there is one.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>>;
    /// Bytes of the entries with an index of `from` or above.
    fn bytes_from(&self, from: u64) -> u64;
    /// Saves the vote.
    fn save_vote(&mut self, vote: Vote, done: Done) -> io::Result<()>;
    /// Appends entries that follow the last one.
    fn append(&mut self, entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()>;
    /// Drops what follows `keep`.
    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()>;
    /// Drops what is at or before `upto`; the log goes on there even if it was shorter.
    fn purge(&mut self, upto: LogId) -> io::Result<()>;
    /// Notes how far entries are committed; may be lost in a crash.
    fn save_committed(&mut self, committed: LogId) -> io::Result<()>;
}

/// A shared log: openraft's writer and its readers hold the same one.
#[derive(Clone)]
pub(super) struct LogStore {
    /// Empty once closed, so that the directory is free while stray readers still hold the store.
    log: Arc<RwLock<Option<Box<dyn Log>>>>,
    flushes: Flushes,
    /// Bytes that may be appended before any of those on their way is durable.
    room: Arc<Semaphore>,
}

impl LogStore {
    pub(super) fn new(log: Box<dyn Log>, flushes: Flushes) -> Self {
        let room = Arc::new(Semaphore::new(UNFLUSHED_BYTES_MAX));
        Self { log: Arc::new(RwLock::new(Some(log))), flushes, room }
    }

    /// Bytes of the entries with an index of `from` or above; none when the log is closed.
    pub(super) fn bytes_from(&self, from: u64) -> u64 {
        self.with_log(|log| Ok(log.bytes_from(from))).unwrap_or(0)
    }

    /// Waits for writes in progress and gives the files back.
    pub(super) fn close(&self) {
        let log = self.log.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(log);
    }

    fn with_log<T>(&self, use_log: impl FnOnce(&dyn Log) -> io::Result<T>) -> io::Result<T> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        use_log(log.as_deref().ok_or_else(closed)?)
    }

    fn with_log_mut<T>(
        &self,
        use_log: impl FnOnce(&mut dyn Log) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut log = self.log.write().unwrap_or_else(PoisonError::into_inner);
        use_log(log.as_deref_mut().ok_or_else(closed)?)
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.with_log(|log| log.read(from, to, bytes_max))?;
        entries.into_iter().map(|(log_id, bytes)| decode(log_id, &bytes)).collect()
    }
}

/// The first index of a range, and the one behind its last.
fn ends_of(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(after) => *after,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

fn closed() -> io::Error {
    io::Error::other("the raft log is closed")
}

/// First byte of an entry on disk: a batch of commands follows.
const BATCH: u8 = 1;
/// First byte of an entry on disk: what openraft writes for itself follows, in postcard.
const OTHER: u8 = 0;

fn encode(entry: &Entry) -> io::Result<(LogId, Bytes)> {
    let bytes = match &entry.payload {
        Payload::Normal(proposal) => {
            let mut bytes = Vec::with_capacity(proposal.bytes().len().saturating_add(1));
            bytes.push(BATCH);
            bytes.extend_from_slice(proposal.bytes());
            bytes
        }
        other @ (Payload::Blank | Payload::Membership(_)) => {
            postcard::to_extend(other, vec![OTHER]).map_err(io::Error::other)?
        }
    };
    Ok((entry.log_id, Bytes::from(bytes)))
}

/// A batch is not copied: it is a part of the cached bytes.
pub(super) fn decode(log_id: LogId, bytes: &Bytes) -> io::Result<Entry> {
    let damaged = |problem: &dyn std::fmt::Display| {
        let text = format!("log entry {} is damaged: {problem}", log_id.index);
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let payload = match bytes.split_first() {
        Some((&BATCH, _)) => Payload::Normal(Proposal::of_bytes(bytes.slice(1..))),
        Some((&OTHER, rest)) => postcard::from_bytes(rest).map_err(|error| damaged(&error))?,
        Some((kind, _)) => return Err(damaged(&format!("it is of kind {kind}"))),
        None => return Err(damaged(&"it is empty")),
    };
    Ok(Entry { log_id, payload })
}

impl RaftLogReader<Ring> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = ends_of(&range);
        self.read(from, to, usize::MAX)
    }

    /// In pieces: what waits to be applied may be more than fits into the memory at once.
    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = ends_of(&range);
        let pieces = stream::try_unfold((self.clone(), from), move |(log, from)| async move {
            let entries = log.read(from, to, APPEND_BYTES_MAX)?;
            let Some(last) = entries.last() else {
                return Ok(None);
            };
            let next = last.log_id.index.saturating_add(1);
            Ok::<_, io::Error>(Some((stream::iter(entries.into_iter().map(Ok)), (log, next))))
        });
        pieces.try_flatten()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.with_log(|log| Ok(log.ends().vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, APPEND_BYTES_MAX)
    }
}

impl RaftLogStorage<Ring> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Ring>, io::Error> {
        let ends = self.with_log(|log| Ok(log.ends()))?;
        Ok(LogState { last_purged_log_id: ends.purged, last_log_id: ends.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (durable, wait) = oneshot::channel();
        let flushed = self.flushes.begin();
        let done = Done::new(move |outcome| {
            flushed();
            // Nobody waits any more when the raft core stops in between.
            let _ = durable.send(outcome);
        });
        self.with_log_mut(|log| log.save_vote(*vote, done))?;
        wait.await.map_err(io::Error::other)?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let Some(committed) = committed else {
            return Ok(());
        };
        self.with_log_mut(|log| log.save_committed(committed))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.with_log(|log| Ok(log.ends().committed))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Ring>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries =
            entries.into_iter().map(|entry| encode(&entry)).collect::<io::Result<Vec<_>>>()?;
        let bytes: usize = entries.iter().map(|(_, bytes)| bytes.len()).sum();
        // A disk that hangs makes the raft core wait, and no thread.
        let weight = bytes.clamp(APPEND_WEIGHT_MIN, UNFLUSHED_BYTES_MAX);
        let weight = u32::try_from(weight).map_err(io::Error::other)?;
        let room = Arc::clone(&self.room).acquire_many_owned(weight).await;
        let room = room.map_err(io::Error::other)?;
        let flushed = self.flushes.begin();
        let done = Done::new(move |outcome| {
            flushed();
            drop(room);
            callback.io_completed(outcome);
        });
        self.with_log_mut(|log| log.append(entries, done))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.with_log_mut(|log| log.truncate_after(last_log_id))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.with_log_mut(|log| log.purge(log_id))
    }
}

#[cfg(test)]
mod tests;
