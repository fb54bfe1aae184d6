//! Identifiers as types of their own: mixing them up must not compile.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a text is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A name is empty, too long, or holds a character that a name may not hold.
    #[error(
        "{text:?} must be 1 to {max} characters of letters, digits, '-', '_', '.' or ':'",
        max = limits::NAME_BYTES_MAX
    )]
    Name {
        /// The refused text.
        text: String,
    },
    /// A work id is not `w` and a number.
    #[error("{text:?} must be 'w' followed by a number")]
    Work {
        /// The refused text.
        text: String,
    },
    /// A session id is not `s` and a number.
    #[error("{text:?} must be 's' followed by a number")]
    Session {
        /// The refused text.
        text: String,
    },
    /// A fencing token is not four numbers joined by dots.
    #[error("{text:?} must be four numbers joined by dots: mode epoch, term, index, n")]
    Token {
        /// The refused text.
        text: String,
    },
}

fn check_name(text: &str) -> Result<(), IdError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if text.is_empty() || text.len() > limits::NAME_BYTES_MAX || !text.chars().all(allowed) {
        return Err(IdError::Name { text: text.chars().take(limits::NAME_BYTES_MAX).collect() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check_name(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_string())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// An agent, for as long as its data directory lives.
    NodeId
}
name! {
    /// A run: what a Job, Gauntlet or Tournament is inside the agents. Chosen by the submitter, so
    /// that submitting twice is harmless.
    RunId
}
name! {
    /// A distributed lock.
    LockName
}
name! {
    /// A tenant's lane on the work queue.
    QueueName
}
name! {
    /// Items that exclude each other.
    GroupName
}
name! {
    /// Machines that fail together: a room, a rack, a zone of a cloud.
    ZoneName
}

impl Default for QueueName {
    fn default() -> Self {
        Self(DEFAULT_QUEUE.into())
    }
}

/// The queue that always exists: that of items which name none.
pub const DEFAULT_QUEUE: &str = "default";

/// A client's session with the machine, for retries that are answered as the first try was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl FromStr for SessionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        numbered('s', text).map(Self).ok_or_else(|| IdError::Session {
            text: text.chars().take(limits::NAME_BYTES_MAX).collect(),
        })
    }
}

fn numbered(letter: char, text: &str) -> Option<u64> {
    let digits = text.strip_prefix(letter)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits)?.parse().ok()
}

/// A work item. Numbered by the state machine in order of arrival; written `w42`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkId(pub u64);

impl fmt::Display for WorkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

impl FromStr for WorkId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        numbered('w', text).map(Self).ok_or_else(|| IdError::Work {
            text: text.chars().take(limits::NAME_BYTES_MAX).collect(),
        })
    }
}

/// A place in the replicated log.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Position {
    /// Raft term of the entry.
    pub term: u64,
    /// Raft index of the entry.
    pub index: u64,
}

/// A fencing token: grows with every claim and every lock acquisition, for ever. The order of the
/// fields is the order of comparison. Written `0.3.1042.7`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Token {
    /// Raised by every change of the consensus mode, so that tokens never repeat across modes.
    pub mode_epoch: u32,
    /// Raft term of the granting entry.
    pub term: u64,
    /// Raft index of the granting entry.
    pub index: u64,
    /// Counts the grants inside one entry.
    pub n: u32,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.mode_epoch, self.term, self.index, self.n)
    }
}

impl FromStr for Token {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse =
            || IdError::Token { text: text.chars().take(limits::NAME_BYTES_MAX).collect() };
        let mut parts = text.split('.');
        let mut next = || parts.next().and_then(|part| part.parse::<u64>().ok()).ok_or_else(refuse);
        let (mode_epoch, term, index, n) = (next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(refuse());
        }
        let narrow = |value: u64| u32::try_from(value).ok().ok_or_else(refuse);
        Ok(Self { mode_epoch: narrow(mode_epoch)?, term, index, n: narrow(n)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_what_it_writes_and_orders_by_age() {
        let token = Token { mode_epoch: 1, term: 2, index: 30, n: 4 };
        assert_eq!(token.to_string(), "1.2.30.4");
        assert_eq!("1.2.30.4".parse::<Token>(), Ok(token));
        assert!(Token { index: 31, n: 0, ..token } > token);
        for bad in ["", "1.2.3", "1.2.3.4.5", "1.2.x.4", "4294967296.0.0.0"] {
            assert!(bad.parse::<Token>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn names_are_bounded_and_plain() {
        assert!("gpu-7.rack_2:a".parse::<NodeId>().is_ok());
        for bad in ["", "a b", "a/b", "é", &"x".repeat(limits::NAME_BYTES_MAX + 1)] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?} must be refused");
        }
        assert_eq!("w42".parse::<WorkId>(), Ok(WorkId(42)));
        for bad in ["42", "w", "w-1", "w+1", "w18446744073709551616"] {
            assert!(bad.parse::<WorkId>().is_err(), "{bad:?} must be refused");
        }
    }
}
