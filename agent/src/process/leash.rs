//! The leash: a small parent between the agent and a program, run as `ringrift-agent leash --
//! PROGRAM ARGUMENTS`.
//!
//! It exists because an agent can be killed without a chance to clean up, and because a program may
//! leave children behind that nobody would know. The leash
//! - holds one end of a socket to the agent as its standard input. When the socket closes the agent
//!   is dead or wants a forced end, and the leash kills the whole tree. (The kernel's parent-death
//!   signal would reach the program alone, not what it started, and it is tied to the thread that
//!   spawned the child.)
//! - has a deadline, which the agent moves with each renewal of the claim. When it comes, the agent
//!   hangs or sleeps, the cluster is about to give the work to another, and the tree is killed too.
//! - is a subreaper: orphans anywhere below become its own children, so it can end and reap them;
//! - ends only when no process is left below it. That is how the agent knows that the tree is gone.
//!
//! Towards the agent it speaks one JSON line for each `Report`. From the agent it reads its deadline
//! (milliseconds since boot), the length of the program's input (8 bytes each, big-endian), the
//! input, and then commands of one byte: `ASK_TO_END`, and `KEEP_UNTIL` with another deadline.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::since_boot;

/// Programs run a little behind the agent, so that it answers while they are busy.
const NICENESS: i32 = 5;
/// Longest input of a program: a payload, and room for what is put around it.
pub const INPUT_BYTES_MAX: u64 = 1024 * 1024;
/// From the agent: send the program's group SIGTERM.
pub(super) const ASK_TO_END: u8 = b'T';
/// From the agent: the deadline is another, as 8 bytes behind this one say.
pub(super) const KEEP_UNTIL: u8 = b'D';

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
    /// It was killed because the deadline came.
    LeaseEnded,
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
    let deadline = read_deadline(&mut agent)?;
    let input = read_input(&mut agent)?;
    let _ignored_for_life = ignore_signals()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // A sandbox may forbid it; the program then runs at the agent's own priority.
    let _same_priority = rustix::process::nice(NICENESS);
    let alarm = Alarm::new()?;
    alarm.set(deadline)?;
    if since_boot() >= deadline {
        let cause = "its lease or its time was over before it began".to_owned();
        return tell(&mut agent, &Report::NotStarted { cause });
    }

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
    let tree = Arc::new(Tree {
        group,
        is_ending: AtomicBool::new(false),
        is_late: AtomicBool::new(false),
    });
    let commands = agent.try_clone()?;
    let commanded = Arc::clone(&tree);
    std::thread::spawn(move || obey(commands, &alarm, &commanded));
    reap_all(&tree, &mut agent)
}

fn read_deadline(agent: &mut UnixStream) -> io::Result<Duration> {
    let mut milliseconds = [0; size_of::<u64>()];
    agent.read_exact(&mut milliseconds)?;
    Ok(Duration::from_millis(u64::from_be_bytes(milliseconds)))
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
    /// The deadline came.
    is_late: AtomicBool,
}

/// Goes off once, by the clock that goes on while the machine sleeps.
struct Alarm(OwnedFd);

impl Alarm {
    fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?))
    }

    /// One that has gone off is as new.
    fn set(&self, at: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An alarm at 0 would be none.
        let at = at.max(Duration::from_millis(1));
        let tv_sec = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        let at = Timespec { tv_sec, tv_nsec: at.subsec_nanos().into() };
        let times = Itimerspec { it_interval: never, it_value: at };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &times)?;
        Ok(())
    }
}

/// Why the tree is killed.
enum Order {
    /// The socket is closed: the agent is dead, or wants it.
    Closed,
    /// The deadline came.
    Late,
}

fn obey(mut agent: UnixStream, alarm: &Alarm, tree: &Tree) {
    // Without socket or alarm nobody can say any more when to end.
    match listen(&mut agent, alarm, tree).unwrap_or(Order::Closed) {
        Order::Closed => {}
        Order::Late => tree.is_late.store(true, Ordering::SeqCst),
    }
    tree.kill();
}

/// Ends with the socket, or at the deadline.
fn listen(agent: &mut UnixStream, alarm: &Alarm, tree: &Tree) -> io::Result<Order> {
    loop {
        let mut sources = [PollFd::new(agent, PollFlags::IN), PollFd::new(&alarm.0, PollFlags::IN)];
        match poll(&mut sources, None) {
            Ok(_some) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        // What the agent said comes first: it may be a later deadline.
        if sources[0].revents().is_empty() {
            return Ok(Order::Late);
        }
        let mut command = [0];
        if agent.read(&mut command)? == 0 {
            return Ok(Order::Closed);
        }
        match command[0] {
            ASK_TO_END => tree.signal_group(Signal::TERM),
            KEEP_UNTIL => alarm.set(read_deadline(agent)?)?,
            // From a newer agent than this very program: there is none.
            _unknown => {}
        }
    }
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
                    let _agent_gone = tell(agent, &report(status, tree));
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

fn report(status: WaitStatus, tree: &Tree) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited { code },
        (None, _) if tree.is_late.load(Ordering::SeqCst) => Report::LeaseEnded,
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
