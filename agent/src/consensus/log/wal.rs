//! The log on disk: checksummed frames in segments that are written over, one flush thread that syncs
//! everything that came while the disk was busy.

mod flush;
mod index;
mod record;
mod recover;
mod segments;

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;

use bytes::Bytes;

use crate::consensus::identity;
use crate::consensus::log::wal::flush::{Frame, Queue, Tail};
use crate::consensus::log::wal::index::{Index, Place, Slot};
use crate::consensus::log::wal::record::{Record, SegmentHead, Standing};
use crate::consensus::log::wal::recover::Recovered;
use crate::consensus::log::wal::segments::Segments;
use crate::consensus::log::{Done, Log, LogEnds};
use crate::consensus::vocabulary::{LogId, Vote};

/// A segment's file is free once everything in it is purged, so segments bound the disk that a purge
/// frees. At full load one lasts for a few seconds.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// The log in one directory, which it locks.
#[derive(Debug)]
pub(crate) struct Wal {
    index: Index,
    queue: Arc<Queue>,
    segments: Arc<Segments>,
    flusher: Option<JoinHandle<()>>,
    /// How far entries are committed, to be written with the next append: a write of its own would
    /// cost a flush for each entry.
    committed: Option<LogId>,
}

impl Wal {
    /// Opens or creates the log in `directory`. A flush that was cut off by a crash is dropped; any
    /// other damage is an error and leaves the files as they are.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        Self::with_segments(directory, SEGMENT_BYTES)
    }

    fn with_segments(directory: &Path, segment_bytes: u64) -> io::Result<Self> {
        let segments = Arc::new(Segments::open(directory, segment_bytes)?);
        let Recovered { salt, index, tail } = match recover::recover(&segments)? {
            Some(recovered) => recovered,
            None => create(&segments)?,
        };
        segments.discard_after(tail.segment)?;
        // What a purge left behind when a crash came between.
        segments.retire(index.first_segment().unwrap_or(tail.segment))?;
        let file = segments.file(tail.segment)?;
        let queue = Arc::new(Queue::new(salt, segment_bytes, tail));
        let flusher = {
            let (queue, segments) = (Arc::clone(&queue), Arc::clone(&segments));
            let run = move || flush::run(&queue, &segments, file);
            std::thread::Builder::new().name("wal-flush".to_owned()).spawn(run)?
        };
        Ok(Self { index, queue, segments, flusher: Some(flusher), committed: None })
    }

    /// The raft id that the log belongs to; nothing when it has just been created.
    pub(crate) fn owner(&self) -> Option<u64> {
        Some(self.index.standing().owner).filter(|owner| *owner != 0)
    }

    /// Writes down whom the log belongs to, and returns when that is durable.
    pub(crate) fn belong_to(&mut self, raft_id: u64) -> io::Result<()> {
        let (durable, wait) = mpsc::sync_channel(1);
        // It is waited for below.
        let done = Done::new(move |outcome| drop(SyncSender::send(&durable, outcome)));
        self.put(&Record::Owner(raft_id), |frame| frame.done.push(done))?;
        wait.recv().map_err(io::Error::other)?
    }

    /// Puts a record into the next flush and takes it into the index.
    fn put(&mut self, record: &Record, with: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.queue.write(self.index.standing(), |frame| {
            record::put(&mut frame.bytes, record)?;
            with(frame);
            Ok(())
        })?;
        self.index.note(record);
        Ok(())
    }

    /// How far entries are committed, if that is to be written down now.
    fn take_committed(&mut self) -> Option<Record> {
        let committed = self.committed.take()?;
        let ends = self.index.standing().ends;
        // A snapshot can be committed beyond the end of the log until the purge that follows it, and
        // a log that was cut back must not claim more than it holds.
        (Some(committed) > ends.committed && Some(committed) <= ends.last)
            .then_some(Record::Committed(committed))
    }

    fn payload(&self, slot: &Slot) -> io::Result<Bytes> {
        if let Some(cached) = &slot.cached {
            return Ok(cached.clone());
        }
        let Place { segment, offset, flush: _ } = slot.place;
        let payload = self.segments.read_at(segment, offset, slot.bytes)?;
        if crc32fast::hash(&payload) == slot.checksum {
            return Ok(Bytes::from(payload));
        }
        let text = format!(
            "entry {} in {} at byte {offset} has changed since it was written",
            slot.log_id.index,
            self.segments.path(segment).display()
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// The first segment of a new log. Its head is durable before anything is written behind it.
fn create(segments: &Segments) -> io::Result<Recovered> {
    let head = SegmentHead {
        salt: identity::entropy()?,
        segment: 1,
        previous_end: 0,
        standing: Standing::default(),
    };
    let file = segments.begin(head.segment)?;
    file.write_all_at(&head.encode(), 0)?;
    file.sync_all()?;
    let tail = Tail { segment: head.segment, offset: SegmentHead::BYTES as u64 };
    Ok(Recovered { salt: head.salt, index: Index::default(), tail })
}

impl Log for Wal {
    fn ends(&self) -> LogEnds {
        self.index.standing().ends
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        let mut entries = Vec::new();
        let mut bytes: usize = 0;
        for slot in self.index.range(from, to) {
            bytes = bytes.saturating_add(slot.bytes);
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push((slot.log_id, self.payload(slot)?));
        }
        Ok(entries)
    }

    fn bytes_from(&self, from: u64) -> u64 {
        self.index.bytes_from(from)
    }

    fn save_vote(&mut self, vote: Vote, done: Done) -> io::Result<()> {
        self.put(&Record::Vote(vote), |frame| frame.done.push(done))
    }

    fn append(&mut self, entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()> {
        if let Some(committed) = self.take_committed() {
            self.put(&committed, |_| ())?;
        }
        let index = &mut self.index;
        index.check_follows(&entries)?;
        self.queue.write(index.standing(), |frame| {
            for (log_id, payload) in entries {
                let at = record::put_entry(&mut frame.bytes, log_id, &payload)?;
                let offset = frame.offset.saturating_add(at as u64);
                let place = Place { segment: frame.segment, offset, flush: frame.number };
                index.append(log_id, payload, place);
            }
            frame.done.push(done);
            Ok(())
        })?;
        self.index.shrink(self.queue.durable());
        Ok(())
    }

    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        self.put(&Record::Truncate(keep), |_| ())
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let record = Record::Purge(upto);
        let first = {
            let mut kept = self.index.range(upto.index.saturating_add(1), u64::MAX);
            kept.next().map(|slot| slot.place.segment)
        };
        self.put(&record, |frame| frame.retire = Some(first.unwrap_or(frame.segment)))
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        // The mark is a lower bound and may be lost in a crash, so it may wait.
        self.committed = Some(committed);
        Ok(())
    }
}

impl Drop for Wal {
    /// Waits for the writes that were asked for, and gives the directory back.
    fn drop(&mut self) {
        self.queue.close();
        let _ = self.flusher.take().map(JoinHandle::join);
        self.segments.close();
    }
}

#[cfg(test)]
mod tests;
