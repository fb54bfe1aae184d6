//! Random histories, held against the model after every entry.

mod bug;
mod compare;
mod concrete;
mod history;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use self::bug::{Bug, planted};
use self::history::{Op, history, lock_history};
use super::Machine;
use super::bounds::Bounds;
use super::model::{Answer, Model};
use crate::id::{LockName, Position, QueueName, Token, WorkId};
use crate::queue::command::{Batch, Command, Refusal, Reply};
use crate::queue::item::{Cause, Item, State};
use crate::time::Moment;

/// A machine and the model beside it, fed alike.
#[derive(Default)]
struct Pairing {
    machine: Machine,
    model: Model,
    log: Vec<(Position, Batch)>,
    /// Everything ever granted for an item.
    granted: Vec<(WorkId, Token)>,
    locks: Vec<Token>,
    arrays: Vec<WorkId>,
    asked: Vec<Command>,
    last_token: BTreeMap<WorkId, Token>,
    acknowledged: BTreeSet<WorkId>,
    refused: BTreeSet<&'static str>,
    bug: Option<Bug>,
}

impl Pairing {
    /// Applies one entry to both and compares all that can be seen.
    fn step(&mut self, elapsed: u64, ops: &[Op]) -> Result<(), TestCaseError> {
        let commands: Vec<_> = ops.iter().map(|op| self.concrete(op)).collect();
        self.asked.extend(commands.iter().cloned());
        let index = self.log.len() as u64 + 1;
        let position = Position { term: 1 + index / 20, index };
        let now = Moment(self.log.last().map_or(1_000_000, |(_, batch)| batch.now.0) + elapsed);
        let batch = Batch { now, commands };
        let expected = self.model.apply(position, &batch);
        let fed = match self.bug {
            None => batch.clone(),
            Some(bug) => planted(bug, &self.machine, &batch),
        };
        let before = self.lines();
        let moved = self.machine.lines_moved();
        let replies = self.machine.apply(position, &fed);
        let left = !before.is_subset(&self.lines());
        prop_assert!(!left || self.machine.lines_moved() > moved, "a line moved in silence");
        let answers: Vec<Answer> = replies.iter().map(Answer::from).collect();
        prop_assert_eq!(&answers, &expected, "replies to {:?}", &batch);
        self.refused.extend(answers.iter().filter_map(|answer| match answer {
            Answer::Refused(name) => Some(name),
            _ => None,
        }));
        for (command, reply) in batch.commands.iter().zip(&replies) {
            if let (Command::EnqueueArray { .. }, Ok(Reply::Enqueued(ids))) = (command, reply) {
                self.arrays.extend(ids.iter().map(|(id, _)| *id));
            }
        }
        self.log.push((position, batch));
        self.note(&replies)?;
        self.note_locks();
        self.compare()
    }

    /// Who waits for which lock.
    fn lines(&self) -> BTreeSet<(LockName, String)> {
        let locks = self.machine.facts.locks.iter();
        let waiters = locks.flat_map(|(name, lock)| lock.waiters.iter().map(move |it| (name, it)));
        waiters.map(|(name, waiter)| (name.clone(), waiter.owner.clone())).collect()
    }

    /// Who waits is not told when its turn has come.
    fn note_locks(&mut self) {
        for lock in &self.model.locks {
            if !self.locks.contains(&lock.token) {
                self.locks.push(lock.token);
            }
        }
    }

    fn note(&mut self, replies: &[Result<Reply, Refusal>]) -> Result<(), TestCaseError> {
        for reply in replies.iter().flatten() {
            match reply {
                Reply::Enqueued(ids) | Reply::Completed { then: ids } => {
                    self.acknowledged.extend(ids.iter().map(|(id, _)| *id));
                }
                Reply::Claimed(items) => {
                    for item in items {
                        let State::Claimed(lease) = &item.state else {
                            continue;
                        };
                        let before = self.last_token.insert(item.id, lease.token);
                        // A repeat in a session tells of the same claim again.
                        prop_assert!(before <= Some(lease.token), "tokens grow for {}", item.id);
                        self.granted.push((item.id, lease.token));
                    }
                }
                Reply::Renewed { .. }
                | Reply::Failed { .. }
                | Reply::RunAccepted { .. }
                | Reply::LockQueued { .. }
                | Reply::Ticked { .. }
                | Reply::Locked { .. }
                | Reply::SessionOpened(_)
                | Reply::Done => {}
            }
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let machine = &self.machine;
        prop_assert_eq!(machine.violations(), Vec::<String>::new());
        let c = machine.counts();
        let counts =
            [c.delayed, c.blocked, c.ready, c.claimed, c.running, c.completed, c.dead, c.cancelled];
        prop_assert_eq!(counts, self.model.counts());
        prop_assert_eq!(machine.counts_by_type(), self.model.by_type());
        let waited: u64 = machine.waits().map(|(_, waits)| waits.len()).sum();
        prop_assert_eq!(waited, self.model.waits.len() as u64);
        for (work_type, waits) in machine.waits() {
            let of_type = self.model.waits.iter().filter(|(name, _)| name == work_type);
            let of_type: Vec<u64> = of_type.map(|(_, wait)| *wait).collect();
            for (bound, shorter) in waits.cumulative() {
                let count = of_type.iter().filter(|wait| **wait < bound.0).count();
                prop_assert_eq!(shorter, count as u64, "{} below {}", work_type, bound);
            }
            prop_assert_eq!(waits.total().0, of_type.iter().sum::<u64>());
            prop_assert_eq!(Some(waits.longest().0), of_type.iter().copied().max());
        }
        for id in &self.acknowledged {
            let known = machine.item(*id).is_some()
                || machine.unclaimed(*id).is_some()
                || self.arrays.contains(id);
            prop_assert!(known, "acknowledged {} is gone", id);
        }
        let stops = machine.facts.stops.iter().map(|(id, stop)| (id.0, stop.until.0));
        let mut expected: Vec<_> =
            self.model.stops.iter().map(|stop| (stop.id, stop.until)).collect();
        expected.sort_unstable();
        prop_assert_eq!(stops.collect::<Vec<_>>(), expected, "who is being stopped");
        self.compare_locks()?;
        self.compare_events()?;
        for row in &self.model.runs {
            let run = machine.run(&row.id).expect("the model's runs exist");
            let mut pairs = row.pairs.clone();
            pairs.sort_unstable();
            let kept: Vec<_> = (0_u16..)
                .zip(&run.ledger.pairs)
                .flat_map(|(m, pairs)| pairs.iter().map(move |(i, p)| (m, i, p.work_id.0)))
                .collect();
            prop_assert_eq!(kept, pairs, "ledger of {}", &row.id);
            prop_assert_eq!((run.ledger.tasks_done, run.ledger.tasks_failed), row.tasks);
            let fallen: Vec<_> = run.fallen.iter().map(|f| f.origin.clone()).collect();
            prop_assert_eq!(&fallen, &row.fallen);
            prop_assert_eq!((run.version, run.failures_count), (row.version, row.failures));
            prop_assert_eq!(&run.outcome, &row.outcome);
        }
        Ok(())
    }
}

fn play(history: &[(u64, Vec<Op>)], bug: Option<Bug>) -> Result<Pairing, TestCaseError> {
    let mut pairing = Pairing { bug, ..Pairing::default() };
    for (elapsed, ops) in history {
        pairing.step(*elapsed, ops)?;
    }
    Ok(pairing)
}

/// Bounds that a history reaches.
const NARROW: Bounds = Bounds {
    records: 7,
    follow_ups: 2,
    array_outstanding: 2,
    bytes: 7_500,
    follow_up_bytes: 900,
    session_answers: 2,
    claims_lost: 2,
    ..Bounds::REAL
};

fn play_within(bounds: Bounds, history: &[(u64, Vec<Op>)]) -> Result<Pairing, TestCaseError> {
    let mut pairing = Pairing::default();
    pairing.machine.bounds = bounds;
    pairing.model.bounds = bounds;
    for (elapsed, ops) in history {
        pairing.step(*elapsed, ops)?;
    }
    Ok(pairing)
}

fn runner(seed: u64, cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    })
}

#[test]
fn the_machine_does_what_the_model_says() {
    let played = runner(1, 8_000).run(&history(), |history| play(&history, None).map(drop));
    if let Err(error) = played {
        panic!("{error}");
    }
}

#[test]
fn a_machine_that_is_full_does_what_the_model_says() {
    let refused = std::cell::RefCell::new(BTreeSet::new());
    let lost = std::cell::Cell::new(false);
    let played = runner(7, 4_000).run(&history(), |history| {
        let pairing = play_within(NARROW, &history)?;
        let given_up =
            |item: &Item| matches!(item.state, State::Dead { cause: Cause::NeverStarted, .. });
        lost.set(lost.get() || pairing.machine.facts.items.values().any(given_up));
        refused.borrow_mut().extend(pairing.refused);
        Ok(())
    });
    if let Err(error) = played {
        panic!("{error}");
    }
    let reached = ["Full", "TooHeavy", "SessionFull"].map(|it| refused.borrow().contains(it));
    assert_eq!((reached, lost.get()), ([true; 3], true), "histories come to the bounds");
}

#[test]
fn lines_before_locks_are_those_of_the_model() {
    let played = runner(6, 2_000).run(&lock_history(), |history| play(&history, None).map(drop));
    if let Err(error) = played {
        panic!("{error}");
    }
}

#[test]
fn a_replay_of_the_log_gives_the_same_machine() {
    let played = runner(2, 300).run(&history(), |history| {
        let pairing = play(&history, None)?;
        let mut replica = Machine::default();
        for (position, batch) in &pairing.log {
            replica.apply(*position, batch);
        }
        prop_assert_eq!(replica, pairing.machine);
        Ok(())
    });
    if let Err(error) = played {
        panic!("{error}");
    }
}

#[test]
fn a_snapshot_goes_on_as_the_machine_that_wrote_it() {
    let histories = prop_oneof![3 => history(), 1 => lock_history()];
    let played = runner(3, 300).run(&(histories, any::<prop::sample::Index>()), |(history, at)| {
        let pairing = play(&history, None)?;
        let (before, after) = pairing.log.split_at(at.index(pairing.log.len()));
        let mut machine = Machine::default();
        for (position, batch) in before {
            machine.apply(*position, batch);
        }
        let frozen = machine.freeze();
        let text = serde_json::to_string(&frozen).expect("a snapshot");
        let mut restored: Machine = serde_json::from_str(&text).expect("the same snapshot");
        prop_assert_eq!(&restored, &machine);
        for (position, batch) in after {
            let replies = restored.apply(*position, batch);
            prop_assert_eq!(replies, machine.apply(*position, batch));
        }
        prop_assert_eq!(restored, pairing.machine);
        let later = serde_json::to_string(&frozen).expect("a snapshot");
        prop_assert_eq!(later, text, "what was frozen must not change with the machine");
        Ok(())
    });
    if let Err(error) = played {
        panic!("{error}");
    }
}

/// What a reply is called among the things that histories must reach.
fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Enqueued(_) => "Enqueued",
        Answer::Claimed(_) => "Claimed",
        Answer::Renewed(..) => "Renewed",
        Answer::RetryAt(Some(_)) => "a retry",
        Answer::RetryAt(None) => "a death",
        Answer::Locked(..) => "Locked",
        Answer::Queued(0, _) => "the first in line",
        Answer::Queued(..) => "LockQueued",
        Answer::Run(_) => "RunAccepted",
        Answer::Ticked(0) => "a tick",
        Answer::Ticked(_) => "an expiry",
        Answer::Completed(then) if then.is_empty() => "Completed",
        Answer::Completed(_) => "a follow-up",
        Answer::Session(_) => "SessionOpened",
        Answer::Done => "Done",
        Answer::Refused(name) => name,
    }
}

/// What histories must reach.
const WANTED: [&str; 46] = [
    "Enqueued",
    "Claimed",
    "Renewed",
    "a retry",
    "a death",
    "Locked",
    "RunAccepted",
    "a tick",
    "an expiry",
    "Done",
    "UnknownWork",
    "Fenced",
    "Ended",
    "KeyConflict",
    "Invalid",
    "LockHeld",
    "LockQueued",
    "the first in line",
    "a lock handed on",
    "item_died",
    "item_ended",
    "run_submitted",
    "run_ended",
    "node_gone",
    "queue_set",
    "queue_removed",
    "array_cancelled",
    "term_began",
    "LockNotHeld",
    "UnknownRun",
    "RunConflict",
    "StaleRun",
    "RunEnded",
    "Completed",
    "a follow-up",
    "SessionOpened",
    "UnknownQueue",
    "QueueInUse",
    "QueueFull",
    "UnknownSession",
    "SessionStale",
    "a pair",
    "a task done",
    "a fallen part",
    "a part in another queue",
    "a run that keeps its queue",
];

/// Histories that reached nothing would agree with any model.
#[test]
fn the_histories_reach_every_answer_and_every_end() {
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let histories = prop_oneof![9 => history(), 1 => lock_history()];
    let played = runner(5, 1_500).run(&histories, |history| {
        let pairing = play(&history, None)?;
        let mut seen = seen.borrow_mut();
        let mut replica = Machine::default();
        for (position, batch) in &pairing.log {
            let before = replica.facts.locks.clone();
            let replies = replica.apply(*position, batch);
            for (name, now) in &replica.facts.locks {
                let mut line = before.get(name).into_iter().flat_map(|lock| &lock.waiters);
                let waited = line.any(|waiter| waiter.owner == now.owner);
                seen.extend(waited.then_some("a lock handed on"));
            }
            for reply in replies {
                let kept = matches!(reply, Err(Refusal::QueueInUse { held: 0, .. }));
                seen.extend(kept.then_some("a run that keeps its queue"));
                seen.insert(word(&Answer::from(&reply)));
            }
        }
        let page = replica.events(0, usize::MAX, &BTreeSet::new());
        seen.extend(page.events.iter().map(|recorded| recorded.event.kind().as_str()));
        for run in replica.runs() {
            let pairs = run.ledger.pairs.iter().any(|pairs| !pairs.is_empty());
            seen.extend(pairs.then_some("a pair"));
            seen.extend((run.ledger.tasks_done > 0).then_some("a task done"));
            seen.extend((run.failures_count > 0).then_some("a fallen part"));
            let ended = run.ledger.tasks_done > 0 || pairs;
            let elsewhere = ended && run.queue != QueueName::default();
            seen.extend(elsewhere.then_some("a part in another queue"));
        }
        Ok(())
    });
    assert!(played.is_ok());
    let wanted = BTreeSet::from(WANTED);
    let unseen: Vec<_> = wanted.difference(&seen.borrow()).copied().collect();
    assert!(unseen.is_empty(), "never seen: {unseen:?}");
}

#[test]
fn the_model_catches_planted_bugs() {
    for bug in [
        Bug::NoTokenCheck,
        Bug::NoKeys,
        Bug::EagerExpiry,
        Bug::NoExpiry,
        Bug::NoVersionCheck,
        Bug::AlwaysRetry,
        Bug::NoNeeds,
        Bug::NoSessions,
        Bug::NoGroups,
        Bug::NoDependencies,
        Bug::AnyEndWillDo,
        Bug::NoDeadlines,
        Bug::NoLimits,
        Bug::NoWeights,
        Bug::OversizedNodes,
        Bug::LostFollowUps,
        Bug::LongArrays,
        Bug::NoNodeExpiry,
        Bug::NoPriorities,
        Bug::NoNotices,
        Bug::NoWaits,
        Bug::EndlessWaits,
        Bug::NoLeaving,
        Bug::KeptByNobody,
        Bug::TakenFromHolders,
    ] {
        let mut runner = TestRunner::new(Config {
            cases: 4_000,
            max_shrink_iters: 0,
            rng_seed: RngSeed::Fixed(4),
            failure_persistence: None,
            ..Config::default()
        });
        let of_locks = matches!(
            bug,
            Bug::NoWaits
                | Bug::EndlessWaits
                | Bug::NoLeaving
                | Bug::KeptByNobody
                | Bug::TakenFromHolders
        );
        let histories = if of_locks { lock_history().boxed() } else { history().boxed() };
        let played = runner.run(&histories, |history| play(&history, Some(bug)).map(drop));
        assert!(matches!(played, Err(TestError::Fail(..))), "{bug:?} went unseen");
    }
}
