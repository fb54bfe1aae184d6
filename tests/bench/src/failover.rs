//! Leaders that die or leave under load.
//!
//! Workers alone would not see when a system works again: each of them may wait for the answer to a
//! request that died with the leader. So from the signal on further cycles begin at a fixed beat,
//! whatever became of the earlier ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::clock::{self, milliseconds};
use crate::load::drain::drain;
use crate::load::quantiles::Distribution;
use crate::load::worker::{Shape, Witness, Workers, cycle};
use crate::system::{Client, Failure, Nodes as _, System};

/// Workers under which the leader is taken away.
const LOAD: Shape = Shape { workers: 64, batch: 1 };
/// From the signal on a further cycle begins so often. Short against every figure that is expected,
/// long enough to leave the processor to the election.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// Such cycles that have not ended; beyond them no further one begins.
const PROBES_MAX: usize = 4_096;
/// Undisturbed load before each kill, for connections and caches.
const BEFORE: Duration = Duration::from_secs(1);
/// A leader that leaves is watched for so long after its end.
const AFTER_LEAVE: Duration = Duration::from_secs(1);
/// A system that has not come back by then is not waited for any longer.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);

/// What the workers saw since the leader was taken away.
#[derive(Debug, Default)]
struct Seen {
    /// When that was; nothing before.
    taken: Option<Duration>,
    /// The first claim that was asked for since.
    claim: Option<Duration>,
    /// The first claim of an item that was sent since.
    fresh: Option<Duration>,
    /// The last claim of any kind, and the longest time between two.
    last: Duration,
    gap: Duration,
    errors: u64,
}

#[derive(Debug, Default)]
struct Probe(Mutex<Seen>);

impl Probe {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The leader is taken away now.
    fn arm(&self) {
        let now = clock::now();
        self.with(|seen| *seen = Seen { taken: Some(now), last: now, ..Seen::default() });
    }

    fn has_recovered(&self) -> bool {
        self.with(|seen| seen.fresh.is_some())
    }
}

impl Witness for Probe {
    fn claimed(&self, asked: Duration, submitted: Duration) {
        let now = clock::now();
        self.with(|seen| {
            let Some(taken) = seen.taken else { return };
            seen.gap = seen.gap.max(now.saturating_sub(seen.last));
            seen.last = now;
            if asked >= taken {
                seen.claim.get_or_insert(now - taken);
            }
            if submitted >= taken {
                seen.fresh.get_or_insert(now - taken);
            }
        });
    }

    fn completed(&self, _begun: Duration, _items: usize) {}

    fn failed(&self, _failure: &Failure) {
        self.with(|seen| seen.errors += 1);
    }
}

/// What many deaths of leaders brought.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Failover {
    /// From the signal to the first claim of an item that was sent after it: enqueue and claim both
    /// work again. What the systems are compared by.
    #[serde(flatten)]
    pub(crate) fresh: Distribution,
    /// From the signal to the first claim that was asked for after it and succeeded. Systems that
    /// deliver ahead of the demand answer it from the client's memory.
    pub(crate) next_claim: Distribution,
    /// Times that it had not come back within a minute.
    pub(crate) not_recovered: usize,
    /// Failed requests, all times together.
    pub(crate) errors: u64,
}

/// Begins a further cycle at every beat, until `enough`.
async fn keep_asking<C: Client>(client: &C, probe: &Arc<Probe>, enough: impl Fn(&Probe) -> bool) {
    let mut asking = JoinSet::new();
    while !enough(probe) {
        while asking.try_join_next().is_some() {}
        if asking.len() < PROBES_MAX {
            let (client, probe) = (client.clone(), Arc::clone(probe));
            asking.spawn(async move {
                if let Err(failure) = cycle(&client, 1, probe.as_ref()).await {
                    probe.failed(&failure);
                }
            });
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

/// Kills the leader `times` times, each time when all three nodes are in step again.
pub(crate) async fn kills<S: System>(
    system: &mut S,
    times: usize,
    mut tell: impl FnMut(usize, Duration),
) -> Result<Failover, Failure> {
    let (mut fresh, mut claim) = (Vec::new(), Vec::new());
    let mut failover = Failover::default();
    for time in 0..times {
        let leader = system.leader().await?;
        let client = system.client(LOAD.workers).await?;
        // An old item in front of the fresh ones would lengthen the way back.
        drain(&client).await?;
        let probe = Arc::new(Probe::default());
        let workers = Workers::start(&client, LOAD, &probe);
        tokio::time::sleep(BEFORE).await;
        probe.arm();
        system.nodes().kill(leader).await?;
        let probing = keep_asking(&client, &probe, Probe::has_recovered);
        if tokio::time::timeout(RECOVERY_LIMIT, probing).await.is_err() {
            failover.not_recovered += 1;
        }
        workers.stop().await;
        drop(client);
        probe.with(|seen| {
            failover.errors += seen.errors;
            fresh.extend(seen.fresh.map(milliseconds));
            claim.extend(seen.claim.map(milliseconds));
            tell(time + 1, seen.fresh.unwrap_or(RECOVERY_LIMIT));
        });
        system.nodes().restart(leader)?;
        system.settled(0).await?;
    }
    failover.fresh = Distribution::of(fresh);
    failover.next_claim = Distribution::of(claim);
    Ok(failover)
}

/// Asks the leader to leave `times` times. Answers the longest time without a successful claim, from
/// the signal to a second after the leader's end.
pub(crate) async fn leaves<S: System>(
    system: &mut S,
    times: usize,
    mut tell: impl FnMut(usize, Duration),
) -> Result<Distribution, Failure> {
    let mut gaps = Vec::with_capacity(times);
    for time in 0..times {
        let leader = system.leader().await?;
        let client = system.client(LOAD.workers).await?;
        drain(&client).await?;
        let probe = Arc::new(Probe::default());
        let workers = Workers::start(&client, LOAD, &probe);
        tokio::time::sleep(BEFORE).await;
        probe.arm();
        let left = async {
            system.nodes().leave(leader).await?;
            tokio::time::sleep(AFTER_LEAVE).await;
            Ok::<(), Failure>(())
        };
        tokio::select! {
            left = left => left?,
            () = keep_asking(&client, &probe, |_| false) => {}
        }
        // A time without claims that has not ended yet counts as well.
        let gap = probe.with(|seen| seen.gap.max(clock::now().saturating_sub(seen.last)));
        workers.stop().await;
        drop(client);
        tell(time + 1, gap);
        gaps.push(milliseconds(gap));
        system.nodes().restart(leader)?;
        system.settled(0).await?;
    }
    Ok(Distribution::of(gaps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_was_asked_for_or_an_item_that_was_sent_before_the_kill_is_no_recovery() {
        let probe = Probe::default();
        let before = clock::now();
        probe.claimed(before, before);
        assert!(!probe.has_recovered(), "nothing was killed yet");
        probe.arm();
        probe.claimed(before, before);
        assert!(probe.with(|seen| seen.claim.is_none() && seen.fresh.is_none()));
        probe.claimed(clock::now(), before);
        assert!(probe.with(|seen| seen.claim.is_some()));
        assert!(!probe.has_recovered(), "an old item says nothing about enqueues");
        probe.claimed(clock::now(), clock::now());
        assert!(probe.has_recovered());
    }

    #[test]
    fn the_gap_is_the_longest_one() {
        let probe = Probe::default();
        probe.arm();
        for pause in [1, 20, 2] {
            std::thread::sleep(Duration::from_millis(pause));
            probe.claimed(clock::now(), clock::now());
        }
        let gap = probe.with(|seen| seen.gap);
        assert!(gap >= Duration::from_millis(20), "{gap:?}");
    }
}
