//! Who went for good, and a cluster that begins from another one.

use super::{Bench, task};
use crate::limits;
use crate::machine::Replacement;
use crate::queue::command::{Command, Refusal, Reply};

fn change(retired: Option<u64>, automatic: bool) -> Command {
    Command::ChangeMembers { retired, automatic }
}

#[test]
fn who_went_is_remembered_and_replacements_are_told_from_the_rest() {
    let mut bench = Bench::default();
    assert_eq!(bench.machine.members().changed(), None);
    assert_eq!(bench.apply(change(None, false)), Ok(Reply::Done));
    assert_eq!(bench.machine.members().changed(), Some(bench.machine.now()));
    assert_eq!(bench.machine.members().retired(), 0);

    assert_eq!(bench.apply(change(Some(7), true)), Ok(Reply::Done));
    let first = Replacement { retired: 7, at: bench.machine.now() };
    assert_eq!(bench.machine.members().replaced(), Some(first));
    assert_eq!(bench.apply(change(Some(8), false)), Ok(Reply::Done));
    let members = bench.machine.members();
    assert!(members.is_retired(7) && members.is_retired(8) && !members.is_retired(9));
    assert_eq!(members.replaced(), Some(first), "an operator's removal is no replacement");
    assert_eq!(members.changed(), Some(bench.machine.now()));
}

#[test]
fn no_retired_member_is_forgotten_for_a_new_one() {
    let mut bench = Bench::default();
    for raft_id in 1..=limits::MEMBERS_RETIRED_MAX as u64 {
        bench.apply(change(Some(raft_id), false)).expect("noted");
    }
    let refused = bench.apply(change(Some(u64::MAX), true));
    assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{refused:?}");
    assert_eq!(bench.apply(change(Some(1), false)), Ok(Reply::Done), "it went already");
    assert_eq!(bench.apply(change(None, false)), Ok(Reply::Done));
}

#[test]
fn a_cluster_that_begins_anew_grants_greater_tokens_and_keeps_the_work() {
    let mut bench = Bench::default();
    bench.apply(Command::InitCluster { cluster_id: "old".into() }).expect("named");
    bench.apply(change(Some(7), true)).expect("noted");
    bench.enqueue(vec![task("a"), task("a")]);
    let before = bench.claim("n", 1);
    assert!(bench.machine.begin_anew("").is_err());
    assert!(bench.machine.begin_anew("old").is_err(), "strays would take it for their own");
    let mut old = bench.machine.clone();

    bench.machine.begin_anew("new").expect("begun");
    assert_eq!((bench.machine.cluster_id(), bench.machine.mode_epoch()), ("new", 1));
    assert_eq!(bench.machine.members(), &crate::machine::Members::default());
    assert_eq!(bench.machine.counts().unfinished(), 2);
    let after = bench.claim("n", 1);
    assert!(after[0].1 > before[0].1);
    // However far the old cluster goes on.
    let far = crate::id::Position { term: u64::MAX, index: u64::MAX };
    let claim = Command::Claim(super::claimer("m"));
    let now = old.now();
    let replies = old.apply(far, &crate::queue::command::Batch { now, commands: vec![claim] });
    let Some(Ok(Reply::Claimed(items))) = replies.first() else { panic!("{replies:?}") };
    let crate::queue::item::State::Claimed(lease) = &items[0].state else { panic!("not claimed") };
    assert!(after[0].1 > lease.token, "{} > {}", after[0].1, lease.token);
    bench.complete(before[0]).expect("a claim from before the backup still stands");
    assert_eq!(bench.machine.violations(), Vec::<String>::new());
}
