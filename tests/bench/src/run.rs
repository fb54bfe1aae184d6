//! The order of a bench: each part of each system on a cluster of its own, one after the other, so
//! that none takes processor or disk from another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::args::{Args, Part, Way, Which};
use crate::load::worker::Shape;
use crate::load::{closed, open, start};
use crate::report::{Machine, Report, Run, utc};
use crate::system::etcd::Etcd;
use crate::system::nats::Nats;
use crate::system::ours::{Agents, Http, Stream};
use crate::system::rabbitmq::RabbitMq;
use crate::system::{Failure, Setup, System};
use crate::{depth, failover, page, say};

/// Items of one request at most: that of our own claims.
const BATCH_MAX: usize = 256;
/// Submissions are watched for so long at most: 12,000 of them say what there is to say, and who measures
/// for an hour means the load.
const STARTS_MAX: Duration = Duration::from_secs(60);

/// Measures what was asked for, or writes the page.
pub(crate) async fn bench(args: Args) -> Result<(), Failure> {
    let mut report = Report::read(&args.out)?;
    if let Some(folder) = &args.docs {
        return page::write(&report, folder);
    }
    if args.batch.iter().any(|batch| !(2..=BATCH_MAX).contains(batch)) {
        return Err(Failure::Setup(format!("--batch takes 2 to {BATCH_MAX} items a request")));
    }
    let beside = args.out.parent().map(Path::to_path_buf).unwrap_or_default();
    let data = args.data.clone().unwrap_or(beside);
    std::fs::create_dir_all(&data).map_err(Failure::file(format!("create {}", data.display())))?;
    let machine = Machine::look(&data)?;
    say(&format!("{machine:?}"));
    report.runs.push(Run { date: utc(), command: command(), machine });
    for which in &args.only {
        let bench = Bench { args: &args, data: &data };
        match which {
            Which::Ours => match args.transport {
                Way::Http => bench.measure::<Agents<Http>>(&mut report).await?,
                Way::Stream => bench.measure::<Agents<Stream>>(&mut report).await?,
            },
            Which::Etcd => bench.measure::<Etcd>(&mut report).await?,
            Which::Nats => bench.measure::<Nats>(&mut report).await?,
            Which::Rabbitmq => bench.measure::<RabbitMq>(&mut report).await?,
        }
    }
    for (in_flight, ratio) in &report.ratio_to_best_peer {
        say(&format!("ours to the best peer, {in_flight}: {ratio}"));
    }
    say(&format!("figures: {}", args.out.display()));
    Ok(())
}

/// This run's command line; where the program lies means nothing to others.
fn command() -> String {
    let program = env!("CARGO_BIN_NAME").to_owned();
    std::iter::once(program).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}

struct Bench<'a> {
    args: &'a Args,
    data: &'a Path,
}

impl Bench<'_> {
    async fn measure<S: System>(&self, report: &mut Report) -> Result<(), Failure> {
        for &part in &self.args.part {
            // The folder is removed when the part has ended.
            let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(self.data);
            let dir = dir.map_err(Failure::file(format!("write to {}", self.data.display())))?;
            let peers_dir = match S::NAME {
                "etcd" | "nats" => self.args.peers_dir.clone().ok_or_else(|| {
                    let what = "--peers-dir is missing; `make bench` builds the peers and names it";
                    Failure::Setup(what.to_owned())
                })?,
                _ => PathBuf::new(),
            };
            let setup = Setup {
                dir: absolute(dir.path())?,
                bin_dir: self.args.bin_dir.clone(),
                peers_dir,
                timing: self.args.timing.clone(),
            };
            let mut system = S::start(&setup).await?;
            say(&format!(
                "{}: {} over {}: {}",
                S::NAME,
                system.version(),
                system.transport(),
                part.name()
            ));
            let place = report.place(S::NAME);
            place.version = system.version();
            place.transport = system.transport();
            match part {
                Part::Throughput => self.throughput(&system, report).await?,
                Part::Latency => self.latency(&system, report).await?,
                Part::Failover => self.failover(&mut system, report).await?,
                Part::Depth => self.depth(&mut system, report).await?,
            }
            let run = report.current();
            report.place(S::NAME).measured_at.insert(part.name().to_owned(), run);
            report.write(&self.args.out)?;
            system.stop().await?;
        }
        Ok(())
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.args.seconds)
    }

    fn is_ours<S: System>() -> bool {
        S::NAME == "ours"
    }

    async fn throughput<S: System>(&self, system: &S, report: &mut Report) -> Result<(), Failure> {
        let one = self.args.in_flight.iter().map(|&workers| Shape { workers, batch: 1 });
        let workers = self.args.batch_workers;
        let many = self.args.batch.iter().map(|&batch| Shape { workers, batch });
        let mut figures = Vec::new();
        for shape in one.chain(many) {
            let client = system.client(shape.workers * shape.batch).await?;
            let figure = closed::measure(&client, shape, self.length()).await?;
            say(&format!(
                "  {:>5} in flight, {:>3} a request: {:>9.0} cycles/s  p50 {:>7.1} ms  p99 {:>7.1} ms  {} errors",
                figure.in_flight,
                figure.batch,
                figure.cycles_per_s,
                figure.cycle_ms.p50,
                figure.cycle_ms.p99,
                figure.errors
            ));
            figures.push(figure);
        }
        report.place(S::NAME).set_throughput(figures);
        Ok(())
    }

    async fn latency<S: System>(&self, system: &S, report: &mut Report) -> Result<(), Failure> {
        let client = system.client(start::WORKERS).await?;
        let waits = start::measure(&client, self.length().min(STARTS_MAX)).await?;
        say(&format!("  submit to start: p50 {} ms, p99 {} ms", waits.p50, waits.p99));
        drop(client);
        let place = report.place(S::NAME);
        place.submit_to_start_ms = Some(waits);
        for &rate in &self.args.rate {
            let client = system.client(open::OUTSTANDING_MAX).await?;
            let term = system.term().await?;
            let mut figure = open::measure(&client, rate, self.length()).await?;
            let begun = term.zip(system.term().await?);
            figure.elections = begun.map(|(before, after)| after.saturating_sub(before));
            let elections =
                figure.elections.map_or(String::new(), |it| format!(", {it} elections"));
            say(&format!(
                "  {rate} operations/s ({}, {:.0} achieved): p50 {} ms, p99 {} ms, p99.9 {} ms, {} \
                 errors{elections}",
                if figure.sustained { "sustained" } else { "not sustained" },
                figure.achieved,
                figure.all.p50,
                figure.all.p99,
                figure.all.p999,
                figure.errors
            ));
            place.latency_ms.insert(rate.to_string(), figure);
        }
        Ok(())
    }

    async fn failover<S: System>(
        &self,
        system: &mut S,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let ours = Self::is_ours::<S>();
        let times = if ours { self.args.kills } else { self.args.peer_kills };
        let place = report.place(S::NAME);
        if times > 0 {
            let tell = |time, took| say(&format!("  kill {time}: {took:.1?}"));
            let failover = failover::kills(system, times, tell).await?;
            let fresh = &failover.fresh;
            say(&format!(
                "  {} kills: p50 {} ms, p99 {} ms, longest {} ms, {} did not come back",
                fresh.count, fresh.p50, fresh.p99, fresh.max, failover.not_recovered
            ));
            place.failover_ms = Some(failover);
        }
        if ours && self.args.leaves > 0 {
            let tell = |time, gap| say(&format!("  leave {time}: {gap:.1?}"));
            let leaves = failover::leaves(system, self.args.leaves, tell).await?;
            say(&format!(
                "  {} leaves: p50 {} ms, p99 {} ms",
                leaves.count, leaves.p50, leaves.p99
            ));
            place.leave_ms = Some(leaves);
        }
        Ok(())
    }

    async fn depth<S: System>(&self, system: &mut S, report: &mut Report) -> Result<(), Failure> {
        let most = if Self::is_ours::<S>() { u64::MAX } else { self.args.peer_depth_max };
        let mut depths: Vec<_> =
            self.args.depth.iter().copied().filter(|depth| *depth <= most).collect();
        depths.sort_unstable();
        let tell = |point: &depth::Point| {
            say(&format!(
                "  {:>8} queued: {:>7.0} cycles/s  p99 {} ms  leader {} MiB  restart {} s",
                point.depth,
                point.cycles_per_s,
                point.cycle_ms.p99,
                point.leader_mib,
                point.restart_s
            ));
        };
        report.place(S::NAME).depth = depth::measure(system, &depths, self.length(), tell).await?;
        Ok(())
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(Failure::file(format!("find {}", path.display())))
}
