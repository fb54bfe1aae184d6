//! What one log entry carries, as bytes.
//!
//! A proposal is encoded once, where it enters, and decoded once on each replica, where it is applied.
//! On the way (the log on disk, the cache, the frames to the followers) it is a block of bytes that
//! nobody looks into: there an entry is handled five times, and each of them would otherwise build
//! and write out every item again.

use std::fmt;
use std::io;

use bytes::Bytes;
use ringrift_core::queue::command::{Batch, Command};
use ringrift_core::time::Moment;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::consensus::wire::Blob;

/// Commands of one caller, encoded one behind the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Encoded {
    bytes: Vec<u8>,
    count: u32,
}

impl Encoded {
    /// # Errors
    /// When postcard cannot write them, which the commands' shape rules out.
    pub(super) fn of(commands: &[Command]) -> Result<Self, postcard::Error> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes = postcard::to_extend(command, bytes)?;
        }
        Ok(Self { bytes, count: u32::try_from(commands.len()).unwrap_or(u32::MAX) })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A batch on its way through the log: the moment, the number of commands, the commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proposal(Bytes);

impl Proposal {
    /// All these commands, in order, at this moment.
    ///
    /// # Errors
    /// When postcard cannot write two numbers, which it can.
    pub(super) fn merge<'a>(
        now: Moment,
        parts: impl Iterator<Item = &'a Encoded> + Clone,
    ) -> Result<Self, postcard::Error> {
        let count = parts.clone().fold(0_u32, |count, part| count.saturating_add(part.count));
        let length: usize = parts.clone().map(Encoded::len).sum();
        let mut bytes = Vec::with_capacity(length.saturating_add(HEAD_BYTES_MAX));
        bytes = postcard::to_extend(&(now, count), bytes)?;
        for part in parts {
            bytes.extend_from_slice(&part.bytes);
        }
        Ok(Self(Bytes::from(bytes)))
    }

    /// The batch that these bytes are.
    ///
    /// # Errors
    /// When they are none: the log is damaged, or of another version.
    pub(super) fn batch(&self) -> io::Result<Batch> {
        let damaged = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let taken = postcard::take_from_bytes(&self.0).map_err(damaged)?;
        let ((now, count), mut rest): ((Moment, u32), &[u8]) = taken;
        let mut commands = Vec::new();
        for _ in 0..count {
            let (command, behind) = postcard::take_from_bytes(rest).map_err(damaged)?;
            commands.push(command);
            rest = behind;
        }
        if rest.is_empty() {
            Ok(Batch { now, commands })
        } else {
            Err(damaged(postcard::Error::DeserializeBadEncoding))
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Bytes that were a proposal once.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// A moment and a count, as postcard writes them at most.
const HEAD_BYTES_MAX: usize = 10 + 5;

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a batch of {} bytes", self.0.len())
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Blob::deserialize(deserializer).map(|Blob(bytes)| Self(Bytes::from(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_commands_come_back_in_order() {
        let one = vec![Command::Tick, Command::InitCluster { cluster_id: "c".to_owned() }];
        let other = vec![Command::Tick];
        let parts = [Encoded::of(&one).unwrap(), Encoded::of(&other).unwrap(), Encoded::default()];
        let proposal = Proposal::merge(Moment(1_700_000_000_000), parts.iter()).unwrap();
        let now = Moment(1_700_000_000_000);
        let whole = Batch { now, commands: one.into_iter().chain(other).collect() };
        assert_eq!(proposal.batch().unwrap(), whole);
        let wired: Proposal =
            postcard::from_bytes(&postcard::to_stdvec(&proposal).unwrap()).unwrap();
        assert_eq!(wired, proposal);
    }

    #[test]
    fn damaged_bytes_are_no_batch() {
        let part = Encoded::of(&[Command::Tick, Command::Tick]).unwrap();
        let whole = Proposal::merge(Moment(7), [part].iter()).unwrap();
        for cut in 0..whole.bytes().len() {
            assert!(Proposal(whole.bytes().slice(..cut)).batch().is_err(), "cut at {cut}");
        }
        let mut longer = whole.bytes().to_vec();
        longer.push(0);
        assert!(Proposal(longer.into()).batch().is_err());
    }
}
