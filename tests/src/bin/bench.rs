//! `make bench`: three agents as processes of their own, with real sockets and fsync, under load.
//!
//! A cycle is one item enqueued, claimed, started and completed, each by a request of its own. The
//! figures go to standard output and to `target/bench/queue.json`. A measurement, never a test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use ringrift_tests::agents::{Binaries, Cluster};
use ringrift_wire::client::Client;
use ringrift_wire::work;
use serde::Serialize;

/// How long three agents may take to agree on a leader.
const AGREE_LIMIT: Duration = Duration::from_secs(60);
/// Payload of an item in bytes.
const PAYLOAD_BYTES: usize = 256;
/// A request that takes longer has failed.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Three agents under load.
#[derive(Debug, Parser)]
struct Args {
    /// Clients at once, one measurement each.
    #[arg(long, value_delimiter = ',', default_value = "64,256")]
    in_flight: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Where the figures go.
    #[arg(long, default_value = "target/bench/queue.json")]
    out: PathBuf,
    /// Folder of the built programs; the one of this program when absent.
    #[arg(long, env = "RINGRIFT_BIN_DIR")]
    bin_dir: Option<PathBuf>,
}

/// What one measurement brought.
#[derive(Debug, Serialize)]
struct Figures {
    cycles_per_s: f64,
    cycles: usize,
    errors: usize,
    latency_ms: BTreeMap<&'static str, f64>,
}

/// The whole report.
#[derive(Debug, Default, Serialize)]
struct Report {
    ours: BTreeMap<usize, Figures>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    match bench(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(&format!("bench failed: {problem}"));
            ExitCode::FAILURE
        }
    }
}

async fn bench(args: Args) -> Result<(), String> {
    let binaries = Binaries::locate(args.bin_dir).map_err(|error| error.to_string())?;
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut cluster = Cluster::start(binaries, dir.path(), 3, 0).map_err(|e| e.to_string())?;
    cluster.wait_until_agreed(3, AGREE_LIMIT).await.map_err(|error| error.to_string())?;
    let leader = cluster.leader().await.map_err(|e| e.to_string())?.ok_or("no leader")?;
    let address = cluster.agents[leader].http.clone();
    let mut report = Report::default();
    for &in_flight in &args.in_flight {
        let figures = measure(&address, in_flight, Duration::from_secs(args.seconds)).await?;
        say(&format!(
            "{in_flight:>5} in flight: {:>8.0} cycles/s  p50 {:.1} ms  p99 {:.1} ms  {} errors",
            figures.cycles_per_s,
            figures.latency_ms["p50"],
            figures.latency_ms["p99"],
            figures.errors
        ));
        report.ours.insert(in_flight, figures);
    }
    cluster.stop().await;
    let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
    let folder = args.out.parent().map(PathBuf::from).unwrap_or_default();
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&args.out, text))
        .map_err(|error| format!("cannot write {}: {error}", args.out.display()))
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
async fn measure(address: &str, in_flight: usize, length: Duration) -> Result<Figures, String> {
    let client =
        Client::new(&[address.to_owned()], None, CALL_TIMEOUT).map_err(|e| e.to_string())?;
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|number| tokio::spawn(cycles(client.clone(), format!("c{number}"), Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for task in tasks {
        let (taken, failed) = task.await.map_err(|error| error.to_string())?;
        latencies.extend(taken);
        errors += failed;
    }
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    let at = |per_mille: usize| {
        let last = latencies.len().saturating_sub(1);
        latencies.get(last * per_mille / 1_000).copied().unwrap_or(0.0)
    };
    let cycles = latencies.len();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let cycles_per_s = cycles as f64 / seconds;
    let latency_ms = BTreeMap::from([("p50", at(500)), ("p99", at(990)), ("p999", at(999))]);
    Ok(Figures { cycles_per_s, cycles, errors, latency_ms })
}

/// One client: whole cycles until it is stopped. Answers their latencies in milliseconds, and the
/// number of failed ones.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
async fn cycles(client: Client, node_id: String, stop: Arc<AtomicBool>) -> (Vec<f64>, usize) {
    let (mut latencies, mut errors) = (Vec::new(), 0);
    let add = work::Add {
        work_type: node_id.clone(),
        config: serde_json::json!({ "payload": "x".repeat(PAYLOAD_BYTES) }),
        ..work::Add::default()
    };
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match cycle(&client, &node_id, &add).await {
            Ok(()) => latencies.push(begun.elapsed().as_secs_f64() * 1_000.0),
            Err(_failed) => errors += 1,
        }
    }
    (latencies, errors)
}

async fn cycle(client: &Client, node_id: &str, add: &work::Add) -> Result<(), String> {
    let text = |error: ringrift_wire::client::ClientError| error.to_string();
    let _added: work::Added = client.post("/work/add", add).await.map_err(text)?;
    let claim = work::Claim {
        node_id: node_id.to_owned(),
        capabilities: std::collections::BTreeSet::new(),
        labels: BTreeMap::new(),
        work_types: std::collections::BTreeSet::from([node_id.to_owned()]),
        max_items: 1,
        lease_seconds: 30.0,
        wait_seconds: 5.0,
    };
    let claimed = client.claim(&claim).await.map_err(text)?;
    let item = claimed.work.ok_or("nothing was claimed")?;
    let token = item.token.ok_or("the claim has no token")?;
    let start = work::Start { work_id: item.work_id.clone(), token: token.clone() };
    let _started: work::Changed = client.post("/work/start", &start).await.map_err(text)?;
    let complete = work::Complete {
        work_id: item.work_id,
        token,
        result: serde_json::Value::Object(serde_json::Map::new()),
        then: Vec::new(),
    };
    let _completed: work::Changed = client.post("/work/complete", &complete).await.map_err(text)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the measurement speaks to a person")]
fn say(text: &str) {
    println!("{text}");
}
