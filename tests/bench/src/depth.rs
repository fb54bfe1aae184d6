//! Long queues: what a cycle costs, what the leader needs, how long a restart takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::clock;
use crate::load::closed;
use crate::load::patient::until_done;
use crate::load::quantiles::Quantiles;
use crate::load::worker::Shape;
use crate::system::{Client, Failure, Nodes as _, Payload, System};

/// The load under which a cycle's cost is measured.
const LOAD: Shape = Shape { workers: 64, batch: 1 };
/// Items of a request while the queue is filled.
const FILL_BATCH: u64 = 256;
/// Requests at once while the queue is filled.
const FILL_WORKERS: usize = 8;

/// What a queue of one length brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Items in the queue, those under way included.
    pub(crate) depth: u64,
    /// Items that went in a second while it was filled.
    pub(crate) fill_per_s: f64,
    /// Full cycles a second with 64 in flight, one item a request.
    pub(crate) cycles_per_s: f64,
    /// Each of these cycles.
    pub(crate) cycle_ms: Quantiles,
    /// Resident memory of the leader's process.
    pub(crate) leader_mib: f64,
    /// From the start of the stopped leader to three nodes in step; our own replica then holds all
    /// items again.
    pub(crate) restart_s: f64,
    /// Time for the leader's last snapshot and its size, where its log says so.
    pub(crate) snapshot: Option<Snapshot>,
}

/// A snapshot that a node wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Milliseconds.
    pub(crate) ms: f64,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Measures at each of the depths, which grow.
pub(crate) async fn measure<S: System>(
    system: &mut S,
    depths: &[u64],
    length: Duration,
    mut tell: impl FnMut(&Point),
) -> Result<Vec<Point>, Failure> {
    let mut points = Vec::with_capacity(depths.len());
    let mut filled = 0;
    for &depth in depths {
        let client = system.client(LOAD.workers).await?;
        // What is under way counts as queued: one million is the most that our machine takes.
        let wanted = depth.saturating_sub(LOAD.workers as u64);
        let begun = clock::now();
        let missing = wanted.saturating_sub(filled);
        fill(&client, missing).await?;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let fill_per_s = missing as f64 / (clock::now() - begun).as_secs_f64();
        filled = filled.max(wanted);
        let cycles = closed::measure(&client, LOAD, length).await?;
        drop(client);
        let leader = system.leader().await?;
        let leader_mib = resident_mib(system.nodes().pid(leader));
        let log = std::fs::read_to_string(system.nodes().log(leader)).unwrap_or_default();
        system.nodes().leave(leader).await?;
        let stopped = clock::now();
        system.nodes().restart(leader)?;
        // Failed cycles may have taken a few items away.
        system.settled(wanted.saturating_sub(2 * LOAD.workers as u64)).await?;
        let point = Point {
            depth,
            fill_per_s: fill_per_s.round(),
            cycles_per_s: cycles.cycles_per_s,
            cycle_ms: cycles.cycle_ms,
            leader_mib,
            restart_s: ((clock::now() - stopped).as_secs_f64() * 100.0).round() / 100.0,
            snapshot: last_snapshot(&log),
        };
        tell(&point);
        points.push(point);
    }
    Ok(points)
}

async fn fill<C: Client>(client: &C, items: u64) -> Result<(), Failure> {
    let left = Arc::new(AtomicU64::new(items));
    let mut workers = JoinSet::new();
    for _ in 0..FILL_WORKERS {
        let (client, left) = (client.clone(), Arc::clone(&left));
        workers.spawn(async move {
            let take = |left: u64| (left > 0).then(|| left.saturating_sub(FILL_BATCH));
            while let Ok(before) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                let batch = usize::try_from(before.min(FILL_BATCH)).unwrap_or(1);
                until_done(|| client.enqueue(Payload::now(batch))).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|error| Failure::Setup(error.to_string()))??;
    }
    Ok(())
}

fn resident_mib(pid: Option<u32>) -> f64 {
    let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    kib.map_or(0.0, |kib: f64| (kib / 1024.0 * 10.0).round() / 10.0)
}

/// Reads `snapshot written … bytes=… elapsed_ms=…` from an agent's log.
fn last_snapshot(log: &str) -> Option<Snapshot> {
    let line = log.lines().rfind(|line| line.contains("snapshot written"))?;
    let field = |name: &str| {
        let from = line.find(name)? + name.len();
        let text = &line[from..];
        let end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
        Some(text[..end].to_owned())
    };
    let ms = field("elapsed_ms=")?.parse().ok()?;
    Some(Snapshot { ms, bytes: field("bytes=")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_snapshot_is_read_from_the_log() {
        let line =
            |ms| format!("INFO agent: snapshot written index=9 bytes=4096 elapsed_ms={ms}\n");
        let log = [line(3), line(71), "INFO agent: leader\n".to_owned()].concat();
        assert_eq!(last_snapshot(&log), Some(Snapshot { ms: 71.0, bytes: 4_096 }));
        assert_eq!(last_snapshot("INFO agent: snapshot written index=9 bytes=4096\n"), None);
    }

    #[test]
    fn this_process_has_some_memory() {
        assert!(resident_mib(Some(std::process::id())) > 0.0);
        assert!(resident_mib(None).abs() < f64::EPSILON);
    }
}
