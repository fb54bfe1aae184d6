//! Who claims, as this agent saw it while it led: what an item is held against to say that nobody could
//! run it. Claims that find nothing never come to the machine, so it is remembered here. A new leader
//! has heard of everyone who waits within a second, and of the others when they claim again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringrift_core::id::NodeId;
use ringrift_core::limits;
use ringrift_core::machine::{Claimer, Machine};
use ringrift_core::queue::command::Claim;

/// Nodes that are remembered; beyond it nothing is said of what nobody can do.
const NODES_MAX: usize = limits::NODES_MAX;
/// Different claimers of one node that are remembered; the oldest go first.
const OF_NODE_MAX: usize = 4;
/// A claimer that holds nothing and has not asked for so long is gone: ten times as long as it may wait
/// in one request.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Who is known is listed anew after so long, or when somebody new came: thousands of views may ask.
const LISTED_FOR: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    nodes: BTreeMap<NodeId, Vec<(Claimer, Duration)>>,
    /// Somebody found no room.
    overflown: bool,
    listed: Option<(Arc<[Claimer]>, Duration)>,
}

impl Known {
    /// Notes a claim at this time of the monotonic clock.
    pub(crate) fn note(&self, claim: &Claim, now: Duration) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { nodes, overflown, listed } = &mut *table;
        let Some(of_node) = nodes.get_mut(&claim.node) else {
            if nodes.len() >= NODES_MAX {
                *overflown = true;
            } else {
                nodes.insert(claim.node.clone(), vec![(claimer(claim), now)]);
                *listed = None;
            }
            return;
        };
        if let Some((_, last)) = of_node.iter_mut().find(|(claimer, _)| is_of(claimer, claim)) {
            *last = now;
            return;
        }
        if of_node.len() >= OF_NODE_MAX
            && let Some(oldest) = (0..of_node.len()).min_by_key(|at| of_node[*at].1)
        {
            of_node.remove(oldest);
        }
        of_node.push((claimer(claim), now));
        *listed = None;
    }

    /// Those who claim at this time; nobody when they are too many to tell.
    pub(crate) fn all(&self, machine: &Machine, now: Duration) -> Arc<[Claimer]> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((claimers, at)) = &table.listed
            && now.saturating_sub(*at) < LISTED_FOR
        {
            return Arc::clone(claimers);
        }
        let is_fresh = |last: Duration| now.saturating_sub(last) < REMEMBERED;
        table.nodes.retain(|node, of_node| {
            let holds = machine.held_by(node).next().is_some();
            of_node.retain(|(_, last)| holds || is_fresh(*last));
            !of_node.is_empty()
        });
        let nobody = std::mem::take(&mut table.overflown);
        let claimers = table.nodes.values().flatten().filter(|_| !nobody);
        let claimers: Arc<[Claimer]> = claimers.map(|(claimer, _)| claimer.clone()).collect();
        table.listed = Some((Arc::clone(&claimers), now));
        claimers
    }
}

fn claimer(claim: &Claim) -> Claimer {
    let Claim { node, capabilities, labels, work_types, limit: _, lease: _ } = claim.clone();
    Claimer { node, capabilities, labels, work_types }
}

fn is_of(claimer: &Claimer, claim: &Claim) -> bool {
    let Claimer { node, capabilities, labels, work_types } = claimer;
    *node == claim.node
        && *capabilities == claim.capabilities
        && *labels == claim.labels
        && *work_types == claim.work_types
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use ringrift_core::time::Span;

    use super::*;

    fn claim(node: &str, capability: &str) -> Claim {
        Claim {
            node: node.parse().unwrap(),
            capabilities: [capability.to_owned()].into(),
            labels: BTreeMap::new(),
            work_types: BTreeSet::new(),
            limit: 1,
            lease: Span::seconds(30),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_claims_is_known_until_it_is_gone() {
        let (known, machine) = (Known::default(), Machine::default());
        known.note(&claim("a", "gpu"), at(0));
        known.note(&claim("a", "gpu"), at(1));
        known.note(&claim("a", "tpu"), at(2));
        known.note(&claim("b", "gpu"), at(500));
        assert_eq!(known.all(&machine, at(600)).len(), 3);
        let left = known.all(&machine, at(700));
        assert_eq!(*left, [claimer(&claim("b", "gpu"))]);
    }

    #[test]
    fn a_crowd_is_bounded_and_nothing_is_said_of_it() {
        let (known, machine) = (Known::default(), Machine::default());
        for skill in 0..=OF_NODE_MAX {
            known.note(&claim("a", &skill.to_string()), at(skill as u64));
        }
        assert_eq!(known.all(&machine, at(10)).len(), OF_NODE_MAX);
        for node in 0..NODES_MAX {
            known.note(&claim(&format!("n{node}"), "gpu"), at(10));
        }
        assert!(known.all(&machine, at(20)).is_empty());
    }
}
