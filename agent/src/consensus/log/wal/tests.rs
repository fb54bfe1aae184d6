use std::fs::OpenOptions;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use super::*;

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

#[test]
fn a_torn_tail_is_dropped_and_the_rest_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (chunk, _) = written(&directory);
    let file = OpenOptions::new().write(true).open(&chunk).unwrap();
    file.set_len(file.metadata().unwrap().len() - 3).unwrap();

    let log = Wal::open(directory.path()).unwrap();
    assert_eq!(indexes(&log), vec![0, 1, 2]);
}

/// The newest file of a log of entries 1.0 to 1.3, and its bytes.
fn written(directory: &tempfile::TempDir) -> (std::path::PathBuf, Vec<u8>) {
    {
        let mut log = Wal::open(directory.path()).unwrap();
        append(&mut log, (0..4).map(|index| entry(1, index)).collect());
    }
    newest(directory)
}

/// The newest file of a log, and its bytes.
fn newest(directory: &tempfile::TempDir) -> (std::path::PathBuf, Vec<u8>) {
    let chunks = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
    let chunk = chunks.filter(|path| path.extension().is_some_and(|e| e == "wal")).max().unwrap();
    let bytes = std::fs::read(&chunk).unwrap();
    (chunk, bytes)
}

#[test]
fn no_flipped_byte_costs_an_entry_that_was_durable() {
    let directory = tempfile::tempdir().unwrap();
    let (chunk, sound) = written(&directory);
    let text = b"entry 1.3";
    let last = sound.windows(text.len()).rposition(|bytes| bytes == text).unwrap();
    // Kind, log id and length stand before the text of an entry.
    let begins = last - (4 + 24 + 4);
    for place in 0..begins {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[place] ^= 1 << bit;
            std::fs::write(&chunk, &damaged).unwrap();
            let Err(error) = Wal::open(directory.path()) else {
                panic!("byte {place}, bit {bit}: must be noticed");
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {place}: {error}");
            assert_eq!(std::fs::read(&chunk).unwrap(), damaged, "byte {place}: must stay");
        }
    }
    std::fs::write(&chunk, &sound).unwrap();
    assert_eq!(indexes(&Wal::open(directory.path()).unwrap()), vec![0, 1, 2, 3]);
}

#[test]
fn no_flipped_bit_costs_a_young_log_its_vote() {
    let directory = tempfile::tempdir().unwrap();
    let vote = Vote { leader_id: LeaderId::new(3, 1), committed: true };
    {
        let mut log = Wal::open(directory.path()).unwrap();
        log.belong_to(9).unwrap();
        save_vote(&mut log, vote);
        append(&mut log, vec![entry(3, 0)]);
    }
    let (chunk, sound) = newest(&directory);
    let text = b"entry 3.0";
    let last = sound.windows(text.len()).rposition(|bytes| bytes == text).unwrap();
    for place in 0..last - (4 + 24 + 4) {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[place] ^= 1 << bit;
            std::fs::write(&chunk, &damaged).unwrap();
            let Err(error) = Wal::open(directory.path()) else {
                panic!("byte {place}, bit {bit}: must be noticed");
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {place}: {error}");
            assert_eq!(std::fs::read(&chunk).unwrap(), damaged, "byte {place}: must stay");
        }
    }
    std::fs::write(&chunk, &sound).unwrap();
    let log = Wal::open(directory.path()).unwrap();
    assert_eq!((log.owner(), log.ends().vote), (Some(9), Some(vote)));
}

#[test]
fn a_file_that_a_crash_left_unfinished_is_nothing() {
    for left in [&[][..], &[0, 0, 0], &[0; 4096]] {
        let directory = tempfile::tempdir().unwrap();
        let (chunk, bytes) = written(&directory);
        // Its name is the offset that it begins at.
        let next = chunk.with_file_name(format!("r-{}.wal", padded(bytes.len())));
        std::fs::write(&next, left).unwrap();
        assert_eq!(indexes(&Wal::open(directory.path()).unwrap()), vec![0, 1, 2, 3]);
    }
}

/// A number as the names of files have it.
fn padded(number: usize) -> String {
    let digits = format!("{number:020}").into_bytes();
    let groups = digits.rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join("_")
}

#[test]
fn the_last_record_may_be_cut_anywhere() {
    // Kind, log id, length, text and checksum.
    for cut in 1..=(4 + 24 + 4 + 9 + 4) {
        // A log that was cut goes on in a new file, so each cut gets a log of its own.
        let directory = tempfile::tempdir().unwrap();
        let (chunk, sound) = written(&directory);
        std::fs::write(&chunk, &sound[..sound.len() - cut]).unwrap();
        let log = Wal::open(directory.path()).unwrap();
        assert_eq!(indexes(&log), vec![0, 1, 2], "{cut} bytes cut");
    }
}

#[test]
fn one_directory_belongs_to_one_log() {
    let directory = tempfile::tempdir().unwrap();
    let _held = Wal::open(directory.path()).unwrap();
    assert!(Wal::open(directory.path()).is_err());
}
