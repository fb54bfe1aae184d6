//! What each item of a Job, Gauntlet or Tournament reserves on its node.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What each item reserves on its node while it is held. Nothing by default: such an item runs
/// wherever there is a free slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.gpuMilli < 1000 || self.gpuMilli % 1000 == 0").message("gpuMilli must be a part of one device (below 1000) or whole devices (multiples of 1000)"))]
pub struct Resources {
    /// Thousandths of a processor.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub cpu_milli: i32,
    /// Mebibytes of memory.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub memory_mib: i32,
    /// Thousandths of GPU devices: a part of one below 1000, or whole ones.
    #[serde(default)]
    #[schemars(range(min = 0, max = 64_000))]
    pub gpu_milli: i32,
    /// Mebibytes of disk that must be free at the claim. A floor: it is not reserved.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub disk_free_mib: i32,
}
