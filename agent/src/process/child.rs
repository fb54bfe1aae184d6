//! The agent's side of a leash.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{ChildStderr, ChildStdout, Command};

use super::leash::{ASK_TO_END, KEEP_UNTIL, Report};
use super::{Attempt, Ending};

/// Bytes of reports: there are two short ones, and a cause with a path in it.
const REPORTS_BYTES_MAX: usize = 16 * 1024;

/// A running leash. Dropping it closes the socket, whereupon the leash kills its tree.
#[derive(Debug)]
pub(super) struct Child {
    leash: tokio::process::Child,
    socket: UnixStream,
    reports: Vec<u8>,
}

impl Child {
    pub(super) fn start(attempt: &Attempt) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut leash = Command::new(&attempt.leash)
            // What people see in a list of processes, whatever path leads to the executable.
            .arg0("ringrift-agent")
            .args(["leash", "--"])
            .args(&attempt.argv)
            .env_clear()
            .envs(&attempt.env)
            .current_dir(&attempt.directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that Ctrl-C at the agent's terminal does not end the leash
            // before it has ended its tree.
            .process_group(0)
            .spawn()?;
        let (Some(stdout), Some(stderr)) = (leash.stdout.take(), leash.stderr.take()) else {
            return Err(io::Error::other("the leash has no output"));
        };
        let child = Self { leash, socket: UnixStream::from_std(ours)?, reports: Vec::new() };
        Ok((child, stdout, stderr))
    }

    /// Hands the leash its deadline, and the program its input. A leash that died takes none;
    /// [`Child::ended`] will tell.
    pub(super) async fn give(&mut self, deadline: Duration, input: &[u8]) {
        let length = u64::try_from(input.len()).unwrap_or(u64::MAX);
        let _leash_gone = self.socket.write_all(&milliseconds(deadline)).await;
        let _leash_gone = self.socket.write_all(&length.to_be_bytes()).await;
        let _leash_gone = self.socket.write_all(input).await;
    }

    /// Waits until the leash has ended, and with it the tree. May be dropped and asked again.
    pub(super) async fn ended(&mut self) {
        while self.reports.len() < REPORTS_BYTES_MAX {
            match self.socket.read_buf(&mut self.reports).await {
                Ok(0) => return,
                Ok(_more) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The leash died with a command of ours unread.
                Err(_reset) => return,
            }
        }
    }

    /// Moves the leash's deadline. A leash that takes nothing is not waited for: when it goes on it
    /// finds its deadline as it was, and the next renewal brings another.
    pub(super) fn keep_until(&mut self, deadline: Duration) {
        let mut command = [KEEP_UNTIL; 1 + size_of::<u64>()];
        command[1..].copy_from_slice(&milliseconds(deadline));
        // So few bytes are taken whole or not at all.
        if let Err(error) = self.socket.try_write(&command) {
            tracing::debug!(%error, "a leash did not take its new deadline");
        }
    }

    pub(super) async fn ask_to_end(&mut self) {
        let _leash_gone = self.socket.write_all(&[ASK_TO_END]).await;
    }

    pub(super) async fn kill_tree(&mut self) {
        let _leash_gone = self.socket.shutdown().await;
    }

    /// How the program ended, once [`Child::ended`] has answered.
    pub(super) fn ending(&self) -> Ending {
        self.reports()
            .find_map(|report| match report {
                Report::Started { group: _ } => None,
                Report::NotStarted { cause } => Some(Ending::NotStarted { cause }),
                Report::LeaseEnded => Some(Ending::LeaseEnded),
                Report::Exited { code } => Some(Ending::Exited { code }),
                Report::Signalled { signal } => Some(Ending::Signalled { signal }),
            })
            .unwrap_or(Ending::Lost)
    }

    /// Collects the ended leash. One that was killed from outside left the program's group behind.
    pub(super) async fn reap(mut self) {
        if self.ending() == Ending::Lost {
            self.kill_group();
        }
        if let Err(error) = self.leash.wait().await {
            tracing::warn!(%error, "cannot collect an ended leash");
        }
    }

    /// Kills whatever is known, without waiting.
    pub(super) fn abandon(mut self) {
        self.kill_group();
        let _gone = self.leash.start_kill();
    }

    fn kill_group(&self) {
        let group = self.reports().find_map(|report| match report {
            Report::Started { group } => Pid::from_raw(group),
            Report::NotStarted { .. }
            | Report::Exited { .. }
            | Report::Signalled { .. }
            | Report::LeaseEnded => None,
        });
        if let Some(group) = group {
            let _gone = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }

    fn reports(&self) -> impl Iterator<Item = Report> + '_ {
        let lines = self.reports.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok())
    }
}

fn milliseconds(time: Duration) -> [u8; size_of::<u64>()] {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_be_bytes()
}
