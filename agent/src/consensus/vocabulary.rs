//! The types that openraft is instantiated with, under short names. Nothing outside this folder
//! names openraft.

use ringrift_core::queue::command::{Refusal, Reply};

use crate::consensus::Member;
use crate::consensus::entry::Proposal;
use crate::consensus::machine::StateMachine;
use crate::consensus::machine::snapshot::SnapshotFile;
use crate::consensus::runtime::Runtime;

/// What applying one log entry answers: one reply for each command, in order.
pub(super) type Replies = Vec<Result<Reply, Refusal>>;

openraft::declare_raft_types!(
    /// RingRift's choice of openraft's types.
    ///
    /// A leader is identified by term *and* raft id, so two candidates of one term do not block each
    /// other. A position (term, index) still names one committed entry only, since one index is
    /// committed once.
    pub(super) Ring:
        D = Proposal,
        R = Replies,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = Runtime,
);

pub(super) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(super) type LogId = openraft::LogId<LeaderId>;
pub(super) type Vote = openraft::Vote<LeaderId>;
pub(super) type Payload = openraft::EntryPayload<Proposal, u64, Member>;
pub(super) type Entry = openraft::Entry<LeaderId, Payload>;
pub(super) type Membership = openraft::StoredMembership<LeaderId, u64, Member>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Member>;
pub(super) type Snapshot = openraft::Snapshot<LeaderId, u64, Member, SnapshotFile>;
pub(super) type Raft = openraft::Raft<Ring, StateMachine>;
pub(super) type RaftMetrics = openraft::RaftMetrics<Ring>;
