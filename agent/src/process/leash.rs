//! The leash: a small parent between the agent and a program, run as `ringrift-agent leash --
//! PROGRAM ARGUMENTS`.
//!
//! It exists because an agent can be killed without a chance to clean up, and because a program may
//! leave children behind that nobody would know. The leash
//! - holds one end of a socket to the agent as its standard input. When the socket closes the agent
//!   is dead or wants a forced end, and the leash kills the whole tree. (The kernel's parent-death
//!   signal would reach the program alone, not what it started, and it is tied to the thread that
//!   spawned the child.)
//! - is a subreaper: orphans anywhere below become its own children, so it can end and reap them;
//! - ends only when no process is left below it. That is how the agent knows that the tree is gone.
//!
//! Towards the agent it speaks one JSON line for each `Report`. From the agent it reads the length
//! of the program's input (8 bytes, big-endian), the input, and then single bytes: `ASK_TO_END`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

/// Programs run a little behind the agent, so that it answers while they are busy.
const NICENESS: i32 = 5;
/// Longest input of a program: a payload, and room for what is put around it.
pub const INPUT_BYTES_MAX: u64 = 1024 * 1024;
/// From the agent: send the program's group SIGTERM.
pub(super) const ASK_TO_END: u8 = b'T';

/// What the leash tells the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The program runs, and leads the process group of this number.
    Started { group: i32 },
    /// It could not be started.
    NotStarted { cause: String },
    /// It ended by itself.
    Exited { code: i32 },
    /// A signal ended it.
    Signalled { signal: i32 },
}

/// The executable to run as a leash: this very program, also when its file was replaced meanwhile.
#[must_use]
pub fn own_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// The whole subcommand: `arguments` are those after `leash`. Call it first of all in `main`, before
/// any thread is started.
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_listens = writeln!(io::stderr(), "leash: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let mut words = arguments.skip_while(|word| word == "--");
    let program = words.next().ok_or_else(|| io::Error::other("no program is named"))?;
    let mut agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let input = read_input(&mut agent)?;
    let _ignored_for_life = ignore_signals()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // A sandbox may forbid it; the program then runs at the agent's own priority.
    let _same_priority = rustix::process::nice(NICENESS);

    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::piped()).process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let cause = format!("{}: {error}", program.to_string_lossy());
            return tell(&mut agent, &Report::NotStarted { cause });
        }
    };
    let group = Pid::from_child(&child);
    tell(&mut agent, &Report::Started { group: group.as_raw_nonzero().get() })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program need not read its input.
        std::thread::spawn(move || stdin.write_all(&input));
    }
    let tree = Arc::new(Tree { group, is_ending: AtomicBool::new(false) });
    let commands = agent.try_clone()?;
    let commanded = Arc::clone(&tree);
    std::thread::spawn(move || obey(commands, &commanded));
    reap_all(&tree, &mut agent)
}

fn read_input(agent: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; size_of::<u64>()];
    agent.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    if length > INPUT_BYTES_MAX {
        let text = format!("an input of {length} bytes is longer than {INPUT_BYTES_MAX}");
        return Err(io::Error::other(text));
    }
    let mut input = Vec::new();
    if agent.take(length).read_to_end(&mut input)? < usize::try_from(length).unwrap_or(usize::MAX) {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(input)
}

/// A supervisor that stops the agent may signal every process of the service. The agent then ends
/// this one in its own order; only SIGKILL is beyond reach. The handlers do nothing, and a program
/// that is started does not inherit them.
fn ignore_signals() -> io::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    {
        let _inside = runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            // Registering is enough: the handler stays when the stream is dropped.
            drop(signal(kind)?);
        }
    }
    Ok(runtime)
}

struct Tree {
    group: Pid,
    is_ending: AtomicBool,
}

fn obey(mut agent: UnixStream, tree: &Tree) {
    let mut command = [0];
    // Ends with the socket.
    while agent.read(&mut command).is_ok_and(|length| length == 1) {
        if command == [ASK_TO_END] {
            tree.signal_group(Signal::TERM);
        }
    }
    tree.kill();
}

/// Waits for every process below. Ends when none is left.
fn reap_all(tree: &Tree, agent: &mut UnixStream) -> io::Result<()> {
    let mut options = WaitOptions::empty();
    loop {
        match rustix::process::wait(options) {
            Ok(Some((pid, status))) => {
                if pid == tree.group {
                    // Who is left of the group lost its reason to be. The group's number cannot
                    // have been given away in the moment since the wait, so this hits nobody else.
                    tree.is_ending.store(true, Ordering::SeqCst);
                    tree.signal_group(Signal::KILL);
                    // When the agent is dead nobody is left to be told.
                    let _agent_gone = tell(agent, &report(status));
                }
                options = WaitOptions::NOHANG;
            }
            // Somebody lives on below. When the tree is ending they are orphans of it, perhaps in
            // groups of their own.
            Ok(None) => {
                if tree.is_ending.load(Ordering::SeqCst) {
                    kill_children();
                }
                options = WaitOptions::empty();
            }
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn report(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited { code },
        (None, signal) => Report::Signalled { signal: signal.unwrap_or_default() },
    }
}

impl Tree {
    fn kill(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.signal_group(Signal::KILL);
        kill_children();
    }

    fn signal_group(&self, signal: Signal) {
        // The group may be gone already.
        let _gone = rustix::process::kill_process_group(self.group, signal);
    }
}

/// Kills every direct child. What they leave behind becomes a direct child in turn, and each death
/// wakes [`reap_all`], which calls this again.
fn kill_children() {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if parent_in(&stat) == Some(own) {
            let _gone = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// The parent's number in a line of `/proc/PID/stat`. The program's name in it may hold anything,
/// also brackets and spaces, so what counts begins after the last bracket.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn tell(agent: &mut UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    agent.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_in("17 (sh) S 5 17 17 0 -1"), Some(5));
        assert_eq!(parent_in("17 (a) R 9 (b) S 5 17 17 0 -1"), Some(5));
        assert_eq!(parent_in(""), None);
        assert_eq!(parent_in("17 (sh) S"), None);
    }

    #[test]
    fn a_report_is_one_line() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        tell(&mut ours, &Report::NotStarted { cause: "a\nb".to_owned() }).unwrap();
        drop(ours);
        let text = io::read_to_string(theirs).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(
            serde_json::from_str::<Report>(&text).unwrap(),
            Report::NotStarted { cause: "a\nb".to_owned() }
        );
    }
}
