//! Load for a running cluster, over the binary stream: full cycles (enqueue, claim, complete), or
//! enqueues at a steady rate.
//!
//! ```text
//! stream_load --addresses 127.0.0.1:8770,127.0.0.1:8771 --in-flight 256 --seconds 10
//! stream_load --addresses 127.0.0.1:8770 --in-flight 8 --batch 256
//! stream_load --addresses 127.0.0.1:8770 --in-flight 1024 --rate 20000
//! ```
//!
//! A rate counts operations: each enqueue, claim and completion is one.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use ringrift_agent::clock::Clock;
use ringrift_wire::stream::client::{PATIENCE_DEFAULT, Settings, StreamClient, StreamError};
use ringrift_wire::stream::message::{Claim, Completion, NewWork};
use tokio::task::JoinSet;

/// Load over the binary stream.
#[derive(Debug, Clone, Parser)]
struct Flags {
    /// HTTP addresses of agents, with commas.
    #[arg(long, value_delimiter = ',', required = true)]
    addresses: Vec<String>,
    /// Cycles at once.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Connections that share them.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Items of one request.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Bytes of one item's payload.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Operations a second, spread evenly; 0 is as fast as it goes.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// The cluster's token.
    #[arg(long)]
    token: Option<String>,
}

/// What all cycles share.
struct Load {
    flags: Flags,
    clock: Clock,
    until: Duration,
    errors: AtomicU64,
}

/// Latencies of the three requests of each cycle, in microseconds.
#[derive(Default)]
struct Seen {
    cycles: u64,
    add: Vec<u64>,
    claim: Vec<u64>,
    complete: Vec<u64>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    runtime.block_on(load(Flags::parse()))
}

async fn load(flags: Flags) -> ExitCode {
    let clock = Clock::start();
    let mut clients = Vec::new();
    for number in 0..flags.connections.max(1) {
        let settings = Settings {
            addresses: flags.addresses.clone(),
            token: flags.token.clone(),
            name: format!("load-{number}"),
            patience: PATIENCE_DEFAULT,
        };
        match StreamClient::new(settings) {
            Ok(client) => clients.push(client),
            Err(error) => return failed(&error),
        }
    }
    let until = Duration::from_secs(flags.seconds);
    let load = Arc::new(Load { flags, clock, until, errors: AtomicU64::new(0) });
    let mut workers = JoinSet::new();
    for number in 0..load.flags.in_flight {
        let Some(client) = clients.get(number % clients.len().max(1)) else { break };
        workers.spawn(cycles(Arc::clone(&load), client.clone(), number));
    }
    let mut all = Seen::default();
    while let Some(seen) = workers.join_next().await {
        let Ok(seen) = seen else { continue };
        all.cycles += seen.cycles;
        all.add.extend(seen.add);
        all.claim.extend(seen.claim);
        all.complete.extend(seen.complete);
    }
    report(&load, all);
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "a program whose product is this line")]
fn report(load: &Load, mut all: Seen) {
    let seconds = load.clock.monotonic().as_secs_f64();
    let cycles = all.cycles as f64 / seconds;
    println!(
        "{cycles:.0} cycles/s ({:.0} operations/s), {} cycles, {} errors",
        3.0 * cycles,
        all.cycles,
        load.errors.load(Ordering::Relaxed)
    );
    let mut every: Vec<u64> = Vec::new();
    for (what, latencies) in
        [("add", &mut all.add), ("claim", &mut all.claim), ("complete", &mut all.complete)]
    {
        every.extend(&*latencies);
        println!("{what:>9} {}", percentiles(latencies));
    }
    println!("{:>9} {}", "all", percentiles(&mut every));
}

fn percentiles(latencies: &mut [u64]) -> String {
    latencies.sort_unstable();
    let at = |share: usize| {
        let last = latencies.len().saturating_sub(1);
        latencies.get(last * share / 1_000).copied().unwrap_or(0) as f64 / 1_000.0
    };
    format!("ms p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2}", at(500), at(990), at(999), at(1_000))
}

#[expect(clippy::print_stderr, reason = "the only place where it can say so")]
fn failed(error: &StreamError) -> ExitCode {
    eprintln!("stream_load: {error}");
    ExitCode::FAILURE
}

async fn cycles(load: Arc<Load>, client: StreamClient, number: usize) -> Seen {
    let mut seen = Seen::default();
    let (in_flight, batch, rate) = (load.flags.in_flight, load.flags.batch, load.flags.rate);
    // One cycle is three operations for each item.
    let period =
        (rate > 0).then(|| Duration::from_secs_f64(3.0 * (in_flight * batch) as f64 / rate as f64));
    let offset = period
        .map_or(Duration::ZERO, |period| period.mul_f64(number as f64 / in_flight.max(1) as f64));
    let mut due = load.clock.monotonic() + offset;
    while load.clock.monotonic() < load.until {
        if let Some(period) = period {
            tokio::time::sleep(due.saturating_sub(load.clock.monotonic())).await;
            due += period;
        }
        match cycle(&load, &client, number, &mut seen).await {
            Ok(items) => seen.cycles += items,
            Err(error) => {
                if load.errors.fetch_add(1, Ordering::Relaxed) == 0 {
                    failed(&error);
                }
            }
        }
    }
    seen
}

async fn cycle(
    load: &Load,
    client: &StreamClient,
    number: usize,
    seen: &mut Seen,
) -> Result<u64, StreamError> {
    let micros = |since: Duration| {
        u64::try_from(load.clock.monotonic().saturating_sub(since).as_micros()).unwrap_or(u64::MAX)
    };
    let filling = "x".repeat(load.flags.bytes.saturating_sub(8));
    let item = NewWork::new("load", format!("{{\"x\":\"{filling}\"}}"));
    let since = load.clock.monotonic();
    client.add(vec![item; load.flags.batch]).await?;
    seen.add.push(micros(since));
    let claim = Claim {
        max_items: u32::try_from(load.flags.batch).unwrap_or(u32::MAX),
        wait_ms: 1_000,
        ..Claim::new(format!("load-{number}"))
    };
    let since = load.clock.monotonic();
    let held = client.claim(claim).await?.value;
    seen.claim.push(micros(since));
    if held.is_empty() {
        return Ok(0);
    }
    let completions = held.iter().map(|item| Completion { hold: item.hold, result: "{}".into() });
    let since = load.clock.monotonic();
    let outcomes = client.complete(completions.collect()).await?.value;
    seen.complete.push(micros(since));
    Ok(outcomes.iter().filter(|outcome| outcome.is_none()).count() as u64)
}
