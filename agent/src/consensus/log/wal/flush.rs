//! The thread that writes: everything that came while the disk was busy goes with one flush.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::consensus::log::Done;
use crate::consensus::log::wal::record::{
    FRAME_ALIGN, FRAME_HEAD_BYTES, Seal, SegmentHead, Standing,
};
use crate::consensus::log::wal::segments::Segments;

/// Bytes that wait for the disk before appends block: a hung disk must not become unbounded memory.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A flush that has so many bytes is full; what comes then goes with the next one.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// After so long without work the last flush is confirmed by an empty one: from then on damage to it
/// cannot be taken for the end that a crash cut off.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// A segment that is used up to one part of this many has the next one's file filled.
const PROVIDE_PART: u64 = 4;

/// What one flush writes.
pub(super) struct Frame {
    pub(super) number: u64,
    pub(super) segment: u64,
    /// In the segment's file.
    pub(super) offset: u64,
    /// Of the segment that it begins.
    head: Option<SegmentHead>,
    /// Room for the frame's head, and records.
    pub(super) bytes: Vec<u8>,
    pub(super) done: Vec<Done>,
    /// When it is durable, the segments before this one are not needed any more.
    pub(super) retire: Option<u64>,
}

impl Frame {
    /// Where the next frame may begin.
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64).next_multiple_of(FRAME_ALIGN)
    }
}

/// Where the next frame lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

struct State {
    /// Behind everything that the flush thread has taken.
    tail: Tail,
    frames: VecDeque<Frame>,
    /// Bytes of all frames, of the one that is being written too.
    bytes: usize,
    next: u64,
    durable: u64,
    closing: bool,
    /// Why nothing can be written any more.
    failed: Option<(io::ErrorKind, String)>,
}

impl State {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }

    fn push(&mut self, tail: Tail, head: Option<SegmentHead>) {
        self.frames.push_back(Frame {
            number: self.next,
            segment: tail.segment,
            offset: tail.offset,
            head,
            bytes: vec![0; FRAME_HEAD_BYTES],
            done: Vec::new(),
            retire: None,
        });
        self.next += 1;
        self.bytes = self.bytes.saturating_add(FRAME_HEAD_BYTES);
    }
}

/// Frames on their way to the disk.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is work, or it is to end.
    work: Condvar,
    /// There is room again.
    room: Condvar,
    salt: u64,
    segment_bytes: u64,
}

impl Queue {
    pub(super) fn new(salt: u64, segment_bytes: u64, tail: Tail) -> Self {
        let state = State {
            tail,
            frames: VecDeque::new(),
            bytes: 0,
            next: 1,
            durable: 0,
            closing: false,
            failed: None,
        };
        let (work, room) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), work, room, salt, segment_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the next flush goes that is not yet written to.
    #[cfg(test)]
    pub(super) fn tail(&self) -> Tail {
        self.lock().tail
    }

    /// The last flush that the disk has.
    pub(super) fn durable(&self) -> u64 {
        self.lock().durable
    }

    /// Writes into the frame that goes next; waits while too much is on its way. `standing` is
    /// the log's, in case that a segment begins with it.
    ///
    /// # Errors
    /// When an earlier write failed, or `write` does.
    pub(super) fn write<T>(
        &self,
        standing: Standing,
        write: impl FnOnce(&mut Frame) -> io::Result<T>,
    ) -> io::Result<T> {
        let full = |state: &mut State| state.bytes >= QUEUE_BYTES_MAX && state.failed.is_none();
        let mut state =
            self.room.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        state.check()?;
        if state.frames.back().is_none_or(|frame| frame.bytes.len() >= FRAME_BYTES_MAX) {
            let end = state.frames.back().map(|frame| (frame.segment, frame.end()));
            let tail = end.map_or(state.tail, |(segment, offset)| Tail { segment, offset });
            if tail.offset < self.segment_bytes {
                state.push(tail, None);
            } else {
                let head = SegmentHead {
                    salt: self.salt,
                    segment: tail.segment.saturating_add(1),
                    previous_end: tail.offset,
                    standing,
                };
                let offset = SegmentHead::BYTES as u64;
                state.push(Tail { segment: head.segment, offset }, Some(head));
            }
        }
        let Some(frame) = state.frames.back_mut() else {
            return Err(io::Error::other("the raft log has no frame to write to"));
        };
        let before = frame.bytes.len();
        let written = write(frame);
        if written.is_err() {
            frame.bytes.truncate(before);
        }
        let more = frame.bytes.len().saturating_sub(before);
        state.bytes = state.bytes.saturating_add(more);
        drop(state);
        self.work.notify_one();
        written
    }

    /// Ends the flush thread when everything is written.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// The next frame to write; nothing when it is over. One without records confirms the last one.
    fn next(&self, mut confirmed: bool) -> Option<Frame> {
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.frames.pop_front() {
                state.tail = Tail { segment: frame.segment, offset: frame.end() };
                return Some(frame);
            }
            if !confirmed && state.closing {
                let tail = state.tail;
                state.push(tail, None);
                confirmed = true;
                continue;
            }
            if state.closing {
                return None;
            }
            let idle = |state: &mut State| state.frames.is_empty() && !state.closing;
            if confirmed {
                state = self.work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.work.wait_timeout_while(state, CONFIRM_AFTER, idle);
            let (woken, timed) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timed.timed_out() && state.frames.is_empty() {
                let tail = state.tail;
                state.push(tail, None);
                confirmed = true;
            }
        }
    }

    fn written(&self, number: u64, bytes: usize) {
        let mut state = self.lock();
        state.durable = number;
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.room.notify_all();
    }

    /// Nothing can be written any more. Answers who waits.
    fn fail(&self, error: &io::Error) -> Vec<Done> {
        let mut state = self.lock();
        state.failed = Some((error.kind(), error.to_string()));
        let frames = std::mem::take(&mut state.frames);
        drop(state);
        self.room.notify_all();
        frames.into_iter().flat_map(|frame| frame.done).collect()
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queue").field("salt", &self.salt).finish_non_exhaustive()
    }
}

/// Writes frames until the queue is closed, or a write fails: nobody knows then what the disk has, so
/// nothing follows.
pub(super) fn run(queue: &Queue, segments: &Arc<Segments>, mut file: Arc<File>) {
    let mut confirmed = true;
    while let Some(mut frame) = queue.next(confirmed) {
        confirmed = frame.bytes.len() == FRAME_HEAD_BYTES;
        let done = std::mem::take(&mut frame.done);
        let written = write(queue, segments, &mut file, &mut frame);
        if let Err(error) = written {
            let waiting = queue.fail(&error);
            for done in done.into_iter().chain(waiting) {
                done.call(Err(io::Error::new(error.kind(), error.to_string())));
            }
            return;
        }
        queue.written(frame.number, frame.bytes.len());
        for done in done {
            done.call(Ok(()));
        }
        if let Some(first) = frame.retire
            && let Err(error) = segments.retire(first)
        {
            tracing::warn!(%error, "files of the raft log that nobody needs stay until the next start");
        }
        if frame.offset >= queue.segment_bytes / PROVIDE_PART {
            segments.provide();
        }
    }
}

fn write(
    queue: &Queue,
    segments: &Segments,
    file: &mut Arc<File>,
    frame: &mut Frame,
) -> io::Result<()> {
    let seal = Seal { salt: queue.salt, segment: frame.segment };
    seal.close(frame.offset, &mut frame.bytes)?;
    if let Some(head) = frame.head.take() {
        *file = segments.begin(frame.segment)?;
        let mut bytes = head.encode();
        bytes.extend_from_slice(&frame.bytes);
        file.write_all_at(&bytes, 0)?;
    } else {
        file.write_all_at(&frame.bytes, frame.offset)?;
    }
    file.sync_data()
}
