//! A program as a child of a test: its output in a file, ended by its recorded process id, and never
//! outliving the test, however that one ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Bytes at the end of a log that a report holds.
const LOG_TAIL_BYTES: usize = 8_000;

/// Why a program is not as asked.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {cause}")]
pub struct ProgramError {
    action: String,
    cause: std::io::Error,
}

fn failed(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> ProgramError {
    let action = action.into();
    |cause| ProgramError { action, cause }
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    /// What it is called in reports.
    pub name: String,
    /// Where its output goes.
    pub log: PathBuf,
    child: Child,
}

impl Program {
    /// Starts `path`; its output is appended to `dir/name.log`.
    ///
    /// # Errors
    /// [`ProgramError`] when the log cannot be opened or the program not be started.
    pub fn start<S: AsRef<std::ffi::OsStr>>(
        name: &str,
        path: &Path,
        arguments: &[S],
        environment: &[(&str, &Path)],
        dir: &Path,
    ) -> Result<Self, ProgramError> {
        let log = dir.join(format!("{name}.log"));
        let opened = File::options().create(true).append(true).open(&log);
        let output = opened.map_err(failed(format!("open {}", log.display())))?;
        let errors = output.try_clone().map_err(failed(format!("open {}", log.display())))?;
        // setpriv (of util-linux, on every Debian) has the kernel end the program with this process.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(path)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed(format!("start {}", path.display())))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// The process id, until its end was seen.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`ProgramError`] when the program has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), ProgramError> {
        let gone = || std::io::Error::other("it has ended");
        let action = format!("signal {}", self.name);
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let sent = match pid {
            Some(pid) => kill_process(pid, signal).map_err(std::io::Error::from),
            None => Err(gone()),
        };
        sent.map_err(failed(action))
    }

    /// SIGKILL, and gone when this returns.
    ///
    /// # Errors
    /// [`ProgramError`] when it cannot be ended.
    pub async fn kill(mut self) -> Result<(), ProgramError> {
        self.child.kill().await.map_err(failed(format!("kill {}", self.name)))
    }

    /// SIGTERM, and its exit status; nothing when it did not end in time, and was killed.
    ///
    /// # Errors
    /// [`ProgramError`] when it has ended before.
    pub async fn stop(mut self, limit: Duration) -> Result<Option<ExitStatus>, ProgramError> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(ended) => ended.map(Some).map_err(failed(format!("wait for {}", self.name))),
            Err(_late) => self.kill().await.map(|()| None),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its output.
    #[must_use]
    pub fn tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let from = bytes.len().saturating_sub(LOG_TAIL_BYTES);
        format!("--- {} ---\n{}", self.name, String::from_utf8_lossy(&bytes[from..]))
    }
}

/// A TCP port that was free a moment ago.
///
/// # Errors
/// [`ProgramError`] when there is none.
pub fn free_port() -> Result<u16, ProgramError> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0));
    let address = bound.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(failed("find a free port"))
}
