//! What agents say to each other on the raft port: a greeting, then requests and responses that
//! carry a number, each in a frame of four length bytes and postcard.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures::SinkExt;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use ringrift_core::id::{NodeId, ZoneName};
use serde::de::{self, DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::consensus::log;
use crate::consensus::transport::{self, Stream};
use crate::consensus::vocabulary::{Ring, SnapshotMeta, Vote};

/// Opens every connection, so that a stray client is recognised at once.
pub(super) const MAGIC: [u8; 8] = *b"RINGRAFT";
/// Raised with every change of the types in this file or of a log entry.
pub(super) const PROTOCOL: u16 = 9;
/// The largest log entry that is accepted for replication.
pub(super) const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The largest frame: an append with one entry of the largest kind behind a full batch, and room
/// for the rest of the frame.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a snapshot in one frame.
pub(super) const SNAPSHOT_PART_BYTES: usize = 1024 * 1024;

const _: () = assert!(log::APPEND_BYTES_MAX + ENTRY_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(SNAPSHOT_PART_BYTES * 2 < FRAME_BYTES_MAX);

/// What a connection is for. Each purpose has its own, so that a heartbeat never waits behind a
/// large append, nor an append behind a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Appends and votes.
    Log,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
    /// Only the greeting: who is there?
    Identify,
    /// Questions of a read barrier.
    Barrier,
}

/// The first frame from the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) magic: [u8; 8],
    pub(super) protocol: u16,
    /// Empty before the cluster has a name.
    pub(super) cluster_id: String,
    pub(super) node_id: NodeId,
    pub(super) raft_id: u64,
    pub(super) purpose: Purpose,
}

/// Who answers at a raft address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) node_id: NodeId,
    pub(super) raft_id: u64,
    pub(super) zone: Option<ZoneName>,
    /// Empty before its cluster has a name.
    pub(super) cluster_id: String,
    /// Whether it belongs to a cluster.
    pub(super) initialized: bool,
}

/// The first frame from the called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Welcome {
    Accepted(Identity),
    /// With the reason.
    Refused(String),
}

/// A request or response with the number that ties them together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) body: T,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Request {
    Append(AppendEntriesRequest<Ring>),
    Vote(VoteRequest<Ring>),
    PreVote(VoteRequest<Ring>),
    TransferLeader(TransferLeaderRequest<Ring>),
    /// Asks a voter whether it has not turned to a vote beyond this one.
    Follows(Vote),
    SnapshotBegin(SnapshotBegin),
    SnapshotPart(SnapshotPart),
}

/// Announces a snapshot, and asks how much of it has arrived before a connection broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SnapshotBegin {
    pub(super) meta: SnapshotMeta,
    pub(super) total: u64,
}

/// A piece of a snapshot's file. Pieces of one snapshot follow each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SnapshotPart {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) offset: u64,
    pub(super) total: u64,
    pub(super) data: Blob,
}

/// The answer to an append or a heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Appended {
    pub(super) response: AppendEntriesResponse<Ring>,
    /// Bytes that are free on the disk of who answers, when it is nearly full.
    pub(super) low: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Response {
    Append(Appended),
    Vote(VoteResponse<Ring>),
    PreVote(VoteResponse<Ring>),
    TransferLeader(TransferLeaderResponse<Ring>),
    Follows(bool),
    /// Bytes of the announced snapshot that have arrived: the next part begins there.
    SnapshotBegun(u64),
    /// Nothing until the last part was installed.
    SnapshotPart(Option<SnapshotResponse<Ring>>),
    /// The agent could not carry the request out, for the reason given.
    Failed(String),
}

/// Bytes that postcard copies as a whole instead of one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}

fn framing() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}

pub(super) type Incoming = FramedRead<Box<dyn transport::Incoming>, LengthDelimitedCodec>;
pub(super) type Outgoing =
    FramedWrite<Box<dyn AsyncWrite + Send + Sync + Unpin>, LengthDelimitedCodec>;

/// Both directions of a connection, framed.
pub(super) fn channel(stream: Stream) -> (Incoming, Outgoing) {
    let Stream { incoming, outgoing } = stream;
    (FramedRead::new(incoming, framing()), FramedWrite::new(outgoing, framing()))
}

/// Writes frames as they come, those that wait together in one go.
pub(super) async fn write_frames(
    mut outgoing: Outgoing,
    mut queued: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(frame) = queued.recv().await {
        outgoing.feed(frame).await?;
        while let Ok(frame) = queued.try_recv() {
            outgoing.feed(frame).await?;
        }
        SinkExt::<Bytes>::flush(&mut outgoing).await?;
    }
    Ok(())
}

pub(super) fn encode<T: Serialize>(message: &T) -> io::Result<Bytes> {
    postcard::to_stdvec(message).map(Bytes::from).map_err(invalid)
}

pub(super) fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    postcard::from_bytes(frame).map_err(invalid)
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
