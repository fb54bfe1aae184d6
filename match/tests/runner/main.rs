//! The runner as its callers meet it: a program that reads a pair and prints a report.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the tests share is test code too; clippy knows only the tests themselves"
)]

mod misbehaviour;
mod orphans;
mod play;
mod program;
mod stockfish;
