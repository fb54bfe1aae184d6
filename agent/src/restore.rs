//! `ringrift-agent restore`: an empty directory becomes the first voter of a new cluster.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use ringrift_wire::backup::{BackupError, Reader};
use serde_json::json;

use crate::consensus::restore::{self, RestoreError, Restored};
use crate::data_dir::{DataDir, DataDirError};
use crate::join::{JoinError, drawn_cluster_id};

/// What a fresh file system has by itself.
const NOT_OURS: &str = "lost+found";

/// Begin a new cluster from a backup, in an empty directory. The agents of the old cluster cannot take
/// part in it: they call it by another name. Others join it with fresh directories.
#[derive(Debug, Clone, Parser)]
#[command(name = "ringrift-agent restore")]
struct Args {
    /// A backup, as `ringrift cluster backup FILE` wrote it
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    /// An empty directory, or one that does not exist yet
    #[arg(long, env = "RINGRIFT_DATA_DIR", value_name = "PATH")]
    data_dir: PathBuf,

    /// Name of the agent that will run there [default: host name and four random digits]
    #[arg(long, env = "RINGRIFT_NODE_ID", value_name = "NAME")]
    node_id: Option<String>,

    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("cannot {what} {}: {source}", path.display())]
    Disk { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not empty (it holds {first}); name an empty directory", path.display())]
    NotEmpty { path: PathBuf, first: String },
    #[error("--node-id cannot be used: {0}")]
    Name(#[from] ringrift_core::id::IdError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    ClusterName(#[from] JoinError),
    #[error("{0}; empty the directory before the next try")]
    Restore(#[from] RestoreError),
    #[error("cannot draw random numbers: {0}")]
    Chance(io::Error),
}

/// Runs the subcommand with the words that follow it.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let name = OsString::from("ringrift-agent restore");
    let args = Args::parse_from(std::iter::once(name).chain(words));
    let json = args.json;
    let data_dir = args.data_dir.clone();
    match run(args) {
        Ok((node_id, restored)) => {
            report(&node_id, &data_dir, &restored, json);
            ExitCode::SUCCESS
        }
        Err(refused) => {
            #[expect(clippy::print_stderr, reason = "errors go to standard error")]
            {
                eprintln!("ringrift-agent restore: {refused}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(String, Restored), Refused> {
    let Args { from, data_dir, node_id, json: _ } = args;
    let wanted = node_id.map(|text| text.parse()).transpose()?;
    must_be_empty(&data_dir)?;
    let open = || {
        let refuse = |source| Refused::Disk { what: "open", path: from.clone(), source };
        File::open(&from).map_err(refuse)
    };
    // All of it is checked before anything is written.
    Reader::open(io::BufReader::new(open()?))?.verify()?;
    let owned = DataDir::open(&data_dir)?;
    let chance = getrandom::u32().map_err(|error| Refused::Chance(io::Error::from(error)))?;
    let host = rustix::system::uname();
    let four_digits = u16::try_from(chance & 0xffff).unwrap_or(0);
    let node_id = owned.node_id(wanted, &host.nodename().to_string_lossy(), four_digits)?;
    let restored = restore::restore(open()?, owned.path(), &node_id, &drawn_cluster_id()?)?;
    Ok((node_id.to_string(), restored))
}

fn must_be_empty(path: &Path) -> Result<(), Refused> {
    let refuse = |source| Refused::Disk { what: "look into", path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refuse(error)),
    };
    for entry in entries {
        let name = entry.map_err(refuse)?.file_name();
        if name != NOT_OURS {
            let first = name.to_string_lossy().into_owned();
            return Err(Refused::NotEmpty { path: path.to_owned(), first });
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the subcommand is for")]
fn report(node_id: &str, data_dir: &Path, restored: &Restored, json: bool) {
    let Restored { head, cluster_id, position, unfinished } = restored;
    if json {
        let report = json!({
            "node_id": node_id,
            "data_dir": data_dir,
            "cluster_id": cluster_id,
            "from_cluster_id": head.cluster_id,
            "from_node_id": head.node_id,
            "created_ms": head.created_ms,
            "term": position.term,
            "index": position.index,
            "unfinished": unfinished,
        });
        println!("{report:#}");
        return;
    }
    println!(
        "restored {} at {}.{} as cluster {cluster_id}, with {unfinished} unfinished work items\n\
         start its first agent, {node_id}, with: ringrift-agent --data-dir {}",
        head.cluster_id,
        position.term,
        position.index,
        data_dir.display()
    );
}
