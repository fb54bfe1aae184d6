//! Holders that have yet to hear that their item has ended.
//!
//! Who cancels an item is answered at once, but a process runs until its holder hears of it. Until
//! then it has its part of the node and the place of its group. It gives them up when the holder's
//! word about the item comes, a while after a heartbeat told the holder, or with the lease.

use super::Machine;
use super::facts::Stop;
use crate::id::{NodeId, Token, WorkId};
use crate::limits;
use crate::queue::item::State;

impl Machine {
    /// Keeps what an item holds beyond the end that it is about to get, which nobody told its holder.
    /// Such an end is for good, so that no item is stopped twice.
    pub(super) fn stop(&mut self, id: WorkId) {
        let Some(item) = self.facts.items.get(&id) else {
            return;
        };
        let State::Claimed(lease) = &item.state else {
            return;
        };
        if lease.deadline <= self.facts.now {
            return;
        }
        let stop = Stop {
            node: lease.node.clone(),
            token: lease.token,
            until: lease.deadline,
            share: lease.share.clone(),
            group: super::index::group_of(&item.request),
        };
        self.index.enter_stop(id, &stop);
        self.facts.stops.insert(id, stop);
    }

    /// The holder says something about an item that only who runs it no more, or has not begun, says.
    pub(super) fn hear_of_stop(&mut self, id: WorkId, token: Token) {
        if self.facts.stops.get(&id).is_some_and(|stop| stop.token == token) {
            self.end_stop(id);
        }
    }

    /// The holder is being told that the item is not its any more.
    pub(super) fn tell_of_stop(&mut self, node: &NodeId, id: WorkId, token: Token) {
        let until = self.facts.now.after(limits::STOP_TIME);
        let theirs = |stop: &&mut Stop| stop.token == token && stop.node == *node;
        if let Some(stop) = self.facts.stops.get_mut(&id).filter(theirs)
            && until < stop.until
        {
            self.index.stops_due.remove(&(stop.until, id));
            self.index.stops_due.insert((until, id));
            stop.until = until;
        }
    }

    /// Ends what is due, up to a bound.
    pub(super) fn elapse_stops(&mut self) {
        let now = self.facts.now;
        for _ in 0..limits::DUE_PER_COMMAND_MAX {
            let due = self.index.stops_due.first().copied().filter(|(until, _)| *until <= now);
            let Some((_, id)) = due else {
                break;
            };
            self.end_stop(id);
        }
    }

    /// Ends those on a node that is gone, or has less than it had.
    pub(super) fn end_stops(&mut self, node: &NodeId, which: impl Fn(&Stop) -> bool) {
        let of_node = self.index.nodes.get(node);
        let stops = of_node.map(|of_node| of_node.stops.clone()).unwrap_or_default();
        for id in stops {
            if self.facts.stops.get(&id).is_some_and(&which) {
                self.end_stop(id);
            }
        }
    }

    fn end_stop(&mut self, id: WorkId) {
        let Some(stop) = self.facts.stops.remove(&id) else {
            return;
        };
        self.index.leave_stop(id, &stop);
        if let Some(group) = &stop.group {
            self.index.reseat(&self.facts, group);
        }
    }
}
