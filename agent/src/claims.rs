//! Claims that wait for work, on the leader.
//!
//! All of them stand in one line, kept by one task. When work becomes ready, the task proposes
//! claims for as many waiters as there is work, in one batch: a thousand idle workers cost nothing
//! while there is nothing, and one item wakes one of them. The line is not replicated. A new leader
//! starts with an empty one, and the waiters come back.

mod known;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
pub(crate) use known::Known;
use ringrift_core::id::{NodeId, Position};
use ringrift_core::machine::Machine;
use ringrift_core::queue::command::{Claim, Command, Refusal, Reply};
use ringrift_core::queue::item::Item;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::consensus::{Committed, Consensus, ProposeError};
use crate::http::sessions::Retry;

/// Claims that wait at once. Each takes a few hundred bytes.
pub(crate) const WAITERS_MAX: usize = 16_384;
/// Claims that arrive at once, before the task has put them in line.
const ARRIVALS_MAX: usize = 1_024;
/// Claims in one batch; the next batch follows while this one is on its way.
const ROUND_CLAIMS_MAX: usize = 256;
/// Batches on their way at once.
const ROUNDS_MAX: usize = 4;
/// Pause after a look that found ready work which fits nobody in line: a busy queue changes hundreds
/// of times a second, and readers hold up `apply`.
const FUTILE_PAUSE: Duration = Duration::from_millis(2);

/// What a claim brought, and where in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) position: Position,
    pub(crate) items: Vec<Item>,
}

/// Why a claim brought nothing and waits no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// The proposal failed. Only [`ProposeError::Timeout`] leaves the outcome unknown.
    Propose(ProposeError),
    /// The machine refused the claim.
    Refused(Refusal),
    /// Too many wait already.
    Crowded,
}

impl From<ProposeError> for Unserved {
    fn from(error: ProposeError) -> Self {
        Self::Propose(error)
    }
}

pub(crate) type Outcome = Result<Granted, Unserved>;

/// The end that connections hold.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    arrivals: mpsc::Sender<Waiter>,
    waiting: Arc<AtomicUsize>,
    /// Who claims, whether it waits or not.
    pub(crate) known: Known,
}

/// Counts one claim among those that wait, until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One claim in line. Whoever waited for it is gone when `answer` is closed.
#[derive(Debug)]
struct Waiter {
    claim: Claim,
    retry: Retry,
    answer: oneshot::Sender<Outcome>,
    standing: Arc<Standing>,
}

/// Where a waiter stands. Both sides change it, so that nobody whose claim is on its way goes away as
/// if there had been nothing: the claim may take items, and they would be held by nobody.
#[derive(Debug, Default)]
struct Standing(AtomicU8);

impl Standing {
    const IN_LINE: u8 = 0;
    /// Its claim is on its way.
    const CHOSEN: u8 = 1;
    /// So it is, and its time is over: it hears what came of the claim, whatever that is.
    const LEAVING: u8 = 2;
    /// Its time was over while it stood in line.
    const GONE: u8 = 3;

    fn change(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Its claim goes on its way. False when it has gone.
    fn choose(&self) -> bool {
        self.change(Self::IN_LINE, Self::CHOSEN)
    }

    /// Its claim brought nothing. False when its time is over, too.
    fn back_in_line(&self) -> bool {
        self.change(Self::CHOSEN, Self::IN_LINE)
    }

    /// Its time is over. False when its claim is on its way.
    fn leave(&self) -> bool {
        // At most two rounds: what is chosen stays so or comes back, and then it goes.
        loop {
            if self.change(Self::IN_LINE, Self::GONE) {
                return true;
            }
            if self.change(Self::CHOSEN, Self::LEAVING) {
                return false;
            }
        }
    }

    fn is_on_its_way(&self) -> bool {
        matches!(self.0.load(Ordering::Acquire), Self::CHOSEN | Self::LEAVING)
    }
}

impl Hub {
    /// A hub and its task, which ends when consensus stops or the last hub is gone.
    pub(crate) fn new(consensus: Consensus) -> (Self, impl Future<Output = ()> + Send) {
        let (arrivals, arriving) = mpsc::channel(ARRIVALS_MAX);
        let (waiting, known) = (Arc::default(), Known::default());
        (Self { arrivals, waiting, known }, serve(consensus, arriving))
    }

    /// A hub that serves nobody: for an agent that never leads.
    pub(crate) fn closed() -> Self {
        let (arrivals, _) = mpsc::channel(1);
        Self { arrivals, waiting: Arc::default(), known: Known::default() }
    }

    /// Claims that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for work, at most for `wait` and until the agent is `stopping`; nothing granted then.
    /// A claim that is on its way at that time is waited for. One of a session is made once: it may
    /// bring nothing before its time is over.
    pub(crate) async fn wait(
        &self,
        claim: Claim,
        retry: Retry,
        wait: Duration,
        stopping: &CancellationToken,
    ) -> Option<Outcome> {
        let _counted = Counted::new(&self.waiting);
        let (answer, mut answered) = oneshot::channel();
        let standing = Arc::new(Standing::default());
        let gone = || {
            let error = if standing.is_on_its_way() {
                ProposeError::Timeout
            } else {
                ProposeError::NotLeader { leader: None }
            };
            Err(Unserved::Propose(error))
        };
        let waiter = Waiter { claim, retry, answer, standing: Arc::clone(&standing) };
        let waiting = async {
            if self.arrivals.send(waiter).await.is_err() {
                return gone();
            }
            (&mut answered).await.unwrap_or_else(|_dropped| gone())
        };
        let enough = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopping.cancelled() => {}
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = waiting => return Some(outcome),
            () = enough => None,
        };
        if standing.leave() {
            return outcome;
        }
        // Bounded by the patience of proposals.
        Some(answered.await.unwrap_or_else(|_dropped| gone()))
    }
}

/// Takes what there is now.
pub(crate) async fn take(consensus: &Consensus, claim: Claim) -> Outcome {
    let committed = consensus.propose(vec![Command::Claim(claim)]).await?;
    let Committed { position, mut replies } = committed;
    granted(position, replies.pop())
}

fn granted(position: Position, reply: Option<Result<Reply, Refusal>>) -> Outcome {
    match reply {
        Some(Ok(Reply::Claimed(items))) => Ok(Granted { position, items }),
        Some(Err(refusal)) => Err(Unserved::Refused(refusal)),
        other => {
            // It is committed, and what it took is not known.
            tracing::error!(?other, "the machine answered a claim with something else");
            Err(Unserved::Propose(ProposeError::Timeout))
        }
    }
}

/// A batch that came back: who was in it, and what it brought.
type Round = (Vec<Waiter>, Result<Committed, ProposeError>);

/// What decides which work a claim fits, apart from how much and for how long: the machine is asked
/// once for all claims that are alike in it. A node that said what it has counts by itself, since
/// its claims fit only what it has room for.
type Wish = (Option<NodeId>, BTreeSet<String>, BTreeMap<String, String>, BTreeSet<String>);

fn wish(claim: &Claim, machine: &Machine) -> Wish {
    let Claim { node, capabilities, labels, work_types, limit: _, lease: _ } = claim;
    let node = machine.capacity(node).map(|_| node.clone());
    (node, capabilities.clone(), labels.clone(), work_types.clone())
}

/// Those who wish the same, by arrival.
type Alike = VecDeque<(i64, Waiter)>;

/// Who waits: by wish, and in order of arrival.
#[derive(Debug, Default)]
struct Line {
    wishes: BTreeMap<Wish, Alike>,
    length: usize,
    last: i64,
    /// Numbers of those who came back empty-handed: before everyone who has one.
    first: i64,
}

impl Line {
    fn push_back(&mut self, waiter: Waiter, machine: &Machine) {
        self.last = self.last.saturating_add(1);
        self.length = self.length.saturating_add(1);
        let number = self.last;
        self.wishes.entry(wish(&waiter.claim, machine)).or_default().push_back((number, waiter));
    }

    fn push_front(&mut self, waiter: Waiter, machine: &Machine) {
        self.first = self.first.saturating_sub(1);
        self.length = self.length.saturating_add(1);
        let number = self.first;
        self.wishes.entry(wish(&waiter.claim, machine)).or_default().push_front((number, waiter));
    }

    /// Forgets those who have gone.
    fn tidy(&mut self) {
        self.wishes.retain(|_, waiters| {
            waiters.retain(|(_, waiter)| !waiter.answer.is_closed());
            !waiters.is_empty()
        });
        self.length = self.wishes.values().map(VecDeque::len).sum();
    }

    fn drain(&mut self) -> impl Iterator<Item = Waiter> + use<> {
        std::mem::take(self).wishes.into_values().flatten().map(|(_, waiter)| waiter)
    }

    /// The waiters that a batch shall serve: as many as the ready items that are not promised may
    /// serve, in order of arrival. Nothing when there are no such items.
    fn choose(&mut self, machine: &Machine, promised: u64) -> Option<Vec<Waiter>> {
        let mut free = machine.counts().ready.checked_sub(promised).filter(|free| *free > 0)?;
        // Each with whether the machine was asked: only those whose turn comes are asked about, for
        // there may be as many wishes as nodes.
        let mut heads: BTreeMap<i64, (bool, &mut Alike)> = BTreeMap::new();
        for waiters in self.wishes.values_mut() {
            if let Some((number, _)) = waiters.front() {
                heads.insert(*number, (false, waiters));
            }
        }
        let (mut chosen, mut taken) = (Vec::new(), 0_usize);
        while free > 0
            && chosen.len() < ROUND_CLAIMS_MAX
            && let Some((_, (asked, waiters))) = heads.pop_first()
        {
            let fits = |waiter: &Waiter| asked || machine.claimable(&waiter.claim);
            let Some((_, waiter)) = waiters.pop_front_if(|(_, waiter)| fits(waiter)) else {
                continue;
            };
            taken = taken.saturating_add(1);
            if let Some((number, _)) = waiters.front() {
                heads.insert(*number, (true, waiters));
            }
            // Who has gone is skipped.
            if !waiter.answer.is_closed() && waiter.standing.choose() {
                free = free.saturating_sub(u64::from(waiter.claim.limit));
                chosen.push(waiter);
            }
        }
        self.length = self.length.saturating_sub(taken);
        self.wishes.retain(|_, waiters| !waiters.is_empty());
        Some(chosen)
    }
}

/// The line and what is on its way for it.
struct Desk {
    consensus: Consensus,
    line: Line,
    rounds: FuturesUnordered<BoxFuture<'static, Round>>,
    /// Items that the batches on their way may take.
    promised: u64,
}

async fn serve(consensus: Consensus, mut arriving: mpsc::Receiver<Waiter>) {
    let mut applied = consensus.applied();
    let mut leadership = consensus.leadership();
    let (line, rounds) = (Line::default(), FuturesUnordered::new());
    let mut desk = Desk { consensus, line, rounds, promised: 0 };
    let mut arrived = Vec::new();
    // Ends with the last hub, or with consensus.
    loop {
        let look = tokio::select! {
            biased;
            Some((waiters, outcome)) = desk.rounds.next() => {
                desk.settle(waiters, outcome);
                true
            }
            taken = arriving.recv_many(&mut arrived, ARRIVALS_MAX) => {
                if taken == 0 {
                    return;
                }
                desk.admit(arrived.drain(..));
                true
            }
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
            changed = applied.changed(), if desk.line.length > 0 => {
                if changed.is_err() {
                    return;
                }
                true
            }
        };
        applied.borrow_and_update();
        let (leads, leader) = {
            let now = leadership.borrow_and_update();
            (now.is_leader, now.leader.clone())
        };
        if !leads {
            for Waiter { claim: _, retry: _, answer, standing: _ } in desk.line.drain() {
                let error = ProposeError::NotLeader { leader: leader.clone() };
                // The caller may have given up.
                let _ = answer.send(Err(Unserved::Propose(error)));
            }
        } else if look && !desk.look() {
            tokio::time::sleep(FUTILE_PAUSE).await;
        }
    }
}

impl Desk {
    fn admit(&mut self, arrived: impl Iterator<Item = Waiter>) {
        for waiter in arrived {
            if self.line.length >= WAITERS_MAX {
                self.line.tidy();
            }
            if self.line.length < WAITERS_MAX {
                let line = &mut self.line;
                self.consensus.read(|machine| line.push_back(waiter, machine));
            } else {
                // The caller may have given up.
                let _ = waiter.answer.send(Err(Unserved::Crowded));
            }
        }
    }

    /// Proposes claims for as many waiters as there is work. False when there is work that fits none
    /// of those who wait.
    fn look(&mut self) -> bool {
        while self.rounds.len() < ROUNDS_MAX && self.line.length > 0 {
            let (line, promised) = (&mut self.line, self.promised);
            let Some(chosen) = self.consensus.read(|machine| line.choose(machine, promised)) else {
                return true;
            };
            if chosen.is_empty() {
                return false;
            }
            self.promised = self.promised.saturating_add(wanted(&chosen));
            let command = |it: &Waiter| it.retry.wrap(Command::Claim(it.claim.clone()));
            let commands = chosen.iter().map(command);
            let (consensus, commands) = (self.consensus.clone(), commands.collect());
            self.rounds.push(Box::pin(async move { (chosen, consensus.propose(commands).await) }));
        }
        true
    }

    /// Hands out what a batch brought. Who went away empty-handed stands in front again.
    fn settle(&mut self, waiters: Vec<Waiter>, outcome: Result<Committed, ProposeError>) {
        self.promised = self.promised.saturating_sub(wanted(&waiters));
        let Committed { position, replies } = match outcome {
            Ok(committed) => committed,
            Err(error) => {
                for Waiter { claim: _, retry: _, answer, standing: _ } in waiters {
                    let _ = answer.send(Err(Unserved::Propose(error.clone())));
                }
                return;
            }
        };
        for (waiter, reply) in waiters.into_iter().zip(replies).rev() {
            let granted = granted(position, Some(reply));
            if granted.as_ref().is_ok_and(|granted| granted.items.is_empty())
                && !waiter.retry.is_some()
                && waiter.standing.back_in_line()
            {
                let line = &mut self.line;
                self.consensus.read(|machine| line.push_front(waiter, machine));
                continue;
            }
            // One whose connection has gone meanwhile holds the items until their lease ends.
            let _ = waiter.answer.send(granted);
        }
    }
}

fn wanted(waiters: &[Waiter]) -> u64 {
    waiters.iter().map(|waiter| u64::from(waiter.claim.limit)).sum()
}

#[cfg(test)]
mod tests;
