//! The log on disk, by the `raft-log` crate: checksummed records in chunks, one flush thread that
//! syncs everything that is queued at once.

mod damage;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use bytes::Bytes;
use openraft::vote::RaftLeaderId as _;
use raft_log::api::raft_log_writer::RaftLogWriter as _;
use raft_log::codeq::{Decode, Encode};
use raft_log::{Callback, Config, RaftLog, Types, chunked_wal};

use crate::consensus::log::{Done, Log, LogEnds};
use crate::consensus::vocabulary::{LeaderId, LogId, Vote};

/// A chunk is deleted once everything in it is purged, so chunks bound the disk that a purge frees.
const CHUNK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Recent entries kept in memory, so that feeding followers does not read the disk.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the flush thread waits for company. The flush in progress is the true batching window;
/// this only lets a burst that has begun come in.
const FLUSH_WAIT: Duration = Duration::from_micros(50);
/// Bytes that wait for the disk before appends block: a hung disk must not become unbounded memory.
const FLUSH_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Buffer for reading chunks at start.
const READ_BUFFER_BYTES: usize = 1024 * 1024;

/// The log in one directory, which it locks.
#[derive(Debug)]
pub(crate) struct Wal {
    log: RaftLog<Records>,
    /// How far entries are committed, to be written with the next append: a write of its own would
    /// wake the flush thread once more for each entry.
    committed: Option<LogKey>,
}

impl Wal {
    /// Opens or creates the log in `directory`. A record that was cut off by a crash is dropped;
    /// any other damage is an error and leaves the files as they are.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let text = directory.to_str().ok_or_else(|| {
            let problem = format!("the path {} must be valid UTF-8", directory.display());
            io::Error::new(io::ErrorKind::InvalidInput, problem)
        })?;
        let mut config = Config::new(text);
        config.wal.chunk_max_size = Some(CHUNK_BYTES_MAX);
        config.wal.read_buffer_size = Some(READ_BUFFER_BYTES);
        config.wal.flush_batch_wait = Some(FLUSH_WAIT);
        config.wal.flush_queue_max_bytes = Some(FLUSH_QUEUE_BYTES_MAX);
        config.log_cache_capacity = Some(CACHE_BYTES_MAX);
        // The crate would cut off whatever ends too early. It may do so only where a crash did.
        let whole = Config {
            wal: chunked_wal::Config {
                truncate_incomplete_record: Some(false),
                ..config.wal.clone()
            },
            ..config.clone()
        };
        damage::check_beginnings(directory)?;
        let log = RaftLog::open(Arc::new(whole)).or_else(|_unfinished| {
            let config = Arc::new(config);
            damage::check(&config)?;
            RaftLog::open(config)
        })?;
        Ok(Self { log, committed: None })
    }

    /// The raft id that the log belongs to; nothing when it has just been created.
    pub(crate) fn owner(&self) -> Option<u64> {
        self.log.log_state().user_data
    }

    /// Writes down whom the log belongs to, and returns when that is durable.
    pub(crate) fn belong_to(&mut self, raft_id: u64) -> io::Result<()> {
        self.log.save_user_data(Some(raft_id))?;
        let (durable, wait) = mpsc::sync_channel(1);
        // It is waited for below.
        let done = Done::new(move |outcome| drop(SyncSender::send(&durable, outcome)));
        self.log.flush(true, Some(done))?;
        wait.recv().map_err(io::Error::other)?
    }
}

impl Log for Wal {
    fn ends(&self) -> LogEnds {
        let state = self.log.log_state();
        LogEnds {
            vote: state.vote().copied().map(VoteRecord::to_vote),
            last: state.last().copied().map(LogKey::to_log_id),
            purged: state.purged().copied().map(LogKey::to_log_id),
            committed: state.committed().copied().map(LogKey::to_log_id),
        }
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        let mut entries = Vec::new();
        let mut bytes: usize = 0;
        if from >= to {
            return Ok(entries);
        }
        for entry in self.log.read(from, to) {
            let (key, EntryBytes(payload)) = entry?;
            bytes = bytes.saturating_add(payload.len());
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push((key.to_log_id(), payload));
        }
        Ok(entries)
    }

    fn save_vote(&mut self, vote: Vote, done: Done) -> io::Result<()> {
        self.log.save_vote(VoteRecord::of(vote))?;
        self.log.flush(true, Some(done))
    }

    fn append(&mut self, entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()> {
        let records = entries.into_iter().map(|(id, bytes)| (LogKey::of(id), EntryBytes(bytes)));
        self.note_committed()?;
        self.log.append(records)?;
        self.log.flush(true, Some(done))
    }

    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        self.log.truncate(keep.map_or(0, |log_id| log_id.index.saturating_add(1)))?;
        self.log.flush(true, None)
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(LogKey::of(upto))?;
        self.log.flush(true, None)
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        // The mark is a lower bound and may be lost in a crash, so it may wait.
        self.committed = Some(LogKey::of(committed));
        Ok(())
    }
}

impl Wal {
    /// Writes down how far entries are committed.
    fn note_committed(&mut self) -> io::Result<()> {
        let Some(committed) = self.committed.take() else {
            return Ok(());
        };
        let state = self.log.log_state();
        // A snapshot can be committed beyond the end of the log until the purge that follows it, and
        // a log that was cut back must not claim more than it holds.
        if Some(&committed) <= state.committed() || Some(&committed) > state.last() {
            return Ok(());
        }
        self.log.commit(committed).map(drop)
    }
}

impl Callback for Done {
    fn send(self, outcome: io::Result<()>) {
        self.call(outcome);
    }
}

/// The record types of this log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Records;

impl Types for Records {
    type LogId = LogKey;
    type LogPayload = EntryBytes;
    type Vote = VoteRecord;
    type Callback = Done;
    /// The raft id that the log belongs to.
    type UserData = u64;

    fn log_index(log_id: &LogKey) -> u64 {
        log_id.index
    }

    fn payload_size(payload: &EntryBytes) -> u64 {
        payload.0.len() as u64
    }
}

/// A log id on disk: 24 bytes. The order of the fields is the order of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct LogKey {
    term: u64,
    node: u64,
    index: u64,
}

impl LogKey {
    fn of(log_id: LogId) -> Self {
        let LogId { leader_id: LeaderId { term, node_id }, index } = log_id;
        Self { term, node: node_id, index }
    }

    fn to_log_id(self) -> LogId {
        LogId::new(LeaderId::new(self.term, self.node), self.index)
    }
}

impl Encode for LogKey {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let Self { term, node, index } = self;
        Ok(term.encode(&mut writer)? + node.encode(&mut writer)? + index.encode(&mut writer)?)
    }
}

impl Decode for LogKey {
    fn decode<R: Read>(mut reader: R) -> io::Result<Self> {
        let term = u64::decode(&mut reader)?;
        let node = u64::decode(&mut reader)?;
        let index = u64::decode(&mut reader)?;
        Ok(Self { term, node, index })
    }
}

/// A vote on disk. The order of the fields is the order of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
struct VoteRecord {
    term: u64,
    node: u64,
    committed: bool,
}

impl VoteRecord {
    fn of(vote: Vote) -> Self {
        let LeaderId { term, node_id } = vote.leader_id;
        Self { term, node: node_id, committed: vote.committed }
    }

    fn to_vote(self) -> Vote {
        Vote { leader_id: LeaderId::new(self.term, self.node), committed: self.committed }
    }
}

impl Encode for VoteRecord {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let Self { term, node, committed } = self;
        Ok(term.encode(&mut writer)? + node.encode(&mut writer)? + committed.encode(&mut writer)?)
    }
}

impl Decode for VoteRecord {
    fn decode<R: Read>(mut reader: R) -> io::Result<Self> {
        let term = u64::decode(&mut reader)?;
        let node = u64::decode(&mut reader)?;
        let committed = bool::decode(&mut reader)?;
        Ok(Self { term, node, committed })
    }
}

/// An encoded entry. Shared, so that reading a cached one copies nothing.
#[derive(Debug, Clone)]
struct EntryBytes(Bytes);

impl Encode for EntryBytes {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let length = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        let head = length.encode(&mut writer)?;
        writer.write_all(&self.0)?;
        Ok(head + self.0.len())
    }
}

impl Decode for EntryBytes {
    fn decode<R: Read>(reader: R) -> io::Result<Self> {
        // The same layout as a byte vector, which is read without trusting its length.
        Ok(Self(Bytes::from(Vec::<u8>::decode(reader)?)))
    }
}

#[cfg(test)]
mod tests;
