//! A distributed lock.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::id::Token;
use crate::time::Moment;

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
}
