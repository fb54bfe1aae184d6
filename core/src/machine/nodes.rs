//! Nodes: what they have, and what happens to their claims when they have less or are gone.

use alloc::format;
use alloc::vec::Vec;

use super::{Machine, invalid};
use crate::event::Event;
use crate::id::{NodeId, WorkId};
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::queue::item::{Lease, State};
use crate::queue::resources::{Capacity, Stated, Teller};

impl Machine {
    /// Says what a node has. Shares never exceed it: claims that no longer fit end, newest first.
    pub(super) fn set_capacity(
        &mut self,
        node: &NodeId,
        capacity: Option<&Capacity>,
        by: Teller,
    ) -> Result<Reply, Refusal> {
        let stands = self.facts.capacities.get(node).map(|stated| stated.by);
        if (stands, by) == (Some(Teller::Operator), Teller::Agent) {
            return Ok(Reply::Done);
        }
        let Some(capacity) = capacity else {
            self.facts.capacities.remove(node);
            self.end_stops(node, |stop| !stop.share.is_nothing());
            self.end_claims(node, |lease| !lease.share.is_nothing());
            return Ok(Reply::Done);
        };
        if capacity.gpu_devices > limits::NODE_GPUS_MAX {
            let problem = format!("must be at most {}", limits::NODE_GPUS_MAX);
            return Err(invalid("gpu_devices", problem));
        }
        if !self.facts.capacities.contains_key(node)
            && self.facts.capacities.len() >= limits::NODES_MAX
        {
            let problem = format!("would be one more than the {} nodes", limits::NODES_MAX);
            return Err(invalid("node", problem));
        }
        let stated = Stated { capacity: capacity.clone(), by };
        self.facts.capacities.insert(node.clone(), stated);
        let of_node = self.index.nodes.get(node);
        if of_node.is_some_and(|of_node| !of_node.reserved.fits(capacity)) {
            self.end_stops(node, |stop| !stop.share.is_nothing());
        }
        // Bounded by what the node holds; most often nothing is to be done.
        for id in self.newest_first(node) {
            let of_node = self.index.nodes.get(node);
            if of_node.is_none_or(|of_node| of_node.reserved.fits(capacity)) {
                break;
            }
            self.end_claim(id, |lease| !lease.share.is_nothing());
        }
        Ok(Reply::Done)
    }

    /// Ends the claims of a node that is gone, as if their leases had ended. What its agent said it has
    /// goes too: nobody else takes it back, and it would count as room.
    pub(super) fn expire_node(&mut self, node: &NodeId) -> u32 {
        self.end_stops(node, |_| true);
        let claims = self.end_claims(node, |_| true);
        if self.is_counted_on(node) {
            self.facts.capacities.remove(node);
        }
        self.record(Event::NodeGone { node: node.clone(), claims });
        claims
    }

    fn newest_first(&self, node: &NodeId) -> Vec<WorkId> {
        let held = self.index.nodes.get(node).into_iter().flat_map(|of_node| &of_node.held);
        let mut held: Vec<_> = held.copied().collect();
        held.sort_by_key(|id| {
            core::cmp::Reverse(match self.item(*id).map(|item| &item.state) {
                Some(State::Claimed(lease)) => Some(lease.token),
                _ => None,
            })
        });
        held
    }

    fn end_claims(&mut self, node: &NodeId, which: impl Fn(&Lease) -> bool) -> u32 {
        let held = self.newest_first(node);
        held.into_iter().map(|id| u32::from(self.end_claim(id, &which))).sum()
    }

    fn end_claim(&mut self, id: WorkId, which: impl Fn(&Lease) -> bool) -> bool {
        let Some(State::Claimed(lease)) = self.item(id).map(|item| &item.state) else {
            return false;
        };
        if !which(lease) {
            return false;
        }
        let lease = Lease::clone(lease);
        self.end_lease(id, &lease);
        true
    }

    /// What a node said it has.
    #[must_use]
    pub fn capacity(&self, node: &NodeId) -> Option<&Capacity> {
        self.facts.capacities.get(node).map(|stated| &stated.capacity)
    }

    /// Whether a node's own agent said what it has.
    #[must_use]
    pub fn is_counted_on(&self, node: &NodeId) -> bool {
        self.facts.capacities.get(node).is_some_and(|stated| stated.by == Teller::Agent)
    }
}
