//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Real agents under faults and load, and a check of everything that their clients saw.
///
/// Three and then five agents in network namespaces on small disks, killed, paused, cut off, slowed
/// down and filled up, by a schedule that a seed draws. Exit status 0 only when nothing was lost,
/// nothing happened twice, one order explains every answer, and everything came back in the end. Needs
/// root; `make chaos` installs what else it needs.
#[derive(Debug, Clone, Parser)]
#[command(name = "ringrift-chaos")]
pub(crate) struct Args {
    /// Sizes of the clusters, one run each
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "3,5",
          value_parser = clap::value_parser!(u8).range(3..=9))]
    pub(crate) agents: Vec<u8>,
    /// Voters that the agents are told to have [default: all agents]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) voters: Option<u8>,
    /// Minutes of faults in each run
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// Draws the faults and the load [default: another one each time]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Requests a second of all clients together, at most
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// One line of JSON for each run on standard output; sentences go to standard error
    #[arg(long)]
    pub(crate) json: bool,
    /// Where disks, logs and histories lie while a run goes on, and stay when it fails
    #[arg(long, value_name = "PATH", default_value = "target/chaos")]
    pub(crate) dir: PathBuf,
    /// Keep them in any case
    #[arg(long)]
    pub(crate) keep: bool,
    /// Folder of our built programs [default: that of this program]
    #[arg(long, value_name = "PATH", env = "RINGRIFT_BIN_DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
    /// Run nothing: check the history that a run has left
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
    /// This process is inside of its namespaces; `agents` is one number, and `seed` is given
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}

/// The history of every call is kept in memory: a day at the usual rate is some ten gigabytes.
const MINUTES_MAX: f64 = 24.0 * 60.0;

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.05..=MINUTES_MAX).contains(&minutes) {
        Ok(minutes)
    } else {
        Err(format!("must be 0.05 to {MINUTES_MAX}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_fit_together() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
        let args = Args::parse_from(["ringrift-chaos", "--agents", "5", "--minutes", "0.5"]);
        assert_eq!((args.agents.as_slice(), args.minutes), (&[5_u8][..], 0.5));
        assert!(Args::try_parse_from(["ringrift-chaos", "--agents", "2"]).is_err());
        assert!(Args::try_parse_from(["ringrift-chaos", "--minutes", "nan"]).is_err());
    }
}
