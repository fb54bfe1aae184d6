//! What a log is made of, in bytes. Numbers are little-endian.
//!
//! A *record* is its kind (one byte) and its fields. A *frame* is what one flush writes: a head of twelve
//! bytes (checksum of the head, length of the records, checksum of the records) and records. A *segment*
//! is a file: a head, and frames one after the other, each at a multiple of [`FRAME_ALIGN`]. All checksums are CRC-32 and begin with the seal of
//! the place: the log's salt, the segment's number, the offset. So what an earlier segment left in a file
//! that is used again is never taken for a frame, and nothing that users write can look like one.

use std::io;

use bytes::Bytes;
use openraft::vote::RaftLeaderId as _;

use crate::consensus::log::LogEnds;
use crate::consensus::vocabulary::{LeaderId, LogId, Vote};

/// Checksum of the head, length of the records, checksum of the records.
pub(super) const FRAME_HEAD_BYTES: usize = 4 + 4 + 4;
/// Frames begin at multiples of this, so that looking for one has few places to look at.
pub(super) const FRAME_ALIGN: u64 = 64;
const MAGIC: [u8; 8] = *b"RRWAL001";
/// A segment's head, padded: magic, salt, number, end of the segment before, ends, checksum.
const SEGMENT_HEAD_BYTES: usize = 256;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const TRUNCATE: u8 = 3;
const PURGE: u8 = 4;
const COMMITTED: u8 = 5;
const OWNER: u8 = 6;

/// One change of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Entry(LogId, Bytes),
    Vote(Vote),
    /// Nothing follows this one any more.
    Truncate(Option<LogId>),
    /// Nothing up to this one is needed any more.
    Purge(LogId),
    Committed(LogId),
    /// Whose log it is, by raft id.
    Owner(u64),
}

/// Where a frame lies, as its checksums know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seal {
    pub(super) salt: u64,
    pub(super) segment: u64,
}

impl Seal {
    fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(&self.segment.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        hasher.update(bytes);
        hasher.finalize()
    }

    /// Fills in the head of a frame that lies at `offset`; its records follow the room for the head.
    pub(super) fn close(self, offset: u64, frame: &mut [u8]) -> io::Result<()> {
        let Some((head, records)) = frame.split_first_chunk_mut::<FRAME_HEAD_BYTES>() else {
            return Err(io::Error::other("a frame of the raft log without a head"));
        };
        let length = u32::try_from(records.len()).map_err(io::Error::other)?;
        let mut rest = [0; FRAME_HEAD_BYTES - 4];
        rest[..4].copy_from_slice(&length.to_le_bytes());
        rest[4..].copy_from_slice(&self.checksum(offset, records).to_le_bytes());
        head[..4].copy_from_slice(&self.checksum(offset, &rest).to_le_bytes());
        head[4..].copy_from_slice(&rest);
        Ok(())
    }

    /// The records of the frame that begins at `offset` of the segment; nothing when there is none, or
    /// not all of it.
    pub(super) fn open(self, segment: &Bytes, offset: usize) -> Option<Bytes> {
        let begin = offset.checked_add(FRAME_HEAD_BYTES)?;
        let head = segment.get(offset..begin)?;
        let at = offset as u64;
        if self.checksum(at, head.get(4..)?) != number(head)? {
            return None;
        }
        let length = usize::try_from(number(head.get(4..)?)?).ok()?;
        let end = begin.checked_add(length)?;
        let records = segment.get(begin..end)?;
        (self.checksum(at, records) == number(head.get(8..)?)?).then(|| segment.slice(begin..end))
    }
}

/// The first four bytes, as a number.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// What is true of a log besides its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The raft id that the log belongs to; zero for nobody.
    pub(super) owner: u64,
    pub(super) ends: LogEnds,
}

/// How a segment begins: what is known without the segments before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) salt: u64,
    pub(super) segment: u64,
    /// Where the frames of the segment before it end; zero when there was none.
    pub(super) previous_end: u64,
    /// Of the log where it begins.
    pub(super) standing: Standing,
}

impl SegmentHead {
    /// Of every head; the first frame follows.
    pub(super) const BYTES: usize = SEGMENT_HEAD_BYTES;

    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { salt, segment, previous_end, standing: Standing { owner, ends } } = self;
        let LogEnds { vote, last, purged, committed } = ends;
        let mut bytes = Vec::with_capacity(SEGMENT_HEAD_BYTES);
        bytes.extend(MAGIC);
        for number in [salt, segment, previous_end, owner] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.push(u8::from(vote.is_some()));
        let none = Vote { leader_id: LeaderId::new(0, 0), committed: false };
        put_vote(&mut bytes, vote.unwrap_or(none));
        for log_id in [last, purged, committed] {
            put_optional(&mut bytes, *log_id);
        }
        bytes.resize(SEGMENT_HEAD_BYTES - 4, 0);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Nothing when these bytes are no whole head.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEAD_BYTES)?;
        let (content, checksum) = bytes.split_at_checked(SEGMENT_HEAD_BYTES - 4)?;
        if crc32fast::hash(content) != number(checksum)? {
            return None;
        }
        let mut fields = Fields(content.strip_prefix(&MAGIC)?);
        let (salt, segment, previous_end) = (fields.number()?, fields.number()?, fields.number()?);
        let owner = fields.number()?;
        let has_vote = fields.byte()? == 1;
        let vote = fields.vote()?;
        let ends = LogEnds {
            vote: has_vote.then_some(vote),
            last: fields.optional()?,
            purged: fields.optional()?,
            committed: fields.optional()?,
        };
        Some(Self { salt, segment, previous_end, standing: Standing { owner, ends } })
    }
}

fn put_log_id(bytes: &mut Vec<u8>, log_id: LogId) {
    let LogId { leader_id: LeaderId { term, node_id }, index } = log_id;
    for number in [term, node_id, index] {
        bytes.extend(number.to_le_bytes());
    }
}

fn put_optional(bytes: &mut Vec<u8>, log_id: Option<LogId>) {
    bytes.push(u8::from(log_id.is_some()));
    put_log_id(bytes, log_id.unwrap_or_else(|| LogId::new(LeaderId::new(0, 0), 0)));
}

fn put_vote(bytes: &mut Vec<u8>, vote: Vote) {
    let Vote { leader_id: LeaderId { term, node_id }, committed } = vote;
    bytes.extend(term.to_le_bytes());
    bytes.extend(node_id.to_le_bytes());
    bytes.push(u8::from(committed));
}

/// Writes an entry. Answers where its payload lies in `bytes`.
pub(super) fn put_entry(bytes: &mut Vec<u8>, log_id: LogId, payload: &[u8]) -> io::Result<usize> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    bytes.push(ENTRY);
    put_log_id(bytes, log_id);
    bytes.extend(length.to_le_bytes());
    let at = bytes.len();
    bytes.extend_from_slice(payload);
    Ok(at)
}

/// Writes a record that is no entry.
pub(super) fn put(bytes: &mut Vec<u8>, record: &Record) -> io::Result<()> {
    match record {
        Record::Entry(log_id, payload) => return put_entry(bytes, *log_id, payload).map(drop),
        Record::Vote(vote) => {
            bytes.push(VOTE);
            put_vote(bytes, *vote);
        }
        Record::Truncate(keep) => {
            bytes.push(TRUNCATE);
            put_optional(bytes, *keep);
        }
        Record::Purge(upto) => {
            bytes.push(PURGE);
            put_log_id(bytes, *upto);
        }
        Record::Committed(committed) => {
            bytes.push(COMMITTED);
            put_log_id(bytes, *committed);
        }
        Record::Owner(owner) => {
            bytes.push(OWNER);
            bytes.extend(owner.to_le_bytes());
        }
    }
    Ok(())
}

/// Reads a frame's records one by one: each with the place of its payload from the frame's beginning.
/// The checksums were right, so what cannot be read was written by another version.
pub(super) fn records(frame: &Bytes) -> impl Iterator<Item = io::Result<(Record, usize)>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= frame.len() {
            return None;
        }
        let Some((record, payload, next)) = record(frame, at) else {
            at = frame.len();
            let text = "a record of the raft log is of an unknown kind; another version wrote it";
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        };
        at = next;
        Some(Ok((record, payload)))
    })
}

/// The record at a place, where its payload begins, and where the next one does.
fn record(frame: &Bytes, at: usize) -> Option<(Record, usize, usize)> {
    let rest = frame.get(at..)?;
    let mut fields = Fields(rest);
    let mut payload = 0;
    let record = match fields.byte()? {
        ENTRY => {
            let log_id = fields.log_id()?;
            let length = usize::try_from(u32::from_le_bytes(fields.take()?)).ok()?;
            payload = at.checked_add(rest.len() - fields.0.len())?;
            let end = payload.checked_add(length)?;
            fields.0 = fields.0.get(length..)?;
            Record::Entry(log_id, frame.slice(payload..end))
        }
        VOTE => Record::Vote(fields.vote()?),
        TRUNCATE => Record::Truncate(fields.optional()?),
        PURGE => Record::Purge(fields.log_id()?),
        COMMITTED => Record::Committed(fields.log_id()?),
        OWNER => Record::Owner(fields.number()?),
        _ => return None,
    };
    Some((record, payload, frame.len() - fields.0.len()))
}

/// Bytes that are read from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn log_id(&mut self) -> Option<LogId> {
        let (term, node, index) = (self.number()?, self.number()?, self.number()?);
        Some(LogId::new(LeaderId::new(term, node), index))
    }

    fn optional(&mut self) -> Option<Option<LogId>> {
        let there = self.byte()? == 1;
        let log_id = self.log_id()?;
        Some(there.then_some(log_id))
    }

    fn vote(&mut self) -> Option<Vote> {
        let (term, node) = (self.number()?, self.number()?);
        let committed = self.byte()? == 1;
        Some(Vote { leader_id: LeaderId::new(term, node), committed })
    }
}
