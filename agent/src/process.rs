//! Running one attempt: a process tree that is bounded in time and output, and gone afterwards.
//!
//! ```text
//! agent ──socket──▶ leash ──▶ program ──▶ whatever it starts
//! ```
//!
//! The program does not run under the agent but under a [`leash`]: the agent's own executable once
//! more, which holds one end of a socket. The leash adopts every orphan of the program, so that the
//! whole tree is known; it ends the tree when it is told to, and also when the socket closes, because
//! then the agent is dead. So no child outlives an agent, not even one that was killed with SIGKILL,
//! and an attempt that is reported as ended has no process left. The leash also knows until when the
//! tree may live, so that none outlives its claim under an agent that hangs.

mod capture;
mod child;
mod deadline;
pub mod leash;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use capture::{Capture, Captured};
pub use capture::{LOG_BYTES_MAX, TAIL_BYTES};
use child::Child;
pub use deadline::Deadline;
use ringrift_core::limits;
use serde_json::{Value, json};

use crate::clock::since_boot;

/// Time between the polite signal and the final one, when nothing demands less.
pub const STOP_GRACE: Duration = Duration::from_secs(3);
/// An attempt that runs out of time is asked to end a tenth of its time before, and at most this.
/// Three quarters of that are its grace; in the last one it is dead and reported.
const TIMEOUT_LEAD_MAX: Duration = Duration::from_secs(4);
/// A leash that has not taken its input by then is not running.
const GIVE_WAIT_MAX: Duration = Duration::from_secs(10);
/// A killed tree that is not gone by then hangs in the kernel; it is reported, not waited for.
const KILL_WAIT_MAX: Duration = Duration::from_secs(5);
/// Output that is still being read this long after the tree is gone is given up.
const OUTPUT_WAIT_MAX: Duration = Duration::from_secs(1);
/// Lines of output in an error text: enough for the usual stack trace's end.
const ERROR_LINES: usize = 12;

/// One attempt, ready to run.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The executable that knows the subcommand `leash`; see [`leash::own_executable`].
    pub leash: PathBuf,
    /// Program and arguments; no shell reads them.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited. See [`inherited_environment`].
    pub env: BTreeMap<String, String>,
    /// Created afresh for the attempt, and removed after it.
    pub directory: PathBuf,
    /// Where the output goes, at most about [`LOG_BYTES_MAX`] bytes. An older file is replaced.
    pub log: PathBuf,
    /// What the program reads on its standard input.
    pub stdin: Vec<u8>,
    /// The time that it has.
    pub timeout: Duration,
    /// Since when that time runs, as time [since boot](since_boot): from before the cluster was told
    /// of the start, so that the tree is gone when the cluster gives the item to another.
    pub begun: Duration,
}

impl Attempt {
    /// When its time is over.
    fn over_at(&self) -> Duration {
        self.begun.saturating_add(self.timeout)
    }

    /// How long before that it is asked to end, and how long it may then take.
    fn lead_and_grace(&self) -> (Duration, Duration) {
        let lead = (self.timeout / 10).min(TIMEOUT_LEAD_MAX);
        (lead, lead / 4 * 3)
    }
}

/// How an attempt ended. Each cause is another: nobody should have to guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The program ended by itself; 0 is success.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended the program, and it was not ours.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It ran out of time.
    TimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// It was stopped on request.
    Stopped,
    /// Its leash ended it, since its [`Deadline`] came or its time was over.
    LeaseEnded,
    /// It never ran.
    NotStarted {
        /// Why.
        cause: String,
    },
    /// The leash itself was killed, so nobody knows how the program ended.
    Lost,
}

/// What came out of an attempt.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// False when processes may be left: the kernel would not let go of them.
    pub is_gone: bool,
    captured: Captured,
}

/// PATH, HOME and LANG of the agent: what a program may expect to find without asking.
#[must_use]
pub fn inherited_environment() -> BTreeMap<String, String> {
    ["PATH", "HOME", "LANG"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?.into_string().ok()?)))
        .collect()
}

/// Runs an attempt to its end. When `stop` answers, the tree gets SIGTERM, and SIGKILL after the
/// time that `stop` answered. Dropping the future kills the tree at once. What is left at the
/// `deadline`, or when the attempt's time is over, is killed whatever happens here.
pub async fn run(
    attempt: &Attempt,
    deadline: Deadline,
    stop: impl Future<Output = Duration> + Send,
) -> Finished {
    let finished = match prepare(attempt).await {
        Ok((child, capture)) => supervise(attempt, child, capture, deadline, stop).await,
        Err(cause) => Finished {
            ending: Ending::NotStarted { cause },
            is_gone: true,
            captured: Captured::default(),
        },
    };
    if let Err(error) = remove_directory(&attempt.directory).await {
        let directory = attempt.directory.display();
        tracing::warn!(%directory, %error, "cannot remove an attempt's directory");
    }
    finished
}

async fn prepare(attempt: &Attempt) -> Result<(Child, Capture), String> {
    let cannot = |what: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("cannot {what} {path}: {error}")
    };
    let directory = &attempt.directory;
    remove_directory(directory).await.map_err(cannot("clear", directory))?;
    tokio::fs::create_dir_all(directory).await.map_err(cannot("create", directory))?;
    let log = tokio::fs::File::create(&attempt.log).await;
    let log = log.map_err(cannot("write the log", &attempt.log))?;
    let (child, stdout, stderr) = Child::start(attempt).map_err(cannot("start", &attempt.leash))?;
    Ok((child, Capture::start(stdout, stderr, log)))
}

async fn supervise(
    attempt: &Attempt,
    mut child: Child,
    capture: Capture,
    mut deadline: Deadline,
    stop: impl Future<Output = Duration> + Send,
) -> Finished {
    // The input goes first and whole: a command in the middle of it would be taken for a part of it.
    let given = child.give(deadline.at().min(attempt.over_at()), &attempt.stdin);
    let asked = match tokio::time::timeout(GIVE_WAIT_MAX, given).await {
        Err(_elapsed) => {
            let cause = "its leash did not take the input".to_owned();
            Some((Ending::NotStarted { cause }, Duration::ZERO))
        }
        Ok(()) => until_asked(attempt, &mut child, &mut deadline, stop).await,
    };
    let mut is_gone = true;
    let ending = match asked {
        None => child.ending(),
        Some((ending, grace)) => {
            child.ask_to_end().await;
            if tokio::time::timeout(grace, child.ended()).await.is_err() {
                child.kill_tree().await;
                is_gone = tokio::time::timeout(KILL_WAIT_MAX, child.ended()).await.is_ok();
            }
            ending
        }
    };
    if is_gone {
        child.reap().await;
    } else {
        child.abandon();
        tracing::error!(argv = ?attempt.argv, "a killed attempt is not gone; the kernel holds on to it");
    }
    let captured = capture.finish(OUTPUT_WAIT_MAX).await;
    Finished { ending, is_gone, captured }
}

/// Waits until the tree has ended, or must be asked to: then answers why, and how long it may take.
async fn until_asked(
    attempt: &Attempt,
    child: &mut Child,
    deadline: &mut Deadline,
    stop: impl Future<Output = Duration> + Send,
) -> Option<(Ending, Duration)> {
    let mut stop = pin!(stop);
    let (lead, grace) = attempt.lead_and_grace();
    let left = attempt.over_at().saturating_sub(lead).saturating_sub(since_boot());
    let mut timeout = pin!(tokio::time::sleep(left));
    // Bounded by the timeout.
    loop {
        tokio::select! {
            () = child.ended() => return None,
            () = &mut timeout => {
                return Some((Ending::TimedOut { after: attempt.timeout }, grace));
            }
            grace = &mut stop => return Some((Ending::Stopped, grace)),
            at = deadline.moved() => child.keep_until(at.min(attempt.over_at())),
        }
    }
}

async fn remove_directory(directory: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(directory).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Finished {
    /// The last line of the standard output, when it is a JSON object that fits a result.
    #[must_use]
    pub fn object(&self) -> Option<Value> {
        let line = self.captured.last_line()?;
        if line.len() > limits::RESULT_BYTES_MAX {
            return None;
        }
        serde_json::from_slice::<Value>(line).ok().filter(Value::is_object)
    }

    /// What to keep of a success: the program's own object, or the end of its output.
    #[must_use]
    pub fn result(&self) -> Value {
        self.object().unwrap_or_else(|| {
            // A byte of text may become six of JSON.
            let tail = self.captured.stdout_text(limits::RESULT_BYTES_MAX / 8);
            json!({ "exit_code": 0, "output_tail": tail })
        })
    }

    /// What went wrong, with the last lines of output; at most [`limits::ERROR_BYTES_MAX`] bytes.
    #[must_use]
    pub fn error(&self) -> String {
        let cause = match &self.ending {
            Ending::Exited { code } => format!("the program exited with code {code}"),
            Ending::Signalled { signal } => format!("signal {signal} ended the program"),
            Ending::TimedOut { after } => {
                format!(
                    "the attempt did not end within {:.1} s and was stopped",
                    after.as_secs_f64()
                )
            }
            Ending::Stopped => "the attempt was stopped".to_owned(),
            Ending::LeaseEnded => {
                "the attempt was ended, since its lease was not renewed or its time was over"
                    .to_owned()
            }
            Ending::NotStarted { cause } => format!("the program did not start: {cause}"),
            Ending::Lost => "the attempt's leash was killed from outside".to_owned(),
        };
        let room = limits::ERROR_BYTES_MAX.saturating_sub(cause.len() + 2);
        let output = self.captured.last_lines(ERROR_LINES, room);
        let text = if output.is_empty() { cause } else { format!("{cause}; {output}") };
        capture::head(&text, limits::ERROR_BYTES_MAX).to_owned()
    }
}

#[cfg(test)]
mod tests;
