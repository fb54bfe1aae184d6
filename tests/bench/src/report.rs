//! `queue.json`: what was measured, where and when. A later run replaces the parts that it measured
//! and keeps the others.

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use self::machine::{Machine, utc};
use crate::depth::Point;
use crate::failover::Failover;
use crate::load::closed::Throughput;
use crate::load::open::AtRate;
use crate::load::quantiles::{Distribution, Quantiles};
use crate::system::Failure;

/// Key of the batched figure among those by in-flight.
pub(crate) const BATCHED: &str = "batched";

/// Everything.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// The runs that these figures are of, in their order. No more than parts of systems: a run whose
    /// figures have all been replaced goes.
    pub(crate) runs: Vec<Run>,
    /// Our agents.
    pub(crate) ours: Option<Measured>,
    /// etcd.
    pub(crate) etcd: Option<Measured>,
    /// NATS JetStream.
    pub(crate) nats: Option<Measured>,
    /// RabbitMQ.
    pub(crate) rabbitmq: Option<Measured>,
    /// Our cycles a second divided by the best peer's, by in-flight and batched.
    pub(crate) ratio_to_best_peer: BTreeMap<String, f64>,
}

/// One run of the bench.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its beginning, UTC.
    pub(crate) date: String,
    /// Its command line.
    pub(crate) command: String,
    /// Where it ran.
    pub(crate) machine: Machine,
}

/// What was measured of one system.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Measured {
    /// Its version.
    pub(crate) version: String,
    /// How it was talked to.
    pub(crate) transport: String,
    /// The run that measured each part, by its date.
    pub(crate) measured_at: BTreeMap<String, String>,
    /// Full cycles a second, by in-flight with one item a request, and `batched`.
    pub(crate) cycles_per_s: BTreeMap<String, f64>,
    /// The measurements behind these figures.
    pub(crate) throughput: Vec<Throughput>,
    /// Latency by operations a second.
    pub(crate) latency_ms: BTreeMap<String, AtRate>,
    /// From submit to start.
    pub(crate) submit_to_start_ms: Option<Quantiles>,
    /// Leaders killed.
    pub(crate) failover_ms: Option<Failover>,
    /// Leaders asked to leave: the longest time without a claim.
    pub(crate) leave_ms: Option<Distribution>,
    /// Long queues.
    pub(crate) depth: Vec<Point>,
}

impl Measured {
    /// Takes over throughput figures, and what is said of them in short.
    pub(crate) fn set_throughput(&mut self, throughput: Vec<Throughput>) {
        for new in throughput {
            self.throughput.retain(|old| (old.in_flight, old.batch) != (new.in_flight, new.batch));
            self.throughput.push(new);
        }
        self.throughput.sort_by_key(|it| (it.batch, it.in_flight));
        self.cycles_per_s.clear();
        for it in &self.throughput {
            let key = if it.batch == 1 { it.in_flight.to_string() } else { BATCHED.to_owned() };
            let best = self.cycles_per_s.entry(key).or_default();
            *best = best.max(it.cycles_per_s);
        }
    }
}

impl Report {
    /// The peers, with their keys.
    pub(crate) fn peers(&self) -> [(&'static str, Option<&Measured>); 3] {
        [
            ("etcd", self.etcd.as_ref()),
            ("nats", self.nats.as_ref()),
            ("rabbitmq", self.rabbitmq.as_ref()),
        ]
    }

    /// All systems, ours first.
    pub(crate) fn systems(&self) -> [(&'static str, Option<&Measured>); 4] {
        let [etcd, nats, rabbitmq] = self.peers();
        [("ours", self.ours.as_ref()), etcd, nats, rabbitmq]
    }

    /// One system's place.
    pub(crate) fn place(&mut self, system: &str) -> &mut Measured {
        let place = match system {
            "etcd" => &mut self.etcd,
            "nats" => &mut self.nats,
            "rabbitmq" => &mut self.rabbitmq,
            _ => &mut self.ours,
        };
        place.get_or_insert_default()
    }

    /// The date of the run that measures now.
    pub(crate) fn current(&self) -> String {
        self.runs.last().map(|run| run.date.clone()).unwrap_or_default()
    }

    fn forget_replaced_runs(&mut self) {
        let current = self.current();
        let systems = self.systems().map(|(_, system)| system.map(|system| &system.measured_at));
        let dates = systems.into_iter().flatten().flat_map(BTreeMap::values);
        let dates: BTreeSet<_> = dates.cloned().chain([current]).collect();
        self.runs.retain(|run| dates.contains(&run.date));
    }

    fn compare(&mut self) {
        let mut ratios = BTreeMap::new();
        for (key, ours) in self.ours.iter().flat_map(|ours| &ours.cycles_per_s) {
            let of_peers = self
                .peers()
                .into_iter()
                .filter_map(|(_, peer)| peer.and_then(|peer| peer.cycles_per_s.get(key).copied()));
            let best = of_peers.fold(0.0, f64::max);
            if best > 0.0 {
                ratios.insert(key.clone(), (ours / best * 100.0).round() / 100.0);
            }
        }
        self.ratio_to_best_peer = ratios;
    }

    /// Reads what an earlier run has left; nothing when there was none.
    ///
    /// # Errors
    /// [`Failure::Setup`] when the file is no report.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        match std::fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| Failure::Setup(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::file(format!("read {}", path.display()))(error)),
        }
    }

    /// Writes it. Called after every part, so that a failure later on costs no figure.
    ///
    /// # Errors
    /// [`Failure::File`].
    pub(crate) fn write(&mut self, path: &Path) -> Result<(), Failure> {
        self.compare();
        self.forget_replaced_runs();
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|error| Failure::Setup(error.to_string()))?;
        if let Some(folder) = path.parent() {
            let action = format!("create {}", folder.display());
            std::fs::create_dir_all(folder).map_err(Failure::file(action))?;
        }
        std::fs::write(path, text + "\n")
            .map_err(Failure::file(format!("write {}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throughput(in_flight: usize, batch: usize, cycles_per_s: f64) -> Throughput {
        let cycle_ms = Quantiles::default();
        Throughput { in_flight, batch, seconds: 1.0, cycles_per_s, errors: 0, cycle_ms }
    }

    #[test]
    fn a_later_run_replaces_what_it_measured_and_the_ratio_is_to_the_best_peer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bench/queue.json");
        let mut report = Report::read(&path).unwrap();
        let ours =
            vec![throughput(64, 1, 300.0), throughput(256, 1, 900.0), throughput(16, 64, 5e3)];
        report.place("ours").set_throughput(ours);
        report.place("etcd").set_throughput(vec![throughput(64, 1, 100.0)]);
        report.place("nats").set_throughput(vec![throughput(64, 1, 200.0)]);
        report.write(&path).unwrap();

        let mut report = Report::read(&path).unwrap();
        assert_eq!(report.ratio_to_best_peer, BTreeMap::from([("64".to_owned(), 1.5)]));
        let ours = vec![throughput(64, 1, 600.0), throughput(16, 256, 4e3)];
        report.place("ours").set_throughput(ours);
        report.write(&path).unwrap();
        let report = Report::read(&path).unwrap();
        let expected = [("256", 900.0), ("64", 600.0), (BATCHED, 5e3)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(report.ours.unwrap().cycles_per_s, BTreeMap::from(expected));
        assert_eq!(report.ratio_to_best_peer["64"], 3.0);
    }

    #[test]
    fn a_run_is_named_as_long_as_a_figure_is_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue.json");
        let mut report = Report::default();
        let mut run = |date: &str, parts: &[(&str, &str)]| {
            report.runs.push(Run { date: date.to_owned(), ..Run::default() });
            for (system, part) in parts {
                let measured_at = &mut report.place(system).measured_at;
                measured_at.insert((*part).to_owned(), date.to_owned());
            }
            report.write(&path).unwrap();
            let report = Report::read(&path).unwrap();
            report.runs.into_iter().map(|run| run.date).collect::<Vec<_>>()
        };
        assert_eq!(run("1", &[("ours", "depth"), ("etcd", "depth")]), ["1"]);
        assert_eq!(run("2", &[("ours", "depth")]), ["1", "2"]);
        assert_eq!(run("3", &[]), ["1", "2", "3"], "it measures now");
        assert_eq!(run("4", &[("etcd", "depth")]), ["2", "4"]);
    }
}
