//! Events: recorded with the change, numbered without gaps, bounded.

use std::collections::BTreeSet;

use super::{Bench, job, task};
use crate::event::{Event, EventKind};
use crate::id::WorkId;
use crate::limits;
use crate::queue::command::{Command, Reply};
use crate::queue::item::{Cause, NewItem, Status};
use crate::queue::tenant::QueueSettings;
use crate::run::Outcome;
use crate::run::report::Kind;
use crate::time::Moment;

fn told(bench: &Bench, after: u64) -> Vec<Event> {
    let page = bench.machine.events(after, usize::MAX, &BTreeSet::new());
    page.events.into_iter().map(|recorded| recorded.event.clone()).collect()
}

fn last(bench: &Bench) -> u64 {
    bench.machine.events(0, usize::MAX, &BTreeSet::new()).next
}

#[test]
fn a_death_is_told_of_always_and_another_end_to_who_asked() {
    let mut bench = Bench::default();
    let quiet = NewItem { attempts_max: 1, ..task("a") };
    let ids = bench.enqueue(vec![quiet.clone(), NewItem { notify: true, ..quiet }]);
    assert_eq!(told(&bench, 0), [Event::TermBegan { term: 1 }], "nothing else has happened");
    let held = bench.claim("n", 2);
    held.iter().for_each(|held| assert!(bench.start(*held).is_ok()));
    bench.now = 7;
    held.iter().for_each(|held| assert_eq!(bench.fail(*held), None));
    let died = |work_id| Event::ItemDied {
        work_id,
        work_type: "a".into(),
        cause: Cause::AttemptsFailed,
        attempts: 1,
    };
    let ended = |work_id, status| Event::ItemEnded { work_id, work_type: "a".into(), status };
    assert_eq!(told(&bench, 1), [died(ids[0]), died(ids[1]), ended(ids[1], Status::Dead)]);
    let page = bench.machine.events(1, 1, &BTreeSet::new());
    assert_eq!((page.events[0].at, page.events[0].seq, page.next), (Moment(7), 2, 2));

    bench.apply(Command::Redrive { work_id: ids[1] }).expect("redriven");
    let held = bench.claim("n", 1);
    bench.complete(held[0]).expect("completed");
    bench.complete(held[0]).expect("a repeat");
    assert_eq!(told(&bench, 4), [ended(ids[1], Status::Completed)]);
    let third = bench.enqueue(vec![NewItem { notify: true, ..task("a") }]);
    for _ in 0..2 {
        bench.apply(Command::Cancel { work_id: third[0] }).expect("cancelled");
    }
    assert_eq!(told(&bench, 5), [ended(third[0], Status::Cancelled)]);
}

#[test]
fn repeats_that_change_nothing_record_nothing() {
    let mut bench = Bench::default();
    let run: crate::id::RunId = "run".parse().expect("a name");
    let settings = QueueSettings { weight: 2, ..QueueSettings::default() };
    let queue: crate::id::QueueName = "team".parse().expect("a name");
    let array = WorkId(1);
    let commands = [
        Command::InitCluster { cluster_id: "ring".into() },
        Command::SubmitRun {
            run: run.clone(),
            queue: crate::id::QueueName::default(),
            spec: job(),
        },
        Command::CancelRun { run: run.clone() },
        Command::SetQueue { queue: queue.clone(), settings },
        Command::EnqueueArray { request: NewItem { key: Some("k".into()), ..task("a") }, count: 3 },
    ];
    for command in &commands {
        for _ in 0..2 {
            bench.apply(command.clone()).expect("carried out");
        }
    }
    bench.claim("n", 1);
    for _ in 0..2 {
        bench.apply(Command::CancelArray { array }).expect("cancelled");
    }
    let expire = Command::ExpireNode { node: "n".parse().expect("a name") };
    assert_eq!(bench.apply(expire), Ok(Reply::Ticked { expired: 0 }));
    bench.apply(Command::RemoveQueue { queue: queue.clone() }).expect("removed");
    bench.apply(Command::ChangeMembers { retired: Some(7), automatic: true }).expect("noted");
    let expected = [
        Event::TermBegan { term: 1 },
        Event::ClusterNamed { cluster_id: "ring".into() },
        Event::RunSubmitted { run: run.clone(), kind: Kind::Job },
        Event::RunEnded { run, outcome: Outcome::Cancelled },
        Event::QueueSet { queue: queue.clone(), settings },
        Event::ArrayCancelled { array, items: 3 },
        Event::NodeGone { node: "n".parse().expect("a name"), claims: 0 },
        Event::QueueRemoved { queue },
        Event::MembersChanged { retired: Some(7), automatic: true },
    ];
    assert_eq!(told(&bench, 0), expected);
}

#[test]
fn a_consumer_reads_in_pages_and_by_kind_and_is_told_of_a_gap() {
    let mut bench = Bench::default();
    for number in 0..limits::EVENTS_MAX + 10 {
        let retired = (number % 2 == 0).then_some(1);
        bench.apply(Command::ChangeMembers { retired, automatic: false }).expect("noted");
    }
    // The term was the first of them.
    let first = 12;
    let page = bench.machine.events(0, 5, &BTreeSet::new());
    assert_eq!((page.first_kept, page.gap, page.next), (first, true, first + 4));
    assert_eq!(page.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [12, 13, 14, 15, 16]);
    let page = bench.machine.events(first - 1, 5, &BTreeSet::new());
    assert!(!page.gap, "it has seen all that was forgotten");
    let end = last(&bench);
    assert_eq!(end, limits::EVENTS_MAX as u64 + 11);
    for ahead in [end, end + 5] {
        let page = bench.machine.events(ahead, 5, &BTreeSet::new());
        assert_eq!((page.events.len(), page.next, page.gap), (0, ahead, false));
    }
    bench.apply(Command::RemoveQueue { queue: "none".parse().expect("a name") }).expect_err("none");
    let settings = QueueSettings { weight: 2, ..QueueSettings::default() };
    let queue = "team".parse().expect("a name");
    bench.apply(Command::SetQueue { queue, settings }).expect("set");
    let page = bench.machine.events(end - 3, 5, &BTreeSet::from([EventKind::QueueSet]));
    assert_eq!((page.events.len(), page.next), (1, end + 1), "others are passed over");
    let page = bench.machine.events(end - 3, 5, &BTreeSet::from([EventKind::ItemDied]));
    assert_eq!((page.events.len(), page.next), (0, end + 1));
}

#[test]
fn a_cluster_from_a_backup_goes_on_beyond_the_numbers_of_the_old_one() {
    let mut bench = Bench::default();
    bench.apply(Command::InitCluster { cluster_id: "old".into() }).expect("named");
    bench.machine.begin_anew("new").expect("begun");
    let page = bench.machine.events(2, 5, &BTreeSet::new());
    assert!(page.gap, "a cursor of the old cluster says nothing here");
    assert_eq!(page.first_kept, limits::EVENTS_OF_EPOCH + 1);
    assert_eq!(
        told(&bench, page.first_kept - 1),
        [Event::ClusterNamed { cluster_id: "new".into() }]
    );
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
}

#[test]
fn kinds_have_names_of_their_own() {
    let names: BTreeSet<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(names.len(), EventKind::ALL.len());
    assert!(EventKind::ALL.iter().all(|kind| EventKind::named(kind.as_str()) == Some(*kind)));
    assert_eq!(EventKind::named("item"), None);
}
