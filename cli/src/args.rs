//! Flags and environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ringrift_wire::pair::Contestant;
use ringrift_wire::work;

use crate::contestant;

/// Submit, watch and cancel work on a RingRift cluster.
#[derive(Debug, Parser)]
#[command(name = "ringrift", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the agents are.
#[derive(Debug, ClapArgs)]
pub(crate) struct Connection {
    /// Addresses of agents; the first that answers serves.
    #[arg(
        long = "agent",
        env = "RINGRIFT_AGENTS",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:8770",
        global = true
    )]
    pub(crate) agents: Vec<String>,
    /// The cluster's token.
    #[arg(long, env = "RINGRIFT_CLUSTER_AUTH_TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// A file that holds the cluster's token.
    #[arg(long, env = "RINGRIFT_CLUSTER_AUTH_TOKEN_FILE", conflicts_with = "token", global = true)]
    pub(crate) token_file: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the cluster: leader, peers, queue.
    Status,
    /// Submit a run from a file, or a command as a Job.
    Submit(Submit),
    /// List runs, newest first.
    Ls(Ls),
    /// Show one run, or one work item (`w42`).
    Get(Id),
    /// Print what a work item's process wrote.
    Logs(WorkId),
    /// Cancel a run, or one work item (`w42`).
    Cancel(Id),
    /// Say why a work item does not run yet.
    Why(WorkId),
    /// Give a dead work item all its attempts again, or those of a queue or work type.
    Redrive(Redrive),
    /// Print what happened to the cluster: deaths of items, ends of runs, lost nodes, and more.
    Events(Events),
    /// List the tenants' queues with their limits and what they hold.
    Queues,
    /// Test a candidate against baselines.
    #[command(subcommand)]
    Gauntlet(Gauntlet),
    /// See and change who takes part in the log; take backups.
    #[command(subcommand)]
    Cluster(Cluster),
}

/// Print what happened to the cluster, with `--json` one object a line.
#[derive(Debug, ClapArgs)]
pub(crate) struct Events {
    /// Go on with what happens from now on, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only events after this number.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(crate) after: u64,
    /// Only events of this kind, such as `run_ended`; repeat for more.
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
}

/// See and change who takes part in the log; take backups.
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// List voters and learners with lag and last contact, and what the leader does about them.
    Members,
    /// Take an agent in: as a voter while there are too few, else as a learner.
    Add(NodeName),
    /// Remove an agent for good; it returns with a fresh data directory only.
    Remove(Remove),
    /// Move leadership to a voter.
    Transfer(NodeName),
    /// Write a snapshot on the agent that is asked, and drop the log before it.
    Snapshot,
    /// Write a consistent copy of everything into a file, from the agent that is asked.
    ///
    /// `ringrift-agent restore --from FILE --data-dir DIR` begins a new cluster from it.
    Backup(Backup),
}

/// An agent.
#[derive(Debug, ClapArgs)]
pub(crate) struct NodeName {
    /// The agent's name.
    pub(crate) node_id: String,
}

/// Remove an agent for good.
#[derive(Debug, ClapArgs)]
pub(crate) struct Remove {
    /// The agent's name.
    pub(crate) node_id: String,
    /// Also when too few of the voters that stay are well: nothing is committed until enough are.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Write a consistent copy of everything into a file.
#[derive(Debug, ClapArgs)]
pub(crate) struct Backup {
    /// The file; it must not exist yet.
    pub(crate) file: PathBuf,
}

/// Submit a run from a file, or a command as a Job.
#[derive(Debug, ClapArgs)]
pub(crate) struct Submit {
    /// YAML or JSON: `spec`, and optionally `run_id` and `queue`, as in `POST /runs`; `-` is
    /// standard input.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "argv",
        conflicts_with = "argv"
    )]
    pub(crate) file: Option<PathBuf>,
    /// The run's id; made from the time when absent.
    #[arg(long)]
    pub(crate) run_id: Option<String>,
    /// The queue of its items, instead of the file's or `default`; it must exist.
    #[arg(long)]
    pub(crate) queue: Option<String>,
    #[command(flatten)]
    pub(crate) resources: Resources,
    /// How many times the command runs; each finds its index in `RINGRIFT_INDEX`.
    #[arg(long, default_value_t = 1, conflicts_with = "file")]
    pub(crate) count: u32,
    /// How many of them at once.
    #[arg(long, default_value_t = 16, conflicts_with = "file")]
    pub(crate) parallelism: u32,
    /// Labels that a node must have, as `key=value`.
    #[arg(long = "label", value_parser = key_value, conflicts_with = "file")]
    pub(crate) labels: Vec<(String, String)>,
    /// Environment of the command, as `KEY=value`.
    #[arg(long = "env", value_parser = key_value, conflicts_with = "file")]
    pub(crate) env: Vec<(String, String)>,
    /// Wait for the end; the exit status says how it ended.
    #[arg(long)]
    pub(crate) wait: bool,
    /// The command, after `--`. No shell is involved.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) argv: Vec<String>,
}

/// What each item of a run reserves on its node, instead of what the file says.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct Resources {
    /// Processors that each of its items reserves, such as `0.5`.
    #[arg(long)]
    pub(crate) cpu: Option<f64>,
    /// Mebibytes of memory that each of its items reserves.
    #[arg(long, value_name = "MIB")]
    pub(crate) memory_mib: Option<u32>,
    /// GPU devices that each of its items reserves: a part of one below 1, or whole ones.
    #[arg(long)]
    pub(crate) gpus: Option<f64>,
    /// Mebibytes of disk that must be free where an item begins.
    #[arg(long, value_name = "MIB")]
    pub(crate) disk_free_mib: Option<u32>,
}

impl Resources {
    /// What was asked for, with what the flags say in its place.
    pub(crate) fn over(self, asked: work::Resources) -> work::Resources {
        let Self { cpu, memory_mib, gpus, disk_free_mib } = self;
        work::Resources {
            cpu: cpu.unwrap_or(asked.cpu),
            memory_mib: memory_mib.unwrap_or(asked.memory_mib),
            gpus: gpus.unwrap_or(asked.gpus),
            disk_free_mib: disk_free_mib.unwrap_or(asked.disk_free_mib),
        }
    }
}

/// List runs, newest first.
#[derive(Debug, ClapArgs)]
pub(crate) struct Ls {
    /// Also those that have ended.
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// A run or a work item.
#[derive(Debug, ClapArgs)]
pub(crate) struct Id {
    /// A run's id, or a work item's (`w42`).
    pub(crate) id: String,
}

/// A work item.
#[derive(Debug, ClapArgs)]
pub(crate) struct WorkId {
    /// A work item's id (`w42`).
    pub(crate) work_id: String,
}

/// Dead work items.
#[derive(Debug, ClapArgs)]
pub(crate) struct Redrive {
    /// A work item's id (`w42`).
    #[arg(required_unless_present_any = ["queue", "work_type"])]
    pub(crate) work_id: Option<String>,
    /// All of this queue, at most a thousand at once.
    #[arg(long, conflicts_with = "work_id")]
    pub(crate) queue: Option<String>,
    /// All of this type, at most a thousand at once.
    #[arg(long, value_name = "TYPE", conflicts_with = "work_id")]
    pub(crate) work_type: Option<String>,
}

/// Test a candidate against baselines.
#[derive(Debug, Subcommand)]
pub(crate) enum Gauntlet {
    /// Submit a gauntlet and watch it to its verdict.
    ///
    /// Exit status: 0 when a verdict was reached from the required number of valid pairs, 4 when the
    /// run failed or was cancelled, 5 when the verdict is not the one of `--expect`.
    Run(Box<GauntletRun>),
}

/// Submit a gauntlet and watch it to its verdict.
#[derive(Debug, ClapArgs)]
pub(crate) struct GauntletRun {
    /// YAML or JSON of a gauntlet's spec; `-` is standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["candidate", "baselines"])]
    pub(crate) file: Option<PathBuf>,
    /// The candidate, as `NAME=COMMAND@nodes=N` (or `@depth=N`, `@movetime=MS`).
    #[arg(long, value_parser = contestant::parse, required_unless_present = "file")]
    pub(crate) candidate: Option<Contestant>,
    /// A baseline, in the same form; repeat for more.
    #[arg(long = "baseline", value_parser = contestant::parse, required_unless_present = "file")]
    pub(crate) baselines: Vec<Contestant>,
    /// Seed of the openings.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// No verdict before so many valid pairs of each match-up.
    #[arg(long)]
    pub(crate) pairs_min: Option<u32>,
    /// Inconclusive after so many pairs of a match-up.
    #[arg(long)]
    pub(crate) pairs_max: Option<u32>,
    /// Lower hypothesis in normalized Elo.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) elo0: Option<i32>,
    /// Upper hypothesis in normalized Elo.
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) elo1: Option<i32>,
    /// The run's id; made from the time when absent. An id that exists is watched, not run again.
    #[arg(long)]
    pub(crate) run_id: Option<String>,
    /// The queue of its pairs; it must exist.
    #[arg(long, default_value = "default")]
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) resources: Resources,
    /// Only submit; do not watch.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Fail with exit status 5 on any other verdict.
    #[arg(long, value_parser = ["promote", "reject", "inconclusive"])]
    pub(crate) expect: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("{text:?} must be KEY=VALUE")),
    }
}

/// Pairs as a map; a key given twice keeps its last value.
pub(crate) fn map(pairs: Vec<(String, String)>) -> BTreeMap<String, String> {
    pairs.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_command_after_two_dashes_is_taken_as_it_is() {
        let args =
            Args::parse_from(["ringrift", "submit", "--count", "3", "--", "sh", "-c", "exit 0"]);
        let Command::Submit(submit) = args.command else { panic!("submit was asked for") };
        assert_eq!(submit.argv, ["sh", "-c", "exit 0"]);
        assert_eq!(submit.count, 3);
    }
}
