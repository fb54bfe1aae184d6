use std::io::Seek as _;

use ringrift_core::queue::command::Command;
use ringrift_core::queue::lock::Asker;
use ringrift_core::time::{Moment, Span};

use super::*;
use crate::consensus::entry::{Encoded, Proposal};
use crate::consensus::vocabulary::LeaderId;

fn entry(index: u64, now: u64) -> EntryResponder<Ring> {
    entry_of(index, now, Command::Tick)
}

fn entry_of(index: u64, now: u64, command: Command) -> EntryResponder<Ring> {
    let log_id = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    let commands = Encoded::of(&[command]).unwrap();
    let proposal = Proposal::merge(Moment(now), [commands].iter()).unwrap();
    (Entry { log_id, payload: Payload::Normal(proposal) }, None)
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
    let entries: Vec<_> = (0..=100).map(|index| Ok(entry(index, 1_000 + index))).collect();
    machine.apply(futures::stream::iter(entries)).await.unwrap();
    assert_eq!(*applied.borrow(), 100);
    assert_eq!(machine.shared.read(|replica| replica.machine.now()), Moment(1_100));
}

/// Asks for the one lock.
fn acquire(owner: &str) -> Command {
    let (name, owner) = ("deploy".parse().unwrap(), owner.to_owned());
    let (ttl, wait) = (Span::seconds(1), Some(Span::seconds(60)));
    Command::LockAcquire { name, owner, ttl, wait, asker: Asker(1) }
}

#[tokio::test]
async fn who_waits_is_woken_by_what_it_waits_for_and_by_nothing_else() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut machine = state_machine(&here);
    let entries = [entry(0, 1), entry_of(1, 2, acquire("a")), entry_of(2, 3, acquire("b"))];
    machine.apply(futures::stream::iter(entries.map(Ok))).await.unwrap();
    let (mut lines, mut events) = (machine.shared.lines_moved(), machine.shared.last_event());
    let entries = [entry(3, 4), entry_of(4, 5, acquire("c"))];
    machine.apply(futures::stream::iter(entries.map(Ok))).await.unwrap();
    assert!(!lines.has_changed().unwrap() && !events.has_changed().unwrap());

    // The first hold ends, and who waits first gets the lock.
    machine.apply(futures::stream::iter([Ok(entry(5, 2_000))])).await.unwrap();
    assert!(lines.has_changed().unwrap() && !events.has_changed().unwrap());
    lines.borrow_and_update();
    let named = Command::InitCluster { cluster_id: "ring".to_owned() };
    machine.apply(futures::stream::iter([Ok(entry_of(6, 2_000, named))])).await.unwrap();
    assert!(!lines.has_changed().unwrap() && events.has_changed().unwrap());
    assert_eq!(*events.borrow_and_update(), 2, "a term, and the name");

    let mut behind = state_machine(&there);
    let (lines, events) = (behind.shared.lines_moved(), behind.shared.last_event());
    carry(&mut machine, &mut behind).await;
    assert!(lines.has_changed().unwrap() && events.has_changed().unwrap(), "by a snapshot too");
}

#[tokio::test]
async fn what_came_before_an_unreadable_entry_is_applied() {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = state_machine(&directory);
    let entries =
        vec![Ok(entry(0, 1_001)), Err(io::Error::other("bad sector")), Ok(entry(2, 1_003))];
    let outcome = machine.apply(futures::stream::iter(entries)).await;
    assert_eq!(outcome.unwrap_err().to_string(), "bad sector");
    assert_eq!(machine.shared.read(|replica| replica.machine.now()), Moment(1_001));
}

#[tokio::test]
async fn a_snapshot_carries_one_replica_to_another() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut source = state_machine(&here);
    source
        .apply(futures::stream::iter((0..=7).map(|index| Ok(entry(index, 5_000)))))
        .await
        .unwrap();
    let mut target = state_machine(&there);
    let meta = carry(&mut source, &mut target).await;

    assert_eq!(*target.shared.applied().borrow(), 7);
    assert_eq!(target.shared.read(|replica| replica.machine.now()), Moment(5_000));
    let current = target.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, meta);
}

/// Installs a snapshot of one machine in another.
async fn carry(source: &mut StateMachine, target: &mut StateMachine) -> SnapshotMeta {
    let built = source.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let mut draft = target.snapshots.draft().unwrap();
    let mut original = source.get_current_snapshot().await.unwrap().unwrap().snapshot;
    original.file.rewind().unwrap();
    io::copy(&mut original.file, &mut draft.file).unwrap();
    target.install_snapshot(&built.meta, draft).await.unwrap();
    built.meta
}

#[tokio::test]
async fn a_damaged_entry_stops_the_machine_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = state_machine(&directory);
    let (mut damaged, _) = entry(2, 1_002);
    damaged.payload = Payload::Normal(Proposal::of_bytes(vec![7].into()));
    let before = (0..=1).map(|index| Ok(entry(index, 1_001)));
    let entries: Vec<_> = before.chain([Ok((damaged, None)), Ok(entry(3, 1_003))]).collect();
    let outcome = machine.apply(futures::stream::iter(entries)).await;
    let text = outcome.unwrap_err().to_string();
    assert!(text.starts_with("log entry 2 is damaged"), "{text}");
    assert_eq!(*machine.shared.applied().borrow(), 1);
}

#[tokio::test]
async fn an_entry_after_a_gap_is_not_applied() {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = state_machine(&directory);
    let entries = vec![Ok(entry(0, 1_000)), Ok(entry(1, 1_001)), Ok(entry(3, 1_003))];
    let outcome = machine.apply(futures::stream::iter(entries)).await;
    let text = outcome.unwrap_err().to_string();
    assert_eq!(text, "log entry 3 came where 2 must follow: entries are missing");
    assert_eq!(*machine.shared.applied().borrow(), 1);
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_leaves_the_machine_running() {
    let directory = tempfile::tempdir().unwrap();
    let mut machine = state_machine(&directory);
    machine.apply(futures::stream::iter(vec![Ok(entry(0, 1_000))])).await.unwrap();
    let builder = machine.get_snapshot_builder().await;
    let full = io::Error::from(io::ErrorKind::StorageFull);
    let none = builder.keep_the_one_before(&full).unwrap();
    assert_eq!(none.meta, SnapshotMeta::default(), "openraft takes it for none");
    assert!(machine.shared.too_large().is_some());
    assert!(machine.try_create_snapshot_builder(false).await.is_none(), "not again at once");
    let forced = machine.try_create_snapshot_builder(true).await.unwrap().build_snapshot().await;
    assert_eq!(forced.unwrap().meta.last_log_id.map(|last| last.index), Some(0));
    assert_eq!(machine.shared.too_large(), None);
    let kept = builder.keep_the_one_before(&full).unwrap();
    assert_eq!(kept.meta.last_log_id.map(|last| last.index), Some(0), "the one before");
}
