//! Status replies, with the seeds' shapes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Reply of `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The agent that answered.
    pub node_id: String,
    /// `leader`, `follower`, `candidate`, `learner` or `client`.
    pub role: String,
    /// The leader, when one is known.
    pub leader_id: Option<String>,
    /// Peers that are alive, this one included.
    pub alive_peers: u32,
    /// The voters.
    pub voter_node_ids: Vec<String>,
    /// How many of them are a majority.
    pub voter_quorum_size: u32,
    /// How many of them are alive.
    pub voters_alive: u32,
    /// Whether the living are a majority.
    pub voter_quorum_ok: bool,
    /// Peers by id.
    pub peers: BTreeMap<String, Peer>,
    /// Membership and consensus in detail.
    pub swim_raft: SwimRaft,
    /// What this agent runs now.
    pub local_jobs: u32,
    /// Version of the agent.
    pub version: String,
    /// Seconds since the agent started.
    pub uptime_seconds: f64,
    /// Why the agent is not yet part of a cluster, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<String>,
    /// What is wrong with this agent itself; absent when nothing is known to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Voters whose disk is nearly full. The leader knows of all, any other agent of itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub low_disks: Vec<LowDisk>,
    /// Why the leader takes no new work for want of room on disks; absent when it does, and on any other
    /// agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses_new_work: Option<String>,
}

/// A voter whose disk is nearly full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LowDisk {
    /// The voter.
    pub node_id: String,
    /// Bytes that are free there.
    pub free_bytes: u64,
}

/// An agent as this one sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    /// `alive`, `suspected` or `failed`.
    pub state: String,
    /// Where it serves HTTP.
    pub http_address: String,
    /// Where it gossips.
    pub swim_address: String,
    /// Where it replicates; absent for a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft_address: Option<String>,
}

/// Section `swim_raft` of `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwimRaft {
    /// `http`, `swim` or `hybrid`.
    pub membership_mode: String,
    /// `bully`, `raft` or `hybrid`.
    pub consensus_mode: String,
    /// Membership.
    pub swim: SwimSection,
    /// Consensus.
    pub raft: RaftSection,
    /// Whether a fallback is in use.
    pub hybrid_status: HybridStatus,
}

/// Membership in `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwimSection {
    /// Switched on.
    pub enabled: bool,
    /// Can run here.
    pub available: bool,
    /// Runs.
    pub started: bool,
    /// Members alive, this one included.
    pub alive_count: u32,
    /// Members suspected.
    pub suspected_count: u32,
    /// Members failed.
    pub failed_count: u32,
}

/// Consensus in `GET /status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RaftSection {
    /// Switched on.
    pub enabled: bool,
    /// Can run here.
    pub available: bool,
    /// Part of a cluster.
    pub initialized: bool,
    /// Whether this agent leads.
    pub is_leader: bool,
    /// Where the leader replicates, as `host:port`.
    pub leader_address: Option<String>,
    /// Unfinished items.
    pub work_queue_size: u64,
    /// Runs that are active.
    pub pending_jobs: u64,
}

/// Whether a fallback is in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HybridStatus {
    /// HTTP heartbeats stand in for SWIM.
    pub swim_fallback_active: bool,
    /// Bully stands in for Raft.
    pub raft_fallback_active: bool,
}

/// Reply of `GET /swim/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwimStatus {
    /// The agent that answered.
    pub node_id: String,
    /// Switched on.
    pub swim_enabled: bool,
    /// Can run here.
    pub swim_available: bool,
    /// Runs.
    pub swim_started: bool,
    /// `http`, `swim` or `hybrid`.
    pub membership_mode: String,
    /// Its settings.
    pub config: SwimConfigStatus,
    /// Its counts.
    pub summary: SwimSummary,
}

/// Settings of SWIM; times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwimConfigStatus {
    /// UDP port.
    pub bind_port: u16,
    /// A dead member is known everywhere within this time.
    pub failure_timeout: f64,
    /// A suspected member has this long to refute.
    pub suspicion_timeout: f64,
    /// One member is probed in each interval.
    pub ping_interval: f64,
}

/// Counts of members, this agent included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwimSummary {
    /// All.
    pub members: u32,
    /// Alive.
    pub alive: u32,
    /// Suspected.
    pub suspected: u32,
    /// Failed.
    pub failed: u32,
}

/// Reply of `GET /swim/members`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwimMembers {
    /// The agent that answered.
    pub node_id: String,
    /// Runs.
    pub swim_started: bool,
    /// The members, this agent included.
    pub members: Vec<SwimMember>,
    /// Alive.
    pub alive_count: u32,
    /// Suspected.
    pub suspected_count: u32,
    /// Failed.
    pub failed_count: u32,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwimMember {
    /// The agent.
    pub id: String,
    /// `alive`, `suspected` or `failed`.
    pub state: String,
    /// Where it gossips.
    pub address: String,
}

/// Reply of `GET /raft/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RaftStatus {
    /// The agent that answered.
    pub node_id: String,
    /// Switched on.
    pub raft_enabled: bool,
    /// The Raft engine is built in; the name is the seeds'.
    pub pysyncobj_available: bool,
    /// Part of a cluster.
    pub raft_initialized: bool,
    /// `bully`, `raft` or `hybrid`.
    pub consensus_mode: String,
    /// The queue's readiness.
    pub work_queue: Readiness,
    /// The job assignments' readiness.
    pub job_assignments: Readiness,
    /// `healthy`, `partial`, `unavailable` or `disabled`.
    pub cluster_health: String,
    /// The leader, when one is known.
    pub leader_id: Option<String>,
    /// Current term.
    pub term: u64,
    /// Last index that was applied here.
    pub applied_index: u64,
    /// Seconds since this agent heard the leader, or since a majority answered it when it leads: so old
    /// its replica may be.
    #[serde(default)]
    pub contact_age_seconds: f64,
    /// Last index in the log here.
    pub last_log_index: u64,
    /// The voters.
    pub voters: Vec<String>,
    /// The learners.
    pub learners: Vec<String>,
    /// On the leader: what it does about the voters now, such as why a dead one is not replaced yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voters_outlook: Option<String>,
}

/// Whether a replicated part is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// A leader is known and this agent follows it.
    pub is_ready: bool,
    /// Whether this agent leads.
    pub is_leader: bool,
    /// Where the leader replicates, as `host:port`.
    pub leader_address: Option<String>,
}

/// Reply of `GET /raft/work` and `GET /raft/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RaftStats<S> {
    /// The agent that answered.
    pub node_id: String,
    /// Switched on.
    pub enabled: bool,
    /// A leader is known and this agent follows it.
    pub is_ready: bool,
    /// Whether this agent leads.
    pub is_leader: bool,
    /// Where the leader replicates, as `host:port`.
    pub leader_address: Option<String>,
    /// The counts.
    pub stats: S,
}

/// Counts of work items.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkStats {
    /// Claimable or waiting for their time.
    pub pending: u64,
    /// Claimed, not yet started.
    pub claimed: u64,
    /// Started.
    pub running: u64,
    /// Completed, as far as remembered.
    pub completed: u64,
    /// Dead, as far as remembered.
    pub failed: u64,
    /// Cancelled, as far as remembered.
    pub cancelled: u64,
    /// All of them.
    pub total: u64,
    /// How long items waited for their first claim since the cluster began, by work type. Under `*`
    /// stand all types beyond the first 256.
    #[serde(default)]
    pub waits: BTreeMap<String, WaitStats>,
}

/// How long items of one type waited for their first claim. Quantiles are the next power of two of a
/// millisecond.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitStats {
    /// Items that were claimed.
    pub claimed: u64,
    /// Half of them waited no longer.
    pub p50_seconds: f64,
    /// 99 of 100 waited no longer.
    pub p99_seconds: f64,
    /// The longest wait.
    pub longest_seconds: f64,
    /// All waits together.
    pub total_seconds: f64,
}

/// Counts of job assignments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobStats {
    /// Claimed, not yet started.
    pub assigned: u64,
    /// Started.
    pub running: u64,
    /// Completed, as far as remembered.
    pub completed: u64,
    /// Dead, as far as remembered.
    pub failed: u64,
    /// All of them.
    pub total: u64,
    /// By node.
    pub by_node: BTreeMap<String, NodeJobs>,
}

/// One node's assignments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeJobs {
    /// Held now.
    pub active: u64,
    /// Held now or ended there, as far as remembered.
    pub total: u64,
}

/// Reply of `GET /health`; with status 503 when `healthy` is false.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Part of a cluster with a leader, not stopping, and its disk answers.
    pub healthy: bool,
    /// The agent that answered.
    pub node_id: String,
    /// As in `GET /status`.
    pub role: String,
    /// The leader, when one is known.
    pub leader_id: Option<String>,
    /// What is wrong with this agent itself; absent when nothing is known to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Seconds since the agent started.
    pub uptime_seconds: f64,
    /// Version of the agent.
    pub version: String,
}

/// Reply of `GET /gauntlet/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GauntletCapability {
    /// The agent that answered.
    pub node_id: String,
    /// Whether the game runner was found.
    pub available: bool,
    /// Whether a GPU was found; absent when it was not looked for.
    pub has_gpu: Option<bool>,
    /// Its name.
    pub gpu_name: Option<String>,
    /// Processors.
    pub cpu_count: u32,
    /// Gauntlets that are active in the cluster.
    pub active_runs: Vec<String>,
}

/// Body of `POST /cluster/join`, from agent to agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The newcomer.
    pub node_id: String,
    /// Where it serves HTTP.
    pub http_address: String,
    /// Where it gossips.
    pub swim_address: String,
    /// Where it would replicate; absent for a client, which takes no part in Raft.
    #[serde(default)]
    pub raft_address: Option<String>,
}

/// Reply of `POST /cluster/join`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// `voter`, `learner` or `client`.
    pub part: String,
    /// The cluster.
    pub cluster_id: String,
    /// Where other members gossip: seeds for the newcomer.
    pub swim_seeds: Vec<String>,
    /// Up to how many voters there shall be, by the leader's setting, which counts.
    #[serde(default)]
    pub voters_wanted: Option<u32>,
}

/// Body of `POST /cluster/transfer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The voter that shall lead. Named, so that asking twice moves leadership once.
    pub to: String,
}

/// Reply of `POST /cluster/transfer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transferred {
    /// Who leads now.
    pub leader_id: String,
}

/// Query of `DELETE /cluster/members/{node_id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// Whether a voter goes also when too few of those that stay are well: nothing is committed until
    /// enough of them are.
    #[serde(default)]
    pub force: bool,
}

/// Reply of `DELETE /cluster/members/{node_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Who was removed.
    pub node_id: String,
    /// The voters that are left, by name.
    pub voters: Vec<String>,
}

/// Reply of `POST /cluster/snapshot`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Snapshotted {
    /// The agent that wrote it: the one that was asked.
    pub node_id: String,
    /// Last index of the log that it covers.
    pub index: u64,
}

/// Reply of `GET /cluster/members`: the members as the leader sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterMembers {
    /// The cluster.
    pub cluster_id: String,
    /// The leader, which answered.
    pub leader_id: String,
    /// Its term.
    pub term: u64,
    /// Last index of its log.
    pub last_log_index: u64,
    /// Up to how many voters there shall be. The leader's own setting counts.
    pub voters_wanted: u32,
    /// What the leader does about the voters now, in one sentence.
    pub voters_outlook: String,
    /// Why a dead voter is not replaced yet, in one word: `just_failed`, `just_heard`, `under_way`,
    /// `no_majority`, `just_changed`, `just_replaced`, `no_learner`, `worse_spread`, `learner_behind`,
    /// `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Seconds since somebody was added or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change_seconds: Option<f64>,
    /// Seconds since the cluster replaced a voter by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_replacement_seconds: Option<f64>,
    /// Raft ids that went and never return.
    pub retired: u64,
    /// Voters first, then learners, by name.
    pub members: Vec<ClusterMember>,
}

/// One member of the log. Clients are no members; `GET /swim/members` shows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterMember {
    /// Its name.
    pub node_id: String,
    /// `leader`, `voter` or `learner`.
    pub part: String,
    /// `alive`, `suspected`, `failed`, or `unknown` to gossip.
    pub state: String,
    /// Entries that it lacks; absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Seconds since the leader heard it; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact_seconds: Option<f64>,
    /// Its raft id, 16 hexadecimal digits.
    pub raft_id: String,
    /// Where it replicates, as `host:port`.
    pub raft_address: String,
    /// Where it serves HTTP, as `host:port`.
    pub http_address: String,
    /// The machines that fail with it; absent when it says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Body of `POST /cluster/members`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// The agent. It must run, and gossip must know it.
    pub node_id: String,
}

/// Reply of `POST /cluster/members`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Added {
    /// The agent.
    pub node_id: String,
    /// `voter` or `learner`, or `client` when there are enough of both.
    pub part: String,
}
