//! The process group in which all engines of a pair live and die.
//!
//! Its leader is a guard: this program again, blocked on a pipe whose other end only the runner
//! holds. When the runner ends, in whatever way (also SIGKILL), the pipe closes and the guard kills
//! the group: the engines, what they started, and itself. Since the guard is a member, the number
//! of the group cannot meanwhile belong to someone else. Should the guard be gone too, each engine
//! still dies with the runner by its own [leash](crate::leash).

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal};

use crate::spec::OWN;

/// This program, also after its file was replaced or removed by an update.
pub const SELF: &str = "/proc/self/exe";

/// A process group of its own. Dropping it kills every member.
#[derive(Debug)]
pub struct Group {
    /// Its standard input stays open as long as the runner lives.
    guard: Child,
    id: Pid,
    nice: i32,
}

impl Group {
    /// Starts an empty group, whose programs will be at least as nice as asked for.
    ///
    /// # Errors
    /// No process could be started.
    pub fn open(nice: i32) -> io::Result<Self> {
        let guard = Command::new(SELF)
            .arg0("ringrift-match")
            .arg("guard")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let id = Pid::from_child(&guard);
        Ok(Self { guard, id, nice })
    }

    /// Starts a program inside the group, its three standard streams piped. It dies with the
    /// calling thread, so call this from the main one.
    ///
    /// # Errors
    /// No process could be started. That the program does not exist shows only later: see
    /// [`leash::refusal`](crate::leash::refusal).
    pub fn spawn(&self, argv: &[String]) -> io::Result<Child> {
        let mut command = Command::new(SELF);
        command.arg0("ringrift-match").args(["leash", "--parent"]);
        command
            .arg(rustix::process::getpid().as_raw_pid().to_string())
            .arg("--nice")
            .arg(self.nice.to_string())
            .arg("--");
        if argv.first().is_some_and(|program| program == OWN) {
            command.arg(SELF).arg("engine");
        } else {
            command.args(argv.iter().map(OsStr::new));
        }
        command
            .process_group(self.id.as_raw_pid())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The guard has not been waited for, so the number is still the group's. When no member is
        // left but the guard, this ends the guard.
        let _ = rustix::process::kill_process_group(self.id, Signal::KILL);
        // Killed just now: this returns at once.
        let _ = self.guard.wait();
    }
}

/// The guard's life: wait until the runner has gone, then kill the own group.
///
/// Returns only when called by hand, outside a group of its own.
#[must_use]
pub fn guard() -> ExitCode {
    // A guard that does not lead its group would kill strangers.
    if rustix::process::getpgrp() != rustix::process::getpid() {
        return ExitCode::FAILURE;
    }
    let mut input = io::stdin().lock();
    let mut ignored = [0; 16];
    loop {
        match input.read(&mut ignored) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = rustix::process::kill_current_process_group(Signal::KILL);
    ExitCode::FAILURE
}
