//! Room on the disks of the others: each says with every answer to an append whether its disk is nearly
//! full, and the leader asks the core what that means for new work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use ringrift_core::room::{Disk, admit};
use ringrift_core::time::Span;

use super::LOOK_INTERVAL;
use crate::clock::Clock;
use crate::consensus::{Consensus, DiskFull, Inner, LowDisk, Member};

/// The last word of a member: the bytes that it has left when its disk is nearly full, and when it was
/// asked for.
type Word = (Option<u64>, Duration);

/// What the members say of their disks, and what that means while this agent leads.
pub(in crate::consensus) struct Words {
    clock: Clock,
    /// By raft id; as many as there are links to members.
    last: Mutex<BTreeMap<u64, Word>>,
    view: Mutex<View>,
    /// Whether the view has a refusal: each addition asks.
    refuses: AtomicBool,
}

/// What the leader made of the disks at its last look; empty on any other agent.
#[derive(Debug, Default)]
struct View {
    leads: bool,
    /// The voters whose disk is nearly full, by raft id.
    low: BTreeMap<u64, LowDisk>,
    refusal: Option<DiskFull>,
}

// Nothing panics while one is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Words {
    pub(in crate::consensus) fn new(clock: Clock) -> Self {
        Self {
            clock,
            last: Mutex::default(),
            view: Mutex::default(),
            refuses: AtomicBool::new(false),
        }
    }

    /// A member that follows answered what was asked then.
    pub(in crate::consensus) fn note(&self, raft_id: u64, low: Option<u64>, asked: Duration) {
        let mut last = lock(&self.last);
        // Connections overtake each other.
        let latest = last.get(&raft_id).map_or(asked, |(_, before)| asked.max(*before));
        last.insert(raft_id, (low, latest));
    }

    /// How long ago a member was asked what it has answered.
    pub(in crate::consensus) fn age(&self, raft_id: u64) -> Option<Duration> {
        let word = lock(&self.last).get(&raft_id).copied();
        word.map(|(_, asked)| self.clock.monotonic().saturating_sub(asked))
    }

    fn disk(&self, raft_id: u64) -> Disk {
        let word = lock(&self.last).get(&raft_id).copied();
        word.map_or(Disk::Unknown, |(low, at)| {
            let age = self.clock.monotonic().saturating_sub(at);
            Disk::said(low, Span(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
        })
    }

    /// # Errors
    /// While this agent leads and too few voters have room.
    pub(in crate::consensus) fn admit(&self) -> Result<(), DiskFull> {
        if !self.refuses.load(Ordering::Relaxed) {
            return Ok(());
        }
        lock(&self.view).refusal.clone().map_or(Ok(()), Err)
    }

    /// Takes a new view, and says what is new in it.
    fn see(&self, now: View, disk: impl Fn(u64) -> Disk) {
        self.refuses.store(now.refusal.is_some(), Ordering::Relaxed);
        let before = std::mem::replace(&mut *lock(&self.view), now);
        let now = lock(&self.view);
        if !now.leads {
            return;
        }
        for (raft_id, LowDisk { node_id, free_bytes }) in &now.low {
            if !before.low.contains_key(raft_id) {
                tracing::warn!(voter = %node_id, free_bytes, "the disk of a voter is nearly full");
            }
        }
        for (raft_id, LowDisk { node_id, free_bytes: _ }) in &before.low {
            if disk(*raft_id) == Disk::Roomy {
                tracing::info!(voter = %node_id, "the disk of a voter has room again");
            }
        }
        match (&before.refusal, &now.refusal) {
            (None, Some(refusal)) => {
                tracing::error!(%refusal, "too few voters have room, new work is refused");
            }
            (Some(_), None) => tracing::info!("voters have room again, new work is taken"),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

impl Inner {
    fn disk_of(&self, raft_id: u64) -> Disk {
        if raft_id == self.raft_id {
            return Disk::said(self.room.low(), Span(0));
        }
        self.words.disk(raft_id)
    }

    /// What the leader makes of the voters' disks; nothing on any other agent.
    fn look_at_disks(&self) -> View {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_leader != Some(self.raft_id) || !metrics.state.is_leader() {
            return View::default();
        }
        let membership = &metrics.membership_config;
        let name = |raft_id| {
            let member = membership.get_node(&raft_id);
            member.map_or_else(|| self.this.node_id.clone(), |it: &Member| it.node_id.clone())
        };
        let low = membership.voter_ids().filter_map(|raft_id| match self.disk_of(raft_id) {
            Disk::Low { free_bytes } => {
                Some((raft_id, LowDisk { node_id: name(raft_id), free_bytes }))
            }
            Disk::Roomy | Disk::Unknown => None,
        });
        let low: BTreeMap<u64, LowDisk> = low.collect();
        let configurations = membership.membership().get_joint_config();
        let admitted = admit(configurations, |raft_id| self.disk_of(raft_id));
        let refusal = admitted.err().map(|shortage| {
            let low = low.values().cloned().collect();
            DiskFull::OfVoters { low, shortage }
        });
        View { leads: true, low, refusal }
    }
}

impl Consensus {
    /// The voters whose disk is nearly full, as the leader knows them; any other agent knows of itself.
    #[must_use]
    pub fn low_disks(&self) -> Vec<LowDisk> {
        let inner = &self.inner;
        if inner.leadership.borrow().is_leader {
            return lock(&inner.words.view).low.values().cloned().collect();
        }
        let own = |free_bytes| LowDisk { node_id: inner.this.node_id.clone(), free_bytes };
        inner.room.low().map(own).into_iter().collect()
    }
}

/// Looks at what the voters say of their disks until consensus is gone.
pub(in crate::consensus) async fn watch(inner: Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let view = inner.look_at_disks();
        inner.words.see(view, |raft_id| inner.disk_of(raft_id));
        drop(inner);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use ringrift_core::room::WORD_FRESH;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_word_counts_until_it_is_old() {
        let clock = Clock::start();
        let words = Words::new(clock);
        assert_eq!((words.disk(7), words.age(7)), (Disk::Unknown, None));
        words.note(7, Some(40), clock.monotonic());
        assert_eq!(words.disk(7), Disk::Low { free_bytes: 40 });
        let asked = clock.monotonic();
        tokio::time::advance(Duration::from_millis(30)).await;
        words.note(7, None, asked);
        assert_eq!(words.disk(7), Disk::Roomy);
        assert_eq!(words.age(7), Some(Duration::from_millis(30)), "it may have been so ever since");
        words.note(7, None, Duration::ZERO);
        assert_eq!(words.age(7), Some(Duration::from_millis(30)), "an answer that was overtaken");
        tokio::time::advance(Duration::from_millis(WORD_FRESH.0)).await;
        assert_eq!(words.disk(7), Disk::Unknown, "it fell silent");
    }

    #[test]
    fn new_work_is_refused_by_the_last_view_and_who_is_low_is_named() {
        let words = Words::new(Clock::start());
        assert_eq!(words.admit(), Ok(()));
        let low = LowDisk { node_id: "b".parse().unwrap(), free_bytes: 40 };
        let shortage = ringrift_core::room::Shortage { roomy: 1, needed: 2, voters: 3 };
        let refusal = DiskFull::OfVoters { low: vec![low.clone()], shortage };
        let told = refusal.to_string();
        assert!(told.contains("1 of 3") && told.contains("b (40 bytes left)"), "{told}");
        let low = BTreeMap::from([(7, low)]);
        let view = View { leads: true, low, refusal: Some(refusal.clone()) };
        words.see(view, |_| Disk::Unknown);
        assert_eq!(words.admit(), Err(refusal));
        words.see(View::default(), |_| Disk::Roomy);
        assert_eq!(words.admit(), Ok(()));
    }
}
