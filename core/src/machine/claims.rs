//! Claims: who may run what, until when.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::admission::{check_span, check_words};
use super::index::{Class, Place};
use super::{Grants, Machine, invalid};
use crate::id::{NodeId, Token, WorkId};
use crate::limits;
use crate::queue::command::{Claim, Refusal, Reply};
use crate::queue::item::{Item, Lease, Needs, State, Status};
use crate::time::Span;

impl Machine {
    /// Takes up to `limit` items that the claimer fits, best first.
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
        let deadline = self.facts.now.after(*lease);
        let chosen: Vec<WorkId> = in_line(self.fitting(claim)).take(wanted).collect();
        let mut claimed = Vec::with_capacity(chosen.len());
        for id in chosen {
            let token = grants.take();
            self.alter(id, |item| {
                item.deliveries = item.deliveries.saturating_add(1);
                item.last_node = Some(node.clone());
                item.state =
                    State::Claimed(Lease { node: node.clone(), token, deadline, started: None });
            });
            claimed.extend(self.facts.items.get(&id).cloned());
        }
        Ok(Reply::Claimed(claimed))
    }

    /// Whether a claim would get anything now. A claimer that waits for work asks this before it
    /// writes a log entry that could only answer nothing.
    #[must_use]
    pub fn claimable(&self, claim: &Claim) -> bool {
        !self.fitting(claim).is_empty()
    }

    /// The classes that a claimer fits.
    fn fitting<'a>(&'a self, claim: &'a Claim) -> Vec<&'a Class> {
        let fits = |needs: &Needs| {
            needs.capabilities.is_subset(&claim.capabilities)
                && needs.labels.iter().all(|(label, value)| claim.labels.get(label) == Some(value))
        };
        let of_types = if claim.work_types.is_empty() {
            self.index.types.values().collect::<Vec<_>>()
        } else {
            claim.work_types.iter().filter_map(|name| self.index.types.get(name)).collect()
        };
        of_types
            .into_iter()
            .flat_map(|of_type| &of_type.classes)
            .filter(|(needs, class)| !class.ready.is_empty() && fits(needs))
            .map(|(_, class)| class)
            .collect()
    }

    /// The holder begins: from here on the attempt counts. A repeat changes nothing.
    pub(super) fn start(&mut self, id: WorkId, token: Token) -> Result<Reply, Refusal> {
        let lease = self.held_under(id, token)?;
        if lease.started.is_none() {
            let now = self.facts.now;
            self.alter(id, |item| {
                item.attempts = item.attempts.saturating_add(1);
                item.state = State::Claimed(Lease { started: Some(now), ..lease });
            });
        }
        Ok(Reply::Done)
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
                        item.state = State::Claimed(Lease { deadline, ..held });
                    });
                }
                Ok(_) | Err(_) => lost.push(*id),
            }
        }
        Ok(Reply::Renewed { renewed, lost })
    }

    /// The lease of an item that is held under this token, now.
    pub(super) fn held_under(&mut self, id: WorkId, token: Token) -> Result<Lease, Refusal> {
        self.settle(id);
        let item = self.facts.items.get(&id).ok_or(Refusal::UnknownWork(id))?;
        match &item.state {
            State::Claimed(lease) if lease.token == token => Ok(lease.clone()),
            State::Claimed(_)
            | State::Delayed { .. }
            | State::Ready
            | State::Completed { .. }
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
        | State::Ready
        | State::Completed { .. }
        | State::Dead { .. }
        | State::Cancelled { .. } => item.status().as_str().into(),
    }
}

/// The claimable items of several classes, best first: the heads of the classes are merged, so only
/// what is taken is looked at.
pub(super) fn in_line<'a>(classes: Vec<&'a Class>) -> impl Iterator<Item = WorkId> + 'a {
    let mut lines: Vec<_> = classes.into_iter().map(|class| class.ready.iter()).collect();
    let mut heads: BTreeSet<(Place, usize)> = lines
        .iter_mut()
        .enumerate()
        .filter_map(|(line, places)| places.next().map(|place| (*place, line)))
        .collect();
    core::iter::from_fn(move || {
        let (place, line) = heads.pop_first()?;
        if let Some(next) = lines.get_mut(line).and_then(Iterator::next) {
            heads.insert((*next, line));
        }
        Some(place.id)
    })
}
