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
    /// What was cut off a log is there again after a crash.
    LostTruncation,
    /// A snapshot does not say up to where it goes, so entries are applied again behind it.
    LostApplied,
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
    /// Those that seeds see. No seed has seen a lost truncation or a lost applied mark yet, and few
    /// see a kept name: what would show them is still missing from the world.
    #[cfg(test)]
    pub(crate) const SEEN: [Self; 5] = [
        Self::EarlyAppend,
        Self::LostVote,
        Self::DoubleProposal,
        Self::NoBarrier,
        Self::NoSessions,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EarlyAppend => "early-append",
            Self::LostVote => "lost-vote",
            Self::LostTruncation => "lost-truncation",
            Self::LostApplied => "lost-applied",
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
            Self::LostApplied => Some(Planted::LostApplied),
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
