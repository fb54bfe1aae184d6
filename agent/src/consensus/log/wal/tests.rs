use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use openraft::vote::RaftLeaderId as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::consensus::vocabulary::LeaderId;

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> (LogId, Bytes) {
    (id(term, index), Bytes::from(format!("entry {term}.{index}")))
}

/// Appends and waits until the disk has it.
fn append(log: &mut Wal, entries: Vec<(LogId, Bytes)>) {
    let (durable, wait) = mpsc::sync_channel(1);
    log.append(entries, Done::new(move |outcome| SyncSender::send(&durable, outcome).unwrap()))
        .unwrap();
    wait.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
}

fn save_vote(log: &mut Wal, vote: Vote) {
    let (durable, wait) = mpsc::sync_channel(1);
    log.save_vote(vote, Done::new(move |outcome| SyncSender::send(&durable, outcome).unwrap()))
        .unwrap();
    wait.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
}

fn indexes(log: &Wal) -> Vec<u64> {
    let entries = log.read(0, u64::MAX, usize::MAX).unwrap();
    entries.iter().map(|(log_id, _)| log_id.index).collect()
}

#[test]
fn everything_durable_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let vote = Vote { leader_id: LeaderId::new(3, 1), committed: true };
    {
        let mut log = Wal::open(directory.path()).unwrap();
        save_vote(&mut log, vote);
        append(&mut log, (0..10).map(|index| entry(1, index)).collect());
        log.save_committed(id(1, 7)).unwrap();
        append(&mut log, vec![entry(3, 10)]);
    }
    let log = Wal::open(directory.path()).unwrap();
    let ends = log.ends();
    assert_eq!(ends.vote, Some(vote));
    assert_eq!(ends.last, Some(id(3, 10)));
    assert_eq!(ends.committed, Some(id(1, 7)));
    assert_eq!(log.read(10, 11, usize::MAX).unwrap(), vec![entry(3, 10)]);
    assert_eq!(indexes(&log), (0..=10).collect::<Vec<_>>());
}

#[test]
fn truncation_and_purge_survive_reopening() {
    let directory = tempfile::tempdir().unwrap();
    {
        let mut log = Wal::open(directory.path()).unwrap();
        append(&mut log, (0..10).map(|index| entry(1, index)).collect());
        log.truncate_after(Some(id(1, 6))).unwrap();
        log.purge(id(1, 2)).unwrap();
        append(&mut log, vec![entry(2, 7)]);
    }
    let mut log = Wal::open(directory.path()).unwrap();
    assert_eq!(indexes(&log), vec![3, 4, 5, 6, 7]);
    assert_eq!(log.ends().purged, Some(id(1, 2)));
    assert_eq!(log.ends().last, Some(id(2, 7)));
    // Everything after the purged part may go as well.
    log.truncate_after(Some(id(1, 2))).unwrap();
    assert_eq!(indexes(&log), Vec::<u64>::new());
    assert_eq!(log.ends().last, Some(id(1, 2)));
}

#[test]
fn bytes_are_those_of_the_entries_that_are_there_after_reopening_too() {
    let directory = tempfile::tempdir().unwrap();
    let sized = |term, index, bytes| (id(term, index), Bytes::from(vec![7; bytes]));
    let mut log = Wal::open(directory.path()).unwrap();
    assert_eq!(log.bytes_from(0), 0);
    append(&mut log, (1..=10).map(|index| sized(1, index, 100)).collect());
    assert_eq!([0, 1, 4, 10, 11].map(|from| log.bytes_from(from)), [1_000, 1_000, 700, 100, 0]);
    // What another leader cut off counts no longer, nor what was purged.
    log.truncate_after(Some(id(1, 6))).unwrap();
    append(&mut log, vec![sized(2, 7, 5_000)]);
    log.purge(id(1, 2)).unwrap();
    let left = [0, 3, 4, 7, 8].map(|from| log.bytes_from(from));
    assert_eq!(left, [5_400, 5_400, 5_300, 5_000, 0]);
    drop(log);
    let log = Wal::open(directory.path()).unwrap();
    assert_eq!([0, 3, 4, 7, 8].map(|from| log.bytes_from(from)), left);
}

#[test]
fn a_snapshot_beyond_the_end_moves_the_log_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Wal::open(directory.path()).unwrap();
    append(&mut log, (0..3).map(|index| entry(1, index)).collect());
    // openraft may note the commit before it purges.
    log.save_committed(id(4, 100)).unwrap();
    assert_eq!(log.ends().committed, None);
    log.purge(id(4, 100)).unwrap();
    append(&mut log, vec![entry(4, 101)]);
    assert_eq!(indexes(&log), vec![101]);
}

#[test]
fn a_read_is_bounded_by_bytes_but_never_empty() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Wal::open(directory.path()).unwrap();
    append(&mut log, (0..5).map(|index| (id(1, index), Bytes::from(vec![7; 100]))).collect());
    assert_eq!(log.read(0, 5, 250).unwrap().len(), 2);
    assert_eq!(log.read(0, 5, 1).unwrap().len(), 1);
    assert_eq!(log.read(5, 9, 1_000).unwrap().len(), 0);
    assert_eq!(log.read(4, 2, 1_000).unwrap().len(), 0);
}

/// A log's segments, the oldest first.
fn segments(directory: &Path) -> BTreeSet<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|it| it == "segment")).collect()
}

/// The newest segment of a log, and its bytes.
fn newest(directory: &Path) -> (PathBuf, Vec<u8>) {
    let newest = segments(directory).pop_last().unwrap();
    let bytes = fs::read(&newest).unwrap();
    (newest, bytes)
}

/// Entries 1.0 to 1.3, each with a flush of its own.
fn written(directory: &Path) -> (PathBuf, Vec<u8>) {
    {
        let mut log = Wal::open(directory).unwrap();
        log.belong_to(9).unwrap();
        save_vote(&mut log, Vote { leader_id: LeaderId::new(3, 1), committed: true });
        for index in 0..4 {
            append(&mut log, vec![entry(1, index)]);
        }
    }
    newest(directory)
}

#[test]
fn no_flipped_bit_costs_an_entry_that_was_durable() {
    let directory = tempfile::tempdir().unwrap();
    let (segment, sound) = written(directory.path());
    let mut noticed = 0;
    for place in 0..sound.len() {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[place] ^= 1 << bit;
            fs::write(&segment, &damaged).unwrap();
            match Wal::open(directory.path()) {
                // Between the flushes lies nothing that counts.
                Ok(log) => {
                    assert_eq!(indexes(&log), [0, 1, 2, 3], "byte {place}, bit {bit}");
                    assert_eq!((log.owner(), log.ends().vote.is_some()), (Some(9), true));
                }
                Err(error) => {
                    noticed += 1;
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {place}: {error}");
                    assert_eq!(fs::read(&segment).unwrap(), damaged, "byte {place}: must stay");
                }
            }
            fs::write(&segment, &sound).unwrap();
        }
    }
    assert!(noticed > 4 * 8 * (12 + 29 + 9), "every byte of four entries counts: {noticed}");
    assert_eq!(indexes(&Wal::open(directory.path()).unwrap()), [0, 1, 2, 3]);
}

#[test]
fn a_flush_may_be_cut_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let (segment, sound) = written(directory.path());
    let mut lengths = BTreeSet::new();
    for cut in SegmentHead::BYTES..sound.len() {
        fs::write(&segment, &sound[..cut]).unwrap();
        let kept = indexes(&Wal::open(directory.path()).unwrap());
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "cut at {cut}");
        lengths.insert(kept.len());
    }
    assert_eq!(lengths, BTreeSet::from([0, 1, 2, 3, 4]));
}

#[test]
fn a_log_that_was_cut_goes_on_where_it_was_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (segment, sound) = written(directory.path());
    let text = b"entry 1.2";
    let torn = sound.windows(text.len()).position(|bytes| bytes == text).unwrap();
    fs::write(&segment, &sound[..torn]).unwrap();
    {
        let mut log = Wal::open(directory.path()).unwrap();
        append(&mut log, vec![entry(2, 2)]);
    }
    let log = Wal::open(directory.path()).unwrap();
    let entries = log.read(0, 9, usize::MAX).unwrap();
    assert_eq!(entries, [entry(1, 0), entry(1, 1), entry(2, 2)]);
}

#[test]
fn a_segment_that_a_crash_left_without_its_head_is_nothing_lost() {
    for left in [0, 1, SegmentHead::BYTES + 40] {
        let directory = tempfile::tempdir().unwrap();
        let (segment, _) = written(directory.path());
        let next = segment.with_file_name(format!("{:016x}.segment", 2));
        // What an earlier segment left in the file is of no account.
        fs::write(&next, vec![9; left]).unwrap();
        let mut log = Wal::open(directory.path()).unwrap();
        append(&mut log, vec![entry(1, 4)]);
        drop(log);
        assert_eq!(indexes(&Wal::open(directory.path()).unwrap()), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    {
        let mut log = Wal::with_segments(directory.path(), 512).unwrap();
        for index in 0..40 {
            append(&mut log, vec![entry(1, index)]);
        }
    }
    let segments = segments(directory.path());
    assert!(segments.len() > 3, "{segments:?}");
    fs::remove_file(segments.iter().nth(1).unwrap()).unwrap();
    let error = Wal::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("the segment before it is missing"), "{error}");
}

#[test]
fn files_are_used_again_and_their_old_content_is_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = Wal::with_segments(directory.path(), 512).unwrap();
    let mut most = 0;
    for index in 0..400 {
        append(&mut log, vec![entry(1, index)]);
        if index % 20 == 19 {
            log.purge(id(1, index - 5)).unwrap();
        }
        most = most.max(fs::read_dir(directory.path()).unwrap().count());
    }
    let expected = indexes(&log);
    drop(log);
    assert!(most < 30, "{most} files at once");
    let log = Wal::with_segments(directory.path(), 512).unwrap();
    assert_eq!(indexes(&log), expected);
    assert_eq!(log.read(395, 396, 1).unwrap(), [entry(1, 395)]);
}

#[test]
fn what_left_the_memory_is_read_from_the_disk_and_checked() {
    const BYTES: usize = 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let mut log = Wal::open(directory.path()).unwrap();
    let payload = |index: u64| Bytes::from(vec![u8::try_from(index).unwrap(); BYTES]);
    for index in 0..80 {
        append(&mut log, vec![(id(1, index), payload(index))]);
    }
    assert!(log.index.range(0, 1).next().unwrap().cached.is_none());
    let read = log.read(0, 80, usize::MAX).unwrap();
    assert!(read.iter().enumerate().all(|(at, (_, bytes))| *bytes == payload(at as u64)));
    let place = log.index.range(3, 4).next().unwrap().place;
    let file = fs::OpenOptions::new().write(true).open(log.segments.path(place.segment)).unwrap();
    file.write_all_at(&[77], place.offset + 100).unwrap();
    let error = log.read(3, 4, usize::MAX).unwrap_err();
    assert!(error.to_string().contains("entry 3 in "), "{error}");
}

/// A log as it should be, in memory.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    ends: LogEnds,
    entries: Vec<(LogId, Bytes)>,
}

impl Model {
    fn of(log: &Wal) -> Self {
        let ends = LogEnds { committed: None, ..log.ends() };
        Self { ends, entries: log.read(0, u64::MAX, usize::MAX).unwrap() }
    }

    fn next(&self) -> u64 {
        self.ends.last.map_or(0, |last| last.index + 1)
    }

    /// Makes a change, of the model and the log; the log's is durable then.
    fn change(&mut self, log: &mut Wal, random: &mut StdRng, term: u64) {
        let first = self.ends.purged.map_or(0, |purged| purged.index + 1);
        match random.random_range(0..10) {
            0 => {
                let vote = Vote { leader_id: LeaderId::new(term, 1), committed: true };
                save_vote(log, vote);
                self.ends.vote = Some(vote);
            }
            1 if self.next() > first => {
                let at = random.random_range(first..self.next());
                let keep = at.checked_sub(1).and_then(|before| {
                    let held = self.entries.iter().find(|(log_id, _)| log_id.index == before);
                    held.map(|(log_id, _)| *log_id).or(self.ends.purged)
                });
                log.truncate_after(keep).unwrap();
                self.entries.retain(|(log_id, _)| log_id.index < at);
                self.ends.last = keep;
            }
            2 if self.next() > first => {
                let upto = self.entries[random.random_range(0..self.entries.len())].0;
                log.purge(upto).unwrap();
                self.entries.retain(|(log_id, _)| log_id.index > upto.index);
                self.ends.purged = Some(upto);
            }
            _ => {
                let count = random.random_range(1..6);
                let new: Vec<_> = (self.next()..self.next() + count)
                    .map(|index| {
                        let bytes = vec![random.random(); random.random_range(0..300)];
                        (id(term, index), Bytes::from(bytes))
                    })
                    .collect();
                self.entries.extend(new.iter().cloned());
                self.ends.last = new.last().map(|(log_id, _)| *log_id);
                append(log, new);
            }
        }
        // A flush of nothing stands behind what has no answer.
        append(log, Vec::new());
    }
}

/// The segments of a log as a crash would leave them. One that is retired meanwhile is not needed.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in segments(from) {
        match fs::copy(&file, to.path().join(file.file_name().unwrap())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
    to
}

#[test]
fn whatever_a_crash_does_to_the_last_flush_the_log_is_as_before_or_after_it() {
    let mut torn = 0;
    for seed in 0..15 {
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut log = Wal::with_segments(directory.path(), 1024).unwrap();
        let mut model = Model::default();
        for term in 1..60 {
            if random.random_range(0..8) == 0 {
                drop(log);
                log = Wal::with_segments(directory.path(), 1024).unwrap();
                assert_eq!(Model::of(&log), model, "seed {seed}, term {term}: opened again");
            }
            let before = model.clone();
            let tail = log.queue.tail();
            model.change(&mut log, &mut random, term);
            assert_eq!(Model::of(&log), model, "seed {seed}, term {term}");

            let crashed = copy(directory.path());
            let (segment, mut bytes) = newest(crashed.path());
            let is_same = segment.ends_with(format!("{:016x}.segment", tail.segment));
            let begin = if is_same { usize::try_from(tail.offset).unwrap() } else { 0 };
            if begin >= bytes.len() {
                continue;
            }
            let from = random.random_range(begin..bytes.len());
            let to = random.random_range(from..bytes.len()) + 1;
            bytes[from..to].fill(random.random());
            fs::write(&segment, &bytes).unwrap();
            // The change and the flush of nothing behind it are two flushes: damage to the first of
            // them, with the second one sound, is no crash.
            match Wal::with_segments(crashed.path(), 1024) {
                Ok(log) => {
                    let found = Model::of(&log);
                    torn += usize::from(found == before && before != model);
                    assert!(
                        found == model || found == before,
                        "seed {seed}, term {term}: {found:?}"
                    );
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}"),
            }
        }
    }
    assert!(torn > 40, "only {torn} flushes were torn");
}

#[test]
fn one_directory_belongs_to_one_log() {
    let directory = tempfile::tempdir().unwrap();
    let _held = Wal::open(directory.path()).unwrap();
    assert!(Wal::open(directory.path()).is_err());
}
