//! A client's session: the answers that are kept for retries.
//!
//! A client numbers its requests. A request that comes again under its number is answered as the
//! first time and changes nothing. The client says up to which number it has all answers, and what
//! lies below is dropped (Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 6.3).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{Token, WorkId};
use crate::queue::command::{Refusal, Reply};
use crate::time::Moment;

/// A session as the machine holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// When it was last heard of. It ends [`crate::limits::SESSION_TTL`] later.
    pub heard: Moment,
    /// The client has every answer below this number.
    pub floor: u64,
    /// Answers by number, at most [`crate::limits::SESSION_ANSWERS_MAX`].
    pub answers: BTreeMap<u64, Answer>,
}

impl Answer {
    /// Numbers of items in it.
    #[must_use]
    pub fn ids(&self) -> usize {
        match self {
            Self::Claimed(claims) => claims.len(),
            Self::Told(Ok(Reply::Enqueued(ids) | Reply::Completed { then: ids })) => ids.len(),
            Self::Told(Ok(Reply::Renewed { renewed: _, lost })) => lost.len(),
            Self::Told(_) => 0,
        }
    }
}

/// An answer, as small as it can be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Claimed items by their tokens: told again from the items themselves, those of them that are
    /// still held.
    Claimed(Vec<(WorkId, Token)>),
    /// Any other.
    Told(Result<Reply, Refusal>),
}
