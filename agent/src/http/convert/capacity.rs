//! What nodes have, between the wire and the core.

use ringrift_core::queue::resources as core;
use ringrift_wire::tenancy as wire;

/// A capacity as the core has it.
pub(crate) const fn capacity(given: &wire::Capacity) -> core::Capacity {
    let wire::Capacity { cpu_milli, memory_mib, gpu_devices, disk_free_mib } = *given;
    core::Capacity { cpu_milli, memory_mib, gpu_devices, disk_free_mib }
}

/// A capacity as callers see it.
pub(crate) const fn told(capacity: &core::Capacity) -> wire::Capacity {
    let core::Capacity { cpu_milli, memory_mib, gpu_devices, disk_free_mib } = *capacity;
    wire::Capacity { cpu_milli, memory_mib, gpu_devices, disk_free_mib }
}

/// What the ledger says of a node, as the core has it.
pub(crate) fn stated(node: &wire::NodeCapacity) -> core::Stated {
    core::Stated { capacity: capacity(&node.capacity), by: said_by(node.said_by) }
}

/// Who says so, as the core has it.
pub(crate) const fn said_by(by: wire::Teller) -> core::Teller {
    match by {
        wire::Teller::Operator => core::Teller::Operator,
        wire::Teller::Agent => core::Teller::Agent,
    }
}

/// Who says so, as callers see it.
pub(crate) const fn teller(by: core::Teller) -> wire::Teller {
    match by {
        core::Teller::Operator => wire::Teller::Operator,
        core::Teller::Agent => wire::Teller::Agent,
    }
}
