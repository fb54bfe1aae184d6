//! `make demo`: three agents, a gauntlet of real engines, the leader killed half way, the verdict.
//!
//! Exit status 0 only when the verdict came from the required number of valid pairs, each counted
//! once, and the leader was killed on the way.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ringrift_tests::agents::{Binaries, Cluster};
use ringrift_tests::evidence::{self, Evidence};
use ringrift_wire::client::Client;
use ringrift_wire::run::{LedgerPage, RunStatus};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// The run's id.
const RUN: &str = "demo";
/// Agents of the demo, all of them voters.
const AGENTS: usize = 3;
/// Pairs that each match-up needs before its verdict counts.
const PAIRS_MIN: u32 = 30;
/// Pairs after which a match-up is inconclusive.
const PAIRS_MAX: u32 = 120;
/// How long three agents may take to agree on a leader.
const AGREE_LIMIT: Duration = Duration::from_secs(60);
/// How often the demo looks whether it is time for the kill.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Three agents, a gauntlet of real engines, the leader killed half way, the verdict.
#[derive(Debug, Parser)]
struct Args {
    /// The engine: Debian's Stockfish, or the small one of `match/`.
    #[arg(long, env = "DEMO_ENGINE", value_enum, default_value = "stockfish")]
    engine: Engine,
    /// Leave the leader alone.
    #[arg(long)]
    no_kill: bool,
    /// Seed of the openings.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder of the built programs; the one of this program when absent.
    #[arg(long, env = "RINGRIFT_BIN_DIR")]
    bin_dir: Option<PathBuf>,
}

/// The engines to choose from.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Engine {
    /// Debian's package `stockfish`.
    Stockfish,
    /// The small engine of `match/`.
    Own,
}

impl Engine {
    /// The command, and the nodes a move of the candidate and of the two baselines.
    fn contestants(self) -> Result<(String, [u32; 3]), String> {
        match self {
            Self::Own => Ok(("own".to_owned(), [1_000, 500, 250])),
            Self::Stockfish => {
                let places =
                    ["/usr/games/stockfish", "/usr/bin/stockfish", "/usr/local/bin/stockfish"];
                let found = places.into_iter().find(|place| Path::new(place).is_file());
                let missing = "stockfish is not installed: run `make demo`, which installs it, or \
                               `apt-get install stockfish`, or set DEMO_ENGINE=own";
                Ok((found.ok_or(missing)?.to_owned(), [1_000, 500, 200]))
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Stockfish => "stockfish",
            Self::Own => "own",
        }
    }
}

/// Who was killed, and when.
struct Kill {
    node_id: String,
    pid: u32,
    pairs_done: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        say("cannot listen for signals");
        return ExitCode::FAILURE;
    };
    // Dropping the demo's future ends every process that it started.
    tokio::select! {
        ended = demo(args) => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                say(&format!("demo failed: {problem}"));
                ExitCode::FAILURE
            }
        },
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::from(143),
    }
}

async fn demo(args: Args) -> Result<(), String> {
    let binaries = Binaries::locate(args.bin_dir.clone()).map_err(|error| error.to_string())?;
    let (command, nodes) = args.engine.contestants()?;
    let dir = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut cluster = Cluster::start(binaries, dir.path(), AGENTS, 1).map_err(|e| e.to_string())?;
    let leader = cluster
        .wait_until_agreed(AGENTS, AGREE_LIMIT)
        .await
        .map_err(|error| format!("{error}\n{}", last_words(&cluster)))?;
    for agent in &cluster.agents {
        let part = if agent.node_id == leader { "  leader" } else { "" };
        let pid = agent.pid().unwrap_or_default();
        say(&format!("{}  http://{}  pid {pid}{part}", agent.node_id, agent.http));
    }
    say(&format!(
        "{} at {} nodes a move against {} and {}; a pair is one opening with sides swapped\n",
        args.engine.name(),
        nodes[0],
        nodes[1],
        nodes[2],
    ));
    let mut view = start_view(&cluster, args.engine, &command, nodes, args.seed)?;
    let client = cluster.client().map_err(|error| error.to_string())?;
    let kill =
        if args.no_kill { None } else { kill_half_way(&mut cluster, &client, &mut view).await? };
    let ended = view.wait().await.map_err(|error| format!("the view was lost: {error}"))?;
    let status = client.run(RUN).await.map_err(|error| error.to_string())?;
    let ledger: LedgerPage =
        client.get(&format!("/runs/{RUN}/ledger")).await.map_err(|error| error.to_string())?;
    let evidence = evidence::examine(&status, &ledger, PAIRS_MIN);
    let unstopped = cluster.stop().await;
    conclude(&args, &status, &evidence, kill.as_ref(), ended.success(), &unstopped)
}

/// The progress view: the CLI in the foreground, as a user would see it.
fn start_view(
    cluster: &Cluster,
    engine: Engine,
    command: &str,
    nodes: [u32; 3],
    seed: u64,
) -> Result<Child, String> {
    let contestant = |nodes: u32| format!("{}-{nodes}={command}@nodes={nodes}", engine.name());
    Command::new(cluster.binaries.cli())
        .args(["--agent", &cluster.addresses().join(","), "gauntlet", "run", "--run-id", RUN])
        .args(["--candidate", &contestant(nodes[0])])
        .args(["--baseline", &contestant(nodes[1]), "--baseline", &contestant(nodes[2])])
        .args(["--pairs-min", &PAIRS_MIN.to_string(), "--pairs-max", &PAIRS_MAX.to_string()])
        .args(["--elo0", "0", "--elo1", "60", "--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", cluster.binaries.cli().display()))
}

/// Kills the leader once half of the pairs that the verdict needs at least are played. Nothing when
/// the view ended before.
async fn kill_half_way(
    cluster: &mut Cluster,
    client: &Client,
    view: &mut Child,
) -> Result<Option<Kill>, String> {
    let half = u64::from(PAIRS_MIN);
    loop {
        if view.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Ok(None);
        }
        let done = client.run(RUN).await.map_or(0, |status| status.done);
        if done >= half
            && let Some(at) = cluster.leader().await.map_err(|error| error.to_string())?
        {
            let agent = &mut cluster.agents[at];
            let pid = agent.pid().unwrap_or_default();
            agent.kill().await;
            return Ok(Some(Kill { node_id: agent.node_id.clone(), pid, pairs_done: done }));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn conclude(
    args: &Args,
    status: &RunStatus,
    evidence: &Evidence,
    kill: Option<&Kill>,
    view_ended_well: bool,
    unstopped: &[String],
) -> Result<(), String> {
    say("");
    let mut faults = evidence.faults.clone();
    match kill {
        Some(kill) => say(&format!(
            "killed    {} (the leader, pid {}) with SIGKILL after {} pairs; the others went on",
            kill.node_id, kill.pid, kill.pairs_done
        )),
        None if args.no_kill => say("killed    nobody, as asked"),
        None => faults.push("the run ended before the leader could be killed".to_owned()),
    }
    say(&format!(
        "evidence  {} pairs rest in the verdict, {} in the ledger, each once; {} failed; digest {:016x}",
        evidence.pairs_used, evidence.pairs_done, status.failed, evidence.digest
    ));
    if !view_ended_well {
        faults.push("the progress view ended with an error".to_owned());
    }
    if !unstopped.is_empty() {
        faults.push(format!("{} did not stop when asked", unstopped.join(", ")));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join("; "))
}

/// The last lines of every agent's log: what a person needs when the cluster does not come up.
fn last_words(cluster: &Cluster) -> String {
    let mut words = String::new();
    for agent in &cluster.agents {
        let log = std::fs::read_to_string(&agent.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        for line in tail.into_iter().rev() {
            words.push_str(&format!("{}: {line}\n", agent.node_id));
        }
    }
    words
}

#[expect(clippy::print_stdout, reason = "the demo speaks to a person")]
fn say(text: &str) {
    println!("{text}");
}
