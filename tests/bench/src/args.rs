//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// The queue beside etcd, NATS JetStream and RabbitMQ, on one machine, in one run.
///
/// Figures go to a JSON file; what a run does not measure stays as it was there. `make bench`
/// installs what this needs.
#[derive(Debug, Clone, Parser)]
#[command(name = "ringrift-bench")]
pub(crate) struct Args {
    /// Systems to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ours,etcd,nats,rabbitmq")]
    pub(crate) only: Vec<Which>,
    /// Parts to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "throughput,latency,failover,depth"
    )]
    pub(crate) part: Vec<Part>,
    /// Seconds of each measurement
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,
    /// Workers of the throughput measurements with one item a request
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "64,256,1024")]
    pub(crate) in_flight: Vec<usize>,
    /// Items a request of the batched ones, at most 256
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "64,256")]
    pub(crate) batch: Vec<usize>,
    /// Workers of the batched ones
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) batch_workers: usize,
    /// Operations a second of the latency measurements
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "3000,20000")]
    pub(crate) rate: Vec<u32>,
    /// Leaders of ours to kill
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) kills: usize,
    /// Leaders of each peer to kill
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) peer_kills: usize,
    /// Leaders of ours to ask to leave
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) leaves: usize,
    /// Lengths of the queue
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1000,10000,100000,1000000"
    )]
    pub(crate) depth: Vec<u64>,
    /// The longest queue of a peer
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub(crate) peer_depth_max: u64,
    /// How our agents are talked to
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: Way,
    /// Profile of our agents' timers
    #[arg(long, value_name = "PROFILE", default_value = "fast")]
    pub(crate) timing: String,
    /// Where the figures go
    #[arg(long, value_name = "PATH", default_value = "target/bench/queue.json")]
    pub(crate) out: PathBuf,
    /// Where the systems keep their data while they run: a folder on the disk that is to be measured
    /// [default: beside the figures]
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// Folder of our built programs [default: that of this program]
    #[arg(long, value_name = "PATH", env = "RINGRIFT_BIN_DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// Folder of etcd and nats-server, as tests/bench/build-peers prints it
    #[arg(long, value_name = "PATH", env = "RINGRIFT_PEERS_DIR")]
    pub(crate) peers_dir: Option<PathBuf>,
    /// Measure nothing: write benchmarks.md and its plots into this folder from the figures
    #[arg(long, value_name = "FOLDER")]
    pub(crate) docs: Option<PathBuf>,
}

/// A system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Our agents.
    Ours,
    /// etcd.
    Etcd,
    /// NATS JetStream.
    Nats,
    /// RabbitMQ.
    Rabbitmq,
}

/// A part of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Full cycles a second.
    Throughput,
    /// Latency at fixed rates, and from submit to start.
    Latency,
    /// Leaders that die or leave.
    Failover,
    /// Long queues.
    Depth,
}

impl Part {
    /// Its key in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Failover => "failover",
            Self::Depth => "depth",
        }
    }
}

/// An interface of our agents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// HTTP/1.1 with JSON.
    Http,
    /// The binary stream.
    #[default]
    Stream,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_fit_together() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
        let args = Args::parse_from(["ringrift-bench", "--only", "ours,etcd", "--part", "latency"]);
        assert_eq!(args.only, [Which::Ours, Which::Etcd]);
        assert_eq!(args.part, [Part::Latency]);
    }
}
