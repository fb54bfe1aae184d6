//! The log on a disk that a simulated world moves: it keeps what was flushed, and loses the rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ringrift_core::queue::command::Batch;

use crate::consensus::log::{self, Done, Log, LogEnds};
use crate::consensus::simulation::{Ballot, EntryName};
use crate::consensus::vocabulary::{LogId, Payload, Vote};

/// A bug that is planted in the place of what the adapters do, to show that a world would see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// Entries are reported as durable before they are.
    EarlyAppend,
    /// Votes are reported as saved and never written.
    LostVote,
    /// What a leader cut off a log comes back with the next start, in the place of what it wrote
    /// there instead.
    LostTruncation,
    /// A snapshot holds more than it says, so entries are applied again behind it.
    FurtherSnapshot,
}

/// An entry as it is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Which one.
    pub name: EntryName,
    /// The one before it, unless it is the first or follows what was dropped.
    pub previous: Option<EntryName>,
    /// Its bytes on disk.
    pub bytes: Bytes,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A leader's first.
    Blank,
    /// Who takes part, by raft id.
    Membership {
        /// The voters; two sets while they change.
        voters: Vec<BTreeSet<u64>>,
        /// Everybody, the voters included.
        members: BTreeSet<u64>,
    },
    /// Commands.
    Batch(Batch),
}

impl Logged {
    /// What it says.
    ///
    /// # Errors
    /// When its bytes are damaged.
    pub fn content(&self) -> io::Result<Content> {
        let entry = log::decode(self.name.to_log_id(), &self.bytes)?;
        Ok(match entry.payload {
            Payload::Blank => Content::Blank,
            Payload::Membership(membership) => Content::Membership {
                voters: membership.get_joint_config().clone(),
                members: membership.nodes().map(|(id, _)| *id).collect(),
            },
            Payload::Normal(proposal) => Content::Batch(proposal.batch()?),
        })
    }
}

/// A disk for one agent's log. It outlives the agent that writes to it; clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The log as its readers see it.
    seen: Image,
    /// The log as a crash would leave it.
    safe: Image,
    /// What was written and is not yet on the disk, in order. The world flushes it, and bounds it by
    /// the lifetime of an agent.
    pending: VecDeque<Pending>,
    /// How far entries are committed, to be written with the next append.
    committed: Option<LogId>,
    /// The greatest vote that was reported as saved.
    promised: Option<Vote>,
    /// Why every write fails, if it does.
    broken: Option<io::ErrorKind>,
    planted: Option<Planted>,
    /// Entries that were appended since the world looked last.
    news: Vec<Logged>,
    /// Entries that were purged since the world looked last, and those of the time before that look:
    /// it may still ask for them.
    purged: [BTreeMap<u64, (LogId, Bytes)>; 2],
}

struct Pending {
    record: Record,
    done: Option<Done>,
}

#[derive(Debug, Clone)]
enum Record {
    Vote(Vote),
    Entry(LogId, Bytes),
    Truncate(Option<LogId>),
    Purge(LogId),
    Committed(LogId),
    /// An append of nothing: it only wants to know when what is before it is durable.
    Nothing,
}

#[derive(Debug, Clone, Default)]
struct Image {
    ends: LogEnds,
    entries: BTreeMap<u64, (LogId, Bytes)>,
}

impl Image {
    fn add(&mut self, record: &Record) {
        match record {
            Record::Vote(vote) => self.ends.vote = Some(*vote),
            Record::Entry(log_id, bytes) => {
                self.entries.insert(log_id.index, (*log_id, bytes.clone()));
                self.ends.last = Some(*log_id);
            }
            Record::Truncate(keep) => {
                let first = keep.map_or(0, |keep| keep.index.saturating_add(1));
                self.entries.split_off(&first);
                self.ends.last = *keep;
            }
            Record::Purge(upto) => {
                self.entries = self.entries.split_off(&upto.index.saturating_add(1));
                self.ends.purged = Some(*upto);
                if self.ends.last.is_none_or(|last| last.index < upto.index) {
                    self.ends.last = Some(*upto);
                }
            }
            Record::Committed(committed) => self.ends.committed = Some(*committed),
            Record::Nothing => {}
        }
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plants a bug.
    pub fn plant(&self, planted: Planted) {
        self.lock().planted = Some(planted);
    }

    /// The bug that was planted.
    #[must_use]
    pub fn planted(&self) -> Option<Planted> {
        self.lock().planted
    }

    /// Records that wait for the disk.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.lock().pending.len()
    }

    /// Flushes the first `count` records, and tells those who wait for them.
    pub fn flush(&self, count: usize) {
        let mut told = Vec::new();
        {
            let mut state = self.lock();
            for _ in 0..count {
                let Some(Pending { record, done }) = state.pending.pop_front() else {
                    break;
                };
                state.write(&record);
                if let Record::Vote(vote) = &record {
                    state.promise(*vote);
                }
                told.extend(done);
            }
        }
        for done in told {
            done.call(Ok(()));
        }
    }

    /// From here on every write fails, those that wait included, until the next start.
    pub fn break_down(&self, kind: io::ErrorKind) {
        let failed = {
            let mut state = self.lock();
            state.broken = Some(kind);
            std::mem::take(&mut state.pending)
        };
        for done in failed.into_iter().filter_map(|pending| pending.done) {
            done.call(Err(kind.into()));
        }
    }

    /// Whether every write fails.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.lock().broken.is_some()
    }

    /// The agent dies: of what was not flushed the first `survivors` records are there when it starts
    /// again. The one that was being written is torn, and not there.
    pub fn crash(&self, survivors: usize) {
        let mut state = self.lock();
        let pending = std::mem::take(&mut state.pending);
        for Pending { record, done: _ } in pending.into_iter().take(survivors) {
            state.write(&record);
        }
        state.seen = state.safe.clone();
        state.purged = Default::default();
        state.committed = None;
        state.broken = None;
    }

    /// The disk is replaced by an empty one. A planted bug stays.
    pub fn wipe(&self) {
        let mut state = self.lock();
        *state = State { planted: state.planted, ..State::default() };
    }

    /// Whether a crash now would leave the entry here: in the log, or in a snapshot that stands for
    /// all before it.
    #[must_use]
    pub fn keeps(&self, name: EntryName) -> bool {
        let state = self.lock();
        let purged = state.safe.ends.purged.is_some_and(|purged| purged.index >= name.index);
        let held = state.safe.entries.get(&name.index);
        purged || held.is_some_and(|(log_id, _)| EntryName::of(*log_id) == name)
    }

    /// The entry at an index of the log, as the agent sees it, or saw it until it was purged just now.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<Logged> {
        let state = self.lock();
        let find = |index: u64| {
            let mut places = [&state.seen.entries].into_iter().chain(&state.purged);
            places.find_map(|entries| entries.get(&index))
        };
        let name_at = |index: u64| find(index).map(|(log_id, _)| EntryName::of(*log_id));
        let (log_id, bytes) = find(index)?;
        let previous = index.checked_sub(1).and_then(name_at);
        Some(Logged { name: EntryName::of(*log_id), previous, bytes: bytes.clone() })
    }

    /// The log, as the agent sees it.
    #[must_use]
    pub fn entries(&self) -> Vec<Logged> {
        let state = self.lock();
        let mut previous: Option<EntryName> = None;
        let held = state.seen.entries.values().map(|(log_id, bytes)| {
            let name = EntryName::of(*log_id);
            let before = previous.replace(name).filter(|before| before.index + 1 == name.index);
            Logged { name, previous: before, bytes: bytes.clone() }
        });
        held.collect()
    }

    /// The entry up to which the log was dropped, as the agent sees it.
    #[must_use]
    pub fn purged(&self) -> Option<EntryName> {
        self.lock().seen.ends.purged.map(EntryName::of)
    }

    /// The greatest vote that was reported as saved.
    #[must_use]
    pub fn promised(&self) -> Option<Ballot> {
        self.lock().promised.map(Ballot::of)
    }

    /// Entries that were appended since this was asked last.
    #[must_use]
    pub fn take_news(&self) -> Vec<Logged> {
        let mut state = self.lock();
        let [since, before] = &mut state.purged;
        *before = std::mem::take(since);
        std::mem::take(&mut state.news)
    }
}

impl State {
    fn write(&mut self, record: &Record) {
        let lost = match record {
            Record::Vote(_) => self.planted == Some(Planted::LostVote),
            Record::Truncate(_) => self.planted == Some(Planted::LostTruncation),
            // What was not cut off is still there.
            Record::Entry(log_id, _) => {
                self.planted == Some(Planted::LostTruncation)
                    && self.safe.entries.contains_key(&log_id.index)
            }
            Record::Purge(_) | Record::Committed(_) | Record::Nothing => false,
        };
        if !lost {
            self.safe.add(record);
        }
    }

    fn promise(&mut self, vote: Vote) {
        if self.promised.is_none_or(|promised| promised < vote) {
            self.promised = Some(vote);
        }
    }

    fn put(&mut self, record: Record, done: Option<Done>) -> io::Result<()> {
        if let Some(kind) = self.broken {
            return Err(kind.into());
        }
        // A snapshot may also stand for entries that never came to be: those in its place are not its.
        if let Record::Purge(upto) = &record
            && self.seen.entries.get(&upto.index).is_some_and(|(log_id, _)| log_id == upto)
        {
            let [since, _] = &mut self.purged;
            since.extend(self.seen.entries.range(..=upto.index).map(|(at, it)| (*at, it.clone())));
        }
        self.seen.add(&record);
        self.pending.push_back(Pending { record, done });
        Ok(())
    }
}

impl Log for Disk {
    fn ends(&self) -> LogEnds {
        self.lock().seen.ends
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<(LogId, Bytes)>> {
        let mut entries: Vec<(LogId, Bytes)> = Vec::new();
        if from >= to {
            return Ok(entries);
        }
        let mut bytes: usize = 0;
        for (_, (log_id, payload)) in self.lock().seen.entries.range(from..to) {
            bytes = bytes.saturating_add(payload.len());
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push((*log_id, payload.clone()));
        }
        Ok(entries)
    }

    fn bytes_from(&self, from: u64) -> u64 {
        let disk = self.lock();
        disk.seen.entries.range(from..).map(|(_, (_, payload))| payload.len() as u64).sum()
    }

    fn save_vote(&mut self, vote: Vote, done: Done) -> io::Result<()> {
        self.lock().put(Record::Vote(vote), Some(done))
    }

    fn append(&mut self, entries: Vec<(LogId, Bytes)>, done: Done) -> io::Result<()> {
        let mut state = self.lock();
        if let Some(committed) = state.committed.take()
            && Some(committed) > state.seen.ends.committed
            && Some(committed) <= state.seen.ends.last
        {
            state.put(Record::Committed(committed), None)?;
        }
        for (log_id, bytes) in entries {
            let previous = state.seen.ends.last.filter(|last| last.index + 1 == log_id.index);
            let name = EntryName::of(log_id);
            let previous = previous.map(EntryName::of);
            state.put(Record::Entry(log_id, bytes.clone()), None)?;
            state.news.push(Logged { name, previous, bytes });
        }
        if state.planted == Some(Planted::EarlyAppend) {
            drop(state);
            done.call(Ok(()));
            return Ok(());
        }
        match state.pending.back_mut() {
            Some(Pending { record: Record::Entry(..), done: last }) if last.is_none() => {
                *last = Some(done);
                Ok(())
            }
            Some(_) | None => state.put(Record::Nothing, Some(done)),
        }
    }

    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        self.lock().put(Record::Truncate(keep), None)
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.lock().put(Record::Purge(upto), None)
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        self.lock().committed = Some(committed);
        Ok(())
    }
}
