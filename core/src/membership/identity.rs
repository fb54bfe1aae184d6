//! Who a member is, across restarts.

use alloc::string::String;
use core::net::SocketAddr;

use crate::id::NodeId;

/// Longest HTTP or Raft address. Three identities must fit one packet, so a DNS name may not have
/// its full 253 bytes here.
pub const ADDRESS_BYTES_MAX: usize = 128;

/// A member of the cluster. Of two identities with one gossip address the greater is believed: the
/// later generation, so that a restarted agent displaces its own past at once.
///
/// The order of the fields is the order of comparison.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    generation: u64,
    node_id: NodeId,
    swim_address: SocketAddr,
    http_address: String,
    raft_address: Option<String>,
}

/// Why something is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// An address is empty or too long.
    #[error("{which} address {address:?} must have 1 to {ADDRESS_BYTES_MAX} bytes")]
    Address {
        /// `http` or `raft`.
        which: &'static str,
        /// The refused address.
        address: String,
    },
    /// Nobody can send to this gossip address.
    #[error("{address} is no address that other members can reach; name one to advertise")]
    Unreachable {
        /// The refused address.
        address: SocketAddr,
    },
}

impl Identity {
    /// An identity. `generation` must grow with every start of the agent, also when the wall clock
    /// went back: the greater of the kept one plus 1 and the wall clock's milliseconds.
    ///
    /// # Errors
    /// As [`IdentityError`] says.
    pub fn new(
        node_id: NodeId,
        generation: u64,
        swim_address: SocketAddr,
        http_address: String,
        raft_address: Option<String>,
    ) -> Result<Self, IdentityError> {
        if swim_address.ip().is_unspecified() || swim_address.port() == 0 {
            return Err(IdentityError::Unreachable { address: swim_address });
        }
        check("http", &http_address)?;
        if let Some(address) = &raft_address {
            check("raft", address)?;
        }
        Ok(Self { generation, node_id, swim_address, http_address, raft_address })
    }

    /// The agent.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// Grows with every start of the agent.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where it gossips.
    #[must_use]
    pub fn swim_address(&self) -> SocketAddr {
        self.swim_address
    }

    /// Where it serves HTTP, as `host:port`.
    #[must_use]
    pub fn http_address(&self) -> &str {
        &self.http_address
    }

    /// Where it replicates, as `host:port`; nothing for a client.
    #[must_use]
    pub fn raft_address(&self) -> Option<&str> {
        self.raft_address.as_deref()
    }

    pub(super) fn next_generation(&self) -> Self {
        Self { generation: self.generation.saturating_add(1), ..self.clone() }
    }

    /// Stands for whoever listens at an address.
    pub(super) fn placeholder_at(&self, swim_address: SocketAddr) -> Self {
        Self { generation: 0, swim_address, ..self.clone() }
    }
}

fn check(which: &'static str, address: &str) -> Result<(), IdentityError> {
    if address.is_empty() || address.len() > ADDRESS_BYTES_MAX {
        let address = address.chars().take(ADDRESS_BYTES_MAX).collect();
        return Err(IdentityError::Address { which, address });
    }
    Ok(())
}
