//! The agent's metrics: one struct, registered once. Labels are bounded: routes, words of enums.

use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use ringrift_core::machine::Counts;
use ringrift_core::queue::command::Refusal;
use ringrift_core::queue::waits::Waits;
use ringrift_telemetry::metrics::{Histogram, Histograms, Metrics as Registry, MetricsError};

use crate::consensus::{Committed, ProposeError, Role, standstill};
use crate::http::raft::type_label;
use crate::http::status::held_by;
use crate::http::{App, VERSION, queue, swim};

/// Counters are raised where things happen; gauges are set when somebody asks.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    proposals: IntCounterVec,
    refusals: IntCounterVec,
    uptime: Gauge,
    items: IntGaugeVec,
    runs_active: IntGauge,
    local_jobs: IntGauge,
    members: IntGaugeVec,
    raft: GaugeVec,
    is_leader: IntGauge,
    disks: Disks,
    waiting_claims: IntGauge,
    waits: Histograms,
    streams: IntGauge,
    clock_jumps: IntCounterVec,
    standstill: Gauge,
    pending: IntGaugeVec,
}

impl Metrics {
    /// # Errors
    /// When a name is used twice: a fault of this file.
    pub(crate) fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new("ringrift-agent", VERSION)?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registry.register(name, |name| IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauges = |name: &str, help: &str, label: &str| {
            registry.register(name, |name| IntGaugeVec::new(Opts::new(name, help), &[label]))
        };
        let gauge =
            |name: &str, help: &str| registry.register(name, |name| IntGauge::new(name, help));
        Ok(Self {
            requests: counters(
                "ringrift_http_requests_total",
                "HTTP requests by route and status class.",
                &["route", "class"],
            )?,
            proposals: counters(
                "ringrift_proposals_total",
                "Commands proposed through this agent, by outcome.",
                &["outcome"],
            )?,
            refusals: counters(
                "ringrift_refusals_total",
                "Commands that the machine refused, by reason.",
                &["reason"],
            )?,
            uptime: registry.register("ringrift_uptime_seconds", |name| {
                Gauge::new(name, "Time since the agent started.")
            })?,
            items: gauges(
                "ringrift_work_items",
                "Work items by status, on this replica.",
                "status",
            )?,
            runs_active: gauge("ringrift_runs_active", "Runs that have not ended.")?,
            local_jobs: gauge("ringrift_local_jobs", "Work items that this agent holds.")?,
            members: gauges(
                "ringrift_swim_members",
                "Members by state, this one included.",
                "state",
            )?,
            raft: registry.register("ringrift_raft_position", |name| {
                let help = "Places in the log: current term, last log index, applied index.";
                GaugeVec::new(Opts::new(name, help), &["of"])
            })?,
            is_leader: gauge("ringrift_is_leader", "1 when this agent leads.")?,
            disks: Disks::new(&registry)?,
            waiting_claims: gauge("ringrift_waiting_claims", "Claims that wait for work here.")?,
            waits: registry.register("ringrift_work_wait_seconds", |name| {
                let help = "Time from when an item could be claimed until it first was.";
                Histograms::new(name, help, "work_type")
            })?,
            streams: gauge("ringrift_streams", "Binary streams that are open here.")?,
            clock_jumps: counters(
                "ringrift_clock_jumps_total",
                "Jumps of the wall clock by more than half a second, seen while this agent leads.",
                &["direction"],
            )?,
            standstill: registry.register("ringrift_standstill_seconds", |name| {
                let help = "Time for which this process was stopped or got no processor.";
                Gauge::new(name, help)
            })?,
            pending: gauges(
                "ringrift_work_pending",
                "Items that wait, on the leader, by the first reason that holds for all that are \
                 alike: work type, queue and needs. Those that nothing holds up are in_line, kinds \
                 beyond the first 64 are unexamined.",
                "reason",
            )?,
            registry,
        })
    }

    pub(crate) fn count_request(&self, route: &str, status: u16) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _server_fault => "5xx",
        };
        self.requests.with_label_values(&[route, class]).inc();
    }

    pub(crate) fn count_proposal(&self, outcome: &Result<Committed, ProposeError>) {
        let word = match outcome {
            Ok(_) => "committed",
            Err(ProposeError::NotLeader { .. }) => "not_leader",
            Err(ProposeError::Timeout) => "timeout",
            Err(ProposeError::Overloaded { .. }) => "overloaded",
            Err(ProposeError::TooLarge { .. }) => "too_large",
            Err(ProposeError::Stopped { .. }) => "stopped",
        };
        self.proposals.with_label_values(&[word]).inc();
        let replies = outcome.iter().flat_map(|committed| &committed.replies);
        for refusal in replies.filter_map(|reply| reply.as_ref().err()) {
            self.refusals.with_label_values(&[reason(refusal)]).inc();
        }
    }

    /// Sets the gauges and writes everything in Prometheus' text form.
    ///
    /// # Errors
    /// When a metric is inconsistent.
    pub(crate) fn scrape(&self, app: &App) -> Result<String, MetricsError> {
        self.uptime.set(app.clock.monotonic().as_secs_f64());
        self.waiting_claims.set(as_gauge(app.claims.waiting() as u64));
        self.streams.set(as_gauge(app.streams.open() as u64));
        let summary = swim::summary(&app.gossip.members());
        for (state, count) in
            [("alive", summary.alive), ("suspected", summary.suspected), ("failed", summary.failed)]
        {
            self.members.with_label_values(&[state]).set(i64::from(count));
        }
        if let Some(consensus) = &app.consensus {
            let (ahead, back) = consensus.take_clock_jumps();
            for (direction, jumps) in [("ahead", ahead), ("back", back)] {
                self.clock_jumps.with_label_values(&[direction]).inc_by(jumps);
            }
            self.standstill.set(standstill().as_secs_f64());
            let status = consensus.status();
            let is_leader = consensus.leadership().borrow().is_leader;
            self.is_leader.set(i64::from(is_leader));
            self.disks.low.set(as_gauge(consensus.low_disks().len() as u64));
            self.disks.refuses.set(i64::from(is_leader && consensus.admit().is_err()));
            for (of, place) in [
                ("term", status.term),
                ("last_log_index", status.last_log_index),
                ("applied_index", status.applied.index),
            ] {
                self.raft.with_label_values(&[of]).set(place as f64);
            }
            let (counts, active, held): (Counts, usize, u64) = consensus.read(|machine| {
                let active = machine.active_runs().count();
                (machine.counts(), active, held_by(machine, &app.node_id))
            });
            for (status, count) in queue::by_status(counts) {
                self.items.with_label_values(&[status.as_str()]).set(as_gauge(count));
            }
            self.waits.set(consensus.read(|machine| machine.waits().map(of_waits).collect()));
            self.runs_active.set(as_gauge(active as u64));
            // A follower does not hear of those who claim.
            self.pending.reset();
            if status.role == Role::Leader {
                let now = app.clock.monotonic();
                let pending = consensus.read(|machine| {
                    let claimers = app.claims.known.all(machine, now);
                    machine.explain(&claimers).counts()
                });
                for (reason, count) in pending {
                    self.pending.with_label_values(&[reason]).set(as_gauge(count));
                }
            }
            self.local_jobs.set(as_gauge(held));
        }
        self.registry.encode()
    }
}

/// How full the disks of the voters are.
#[derive(Debug, Clone)]
struct Disks {
    low: IntGauge,
    refuses: IntGauge,
}

impl Disks {
    fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let gauge =
            |name: &str, help: &str| registry.register(name, |name| IntGauge::new(name, help));
        Ok(Self {
            low: gauge(
                "ringrift_low_disks",
                "Voters whose disk is nearly full, on the leader; on others 1 when their own is.",
            )?,
            refuses: gauge(
                "ringrift_refuses_new_work",
                "1 while this agent leads and takes no new work for want of room on disks.",
            )?,
        })
    }
}

/// What stands in the metric for the waits of one work type.
fn of_waits((work_type, waits): (&str, &Waits)) -> Histogram {
    let mut buckets: Vec<(f64, u64)> =
        waits.cumulative().map(|(bound, sum)| (bound.0 as f64 / 1_000.0, sum)).collect();
    // The last bound is beyond all, as the text form says by itself.
    buckets.pop();
    let sum = waits.total().0 as f64 / 1_000.0;
    Histogram { label: type_label(work_type), buckets, sum, count: waits.len() }
}

fn as_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownWork(_) => "work_unknown",
        Refusal::UnknownQueue(_) => "queue_unknown",
        Refusal::QueueInUse { .. } => "queue_in_use",
        Refusal::QueueFull { .. } => "queue_full",
        Refusal::UnknownSession(_) => "session_unknown",
        Refusal::SessionStale { .. } => "session_stale",
        Refusal::SessionFull { .. } => "session_full",
        Refusal::TooManySessions(_) => "too_many_sessions",
        Refusal::Fenced { .. } => "fenced",
        Refusal::Ended { .. } => "work_ended",
        Refusal::Full { .. } => "full",
        Refusal::TooHeavy { .. } => "too_heavy",
        Refusal::TooManyKinds { .. } => "too_many_kinds",
        Refusal::KeyConflict { .. } => "key_conflict",
        Refusal::Invalid { .. } => "invalid",
        Refusal::LockHeld { .. } => "lock_held",
        Refusal::LockCrowded { .. } => "lock_crowded",
        Refusal::LockNotHeld { .. } => "lock_not_held",
        Refusal::UnknownRun(_) => "run_unknown",
        Refusal::RunConflict(_) => "run_conflict",
        Refusal::StaleRun { .. } => "run_stale",
        Refusal::RunEnded(_) => "run_ended",
        Refusal::TooManyRuns(_) => "too_many_runs",
    }
}
