//! One engine as the runner speaks with it: the UCI protocol over the pipes of a process that may
//! do anything at all.
//!
//! Every wait has a deadline, every buffer a bound, and every way in which an engine can fail has a
//! [`Fault`] of its own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use option::Announced;
use output::{Line, Tail};
use ringrift_wire::pair::{Contestant, Ending, Limit};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use starvation::Waits;

use crate::clock::now;
use crate::group::Group;
use crate::leash;

pub mod option;
pub mod output;
pub mod starvation;

/// Loading an engine may read a hundred megabytes from a cold disk, whatever its moves may take.
const HANDSHAKE_TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// A silent engine is looked at this often: its pipe stays open when a child of its own holds it.
const LIVENESS_POLL: Duration = Duration::from_millis(50);
/// An engine that closed its pipe gets this long to end, so that the cause can be named.
const EXIT_GRACE: Duration = Duration::from_millis(500);
/// An engine that was asked to quit gets this long before it is killed.
const QUIT_GRACE: Duration = Duration::from_millis(200);
/// Step of the short waits above.
const STEP: Duration = Duration::from_millis(1);

/// What an engine, or the machine under it, did wrong. None of these gives a score.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no process.
    #[error("{engine} cannot be started: {reason}")]
    CannotStart {
        /// Its name.
        engine: String,
        /// What the system said.
        reason: String,
    },
    /// The process speaks, but not UCI.
    #[error("{engine} never said uciok; it said {said:?}; is it a UCI engine?")]
    NotUci {
        /// Its name.
        engine: String,
        /// Its first words.
        said: String,
    },
    /// The engine does not have an option, or not that value.
    #[error("{engine} does not take option {option:?} = {value:?}: {reason}")]
    Option {
        /// Its name.
        engine: String,
        /// The option's name.
        option: String,
        /// The value asked for.
        value: String,
        /// What it would take.
        reason: String,
    },
    /// The process ended.
    #[error("{engine} ended before {awaited}: {cause}")]
    Crash {
        /// Its name.
        engine: String,
        /// What was awaited.
        awaited: &'static str,
        /// Exit status or signal, and its last words.
        cause: String,
    },
    /// The process lives, but does not answer.
    #[error("{engine} hangs: no {awaited} within {waited_ms} ms")]
    Hang {
        /// Its name.
        engine: String,
        /// What was awaited.
        awaited: &'static str,
        /// For how long.
        waited_ms: u128,
    },
}

impl Fault {
    /// How a game ends by it.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            Self::CannotStart { .. } | Self::NotUci { .. } | Self::Option { .. } => {
                Ending::Infrastructure
            }
            Self::Crash { .. } => Ending::Crash,
            Self::Hang { .. } => Ending::Hang,
        }
    }
}

/// What an engine answered to `go`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its move, unchecked; empty when it named none.
    pub text: String,
    /// From `go` to `bestmove`.
    pub took: Duration,
    /// The part of it for which the machine, not the engine, is to blame: the engine or the runner
    /// waited for a processor. Only known, and only needed, under a move time.
    pub starved: Duration,
}

/// A running engine. Dropping it kills its process.
#[derive(Debug)]
pub struct Engine {
    name: String,
    limit: Limit,
    patience: Duration,
    child: Child,
    input: ChildStdin,
    lines: Receiver<Line>,
    last_words: Tail,
}

impl Engine {
    /// Starts the process of a contestant. Nothing has been said yet: see [`Self::shake_hands`].
    ///
    /// # Errors
    /// [`Fault::CannotStart`]: the system has no process or no thread left.
    pub fn start(
        group: &Group,
        contestant: &Contestant,
        patience: Duration,
    ) -> Result<Self, Fault> {
        let name = contestant.name.clone();
        Self::try_start(group, contestant, patience)
            .map_err(|error| Fault::CannotStart { engine: name, reason: error.to_string() })
    }

    fn try_start(group: &Group, contestant: &Contestant, patience: Duration) -> io::Result<Self> {
        let mut child = group.spawn(&contestant.argv)?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a pipe to the process is missing"));
        };
        // A write to an engine that does not read must not block the runner.
        fcntl_setfl(&input, fcntl_getfl(&input)? | OFlags::NONBLOCK)?;
        Ok(Self {
            name: contestant.name.clone(),
            limit: contestant.limit,
            patience,
            child,
            input,
            lines: output::read_lines(output)?,
            last_words: Tail::of(errors)?,
        })
    }

    /// Agrees on the protocol and sets the options. An option that the engine did not announce is
    /// refused here, since engines ignore such a one in silence and would play with other settings
    /// than the report says.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub fn shake_hands(&mut self, options: &BTreeMap<String, String>) -> Result<(), Fault> {
        let announced = self.await_uciok()?;
        for (name, value) in options {
            let line = announced
                .iter()
                .find(|option| option.is_named(name))
                .ok_or_else(|| "it announces no such option".to_owned())
                .and_then(|option| option.set(value))
                .map_err(|reason| Fault::Option {
                    engine: self.name.clone(),
                    option: name.clone(),
                    value: value.clone(),
                    reason,
                })?;
            self.send(&line)?;
        }
        self.synchronise(self.patience.max(HANDSHAKE_TIMEOUT_MIN))
    }

    fn await_uciok(&mut self) -> Result<Vec<Announced>, Fault> {
        let mut announced = Vec::new();
        let mut said = None;
        let mut refusal = None;
        let patience = self.patience.max(HANDSHAKE_TIMEOUT_MIN);
        // The leash may have found no engine: then its reason is in the output, not in this error.
        let outcome = self.send("uci").and_then(|()| {
            self.await_line("uciok", patience, |line| {
                if let Some(reason) = leash::refusal(&line.text) {
                    refusal = Some(reason.to_owned());
                }
                if announced.len() < option::ANNOUNCED_MAX {
                    announced.extend(Announced::parse(&line.text));
                }
                if said.is_none() && !line.text.is_empty() {
                    said = Some(line.text.chars().take(WORDS_SHOWN).collect::<String>());
                }
                (line.text == "uciok").then_some(())
            })
        });
        let engine = self.name.clone();
        match (outcome, refusal, said) {
            (Ok(()), _, _) => Ok(announced),
            (Err(_), Some(reason), _) => Err(Fault::CannotStart { engine, reason }),
            (Err(Fault::Hang { .. }), None, Some(said)) => Err(Fault::NotUci { engine, said }),
            (Err(fault), None, _) => Err(fault),
        }
    }

    /// Makes the engine forget all games before this one.
    ///
    /// # Errors
    /// [`Fault::Crash`] or [`Fault::Hang`].
    pub fn new_game(&mut self) -> Result<(), Fault> {
        self.send("ucinewgame")?;
        self.synchronise(self.patience)
    }

    /// Asks for a move after the given ones (UCI texts joined by spaces).
    ///
    /// # Errors
    /// [`Fault::Crash`] or [`Fault::Hang`]. A late answer is an answer: the caller judges it.
    pub fn think(&mut self, moves: &str) -> Result<Reply, Fault> {
        let gap = if moves.is_empty() { "" } else { " moves " };
        self.send(&format!("position startpos{gap}{moves}"))?;
        // Whatever the engine still had to say is said now: a belated second answer to the
        // question before must not be taken for the answer to this one.
        self.synchronise(self.patience)?;
        let waits = self.waits();
        let asked = now();
        let (question, allowed) = match self.limit {
            Limit::Nodes(nodes) => (format!("go nodes {nodes}"), Duration::ZERO),
            Limit::Depth(depth) => (format!("go depth {depth}"), Duration::ZERO),
            Limit::MovetimeMs(ms) => (format!("go movetime {ms}"), Duration::from_millis(ms)),
        };
        self.send(&question)?;
        let (text, took) = self.await_line("bestmove", allowed + self.patience, |line| {
            let mut words = line.text.split_ascii_whitespace();
            let took = line.at.saturating_duration_since(asked);
            (words.next() == Some("bestmove"))
                .then(|| (words.next().unwrap_or_default().to_owned(), took))
        })?;
        let starved = self.waits().iter().zip(&waits).map(|(now, then)| now.since(then)).sum();
        Ok(Reply { text, took, starved })
    }

    /// What the engine and the runner have waited for processors, under a move time.
    fn waits(&self) -> [Waits; 2] {
        match self.limit {
            Limit::Nodes(_) | Limit::Depth(_) => Default::default(),
            Limit::MovetimeMs(_) => [self.child.id(), std::process::id()].map(Waits::of),
        }
    }

    /// Says `quit`. The answer is the end of the process: see [`Self::await_end`].
    pub fn ask_to_quit(&mut self) {
        // An engine that cannot hear it is killed soon.
        let _ = self.input.write_all(b"quit\n");
    }

    /// Waits a short while for a process that was asked to quit.
    pub fn await_end(&mut self) {
        self.exit_status(now() + QUIT_GRACE);
    }

    fn synchronise(&mut self, patience: Duration) -> Result<(), Fault> {
        self.send("isready")?;
        self.await_line("readyok", patience, |line| (line.text == "readyok").then_some(()))
    }

    fn send(&mut self, line: &str) -> Result<(), Fault> {
        let deadline = now() + self.patience;
        let bytes = format!("{line}\n").into_bytes();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match self.input.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if now() >= deadline {
                        return Err(self.hang("reading of its input", self.patience));
                    }
                    thread::sleep(STEP);
                }
                // The pipe is closed. What the process said before is still to be read, and its end
                // shows there.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads lines until one of them is the awaited one.
    fn await_line<T>(
        &mut self,
        awaited: &'static str,
        patience: Duration,
        mut accept: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T, Fault> {
        let deadline = now() + patience;
        let mut ended = false;
        // An engine that chatters without an end must not escape its deadline: look at each turn.
        while let Some(left) = remaining(deadline) {
            match self.lines.recv_timeout(left.min(LIVENESS_POLL)) {
                Ok(line) => {
                    if let Some(accepted) = accept(&line) {
                        return Ok(accepted);
                    }
                }
                // The second silence after the end: what the process wrote last has been read.
                Err(RecvTimeoutError::Timeout) if ended => return Err(self.crash(awaited)),
                Err(RecvTimeoutError::Timeout) => {
                    ended = matches!(self.child.try_wait(), Ok(Some(_)));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.crash(awaited)),
            }
        }
        Err(self.hang(awaited, patience))
    }

    fn hang(&self, awaited: &'static str, patience: Duration) -> Fault {
        Fault::Hang { engine: self.name.clone(), awaited, waited_ms: patience.as_millis() }
    }

    fn crash(&mut self, awaited: &'static str) -> Fault {
        let deadline = now() + EXIT_GRACE;
        let mut cause = self.exit_status(deadline).map_or_else(
            || "it closed its output and still runs".to_owned(),
            |status| status.to_string(),
        );
        while !self.last_words.is_complete() && remaining(deadline).is_some() {
            thread::sleep(STEP);
        }
        let words = self.last_words.text();
        if !words.is_empty() {
            cause.push_str("; its last words: ");
            cause.push_str(&words);
        }
        Fault::Crash { engine: self.name.clone(), awaited, cause }
    }

    fn exit_status(&mut self, deadline: Instant) -> Option<std::process::ExitStatus> {
        loop {
            let status = self.child.try_wait().ok()?;
            if status.is_some() || remaining(deadline).is_none() {
                return status;
            }
            thread::sleep(STEP);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Fails only when the process has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Characters of an engine's words that an error shows.
const WORDS_SHOWN: usize = 200;

fn remaining(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(now()).filter(|left| !left.is_zero())
}
