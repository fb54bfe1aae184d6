//! Claims: who may run what, until when.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::admission::{check_span, check_words};
use super::line::Merge;
use super::{Grants, Machine, invalid};
use crate::id::{NodeId, Token, WorkId};
use crate::limits;
use crate::queue::command::{Claim, Refusal, Reply};
use crate::queue::item::{Item, Lease, State, Status};
use crate::queue::resources::Share;
use crate::time::Span;

impl Machine {
    /// Takes up to `limit` items that the claimer fits, best first, and reserves what they need.
    pub(super) fn claim(&mut self, claim: &Claim, grants: &mut Grants) -> Result<Reply, Refusal> {
        let Claim { node, capabilities, labels, work_types, limit, lease } = claim;
        check_span("lease", *lease, limits::LEASE_MIN, limits::LEASE_MAX)?;
        check_words("capabilities", capabilities.len(), capabilities.iter())?;
        check_words("labels", labels.len(), labels.iter().flat_map(|(l, v)| [l, v]))?;
        check_words("work_types", work_types.len(), work_types.iter())?;
        let wanted = usize::try_from(*limit).unwrap_or(usize::MAX);
        if !(1..=limits::CLAIM_ITEMS_MAX).contains(&wanted) {
            return Err(invalid("limit", format!("must be 1 to {}", limits::CLAIM_ITEMS_MAX)));
        }
        let choice = Merge::for_claim(self, claim).choose(wanted);
        for queue in &choice.served {
            self.count_service(queue);
        }
        let mut claimed = Vec::with_capacity(choice.items.len());
        for (id, share) in choice.items {
            if self.may_be_granted(id) {
                self.grant(id, node, *lease, share, grants.take());
                claimed.extend(self.item(id).cloned());
            }
        }
        Ok(Reply::Claimed(claimed))
    }

    /// What was chosen is granted unless its own deadline passed, or a group-mate was granted just
    /// before.
    fn may_be_granted(&mut self, id: WorkId) -> bool {
        if !self.facts.items.contains_key(&id) && !self.materialize(id) {
            return false;
        }
        self.settle(id);
        let stands = |item: &Item| matches!(item.state, State::Ready { .. });
        self.item(id).is_some_and(stands)
    }

    fn grant(&mut self, id: WorkId, node: &NodeId, lease: Span, share: Share, token: Token) {
        self.count_wait(id);
        let deadline = self.facts.now.after(lease);
        self.alter(id, |item| {
            item.deliveries = item.deliveries.saturating_add(1);
            item.last_node = Some(node.clone());
            let node = node.clone();
            let lease = Lease { node, token, deadline, started: None, share };
            item.state = State::Claimed(Box::new(lease));
        });
    }

    /// Whether a claim would get anything now. A claimer that waits for work asks this before it
    /// writes a log entry that could only answer nothing.
    #[must_use]
    pub fn claimable(&self, claim: &Claim) -> bool {
        // Whoever waits for what has just ended is told by the next command.
        !self.index.resolvable.is_empty() || Merge::for_claim(self, claim).has_any()
    }

    /// The holder begins: from here on the attempt counts. A repeat changes nothing.
    pub(super) fn start(&mut self, id: WorkId, token: Token) -> Result<Reply, Refusal> {
        let lease = self.heard_from(id, token)?;
        if lease.started.is_none() {
            let now = self.facts.now;
            self.alter(id, |item| {
                item.attempts = item.attempts.saturating_add(1);
                item.state = State::Claimed(Box::new(Lease { started: Some(now), ..lease }));
            });
        }
        Ok(Reply::Done)
    }

    /// Gives a claim back. Without a delay the item keeps its place in line. An attempt that had begun
    /// does not count: that its holder ends is not the item's fault.
    pub(super) fn release(
        &mut self,
        id: WorkId,
        token: Token,
        delay: Span,
    ) -> Result<Reply, Refusal> {
        let lease = self.heard_from(id, token)?;
        check_span("delay", delay, Span::default(), limits::DELAY_MAX)?;
        if delay == Span::default() {
            self.put_back(id, None);
        } else {
            let until = self.facts.now.after(delay);
            self.alter(id, |item| item.state = State::Delayed { until });
        }
        if lease.started.is_some() {
            self.alter(id, |item| item.attempts = item.attempts.saturating_sub(1));
        }
        Ok(Reply::Done)
    }

    /// Makes a held item claimable again, at its old place in line.
    pub(super) fn put_back(&mut self, id: WorkId, error: Option<String>) {
        self.alter(id, |item| {
            item.state = State::Ready { since: item.created };
            if let Some(error) = error {
                item.last_error = Some(error.into());
            }
        });
    }

    /// Whether no further attempt may be started.
    pub(super) fn is_exhausted(&self, id: WorkId) -> bool {
        self.item(id).is_none_or(|item| item.attempts >= item.request.attempts_max)
    }

    /// Renews the leases that the node still holds, and names the others.
    pub(super) fn heartbeat(
        &mut self,
        node: &NodeId,
        claims: &[(WorkId, Token)],
        lease: Span,
    ) -> Result<Reply, Refusal> {
        check_span("lease", lease, limits::LEASE_MIN, limits::LEASE_MAX)?;
        if claims.len() > limits::HEARTBEAT_CLAIMS_MAX {
            let problem =
                format!("holds {} of at most {}", claims.len(), limits::HEARTBEAT_CLAIMS_MAX);
            return Err(invalid("claims", problem));
        }
        let deadline = self.facts.now.after(lease);
        let mut renewed = 0;
        let mut lost = vec![];
        for (id, token) in claims {
            match self.held_under(*id, *token) {
                Ok(held) if held.node == *node => {
                    renewed += 1;
                    self.alter(*id, |item| {
                        item.state = State::Claimed(Box::new(Lease { deadline, ..held }));
                    });
                }
                Ok(_) | Err(_) => {
                    self.tell_of_stop(node, *id, *token);
                    lost.push(*id);
                }
            }
        }
        Ok(Reply::Renewed { renewed, lost })
    }

    /// The lease of an item about which its holder says something. Of an item that has ended meanwhile
    /// its process has ended too, or will not begin.
    pub(super) fn heard_from(&mut self, id: WorkId, token: Token) -> Result<Lease, Refusal> {
        self.hear_of_stop(id, token);
        self.held_under(id, token)
    }

    /// The lease of an item that is held under this token, now.
    pub(super) fn held_under(&mut self, id: WorkId, token: Token) -> Result<Lease, Refusal> {
        self.settle(id);
        let item = self.facts.items.get(&id).ok_or(Refusal::UnknownWork(id))?;
        match &item.state {
            State::Claimed(lease) if lease.token == token => Ok(Lease::clone(lease)),
            State::Claimed(_)
            | State::Delayed { .. }
            | State::Blocked { .. }
            | State::Ready { .. }
            | State::Completed(_)
            | State::Dead { .. }
            | State::Cancelled { .. } => {
                Err(Refusal::Fenced { work_id: id, token, now: standing(item) })
            }
        }
    }
}

/// Where an item stands, for people.
fn standing(item: &Item) -> String {
    match &item.state {
        State::Claimed(lease) => {
            let doing = if item.status() == Status::Running { "running on" } else { "claimed by" };
            format!("{doing} {} under token {}", lease.node, lease.token)
        }
        State::Delayed { .. }
        | State::Blocked { .. }
        | State::Ready { .. }
        | State::Completed(_)
        | State::Dead { .. }
        | State::Cancelled { .. } => item.status().as_str().into(),
    }
}
