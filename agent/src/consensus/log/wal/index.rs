//! What a log holds, and where on the disk: the same for a log that is written and one that is read back.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use crate::consensus::log::wal::record::{Record, Standing};
use crate::consensus::vocabulary::LogId;

/// Recent entries kept in memory, so that feeding followers does not read the disk: some seconds of
/// full load.
const CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Where the payload of an entry lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) segment: u64,
    /// In the segment's file.
    pub(super) offset: u64,
    /// The flush that writes it.
    pub(super) flush: u64,
}

/// An entry of the log.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) log_id: LogId,
    pub(super) place: Place,
    pub(super) bytes: usize,
    pub(super) checksum: u32,
    /// Bytes of all entries up to this one and of some before them: only differences mean something.
    pub(super) through: u64,
    pub(super) cached: Option<Bytes>,
}

/// Vote, ends and entries. Memory is bounded by the log's length, which compaction bounds, and by
/// [`CACHE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Index {
    standing: Standing,
    /// Without gaps, in the order of their indexes.
    slots: VecDeque<Slot>,
    /// So many slots from the front have no payload in memory.
    uncached: usize,
    cached_bytes: usize,
}

impl Index {
    /// A log of which everything before is elsewhere.
    pub(super) fn from(standing: Standing) -> Self {
        Self { standing, ..Self::default() }
    }

    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    /// The entries of the indexes `from` to before `to` that there are.
    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Slot> {
        let first = self.slots.front().map_or(0, |slot| slot.log_id.index);
        let place = |index: u64| {
            usize::try_from(index.saturating_sub(first))
                .map_or(self.slots.len(), |at| at.min(self.slots.len()))
        };
        let (begin, end) = (place(from), place(to));
        self.slots.range(begin..end.max(begin))
    }

    /// Bytes of the entries with an index of `from` or above.
    pub(super) fn bytes_from(&self, from: u64) -> u64 {
        let last = self.slots.back().map_or(0, |slot| slot.through);
        let first = self.range(from, u64::MAX).next();
        first.map_or(0, |first| {
            last.saturating_sub(first.through).saturating_add(first.bytes as u64)
        })
    }

    /// # Errors
    /// When one of the entries does not follow the one before it.
    pub(super) fn check_follows(&self, entries: &[(LogId, Bytes)]) -> io::Result<()> {
        let mut last = self.standing.ends.last;
        for (log_id, _) in entries {
            if last.is_some_and(|last| last.index.checked_add(1) != Some(log_id.index)) {
                let last = last.map_or(0, |last| last.index);
                let index = log_id.index;
                let text = format!("entry {index} of the raft log does not follow entry {last}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            last = Some(*log_id);
        }
        Ok(())
    }

    /// Adds an entry that follows the last one.
    pub(super) fn append(&mut self, log_id: LogId, payload: Bytes, place: Place) {
        self.standing.ends.last = Some(log_id);
        self.cached_bytes = self.cached_bytes.saturating_add(payload.len());
        let (bytes, checksum) = (payload.len(), crc32fast::hash(&payload));
        let before = self.slots.back().map_or(0, |slot| slot.through);
        let through = before.saturating_add(bytes as u64);
        let cached = Some(payload);
        self.slots.push_back(Slot { log_id, place, bytes, checksum, through, cached });
    }

    /// Notes a record that is no entry.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::Entry(..) => {}
            Record::Vote(vote) => self.standing.ends.vote = Some(*vote),
            Record::Truncate(keep) => {
                let keep_index = keep.map(|keep| keep.index);
                while self.slots.back().is_some_and(|slot| Some(slot.log_id.index) > keep_index) {
                    let slot = self.slots.pop_back();
                    self.uncache(slot);
                    self.uncached = self.uncached.min(self.slots.len());
                }
                self.standing.ends.last = *keep;
            }
            Record::Purge(upto) => {
                while self.slots.front().is_some_and(|slot| slot.log_id.index <= upto.index) {
                    let slot = self.slots.pop_front();
                    self.uncache(slot);
                    self.uncached = self.uncached.saturating_sub(1);
                }
                self.standing.ends.purged = Some(*upto);
                if self.standing.ends.last.is_none_or(|last| last.index < upto.index) {
                    self.standing.ends.last = Some(*upto);
                }
            }
            Record::Owner(owner) => self.standing.owner = *owner,
            Record::Committed(committed) => self.standing.ends.committed = Some(*committed),
        }
    }

    fn uncache(&mut self, slot: Option<Slot>) {
        let bytes = slot.and_then(|slot| slot.cached).map_or(0, |payload| payload.len());
        self.cached_bytes = self.cached_bytes.saturating_sub(bytes);
    }

    /// Gives memory back, of entries that the flushes up to `durable` have written.
    pub(super) fn shrink(&mut self, durable: u64) {
        while self.cached_bytes > CACHE_BYTES_MAX {
            let Some(slot) = self.slots.get_mut(self.uncached) else {
                return;
            };
            if slot.place.flush > durable {
                return;
            }
            let payload = slot.cached.take();
            self.cached_bytes -= payload.map_or(0, |payload| payload.len());
            self.uncached += 1;
        }
    }

    /// The first segment that entries need.
    pub(super) fn first_segment(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.place.segment)
    }

    /// Whether every entry is there that was not purged.
    pub(super) fn is_whole(&self) -> bool {
        let begin = self.standing.ends.purged.map_or(0, |purged| purged.index.saturating_add(1));
        let end = self.standing.ends.last.map_or(0, |last| last.index.saturating_add(1));
        match self.slots.front() {
            Some(first) => first.log_id.index <= begin,
            None => end <= begin,
        }
    }
}
