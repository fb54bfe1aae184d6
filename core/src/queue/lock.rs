//! A distributed lock.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::Token;
use crate::time::{Moment, Span};

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
