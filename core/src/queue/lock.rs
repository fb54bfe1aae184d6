//! A distributed lock.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::Token;
use crate::time::{Moment, Span};

/// One request of an owner, told apart from its others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asker(pub u64);

/// Which requests of its owner were told that it holds a lock. Nobody is told without an entry that
/// says so: not even who waited, whose turn is only a reason to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// None: it got the lock in its turn, and has not asked since.
    #[default]
    Nobody,
    /// This one.
    Only(Asker),
    /// More than one.
    Several,
}

impl Told {
    /// The same, and this one.
    #[must_use]
    pub fn and(self, asker: Asker) -> Self {
        match self {
            Self::Nobody => Self::Only(asker),
            Self::Only(known) if known == asker => self,
            Self::Only(_) | Self::Several => Self::Several,
        }
    }

    /// Whether no other one was told.
    #[must_use]
    pub fn nobody_but(self, asker: Asker) -> bool {
        match self {
            Self::Nobody => true,
            Self::Only(known) => known == asker,
            Self::Several => false,
        }
    }
}

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who holds it.
    pub owner: String,
    /// Granted when it was taken; renewing keeps it.
    pub token: Token,
    /// When it was taken.
    pub acquired: Moment,
    /// It frees itself then.
    pub expires: Moment,
    /// Who knows of it.
    pub told: Told,
    /// Who gets it next, in the order in which they came; at most
    /// [`crate::limits::LOCK_WAITERS_MAX`].
    pub waiters: Vec<Waiter>,
}

/// An owner that waits for a lock which another one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// Who waits.
    pub owner: String,
    /// The lock frees itself so long after this owner got it: the longest that it asked for.
    pub ttl: Span,
    /// It waits no longer than this: the latest that it asked for.
    pub until: Moment,
}
