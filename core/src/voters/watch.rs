//! Since when the members have been as they are.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::id::{NodeId, ZoneName};
use crate::time::Span;
use crate::voters::{Member, Rules};

/// One look at a member. Moments are spans since the agent started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Its raft id.
    pub raft_id: u64,
    /// Its name.
    pub node_id: NodeId,
    /// The machines that fail with it, when it says which.
    pub zone: Option<ZoneName>,
    /// Whether it votes.
    pub votes: bool,
    /// Whether gossip calls it alive, or only suspects it. A member that gossip does not know is as
    /// one that failed: after a restart gossip has never heard of who died before.
    pub lives: bool,
    /// Time since it acknowledged an append; nothing when it has not under this leader.
    pub silent_for: Option<Span>,
    /// Entries that it lacks; nothing when that is not known.
    pub behind: Option<u64>,
}

/// What a leader remembers of the members. It begins with its leadership.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    since: Option<Span>,
    members: BTreeMap<u64, Marks>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    failed_since: Option<Span>,
    warm_since: Option<Span>,
}

impl Watch {
    /// Takes a look at `now`, and says since when things are as they are. Members that are not looked
    /// at any more are forgotten.
    pub fn look(&mut self, rules: &Rules, now: Span, looks: Vec<Look>) -> Vec<Member> {
        let begun = *self.since.get_or_insert(now);
        let mut marks = core::mem::take(&mut self.members);
        let mut members = Vec::with_capacity(looks.len());
        for look in looks {
            let mut mark = marks.remove(&look.raft_id).unwrap_or_default();
            let close = look.behind.is_some_and(|behind| behind < rules.warm_entries);
            keep(&mut mark.failed_since, !look.lives, now);
            keep(&mut mark.warm_since, close && look.lives, now);
            self.members.insert(look.raft_id, mark);
            let Look { raft_id, node_id, zone, votes, lives: _, silent_for, behind } = look;
            members.push(Member {
                raft_id,
                node_id,
                zone,
                votes,
                failed_for: mark.failed_since.map(|since| between(since, now)),
                silent_for: silent_for.unwrap_or_else(|| between(begun, now)),
                behind,
                warm_for: mark.warm_since.map_or(Span(0), |since| between(since, now)),
            });
        }
        members
    }
}

/// The beginning of a state: kept while it lasts, forgotten when it ends.
fn keep(since: &mut Option<Span>, holds: bool, now: Span) {
    *since = holds.then(|| since.unwrap_or(now));
}

const fn between(since: Span, now: Span) -> Span {
    Span(now.0.saturating_sub(since.0))
}
