//! The machine that the figures come from.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::clock::{self, milliseconds};
use crate::load::quantiles::Distribution;
use crate::system::Failure;

/// Writes of the measurement of the disk.
const SYNCS: usize = 200;
/// Bytes of each: a page.
const SYNC_BYTES: usize = 4_096;

/// What decides how fast anything is here.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Machine {
    /// Processors that the bench may use.
    pub(crate) cores: usize,
    /// Their name.
    pub(crate) processor: String,
    /// MiB.
    pub(crate) memory_mib: u64,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Type of the file system that held the data of all systems.
    pub(crate) filesystem: String,
    /// Median time to write 4 KiB and sync it there, in milliseconds.
    pub(crate) fdatasync_ms: f64,
    /// Load average of the minute before the bench: what else was going on.
    pub(crate) load_before: f64,
}

impl Machine {
    /// Of this machine, with the data in `dir`.
    ///
    /// # Errors
    /// [`Failure::File`] when the disk cannot be written.
    pub(crate) fn look(dir: &Path) -> Result<Self, Failure> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib = field(&read("/proc/meminfo"), "MemTotal");
        let kib = kib.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        let load = read("/proc/loadavg");
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            memory_mib: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: last_word(Command::new("df").arg("--output=fstype").arg(dir).output().ok()),
            fdatasync_ms: fdatasync_ms(dir)?,
            load_before: load.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0.0),
        })
    }
}

fn last_word(output: Option<std::process::Output>) -> String {
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().split_whitespace().last().unwrap_or_default().to_owned()
}

/// The date and time, UTC.
pub(crate) fn utc() -> String {
    last_word(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().ok())
}

fn fdatasync_ms(dir: &Path) -> Result<f64, Failure> {
    let failed = || Failure::file(format!("write to {}", dir.display()));
    let mut file = tempfile::tempfile_in(dir).map_err(failed())?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = clock::now();
        file.write_all(&[b'x'; SYNC_BYTES]).map_err(failed())?;
        file.sync_data().map_err(failed())?;
        times.push(milliseconds(clock::now() - begun));
    }
    Ok(Distribution::of(times).p50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_properties() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::look(dir.path()).unwrap();
        assert!(machine.cores > 0 && machine.memory_mib > 0, "{machine:?}");
        assert!(!machine.kernel.is_empty() && !machine.filesystem.is_empty(), "{machine:?}");
        assert_eq!(utc().len(), "2026-01-01T00:00:00Z".len());
    }
}
