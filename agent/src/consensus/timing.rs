//! How fast a lost leader is noticed, and what that costs.

use std::sync::Arc;
use std::time::Duration;

use crate::consensus::ConsensusError;

/// How fast a silent leader is replaced, as a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// For busy or distant machines.
    #[default]
    Safe,
    /// For idle machines on one site.
    Fast,
}

impl Profile {
    /// The profile of that name: `safe` or `fast`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "safe" => Some(Self::Safe),
            "fast" => Some(Self::Fast),
            _ => None,
        }
    }

    /// Its timing.
    #[must_use]
    pub const fn timing(self) -> Timing {
        match self {
            Self::Safe => Timing::safe(),
            Self::Fast => Timing::fast(),
        }
    }
}

/// A follower campaigns after `election_max_ms` of silence plus a random time between
/// `election_min_ms` and `election_max_ms`. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time between two heartbeats of the leader. A heartbeat unanswered for this long counts as
    /// lost, so it must exceed the pauses of a busy machine.
    pub heartbeat_ms: u64,
    /// Lower bound of the random part of an election timeout.
    pub election_min_ms: u64,
    /// Upper bound of it, and the lease during which nobody campaigns against a leader.
    pub election_max_ms: u64,
}

/// Heartbeats that may be lost in a row before anybody campaigns.
const HEARTBEATS_LOST_MAX: u64 = 3;
/// Beyond it a dead leader would stop the cluster for minutes, which nobody can mean.
const ELECTION_MS_MAX: u64 = 60_000;
/// Log entries between two snapshots at most: a restart applies them in a few seconds. Larger ones
/// make a snapshot earlier, by their bytes.
const SNAPSHOT_ENTRIES: u64 = 500_000;
/// Log entries kept behind a snapshot, so that a restarted voter catches up by log.
const LOG_TAIL_ENTRIES: u64 = 10_000;
/// Entries of one append: large, since its bytes are bounded by the log reader.
const APPEND_ENTRIES_MAX: u64 = 1_024;
/// A follower further behind than this gets a snapshot: more than lies between two snapshots, or
/// the snapshot could not help it.
const LAG_ENTRIES_MAX: u64 = 2 * (SNAPSHOT_ENTRIES + LOG_TAIL_ENTRIES);
/// Purging in small steps would write one record for each applied entry.
const PURGE_ENTRIES_MIN: u64 = 1_024;
/// Time that the transfer of a snapshot may take before openraft starts it again.
const SNAPSHOT_SEND_MS_MAX: u64 = 60_000;

impl Timing {
    /// For one site with cores to spare: a killed leader is replaced in about 200 ms.
    #[must_use]
    pub const fn fast() -> Self {
        Self { heartbeat_ms: 20, election_min_ms: 60, election_max_ms: 100 }
    }

    /// For busy or distant machines: a killed leader is replaced in about 900 ms. Three agents that
    /// shared two cores with ten busy processes held no needless election and refused nothing.
    #[must_use]
    pub const fn safe() -> Self {
        Self { heartbeat_ms: 75, election_min_ms: 250, election_max_ms: 500 }
    }

    /// What one heartbeat in a thousand may take at most, there and back. Slower ones are lost ones
    /// soon, and each burst of them an election.
    #[must_use]
    pub const fn round_trip_max(self) -> Duration {
        Duration::from_millis(self.heartbeat_ms / 2)
    }

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// [`ConsensusError::Timing`] names the field and what it must be.
    pub fn validate(self) -> Result<Self, ConsensusError> {
        let Self { heartbeat_ms, election_min_ms, election_max_ms } = self;
        let refuse = |field, value, problem| Err(ConsensusError::Timing { field, value, problem });
        if heartbeat_ms == 0 {
            return refuse("heartbeat_ms", heartbeat_ms, "must be at least 1");
        }
        if election_min_ms < heartbeat_ms.saturating_mul(HEARTBEATS_LOST_MAX) {
            let problem =
                "must be at least three heartbeats, or one lost packet starts an election";
            return refuse("election_min_ms", election_min_ms, problem);
        }
        if election_max_ms <= election_min_ms {
            return refuse("election_max_ms", election_max_ms, "must exceed election_min_ms");
        }
        if election_max_ms > ELECTION_MS_MAX {
            return refuse("election_max_ms", election_max_ms, "must be at most 60000");
        }
        Ok(self)
    }

    pub(super) fn raft_config(self) -> Result<Arc<openraft::Config>, ConsensusError> {
        let Self { heartbeat_ms, election_min_ms, election_max_ms } = self.validate()?;
        let config = openraft::Config {
            cluster_name: "ringrift".to_owned(),
            heartbeat_interval: heartbeat_ms,
            election_timeout_min: election_min_ms,
            election_timeout_max: election_max_ms,
            install_snapshot_timeout: SNAPSHOT_SEND_MS_MAX,
            max_payload_entries: APPEND_ENTRIES_MAX,
            replication_lag_threshold: LAG_ENTRIES_MAX,
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(SNAPSHOT_ENTRIES),
            max_in_snapshot_log_to_keep: LOG_TAIL_ENTRIES,
            purge_batch_size: PURGE_ENTRIES_MIN,
            // A voter that was cut off must not raise the term when it comes back.
            enable_pre_vote: Some(true),
            // A restarted leader asks for votes again: its machine may be behind what it answered.
            enable_leader_restore: Some(false),
            // A leader without a quorum falls silent in turns, so that a live majority can elect.
            quorum_loss_probe_interval: Some(2 * election_max_ms),
            ..openraft::Config::default()
        };
        let config = config
            .validate()
            .map_err(|error| ConsensusError::Settings { cause: error.to_string() })?;
        Ok(Arc::new(config))
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::safe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_field(timing: Timing) -> &'static str {
        match timing.validate() {
            Err(ConsensusError::Timing { field, .. }) => field,
            other => panic!("{timing:?} must be refused, got {other:?}"),
        }
    }

    #[test]
    fn both_profiles_are_valid_for_openraft_too() {
        for name in ["fast", "safe"] {
            let timing = Profile::named(name).unwrap().timing();
            timing.raft_config().expect("a profile must be valid");
        }
        assert_eq!(Profile::named("Fast"), None);
        assert_eq!(Timing::fast().round_trip_max(), Duration::from_millis(10));
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let safe = Timing::safe();
        assert_eq!(refused_field(Timing { heartbeat_ms: 0, ..safe }), "heartbeat_ms");
        assert_eq!(refused_field(Timing { election_min_ms: 224, ..safe }), "election_min_ms");
        assert_eq!(refused_field(Timing { election_max_ms: 250, ..safe }), "election_max_ms");
        assert_eq!(refused_field(Timing { election_max_ms: 60_001, ..safe }), "election_max_ms");
        assert_eq!(refused_field(Timing { heartbeat_ms: u64::MAX, ..safe }), "election_min_ms");
    }
}
