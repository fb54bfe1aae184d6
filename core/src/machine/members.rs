//! The cluster itself: its name, who went for good, and when its members changed last.
//!
//! Who takes part is the log's own matter. What is kept here are the facts that the next leader
//! needs: a raft id that went must never return, and replacements keep a distance.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString as _};

use serde::{Deserialize, Serialize};

use super::{Machine, admission, invalid};
use crate::event::Event;
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::time::{Moment, Span};

/// How the members changed. All moments are those of the intention: it is written before the change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    retired: BTreeSet<u64>,
    changed: Option<Moment>,
    replaced: Option<Replacement>,
}

/// A replacement that the cluster undertook by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Raft id of the voter that was given up.
    pub retired: u64,
    /// When.
    pub at: Moment,
}

impl Members {
    /// Whether this raft id went and must not return.
    #[must_use]
    pub fn is_retired(&self, raft_id: u64) -> bool {
        self.retired.contains(&raft_id)
    }

    /// Raft ids that went, so far.
    #[must_use]
    pub fn retired(&self) -> usize {
        self.retired.len()
    }

    /// When somebody was added or removed last.
    #[must_use]
    pub const fn changed(&self) -> Option<Moment> {
        self.changed
    }

    /// The last replacement that the cluster undertook by itself.
    #[must_use]
    pub const fn replaced(&self) -> Option<Replacement> {
        self.replaced
    }
}

impl Machine {
    /// How the members changed so far.
    #[must_use]
    pub const fn members(&self) -> &Members {
        &self.facts.members
    }

    /// Begins another cluster with what this one holds. Its tokens are greater than every token of the
    /// old cluster, also of those that it grants from now on, since the mode epoch comes first in
    /// their order. Leases go on: replicated time stands still between the clusters.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when the name is not one, is the old one, or no epoch is left.
    pub fn begin_anew(&mut self, cluster_id: &str) -> Result<(), Refusal> {
        admission::check_text("cluster_id", cluster_id, limits::NAME_BYTES_MAX)?;
        if cluster_id == self.facts.cluster_id {
            return Err(invalid(
                "cluster_id",
                "is the old one; a new cluster needs a name of its own",
            ));
        }
        let next = self.facts.mode_epoch.checked_add(1);
        self.facts.mode_epoch = next.ok_or_else(|| invalid("mode_epoch", "has no successor"))?;
        self.facts.cluster_id = cluster_id.to_string();
        self.facts.events.begin_epoch(self.facts.mode_epoch);
        self.record(Event::ClusterNamed { cluster_id: cluster_id.to_string() });
        // Ids of the old cluster mean nothing in the new one, whose name they do not know.
        self.facts.members = Members::default();
        Ok(())
    }

    pub(super) fn name_cluster(&mut self, cluster_id: &str) -> Result<Reply, Refusal> {
        admission::check_text("cluster_id", cluster_id, limits::NAME_BYTES_MAX)?;
        if self.facts.cluster_id.is_empty() {
            self.facts.cluster_id = String::from(cluster_id);
            self.record(Event::ClusterNamed { cluster_id: cluster_id.to_string() });
        } else if self.facts.cluster_id != cluster_id {
            let problem = alloc::format!("is {:?} already", self.facts.cluster_id);
            return Err(invalid("cluster_id", problem));
        }
        Ok(Reply::Done)
    }

    pub(super) fn change_members(
        &mut self,
        retired: Option<u64>,
        automatic: bool,
    ) -> Result<Reply, Refusal> {
        let now = self.facts.now;
        let members = &mut self.facts.members;
        if let Some(raft_id) = retired {
            let full = members.retired.len() >= limits::MEMBERS_RETIRED_MAX;
            if full && !members.retired.contains(&raft_id) {
                let most = limits::MEMBERS_RETIRED_MAX;
                let problem = alloc::format!(
                    "is one more than the {most} that are remembered; begin a new cluster from a backup"
                );
                return Err(invalid("retired", problem));
            }
            members.retired.insert(raft_id);
            if automatic {
                members.replaced = Some(Replacement { retired: raft_id, at: now });
            }
        }
        members.changed = Some(now);
        self.record(Event::MembersChanged { retired, automatic });
        Ok(Reply::Done)
    }
}

impl Replacement {
    /// How long ago it was undertaken.
    #[must_use]
    pub const fn age(self, now: Moment) -> Span {
        now.since(self.at)
    }
}
