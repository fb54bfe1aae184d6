//! Becomes an engine that dies with the runner.
//!
//! Linux kills a process with its parent when the process itself asked for it. An engine does not
//! ask, and asking between fork and exec needs unsafe code. So the runner starts this program
//! first, which asks on its own behalf and then becomes the engine: the wish outlives the exec (but
//! not that of a set-user-id program; those are left to the [guard](crate::group)).

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal};

/// Engines yield to everything else on the machine, first of all to the agent's heartbeats.
pub const ENGINE_NICE: i32 = 10;
/// The shell's exit status for a program that cannot be executed.
const EXIT_CANNOT_EXECUTE: u8 = 127;
/// What the leash writes, in place of the engine, when there is no engine.
const REFUSAL: &str = "ringrift-leash: cannot execute ";

/// Ties this process to `parent` and becomes the program, at least as nice as asked for. Returns only
/// when that failed.
#[must_use]
pub fn put_on(parent: i32, nice: i32, argv: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = argv.split_first() else {
        return ExitCode::from(EXIT_CANNOT_EXECUTE);
    };
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The runner may have died before the wish was known: then this process has a new parent.
    let orphaned = rustix::process::getppid().map(Pid::as_raw_pid) != Some(parent);
    if orphaned {
        return ExitCode::from(EXIT_CANNOT_EXECUTE);
    }
    let error = match tied {
        Err(errno) => io::Error::from(errno),
        Ok(()) => {
            // Only a courtesy: an engine at the usual priority plays the same moves.
            let _ = yield_to_others(nice);
            Command::new(program).args(arguments).exec()
        }
    };
    // The runner reads this where it expects the engine's first words.
    let _ = writeln!(io::stdout(), "{REFUSAL}{program:?}: {error}");
    ExitCode::from(EXIT_CANNOT_EXECUTE)
}

fn yield_to_others(nice: i32) -> rustix::io::Result<()> {
    // The agent may have made the runner nice already: this is a floor, not a step.
    if rustix::process::getpriority_process(None)? < nice {
        rustix::process::setpriority_process(None, nice)?;
    }
    Ok(())
}

/// The reason why there is no engine, when a line of its output is the leash's.
#[must_use]
pub fn refusal(line: &str) -> Option<&str> {
    line.starts_with(REFUSAL).then(|| line.trim_start_matches("ringrift-leash: "))
}
