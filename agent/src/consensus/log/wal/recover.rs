//! Reading a log back, and telling a flush that a crash cut off from damage.
//!
//! A flush is written when the one before it is durable. So a crash leaves the last one unfinished and
//! nothing behind it: nobody was told that it is durable, and it may be dropped. Where a sound one
//! follows, bytes went bad that the disk had acknowledged; dropping them would take back what a majority
//! relies on.

use std::io;

use bytes::Bytes;

use crate::consensus::log::wal::flush::Tail;
use crate::consensus::log::wal::index::{Index, Place};
use crate::consensus::log::wal::record::{self, FRAME_ALIGN, FRAME_HEAD_BYTES, Record};
use crate::consensus::log::wal::record::{Seal, SegmentHead};
use crate::consensus::log::wal::segments::Segments;

/// What is read back was flushed before the first flush of this time.
const EARLIER: u64 = 0;

/// A log as the disk has it.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) salt: u64,
    pub(super) index: Index,
    pub(super) tail: Tail,
}

/// Reads everything; changes nothing. Nothing when there is no log yet.
///
/// # Errors
/// When it is damaged, or cannot be read.
pub(super) fn recover(segments: &Segments) -> io::Result<Option<Recovered>> {
    let numbers = segments.numbers();
    let mut recovered: Option<Recovered> = None;
    for (at, number) in numbers.iter().enumerate() {
        let is_last = at + 1 == numbers.len();
        let bytes = Bytes::from(segments.read(*number)?);
        let head = SegmentHead::decode(&bytes).filter(|head| {
            head.segment == *number && recovered.as_ref().is_none_or(|it| it.salt == head.salt)
        });
        let Some(head) = head else {
            if is_last && never_began(&bytes, *number, recovered.as_ref()) {
                break;
            }
            return Err(damaged(segments, *number, 0, "its head is not sound"));
        };
        let mut log = match recovered.take() {
            Some(log) => {
                follows(segments, &log, &head)?;
                log
            }
            None => Recovered {
                salt: head.salt,
                index: Index::from(head.standing),
                tail: Tail { segment: head.segment, offset: 0 },
            },
        };
        log.tail = Tail { segment: head.segment, offset: SegmentHead::BYTES as u64 };
        replay(&mut log, &bytes)?;
        if is_last && let Some(sound) = next_sound(&log, &bytes) {
            let problem = format!("sound again at byte {sound}, so no crash cut it off");
            return Err(damaged(segments, *number, log.tail.offset, &problem));
        }
        recovered = Some(log);
    }
    if let Some(log) = &recovered
        && !log.index.is_whole()
    {
        return Err(damaged(segments, log.tail.segment, 0, "entries before it are missing"));
    }
    Ok(recovered)
}

/// Whether a segment may be one that a crash left with its name and without its head, which is written
/// together with the first frame. A second frame shows that both had been durable.
fn never_began(bytes: &Bytes, number: u64, before: Option<&Recovered>) -> bool {
    match before {
        Some(log) => {
            let seal = Seal { salt: log.salt, segment: number };
            let first = Tail { segment: number, offset: SegmentHead::BYTES as u64 };
            sound_after(seal, first, bytes).is_none()
        }
        // A new log's head is durable before its first frame is written.
        None => bytes.len() <= SegmentHead::BYTES,
    }
}

/// Whether a segment goes on where the log before it ended.
fn follows(segments: &Segments, log: &Recovered, head: &SegmentHead) -> io::Result<()> {
    let Tail { segment, offset } = log.tail;
    if segment.checked_add(1) != Some(head.segment) {
        return Err(damaged(segments, head.segment, 0, "the segment before it is missing"));
    }
    if offset != head.previous_end {
        let problem = format!("its flushes ended at byte {}", head.previous_end);
        return Err(damaged(segments, segment, offset, &problem));
    }
    if log.index.standing() != head.standing {
        return Err(damaged(
            segments,
            head.segment,
            0,
            "it does not go on where the one before ended",
        ));
    }
    Ok(())
}

/// Replays the flushes of one segment, up to the first that is not sound.
fn replay(log: &mut Recovered, bytes: &Bytes) -> io::Result<()> {
    let segment = log.tail.segment;
    let seal = Seal { salt: log.salt, segment };
    while let Ok(at) = usize::try_from(log.tail.offset)
        && let Some(records) = seal.open(bytes, at)
    {
        let begin = log.tail.offset.saturating_add(FRAME_HEAD_BYTES as u64);
        for record in record::records(&records) {
            let (record, payload_at) = record?;
            if let Record::Entry(log_id, payload) = &record {
                let offset = begin.saturating_add(payload_at as u64);
                let place = Place { segment, offset, flush: EARLIER };
                log.index.check_follows(&[(*log_id, Bytes::new())])?;
                // A copy: a slice would keep the whole segment in memory.
                log.index.append(*log_id, Bytes::copy_from_slice(payload), place);
                log.index.shrink(EARLIER);
            }
            log.index.note(&record);
        }
        let end = begin.saturating_add(records.len() as u64);
        log.tail.offset = end.next_multiple_of(FRAME_ALIGN);
    }
    Ok(())
}

fn next_sound(log: &Recovered, bytes: &Bytes) -> Option<u64> {
    sound_after(Seal { salt: log.salt, segment: log.tail.segment }, log.tail, bytes)
}

/// Where the first sound frame behind `tail` begins.
fn sound_after(seal: Seal, tail: Tail, bytes: &Bytes) -> Option<u64> {
    let mut at = tail.offset.saturating_add(FRAME_ALIGN);
    while at < bytes.len() as u64 {
        if seal.open(bytes, usize::try_from(at).ok()?).is_some() {
            return Some(at);
        }
        at = at.saturating_add(FRAME_ALIGN);
    }
    None
}

fn damaged(segments: &Segments, segment: u64, offset: u64, problem: &str) -> io::Error {
    let text = format!(
        "the raft log {} is damaged at byte {offset}: {problem}; nothing was changed. Remove this voter \
         from its cluster and let it join again with an empty data directory",
        segments.path(segment).display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}
