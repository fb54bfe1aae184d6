//! What the rest of the agent may believe about the members.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::net::SocketAddr;

use super::identity::Identity;
use crate::id::NodeId;

/// Whether a member works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It answers.
    Alive,
    /// Somebody could not reach it. It may still refute that; treat it as alive.
    Suspected,
    /// It did not refute, or it left.
    Failed,
}

impl State {
    /// The word for people and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspected => "suspected",
            Self::Failed => "failed",
        }
    }
}

/// A member as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The agent.
    pub node_id: NodeId,
    /// Whether it works.
    pub state: State,
    /// Grows with every start of the agent.
    pub generation: u64,
    /// Where it gossips.
    pub swim_address: SocketAddr,
    /// Where it serves HTTP, as `host:port`.
    pub http_address: String,
    /// Where it replicates, as `host:port`; nothing for a client.
    pub raft_address: Option<String>,
}

/// Everybody, own member included, one entry for each node. A node that came back at another address
/// is two to foca; the later generation is the one that counts.
pub(super) fn of<'a>(
    own: &'a Identity,
    own_left: bool,
    others: impl Iterator<Item = &'a foca::Member<Identity>>,
) -> Vec<Member> {
    let mut newest: BTreeMap<&NodeId, (&Identity, State)> = BTreeMap::new();
    for member in others {
        let candidate = (member.id(), state_of(member));
        let held = newest.entry(member.id().node_id()).or_insert(candidate);
        if candidate.0 > held.0 {
            *held = candidate;
        }
    }
    let own_state = if own_left { State::Failed } else { State::Alive };
    newest.insert(own.node_id(), (own, own_state));
    newest.into_values().map(|(identity, state)| member(identity, state)).collect()
}

/// A number that changes with what [`of`] would answer.
pub(super) fn fingerprint<'a>(
    own: &Identity,
    own_left: bool,
    others: impl Iterator<Item = &'a foca::Member<Identity>>,
) -> u64 {
    let one = |identity: &Identity, state: State| {
        let mut hash = Fnv::new();
        (identity, state).hash(&mut hash);
        hash.finish()
    };
    let own_state = if own_left { State::Failed } else { State::Alive };
    // foca shuffles its members, so the sum must not depend on their order.
    let sum = |sum: u64, member: &foca::Member<Identity>| {
        sum.wrapping_add(one(member.id(), state_of(member)))
    };
    others.fold(one(own, own_state), sum)
}

fn state_of(member: &foca::Member<Identity>) -> State {
    match member.state() {
        foca::State::Alive => State::Alive,
        foca::State::Suspect => State::Suspected,
        foca::State::Down => State::Failed,
    }
}

fn member(identity: &Identity, state: State) -> Member {
    Member {
        node_id: identity.node_id().clone(),
        state,
        generation: identity.generation(),
        swim_address: identity.swim_address(),
        http_address: identity.http_address().to_string(),
        raft_address: identity.raft_address().map(ToString::to_string),
    }
}

/// FNV-1a: this crate has no hasher of its own, and this use needs none that resists an attacker.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: &str, generation: u64, port: u16) -> Identity {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Identity::new(node.parse().unwrap(), generation, address, "h:1".to_string(), None).unwrap()
    }

    #[test]
    fn a_node_that_moved_appears_once_under_its_later_generation() {
        let own = identity("a", 1, 1);
        let before = foca::Member::new(identity("b", 1, 2), 0, foca::State::Down);
        let after = foca::Member::new(identity("b", 2, 3), 0, foca::State::Suspect);
        let own_past = foca::Member::new(identity("a", 0, 9), 0, foca::State::Down);
        for order in [[&before, &after, &own_past], [&own_past, &after, &before]] {
            let seen: Vec<_> = of(&own, false, order.into_iter())
                .into_iter()
                .map(|member| (member.node_id.to_string(), member.generation, member.state))
                .collect();
            let expected =
                [("a".to_string(), 1, State::Alive), ("b".to_string(), 2, State::Suspected)];
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_fingerprint_follows_states_and_not_order() {
        let own = identity("a", 1, 1);
        let alive = foca::Member::alive(identity("b", 1, 2));
        let suspected = foca::Member::new(identity("b", 1, 2), 0, foca::State::Suspect);
        let third = foca::Member::alive(identity("c", 1, 3));
        let of =
            |members: &[&foca::Member<Identity>]| fingerprint(&own, false, members.iter().copied());
        assert_eq!(of(&[&alive, &third]), of(&[&third, &alive]));
        assert_ne!(of(&[&alive, &third]), of(&[&suspected, &third]));
    }
}
