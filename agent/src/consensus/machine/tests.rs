use std::io::Seek as _;

use ringrift_core::queue::command::{Batch, Command};
use ringrift_core::time::Moment;

use super::*;
use crate::consensus::vocabulary::LeaderId;

fn entry(index: u64, now: u64) -> EntryResponder<Ring> {
    let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    let batch = Batch { now: Moment(now), commands: vec![Command::Tick] };
    (Entry { log_id, payload: Payload::Normal(Proposal(batch)) }, None)
}

fn state_machine(directory: &tempfile::TempDir) -> StateMachine {
    let shared = Arc::new(Shared::new(Replica::default(), Clock::start()));
    StateMachine::new(shared, SnapshotDirectory::open(directory.path().to_owned()).unwrap())
}

#[tokio::test]
async fn applied_is_published_after_what_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = state_machine(&directory);
    let applied = machine.shared.applied();
    let entries: Vec<_> = (1..=100).map(|index| Ok(entry(index, 1_000 + index))).collect();
    machine.apply(futures::stream::iter(entries)).await.unwrap();
    assert_eq!(*applied.borrow(), 100);
    assert_eq!(machine.shared.read(|replica| replica.machine.now()), Moment(1_100));
}

#[tokio::test]
async fn what_came_before_an_unreadable_entry_is_applied() {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = state_machine(&directory);
    let entries =
        vec![Ok(entry(1, 1_001)), Err(io::Error::other("bad sector")), Ok(entry(3, 1_003))];
    let outcome = machine.apply(futures::stream::iter(entries)).await;
    assert_eq!(outcome.unwrap_err().to_string(), "bad sector");
    assert_eq!(*machine.shared.applied().borrow(), 1);
}

#[tokio::test]
async fn a_snapshot_carries_one_replica_to_another() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut source = state_machine(&here);
    source.apply(futures::stream::iter(vec![Ok(entry(7, 5_000))])).await.unwrap();
    let built = source.get_snapshot_builder().await.build_snapshot().await.unwrap();

    let mut target = state_machine(&there);
    let mut draft = target.snapshots.draft().unwrap();
    let mut original = source.get_current_snapshot().await.unwrap().unwrap().snapshot;
    original.file.rewind().unwrap();
    io::copy(&mut original.file, &mut draft.file).unwrap();
    target.install_snapshot(&built.meta, draft).await.unwrap();

    assert_eq!(*target.shared.applied().borrow(), 7);
    assert_eq!(target.shared.read(|replica| replica.machine.now()), Moment(5_000));
    let current = target.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, built.meta);
}
