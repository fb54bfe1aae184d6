//! Bugs that are planted in the place of what the agents do, to show that a world would see them.

use clap::ValueEnum;
use ringrift_agent::consensus::simulation::Planted;
use ringrift_core::queue::command::Command;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bug {
    /// The log says that entries are durable before they are: a leader counts itself, and a follower
    /// answers, too early.
    EarlyAppend,
    /// Votes are reported as saved and are not on disk.
    LostVote,
    /// What was cut off a log is there again after a crash, in the place of what came after it.
    LostTruncation,
    /// A snapshot holds more than it says, so entries are applied again behind it.
    FurtherSnapshot,
    /// A voter that lost its disk comes back under its old raft id.
    KeptName,
    /// A proposal is made twice.
    DoubleProposal,
    /// A read does not wait for a barrier.
    NoBarrier,
    /// Repeats within a session are carried out again.
    NoSessions,
}

impl Bug {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EarlyAppend => "early-append",
            Self::LostVote => "lost-vote",
            Self::LostTruncation => "lost-truncation",
            Self::FurtherSnapshot => "further-snapshot",
            Self::KeptName => "kept-name",
            Self::DoubleProposal => "double-proposal",
            Self::NoBarrier => "no-barrier",
            Self::NoSessions => "no-sessions",
        }
    }

    /// What the disk does for it.
    pub(crate) const fn planted(self) -> Option<Planted> {
        match self {
            Self::EarlyAppend => Some(Planted::EarlyAppend),
            Self::LostVote => Some(Planted::LostVote),
            Self::LostTruncation => Some(Planted::LostTruncation),
            Self::FurtherSnapshot => Some(Planted::FurtherSnapshot),
            Self::KeptName | Self::DoubleProposal | Self::NoBarrier | Self::NoSessions => None,
        }
    }

    /// The command as an agent with this bug would hand it on.
    pub(crate) fn distort(self, command: Command) -> Command {
        match (self, command) {
            (Self::NoSessions, Command::InSession { command, .. }) => *command,
            (_, command) => command,
        }
    }
}
