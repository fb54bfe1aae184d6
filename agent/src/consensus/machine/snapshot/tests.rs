use ringrift_core::id::Position;
use ringrift_core::queue::command::{Batch, Command};
use ringrift_core::time::Moment;

use super::*;
use crate::consensus::vocabulary::{LeaderId, LogId};

fn replica(index: u64) -> Replica {
    let mut replica = Replica {
        applied: Some(LogId { leader_id: LeaderId { term: 1, node_id: 9 }, index }),
        ..Replica::default()
    };
    let batch = Batch { now: Moment(1_000 + index), commands: vec![Command::Tick] };
    replica.machine.apply(Position { term: 1, index }, &batch);
    replica
}

fn open(directory: &tempfile::TempDir) -> SnapshotDirectory {
    SnapshotDirectory::open(directory.path().join("snapshots")).unwrap()
}

#[test]
fn a_written_snapshot_is_loaded_again() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(open(&directory).load().unwrap().applied, None);
    open(&directory).write(&replica(5).freeze()).unwrap();
    open(&directory).write(&replica(8).freeze()).unwrap();
    let loaded = open(&directory).load().unwrap();
    assert_eq!(loaded.applied, replica(8).applied);
    assert_eq!(loaded.machine.now(), replica(8).machine.now());
}

#[test]
fn a_file_in_the_making_is_removed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let left_by_a_crash = directory.path().join("snapshots/7.partial");
    open(&directory);
    std::fs::write(&left_by_a_crash, "half").unwrap();
    open(&directory);
    assert!(!left_by_a_crash.exists());
}

#[test]
fn a_snapshot_dropped_in_the_making_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let draft = open(&directory).draft().unwrap();
    let path = draft.path.clone();
    assert!(path.exists());
    drop(draft);
    assert!(!path.exists());
}

#[test]
fn any_flipped_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = open(&directory);
    let (written, bytes) = snapshots.write(&replica(5).freeze()).unwrap();
    let path = written.snapshot.path.clone();
    let sound = std::fs::read(&path).unwrap();
    assert_eq!(sound.len() as u64, bytes);
    for place in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[place] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = snapshots.load().expect_err("a flipped byte must be noticed");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {place}: {error}");
    }
}

#[test]
fn a_snapshot_that_was_not_announced_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = open(&directory);
    let (written, _) = snapshots.write(&replica(5).freeze()).unwrap();
    let refused = snapshots.install(written.snapshot, &replica(6).freeze().meta());
    assert!(refused.is_err());
}
