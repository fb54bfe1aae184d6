use ringrift_core::id::Position;
use ringrift_core::queue::command::{Batch, Command};
use ringrift_core::time::Moment;

use super::*;
use crate::consensus::vocabulary::{LeaderId, LogId};

const ROOM: u64 = 1 << 20;

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
    open(&directory).write(&replica(5).freeze(), ROOM).unwrap();
    open(&directory).write(&replica(8).freeze(), ROOM).unwrap();
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
    let (written, bytes) = snapshots.write(&replica(5).freeze(), ROOM).unwrap();
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
    let (written, _) = snapshots.write(&replica(5).freeze(), ROOM).unwrap();
    let refused = snapshots.install(written.snapshot, &replica(6).freeze().meta());
    assert!(refused.is_err());
}

#[test]
fn an_older_snapshot_does_not_take_the_place_of_a_newer_one() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = open(&directory);
    snapshots.write(&replica(8).freeze(), ROOM).unwrap();
    // One that was begun before, and took its time.
    let (late, _) = snapshots.write(&replica(5).freeze(), ROOM).unwrap();
    assert_eq!(late.meta.last_log_id, replica(5).applied);
    drop(late);
    assert_eq!(snapshots.load().unwrap().applied, replica(8).applied);
    assert_eq!(files(&directory), ["current.snapshot"]);
}

#[test]
fn a_snapshot_that_does_not_fit_leaves_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = open(&directory);
    let (_, bytes) = snapshots.write(&replica(5).freeze(), ROOM).unwrap();
    for room in 0..bytes - HEAD_BYTES as u64 {
        let error = snapshots.write(&replica(8).freeze(), room).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room} bytes: {error}");
    }
    assert_eq!(snapshots.load().unwrap().applied, replica(5).applied);
    assert_eq!(files(&directory), ["current.snapshot"]);
}

#[test]
fn a_checked_snapshot_is_not_read_again() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (written, _) = open(&here).write(&replica(5).freeze(), ROOM).unwrap();
    let snapshots = open(&there);
    let draft = snapshots.draft().unwrap();
    std::fs::copy(&written.snapshot.path, &draft.path).unwrap();
    let checked = SnapshotDirectory::check(draft, &written.meta).unwrap();
    std::fs::write(&checked.path, "gone").unwrap();
    let replica = snapshots.install(checked, &written.meta).unwrap();
    assert_eq!(replica.applied, written.meta.last_log_id);
}

fn files(directory: &tempfile::TempDir) -> Vec<String> {
    let files = std::fs::read_dir(directory.path().join("snapshots")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}
