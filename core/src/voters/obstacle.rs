//! Why a dead voter is not replaced yet: a closed set, with numbers, for people.

use core::fmt;

use crate::id::{NodeId, ZoneName};
use crate::time::Span;

/// What stands in the way of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Voters are not replaced automatically here.
    Off,
    /// It failed a moment ago and may come back.
    JustFailed {
        /// So long gossip calls it failed.
        failed_for: Span,
        /// So long it must.
        needed: Span,
    },
    /// The log has heard of it since.
    JustHeard {
        /// Time since its last word.
        silent_for: Span,
        /// Time that there must be.
        needed: Span,
    },
    /// The members are being changed.
    UnderWay,
    /// Too few of the others are well: changing members needs a majority without the dead one.
    NoMajority {
        /// Voters that are well.
        well: usize,
        /// Voters that are needed.
        majority: usize,
    },
    /// The members were changed a moment ago.
    JustChanged {
        /// Time since then.
        since: Span,
        /// Time that there must be.
        needed: Span,
    },
    /// Another voter was replaced a moment ago: more needs an operator.
    JustReplaced {
        /// Time since then.
        since: Span,
        /// Time that there must be.
        needed: Span,
    },
    /// There is no learner that lives.
    NoLearner,
    /// With any of the learners more voters could fail together than with the dead one.
    WorseSpread {
        /// The best of them.
        learner: NodeId,
        /// Its zone; who says none may stand in the fullest one.
        zone: Option<ZoneName>,
        /// Voters that could fail together before the dead one fell.
        before: usize,
        /// Voters that could with the learner in its place.
        after: usize,
    },
    /// The best learner does not have the log yet, or not for long.
    LearnerBehind {
        /// Its name.
        learner: NodeId,
        /// Entries that it lacks, when that is known.
        behind: Option<u64>,
        /// So long it has been close behind.
        warm_for: Span,
        /// So long it must have been.
        needed: Span,
    },
}

impl Obstacle {
    /// The kind in one word, for logs and programs. It does not change while numbers grow.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::JustFailed { .. } => "just_failed",
            Self::JustHeard { .. } => "just_heard",
            Self::UnderWay => "under_way",
            Self::NoMajority { .. } => "no_majority",
            Self::JustChanged { .. } => "just_changed",
            Self::JustReplaced { .. } => "just_replaced",
            Self::NoLearner => "no_learner",
            Self::WorseSpread { .. } => "worse_spread",
            Self::LearnerBehind { .. } => "learner_behind",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("automatic replacement is off; remove it to let another vote"),
            Self::JustFailed { failed_for, needed } => {
                write!(f, "gossip calls it failed for {failed_for}, less than {needed}")
            }
            Self::JustHeard { silent_for, needed } => {
                write!(f, "it was heard {silent_for} ago, less than {needed}")
            }
            Self::UnderWay => f.write_str("a change of members is under way"),
            Self::NoMajority { well, majority } => {
                write!(f, "{well} other voters are well, and {majority} are needed")
            }
            Self::JustChanged { since, needed } => {
                write!(f, "the members changed {since} ago, less than {needed}")
            }
            Self::JustReplaced { since, needed } => write!(
                f,
                "another voter was replaced {since} ago, less than {needed}; remove this one to let \
                 another vote at once"
            ),
            Self::NoLearner => f.write_str("no learner is there to take its place; start an agent"),
            Self::WorseSpread { learner, zone, before, after } => {
                write!(f, "with the learner {learner}, ")?;
                match zone {
                    Some(zone) => write!(f, "which is in zone {zone}, ")?,
                    None => f.write_str("which says no zone and may be where the most are, ")?,
                }
                write!(
                    f,
                    "{after} voters could fail together instead of {before}; start an agent in a zone \
                     with fewer voters, or remove this voter to let the learner vote nevertheless"
                )
            }
            Self::LearnerBehind { learner, behind: None, .. } => {
                write!(f, "the learner {learner} has not answered yet")
            }
            Self::LearnerBehind { learner, behind: Some(behind), warm_for, needed } => write!(
                f,
                "the learner {learner} lacks {behind} entries, and has been close behind for \
                 {warm_for} of {needed}"
            ),
        }
    }
}
