//! A place of its own for a run. The program starts itself again inside of a network and a mount
//! namespace that no other process sees. What it makes there, namespaces, links, mounts, ends with its
//! last process, however that one ends: nothing is left even after SIGKILL.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::args::Args;
use crate::failure::Failure;

/// What a run calls, with the Debian packages that have it.
const PROGRAMS: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("mount", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
];
/// Where the system's programs are.
const FOLDERS: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Starts this program again with the same arguments, inside, for one cluster. Answers whether
/// everything held.
///
/// # Errors
/// When it cannot be started, or could not make its run.
pub(crate) async fn enter(args: &Args, agents: u8, seed: u64) -> Result<bool, Failure> {
    let dir = args.dir.join(format!("{agents}-agents-seed-{seed}"));
    clear(&dir)?;
    std::fs::create_dir_all(&dir).map_err(Failure::create(&dir))?;
    let dir = dir.canonicalize().map_err(Failure::create(&dir))?;
    let program = std::env::current_exe().map_err(Failure::file("find this program"))?;
    let mut command = Command::new("setpriv");
    // The kernel ends it with this process.
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount"]);
    command.args(["--propagation", "private", "--"]).arg(program).arg("--inside");
    command.args(["--agents", &agents.to_string(), "--seed", &seed.to_string()]);
    command.args(["--minutes", &args.minutes.to_string(), "--rate", &args.rate.to_string()]);
    command.arg("--dir").arg(&dir);
    if let Some(voters) = args.voters {
        command.args(["--voters", &voters.to_string()]);
    }
    if let Some(bin_dir) = &args.bin_dir {
        command.arg("--bin-dir").arg(bin_dir);
    }
    if args.json {
        command.arg("--json");
    }
    let _disks = Disks { dir: dir.clone() };
    let ended = command.kill_on_drop(true).status().await;
    let ended = ended.map_err(Failure::file("start unshare"))?;
    let held = ended.success();
    if held && !args.keep {
        clear(&dir)?;
    }
    match ended.code() {
        Some(0 | 1) => Ok(held),
        _ => Err(Failure::Agents(format!("the run in {} ended early: {ended}", dir.display()))),
    }
}

fn clear(dir: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(dir) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Failure::file(format!("remove {}", dir.display()))),
    }
}

/// The disks of a run, which are large: they go with it, however it ends. Logs and history may stay.
struct Disks {
    dir: PathBuf,
}

impl Drop for Disks {
    fn drop(&mut self) {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "disk") {
                // What cannot be removed is removed with the folder, when the same run comes again.
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// Whether this machine allows a run.
///
/// # Errors
/// With what is missing.
pub(crate) fn check() -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::Machine {
            what:
                "chaos makes network namespaces, file systems and packet filters, and needs root \
                   for them"
                    .to_owned(),
            advice: "run it as root, in a virtual machine when in doubt",
        });
    }
    for (program, package) in PROGRAMS {
        let found = FOLDERS.iter().any(|folder| PathBuf::from(folder).join(program).is_file());
        if !found {
            return Err(Failure::Machine {
                what: format!("{program} of the package {package} is missing"),
                advice: "run `make chaos`, which installs it",
            });
        }
    }
    Ok(())
}
